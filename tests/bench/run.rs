//! One run: one operator, one scenario, from its start to its end.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use gastown_testbed::Operator;
use kube::Client;
use tokio::task::JoinSet;

use crate::{
    ledger::{Course, Key, Ledger},
    load,
    operators::{self, Whose},
    options::Scenario,
    player,
    probes::{self, Histogram, Requests},
    sight,
    town::{Town, WARM},
};

/// Polecats that warm up connections, caches and allocators before anything is measured.
const WARMING: usize = 16;
/// Without any change for so long, what is not Done is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// What an operator still does this long after the last Done counts too.
const SETTLING: Duration = Duration::from_secs(2);
/// Creates in flight for a crowd that nobody looks at yet.
const CROWD_IN_FLIGHT: usize = 32;

/// What was measured.
#[derive(Debug)]
pub struct Run {
    /// Whose latencies count: all, or those beside the crowd.
    pub courses: Vec<Course>,
    /// The crowd.
    pub crowd: Vec<Course>,
    pub requests: Requests,
    pub cpu_seconds: f64,
    pub peak_mib: f64,
    pub queues: Option<Queues>,
}

/// What our own metrics say of the queue while a crowd waited.
#[derive(Debug)]
pub struct Queues {
    /// `gastown_queue_turn_seconds`: the first of a namespace behind other namespaces.
    pub turn: Histogram,
    /// `workqueue_queue_duration_seconds`: anyone in the queue, behind its own namespace too.
    pub wait: Histogram,
    /// How many of the crowd still waited for a pod when the last of the others had one.
    pub still_waiting: usize,
}

/// Everything that takes part in a run.
struct Stage {
    ledger: Arc<Ledger>,
    loadgen: Client,
    _watches: JoinSet<()>,
}

/// Does one scenario with one operator. The control plane has to be clean.
pub async fn run(
    town: &Town,
    scenario: Scenario,
    whose: Whose,
    program: std::path::PathBuf,
    round: usize,
) -> Result<Run> {
    let stage = Stage::set(town).await?;
    let start = || whose.start(town, program.clone(), round);
    let (operator, measured) = match scenario {
        Scenario::Burst { polecats, in_flight, .. } => {
            let (operator, keys) = (start().await?, load::spread(&town.namespaces, polecats));
            let before = stage.warm_up(&operator).await?;
            load::burst(&stage.loadgen, &stage.ledger, &keys, in_flight).await?;
            let measured = stage.finish(&operator, before).await?;
            (operator, measured)
        }
        Scenario::Sustained { polecats, a_second, .. } => {
            let (operator, keys) = (start().await?, load::spread(&town.namespaces, polecats));
            let before = stage.warm_up(&operator).await?;
            load::paced(&stage.loadgen, &stage.ledger, keys, a_second).await?;
            let measured = stage.finish(&operator, before).await?;
            (operator, measured)
        }
        Scenario::Fairness { crowd, others, a_second } => {
            let [first, second] = &town.namespaces[..] else {
                bail!("fairness takes two namespaces")
            };
            let keys = load::spread(std::slice::from_ref(first), crowd);
            load::burst(&stage.loadgen, &stage.ledger, &keys, CROWD_IN_FLIGHT).await?;
            let operator = start().await?;
            let keys = load::spread(std::slice::from_ref(second), others);
            let queues = stage.beside_a_crowd(&operator, first, keys, a_second).await?;
            let mut measured = stage.finish(&operator, 0.0).await?;
            let second = |key: &Key| key.namespace == *second;
            measured.courses = stage.ledger.courses(second);
            measured.crowd = stage.ledger.courses(|key| key.namespace == *first);
            measured.queues = Some(queues);
            (operator, measured)
        }
    };
    operators::stop(&operator).await?;
    Ok(Run { requests: probes::requests(&town.testbed, &operator.name).await?, ..measured })
}

impl Stage {
    async fn set(town: &Town) -> Result<Self> {
        let ledger = Arc::new(Ledger::new());
        let mut watches = JoinSet::new();
        let observer = town.testbed.client("observer").await?;
        let version = |list: sight::Sights| list.metadata.resource_version;
        let pods = version(sight::list(&observer, sight::PODS, Some(1)).await?);
        let polecats = version(sight::list(&observer, sight::POLECATS, Some(1)).await?);
        watches.spawn(player::play(town.testbed.client("player").await?, ledger.clone(), pods));
        watches.spawn(player::observe(observer, ledger.clone(), polecats));
        let loadgen = town.testbed.client("loadgen").await?;
        Ok(Self { ledger, loadgen, _watches: watches })
    }

    /// Lets a few Polecats run to their end; returns the processor time that the operator has used by then.
    async fn warm_up(&self, operator: &Operator) -> Result<f64> {
        let keys = load::spread(&[WARM.to_owned()], WARMING);
        load::burst(&self.loadgen, &self.ledger, &keys, WARMING).await?;
        if !self.ledger.until(PATIENCE, |all| all.values().all(|it| it.done.is_some())).await? {
            bail!(
                "{} did not finish one of the first {WARMING} Polecats; its log: {}",
                operator.name,
                tail(operator)
            );
        }
        tokio::time::sleep(SETTLING).await;
        probes::cpu_seconds(operator.pid)
    }

    /// Waits until all are Done or nothing happens any more, and reads what it cost.
    async fn finish(&self, operator: &Operator, before: f64) -> Result<Run> {
        self.ledger.until(PATIENCE, |all| all.values().all(|it| it.done.is_some())).await?;
        tokio::time::sleep(SETTLING).await;
        Ok(Run {
            courses: self.ledger.courses(|key| key.namespace != WARM),
            crowd: Vec::new(),
            requests: Requests::default(),
            cpu_seconds: probes::cpu_seconds(operator.pid)? - before,
            peak_mib: probes::peak_mib(operator.pid)?,
            queues: None,
        })
    }

    /// Creates a few beside a crowd that is being worked on, and reads our own metrics for that time.
    async fn beside_a_crowd(
        &self,
        operator: &Operator,
        crowd: &str,
        keys: Vec<Key>,
        a_second: u32,
    ) -> Result<Queues> {
        let begun = self.ledger.until(PATIENCE, |all| all.values().any(|it| it.pod.is_some()));
        if !begun.await? {
            bail!("{} made no pod; its log: {}", operator.name, tail(operator));
        }
        let before = probes::scrape(operator).await?;
        load::paced(&self.loadgen, &self.ledger, keys, a_second).await?;
        let others = |key: &Key| key.namespace != crowd;
        self.ledger
            .until(PATIENCE, |all| all.iter().all(|(key, it)| !others(key) || it.pod.is_some()))
            .await?;
        let waiting = self.ledger.courses(|key| !others(key) && key.namespace != WARM);
        let after = probes::scrape(operator).await?;
        let histogram = |name: &str| -> Result<Histogram> {
            Ok(Histogram::parse(&after, name)?.since(&Histogram::parse(&before, name)?))
        };
        Ok(Queues {
            turn: histogram("gastown_queue_turn_seconds")?,
            wait: histogram("workqueue_queue_duration_seconds")?,
            still_waiting: waiting.iter().filter(|it| it.pod.is_none()).count(),
        })
    }
}

/// The end of an operator's log.
fn tail(operator: &Operator) -> String {
    let text = std::fs::read_to_string(&operator.log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
}
