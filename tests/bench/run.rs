//! One run: one operator, one scenario, from its start to its end.

use std::time::Duration;

use anyhow::{Result, bail};
use gastown_testbed::Operator;
use k8s_openapi::jiff::Timestamp;

use crate::{
    cast::{Cast, PATIENCE},
    ledger::{Course, Key},
    load,
    operators::{self, Whose},
    options::{Scenario, Version},
    player::Life,
    probes::{self, Histogram, Requests},
    town::{Town, WARM},
};

/// Polecats that warm up connections, caches and allocators before anything is measured.
const WARMING: usize = 16;
/// What an operator still does this long after the last Done counts too.
const SETTLING: Duration = Duration::from_secs(2);
/// Creates in flight for a crowd that nobody looks at yet.
const CROWD_IN_FLIGHT: usize = 32;

/// What was measured.
#[derive(Debug, Default)]
pub struct Run {
    /// Whose latencies count: all, or those beside the crowd.
    pub courses: Vec<Course>,
    /// The crowd.
    pub crowd: Vec<Course>,
    pub requests: Requests,
    pub cpu: Cpu,
    pub peak_mib: f64,
    pub queues: Option<Queues>,
    /// Our own metrics at the end; empty of an operator that serves none.
    pub metrics: String,
}

/// Processor seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// The operator's; where ours converts, that as well.
    pub operator: f64,
    /// The API server's and etcd's, with what the load and the player ask of them.
    pub control_plane: f64,
}

/// What our own metrics say of the queue while a crowd waited.
#[derive(Debug, Default)]
pub struct Queues {
    /// `gastown_queue_alone_seconds`: those of a namespace with nothing else queued, so the others' and never the crowd's.
    pub others: Histogram,
    /// `gastown_queue_turn_seconds`: the first of a namespace behind other namespaces.
    pub turn: Histogram,
    /// `workqueue_queue_duration_seconds`: anyone in the queue, behind its own namespace too.
    pub wait: Histogram,
    /// How many of the crowd still waited for a pod when the last of the others had one.
    pub still_waiting: usize,
}

/// Everything that takes part in a run.
struct Stage {
    cast: Cast,
    control_plane: Vec<u32>,
    converter: Option<u32>,
}

/// Does one scenario with one operator, on a control plane that nobody has used.
pub async fn run(
    town: &Town,
    scenario: Scenario,
    (whose, version): (Whose, Version),
    program: std::path::PathBuf,
    round: usize,
) -> Result<Run> {
    let stage = Stage::set(town, version).await?;
    let start = || whose.start(town, program.clone(), round);
    let mut since = Timestamp::now();
    let (operator, measured) = match scenario {
        Scenario::Burst { polecats, in_flight, .. } => {
            let (operator, keys) = (start().await?, load::spread(&town.namespaces, polecats));
            let before = stage.warm_up(&operator).await?;
            since = Timestamp::now();
            stage.cast.load.burst(&keys, in_flight).await?;
            let measured = stage.finish(&operator, before).await?;
            (operator, measured)
        }
        Scenario::Sustained { polecats, a_second, .. } => {
            let (operator, keys) = (start().await?, load::spread(&town.namespaces, polecats));
            let before = stage.warm_up(&operator).await?;
            since = Timestamp::now();
            stage.cast.load.paced(keys, a_second).await?;
            let measured = stage.finish(&operator, before).await?;
            (operator, measured)
        }
        Scenario::Fairness { crowd, others, a_second } => {
            let [first, second] = &town.namespaces[..] else {
                bail!("fairness takes two namespaces")
            };
            let before = Cpu { operator: 0.0, control_plane: stage.control_plane()? };
            let keys = load::spread(std::slice::from_ref(first), crowd);
            stage.cast.load.burst(&keys, CROWD_IN_FLIGHT).await?;
            let operator = start().await?;
            let keys = load::spread(std::slice::from_ref(second), others);
            let queues = stage.beside_a_crowd(&operator, first, keys, a_second).await?;
            let mut measured = stage.finish(&operator, before).await?;
            let second = |key: &Key| key.namespace == *second;
            measured.courses = stage.cast.ledger.courses(second);
            measured.crowd = stage.cast.ledger.courses(|key| key.namespace == *first);
            measured.queues = Some(queues);
            (operator, measured)
        }
    };
    operators::stop(&operator).await?;
    let requests = probes::requests(&town.testbed, &operator.name, since).await?;
    Ok(Run { requests, ..measured })
}

impl Stage {
    async fn set(town: &Town, version: Version) -> Result<Self> {
        let cast = Cast::begin(&town.testbed, version, Life::Whole).await?;
        let control_plane = town.programs(&["kube-apiserver", "etcd"])?;
        // Where nothing is to be converted it only renews Leases that no operator beside it would have.
        let converter = town.testbed.converter().filter(|_| version == Version::V1alpha1);
        let converter = converter.map(|it| it.pid);
        Ok(Self { cast, control_plane, converter })
    }

    /// Lets a few Polecats run to their end; returns the processor time that was used by then.
    async fn warm_up(&self, operator: &Operator) -> Result<Cpu> {
        let keys = load::spread(&[WARM.to_owned()], WARMING);
        self.cast.load.burst(&keys, WARMING).await?;
        if !self.cast.all_done().await? {
            bail!(
                "{} did not finish one of the first {WARMING} Polecats; its log: {}",
                operator.name,
                tail(operator)
            );
        }
        tokio::time::sleep(SETTLING).await;
        self.cpu(operator)
    }

    fn cpu(&self, operator: &Operator) -> Result<Cpu> {
        let converter = self.converter.map_or(Ok(0.0), probes::cpu_seconds)?;
        let operator = probes::cpu_seconds(operator.pid)? + converter;
        Ok(Cpu { operator, control_plane: self.control_plane()? })
    }

    fn control_plane(&self) -> Result<f64> {
        self.control_plane.iter().map(|it| probes::cpu_seconds(*it)).sum()
    }

    /// Waits until all are Done or nothing happens any more, and reads what it cost.
    async fn finish(&self, operator: &Operator, before: Cpu) -> Result<Run> {
        self.cast.all_done().await?;
        tokio::time::sleep(SETTLING).await;
        let after = self.cpu(operator)?;
        Ok(Run {
            courses: self.cast.ledger.courses(|key| key.namespace != WARM),
            crowd: Vec::new(),
            requests: Requests::default(),
            cpu: Cpu {
                operator: after.operator - before.operator,
                control_plane: after.control_plane - before.control_plane,
            },
            peak_mib: probes::peak_mib(operator.pid)?,
            queues: None,
            metrics: probes::scrape(operator).await.unwrap_or_default(),
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
        let begun = self.cast.ledger.until(PATIENCE, |all| all.values().any(|it| it.pod.is_some()));
        if !begun.await? {
            bail!("{} made no pod; its log: {}", operator.name, tail(operator));
        }
        let before = probes::scrape(operator).await?;
        self.cast.load.paced(keys, a_second).await?;
        let others = |key: &Key| key.namespace != crowd;
        self.cast
            .ledger
            .until(PATIENCE, |all| all.iter().all(|(key, it)| !others(key) || it.pod.is_some()))
            .await?;
        let waiting = self.cast.ledger.courses(|key| !others(key) && key.namespace != WARM);
        let after = probes::scrape(operator).await?;
        let histogram = |name: &str| -> Result<Histogram> {
            Ok(Histogram::parse(&after, name)?.since(&Histogram::parse(&before, name)?))
        };
        Ok(Queues {
            others: histogram("gastown_queue_alone_seconds")?,
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
