//! Every query of every dashboard, asked by Prometheus' own engine about scrapes of operators at work: each gets numbers.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gastown::{
    api::v1alpha1::Rig,
    manifests::{
        METRICS_SERVICE,
        dashboards::{DASHBOARDS, Dashboard},
    },
};
use gastown_testbed::{Operator, http_get};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true, door::Door, polecats::PUSHED, preconditions::skip, shards::owns,
    world::World,
};

const TEST: &str = "every_query_of_every_dashboard_gets_numbers_from_operators_at_work";
const RIG: &str = "dashboards";
/// Words that Grafana puts in: what somebody chose, and how long a rate looks back.
const CHOSEN: [(&str, &str); 4] =
    [("$job", METRICS_SERVICE), ("$namespace", ".*"), ("$rig", ".*"), ("$__rate_interval", "5m")];

/// Seconds between two scrapes, as the monitor has it.
const INTERVAL: u64 = 15;

/// What Prometheus has of some replicas.
struct Scrapes {
    begun: u64,
    all: Vec<Value>,
}

impl Scrapes {
    fn new() -> Self {
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Self { begun, all: Vec::new() }
    }

    /// Scrapes these, for the `round`th time.
    async fn take(&mut self, round: u64, replicas: &[&Operator]) {
        for it in replicas {
            let (_, text) = http_get(&it.metrics).await.unwrap();
            let labels = json!({"job": METRICS_SERVICE, "namespace": "town", "service": METRICS_SERVICE, "pod": it.name});
            let at = self.begun + round * INTERVAL;
            self.all.push(json!({"at": at, "labels": labels, "text": text}));
        }
    }
}

/// Numbers that each query gives.
fn answers(program: &Path, folder: &Path, scrapes: &[Value]) -> BTreeMap<String, u64> {
    let chosen = |query: String| {
        CHOSEN.iter().fold(query, |query, (word, value)| query.replace(word, value))
    };
    let queries = DASHBOARDS.iter().flat_map(Dashboard::queries);
    let queries: BTreeMap<_, _> = queries.map(|(name, query)| (name, chosen(query))).collect();
    let at = scrapes.iter().map(|it| it["at"].as_u64().unwrap()).max();
    let file = folder.join("scrapes.json");
    let question = json!({"scrapes": scrapes, "queries": queries, "at": at});
    fs::write(&file, question.to_string()).unwrap();
    let output = Command::new(program).arg("queries").arg(&file).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let counts: BTreeMap<String, u64> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(counts.len(), queries.len(), "a name stands for two queries");
    counts
}

/// A Polecat whose agent works until it is told to end.
async fn begin(world: &World, name: &str) {
    world.create(name, |it| it["spec"]["rig"] = json!(RIG)).await;
    world.phase(name, "Working").await;
}

/// Ends its agent with a code.
async fn end(world: &World, name: &str, code: &str) {
    let over =
        json!({"testbed.gastown.io/run-for": "0s", "testbed.gastown.io/exit-code.claude": code});
    let patch = Patch::Merge(json!({"metadata": {"annotations": over}}));
    let pod = format!("polecat-{name}");
    world.pods().patch(&pod, &PatchParams::default(), &patch).await.unwrap();
}

/// Waits until replicas have counted so many runs of the Rig that ended so.
async fn counted(replicas: &[&Operator], result: &str, count: u32) {
    let line = format!("gastown_polecat_runs_total{{rig=\"{RIG}\",result=\"{result}\"}} {count}");
    comes_true("runs to be counted", async || {
        for it in replicas {
            if http_get(&it.metrics).await.unwrap().1.lines().any(|it| it == line) {
                return true;
            }
        }
        false
    })
    .await;
}

#[tokio::test]
async fn every_query_of_every_dashboard_gets_numbers_from_operators_at_work() {
    let program = PathBuf::from(std::env::var("GASTOWN_PROMQL").unwrap_or_default());
    if !program.exists() {
        let why = "GASTOWN_PROMQL names no program; `make test-alerts` builds it";
        return skip(TEST, "promql", why);
    }
    let script =
        [("testbed.gastown.io/run-for", "never"), ("testbed.gastown.io/message.telemetry", PUSHED)];
    let door = Door::open("dashboards", &script).await;
    let world = &door.world;
    let rigs: Api<Rig> = Api::all(world.client.clone());
    let rig = json!({"metadata": {"name": RIG}, "spec": {"gitURL": "git@git.example.com:town/a.git", "beadsPrefix": "gt"}});
    rigs.create(&PostParams::default(), &serde_json::from_value(rig).unwrap()).await.unwrap();
    let (first, second) = (&world.operator, world.another("second").await);
    owns(&second, 2).await;
    let both = [first, &second];
    begin(world, "max").await;
    end(world, "max", "0").await;
    counted(&both, "done", 1).await;
    let mut scrapes = Scrapes::new();
    scrapes.take(0, &both).await;

    // One more is done, one works on, one is Stuck, and one is refused.
    for name in ["moritz", "bolte", "lempel"] {
        begin(world, name).await;
    }
    end(world, "moritz", "0").await;
    end(world, "bolte", "1").await;
    counted(&both, "done", 2).await;
    counted(&both, "stuck", 1).await;
    scrapes.take(1, &both).await;

    // A replica goes, and leaves its shards to the other.
    assert_eq!(first.terminate(Duration::from_secs(30)).await.unwrap(), 0, "a clean end");
    owns(&second, 4).await;
    scrapes.take(2, &[&second]).await;

    let folder = tempfile::tempdir().unwrap();
    let counts = answers(&program, folder.path(), &scrapes.all);
    let silent: Vec<_> = counts.iter().filter(|it| *it.1 == 0).map(|it| it.0).collect();
    assert!(silent.is_empty(), "no numbers: {silent:#?}");
    assert!(counts.len() > 60, "{}", counts.len());
    rigs.delete(RIG, &DeleteParams::default()).await.unwrap();
    door.close().await;
}
