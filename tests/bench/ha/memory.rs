//! What Polecats and their pods cost each replica in memory: one alone while they come to be, and one and three that are
//! begun when all are there.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use gastown_testbed::Testbed;
use tokio::task::JoinSet;

use crate::{
    cost::rss_mib,
    fleet::Fleet,
    handovers,
    ledger::Ledger,
    load::{self, Load},
    options::{Options, Version},
    player::{self, Life},
    sight,
};

/// Enough that each of three replicas has about a third of what is in them.
const NAMESPACES: usize = 192;
/// Polecats under way at a time while they come to be.
const AT_ONCE: usize = 200;
const IN_FLIGHT: usize = 16;
/// Without any change for so long, what is not Done is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// After it was busy, and before its memory is read: what comes later still comes in the meantime.
const REST: Duration = Duration::from_secs(10);
/// Bytes for each Polecat and its pod that are meant to be enough.
const EACH: f64 = 4096.0;
/// Share of what one alone grows by that each of three is meant to grow by at most.
const SHARE: f64 = 0.40;

pub async fn measure(testbed: &Testbed, options: &Options) -> Result<String> {
    // It would write two objects for every pod that finds no node.
    testbed.freeze_program("kube-scheduler").await?;
    let names: Vec<String> = (0..NAMESPACES).map(|it| format!("memory-{it:03}")).collect();
    for name in &names {
        testbed.make_namespace(name, &[]).await?;
    }
    let idle_of_three = begun(testbed, options, 3).await?;
    let all = load::spread(&names, usize::try_from(options.objects)?);
    let (few, more) = all.split_at(all.len() / 20);
    let alone = Fleet::start(testbed, options, 1).await?;
    let idle = rss(&alone).await?;
    let town = Town::begin(testbed).await?;
    town.run(few).await?;
    let with_few = rss(&alone).await?;
    town.run(more).await?;
    let with_all = rss(&alone).await?;
    end(alone).await?;
    drop(town);
    let anew = begun(testbed, options, 1).await?;
    let three = begun(testbed, options, 3).await?;
    let each = (mean(&with_all) - mean(&with_few)) * MIB / count(more.len())?;
    let mut text = format!(
        "finished Polecats with their pods over {NAMESPACES} namespaces; RSS in MiB\none alone: {:.1} without any, {:.1} with {}, {:.1} with {}: {each:.0} bytes for each of those{}\n",
        mean(&idle),
        mean(&with_few),
        few.len(),
        mean(&with_all),
        all.len(),
        goal(each <= EACH, &format!("<= {EACH}")),
    );
    let growth = mean(&anew) - mean(&idle);
    let _ = writeln!(
        text,
        "one alone, begun with {}: {:.1}, grown by {growth:.1}",
        all.len(),
        mean(&anew)
    );
    for (number, (now, before)) in three.iter().zip(&idle_of_three).enumerate() {
        let share = (now - before) / growth;
        let met = goal(share <= SHARE, &format!("<= {:.0} %", SHARE * 100.0));
        let number = number + 1;
        let _ = writeln!(
            text,
            "replica {number} of three, begun with as many: {now:.1}, without any {before:.1}: {:.0} % of what one alone grows by{met}",
            share * 100.0
        );
    }
    Ok(text)
}

const MIB: f64 = 1024.0 * 1024.0;

fn goal(met: bool, is: &str) -> String {
    format!("  {is}: {}", if met { "met" } else { "MISSED" })
}

fn count(of: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(of)?))
}

/// Of one that is not empty.
fn mean(all: &[f64]) -> f64 {
    let count = u32::try_from(all.len()).map_or(f64::NAN, f64::from);
    all.iter().sum::<f64>() / count
}

/// Resident memory of each of so many replicas, begun with what is there, at rest; they are ended again.
async fn begun(testbed: &Testbed, options: &Options, replicas: usize) -> Result<Vec<f64>> {
    let fleet = Fleet::start(testbed, options, replicas).await?;
    let all = rss(&fleet).await?;
    end(fleet).await?;
    Ok(all)
}

/// Resident memory of each, at rest.
async fn rss(fleet: &Fleet<'_>) -> Result<Vec<f64>> {
    tokio::time::sleep(REST).await;
    let all = fleet.live.iter().map(rss_mib).collect::<Result<Vec<_>>>()?;
    eprintln!("RSS, MiB: {all:.1?}");
    Ok(all)
}

async fn end(fleet: Fleet<'_>) -> Result<()> {
    for it in &fleet.live {
        it.terminate(handovers::PATIENCE).await?;
    }
    Ok(())
}

/// Who makes Polecats, and ends their pods.
struct Town {
    load: Load,
    ledger: Arc<Ledger>,
    _watches: JoinSet<()>,
}

impl Town {
    async fn begin(testbed: &Testbed) -> Result<Self> {
        let ledger = Arc::new(Ledger::new());
        let mut watches = JoinSet::new();
        let observer = testbed.client("observer").await?;
        let pods = sight::version(&observer, sight::PODS).await?;
        let place = sight::polecats(Version::V1beta1);
        let from = sight::version(&observer, &place).await?;
        let player = testbed.client("player").await?;
        watches.spawn(player::play(player, ledger.clone(), pods, Life::End));
        watches.spawn(player::observe(observer, ledger.clone(), (place, from)));
        let client = testbed.client("loadgen").await?;
        let load = Load { client, ledger: ledger.clone(), version: Version::V1beta1 };
        Ok(Self { load, ledger, _watches: watches })
    }

    /// Until each of these is Done; so many are under way at a time.
    async fn run(&self, keys: &[crate::ledger::Key]) -> Result<()> {
        for some in keys.chunks(AT_ONCE) {
            self.load.burst(some, IN_FLIGHT).await?;
            let done = |all: &std::collections::HashMap<_, crate::ledger::Course>| {
                let left = all.values().filter(|it| it.done.is_none()).count();
                left < AT_ONCE / 2
            };
            ensure!(self.ledger.until(PATIENCE, done).await?, "Polecats were lost");
        }
        let all = |all: &std::collections::HashMap<_, crate::ledger::Course>| {
            all.values().all(|it| it.done.is_some())
        };
        ensure!(self.ledger.until(PATIENCE, all).await?, "Polecats were lost");
        Ok(())
    }
}
