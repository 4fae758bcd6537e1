//! The work that goes on while replicas come and go: Polecats at a steady rate in every shard, so that there are caches to
//! warm and passes to wait for. Each has to end Done, by one pod.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use gastown_testbed::Testbed;
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval},
};

use crate::{
    cast::{Cast, PATIENCE},
    fleet::namespaces,
    ledger::{Course, Key},
    load::Load,
    options::{Options, Version},
    player::Life,
    spread::{Spread, row},
};

/// Namespaces in each shard.
const OF_EACH: usize = 2;
/// So many are Done before anything is measured: a dozen Polecats for each shard.
const LEAD: usize = 768;
/// No more are under way at a time: a machine that does not bear the rate gets less, and not a heap that grows.
const MOST: usize = 500;

/// It goes on until it is ended or dropped.
pub struct Work {
    cast: Cast,
    asked: u32,
    namespaces: usize,
    began: Instant,
    enough: oneshot::Sender<()>,
    load: JoinHandle<()>,
}

impl Work {
    /// Returns once there is something in every shard; a replica has to be there.
    pub async fn begin(testbed: &Testbed, options: &Options) -> Result<Self> {
        // It would write two objects for every pod that finds no node.
        testbed.freeze_program("kube-scheduler").await?;
        let asked = options.a_second;
        let names =
            if asked == 0 { Vec::new() } else { namespaces(testbed, "work", OF_EACH).await? };
        let cast = Cast::begin(testbed, Version::V1beta1, Life::Whole).await?;
        let (enough, ends) = oneshot::channel();
        let namespaces = names.len();
        let load = tokio::spawn(go_on(cast.load.clone(), names, asked, ends));
        let work = Self { cast, asked, namespaces, began: Instant::now(), enough, load };
        if asked > 0 {
            let ledger = &work.cast.ledger;
            let led = ledger.until(PATIENCE, |_| ledger.counts()[1] >= LEAD).await?;
            ensure!(led, "no Polecat was Done for {} s", PATIENCE.as_secs());
        }
        Ok(work)
    }

    /// Fails if the bench itself did.
    pub async fn goes_on(&self) -> Result<()> {
        self.cast.ledger.until(Duration::ZERO, |_| true).await.map(drop)
    }

    /// Creates no more, waits for what there is, and says what was borne.
    pub async fn end(self) -> Result<String> {
        if self.asked == 0 {
            return Ok("meanwhile nothing ran\n".to_owned());
        }
        let _ = self.enough.send(());
        self.load.await.context("the load broke off")?;
        let took = self.began.elapsed().as_secs_f64();
        ensure!(self.cast.all_done().await?, "Polecats were lost");
        let all = self.cast.ledger.courses(|_| true);
        let odd = all.iter().filter(|it| it.pods.len() != 1).count();
        ensure!(odd == 0, "{odd} of {} Polecats had no pod or more than one", all.len());
        let borne = f64::from(u32::try_from(all.len())?) / took;
        let wait = |it: &Course| Some(it.pod?.duration_since(it.sent?).as_secs_f64() * 1e3);
        let waits: Spread = all.iter().filter_map(wait).collect();
        Ok(format!(
            "{}meanwhile {} Polecats over {} namespaces, {borne:.1} a second of {} asked, at most {MOST} under way: all Done, each by one pod\n",
            row("Polecats meanwhile: from create to pod", &waits, None),
            all.len(),
            self.namespaces,
            self.asked,
        ))
    }
}

/// Creates at this rate until it is enough. What was not borne is not made up for.
async fn go_on(load: Load, names: Vec<String>, a_second: u32, mut ends: oneshot::Receiver<()>) {
    let mut creates = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / a_second.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keys = names.into_iter().cycle().zip(0..);
    loop {
        tokio::select! {
            _ = &mut ends => break,
            _ = ticks.tick() => {}
        }
        while creates.try_join_next().is_some() {}
        let [sent, over] = load.ledger.counts();
        if sent - over >= MOST {
            continue;
        }
        let Some((namespace, number)) = keys.next() else { break };
        let key = Key { namespace, name: format!("p{number:06}") };
        let load = load.clone();
        creates.spawn(async move {
            if let Err(error) = load.create(&key).await {
                load.ledger.fault(format!("{error:#}"));
            }
        });
    }
    while creates.join_next().await.is_some() {}
}
