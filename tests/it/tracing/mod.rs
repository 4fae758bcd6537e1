//! A run as one trace, read back from a collector: from the write that asked for it to its end, whoever told of it.

mod aside;
pub mod collector;
mod convoys;
mod jaeger;
mod live;
mod pulls;
mod shown;
mod signals;
mod troubled;
mod variables;

use std::{collections::BTreeMap, fs, time::Duration};

use gastown::{
    api::v1alpha1::Polecat,
    domain::{
        polecat::{RUN, STAGES},
        trace::{Context, attributes},
    },
};
use gastown_testbed::{Operator, http_get};
use kube::api::DeleteParams;
use serde_json::json;

use crate::{
    door::Door,
    world::{World, polecat},
};
use collector::{Collector, Span};

const QUICK: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "300ms")];
const SECOND: u64 = 1_000_000_000;

/// How long a clean end may take.
const END: Duration = Duration::from_secs(30);

pub fn flags(collector: &Collector) -> Vec<String> {
    vec![
        format!("--otlp-endpoint={}", collector.endpoint),
        "--otlp-delay=50".into(),
        "--trace-url-template=https://traces.example.com/trace/{traceId}".into(),
    ]
}

async fn world(name: &str, script: &[(&str, &str)], collector: &Collector) -> World {
    world_with(name, script, collector, &[]).await
}

async fn world_with(
    name: &str,
    script: &[(&str, &str)],
    collector: &Collector,
    more: &[&str],
) -> World {
    let mut flags = flags(collector);
    flags.extend(more.iter().map(|it| (*it).to_owned()));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    World::with_flags(name, script, &flags).await
}

/// The trace that the status names, with each span once; two that are called the same must be the same.
pub fn trace_of(collector: &Collector, done: &Polecat) -> BTreeMap<String, Span> {
    let trace = done.status.clone().unwrap().trace.unwrap();
    assert_eq!(
        trace.url.as_deref(),
        Some(&*format!("https://traces.example.com/trace/{}", trace.trace_id))
    );
    let name = done.metadata.name.clone().unwrap();
    let mut found = BTreeMap::new();
    for span in collector.spans() {
        if span.says(attributes::NAME) == name {
            assert_eq!(span.trace, trace.trace_id, "it is in the run's trace: {span:?}");
        }
        if span.trace == trace.trace_id {
            keep(&mut found, span);
        }
    }
    found
}

/// Keeps a span of a trace; one that is told twice must be the same.
fn keep(found: &mut BTreeMap<String, Span>, span: Span) {
    if let Some(other) = found.get(&span.id) {
        assert_eq!(*other, span, "told twice, it is the same");
    }
    found.insert(span.id.clone(), span);
}

/// The trace that the status names.
fn trace_id(polecat: &Polecat) -> String {
    polecat.status.clone().unwrap().trace.unwrap().trace_id
}

/// One root, and everything hangs on it.
pub fn is_whole(trace: &BTreeMap<String, Span>) {
    let roots: Vec<_> = trace.values().filter(|it| it.parent.is_empty()).collect();
    assert_eq!(roots.len(), 1, "one root: {roots:#?}");
    assert_eq!(roots[0].name, RUN);
    for it in trace.values() {
        assert!(it.parent.is_empty() || trace.contains_key(&it.parent), "an orphan: {it:#?}");
        assert!(it.from <= it.to, "{it:?}");
    }
}

/// The stages follow each other from the root's begin to its end.
pub fn is_tiled(trace: &BTreeMap<String, Span>, want: &[&str]) {
    let root = trace.values().find(|it| it.name == RUN).unwrap();
    let stages: Vec<_> = STAGES
        .iter()
        .filter_map(|name| trace.values().find(|it| it.parent == root.id && it.name == *name))
        .collect();
    let names: Vec<_> = stages.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, want);
    let mut at = root.from;
    for stage in &stages {
        assert_eq!(stage.from, at, "no gap and no overlap before {stage:?}");
        at = stage.to;
    }
    assert!(at.abs_diff(root.to) <= SECOND, "up to the end: {at} {root:?}");
}

const ALL_BUT_HAND_OVER: [&str; 8] =
    ["queue", "schedule pod", "start pod", "clone", "start agent", "agent", "push", "conclude"];

pub async fn root_came(collector: &Collector, done: &Polecat) {
    let id = trace_id(done);
    let root = |it: &Span| it.trace == id && it.name == RUN;
    collector.until("root", |all| all.iter().any(root)).await;
}

pub async fn ended(operator: &Operator) {
    assert_eq!(operator.terminate(END).await.unwrap(), 0, "a clean end");
}

#[tokio::test]
async fn the_same_is_told_over_grpc_and_compressed() {
    let collector = Collector::start().await;
    let mut flags = flags(&collector);
    flags.extend(["--otlp-protocol=grpc", "--otlp-compression=gzip"].map(ToOwned::to_owned));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let world = World::with_flags("grpc", &QUICK, &flags).await;
    world.create("max", |_| {}).await;
    let done = world.phase("max", "Done").await;
    root_came(&collector, &done).await;
    ended(&world.operator).await;
    is_whole(&trace_of(&collector, &done));
}

#[tokio::test]
async fn a_run_is_one_trace_from_the_write_that_asks_for_it_to_its_end() {
    let collector = Collector::start().await;
    let script = [("testbed.gastown.io/run-for", "never")];
    let door = Door::before(world("traced", &script, &collector).await).await;
    let secret = "hunter2-is-no-prompt";
    let mut object = polecat("max");
    object["spec"]["taskDescription"] = json!(secret);
    assert_eq!(door.create(&object).await.code, 201);
    door.world.end_once_seen("max").await; // of four writes none is for two
    let done = door.world.phase("max", "Done").await;
    root_came(&collector, &done).await;
    let (_, figures) = http_get(&door.world.operator.metrics).await.unwrap();
    let exemplar = format!("# {{trace_id=\"{}\"}}", trace_id(&done));
    for took in ["gastown_reconcile_duration_seconds", "controller_runtime_webhook_latency_seconds"]
    {
        let mut lines = figures.lines().filter(|it| it.starts_with(took));
        assert!(lines.any(|it| it.contains(&exemplar)), "{took} names the trace");
    }
    let lease = r#"rest_client_requests_total{code="200",method="PUT",resource="leases"}"#;
    assert!(figures.contains(lease), "what no pass asks for is counted too: {figures}");
    let pod = door.world.pods().get("polecat-max").await.unwrap();
    let second = door.world.another("second").await;
    ended(&door.world.operator).await;
    // Who takes over tells of it again.
    let id = done.status.clone().unwrap().trace.unwrap().trace_id;
    let twice =
        |all: &[Span]| all.iter().filter(|it| it.trace == id && it.name == RUN).count() == 2;
    collector.until("second telling", twice).await;
    ended(&second).await;
    let trace = trace_of(&collector, &done);
    is_whole(&trace);
    is_tiled(&trace, &ALL_BUT_HAND_OVER);
    let stamped = &done.metadata.annotations.as_ref().unwrap()["gastown.io/traceparent"];
    let stamped = Context::parse(stamped).unwrap();
    assert_eq!(stamped.trace.to_string(), id, "what admission stamped is what the status says");
    let root = &trace[&stamped.span.to_string()];
    let named = |name: &str| trace.values().filter(|it| it.name == name).collect::<Vec<_>>();
    let ours = ["admission mutate", "admission validate"];
    for call in ours.into_iter().chain(["admission mutate pod", "admission validate pod"]) {
        let found = named(call);
        assert!(!found.is_empty() && found.iter().all(|it| it.parent == root.id), "{found:?}");
        assert_eq!(found[0].says(attributes::ADMITTED), "true");
    }
    for step in ["wait in queue", "reconcile", "look", "decide", "carry out"] {
        assert!(!named(step).is_empty(), "{step}");
    }
    let writes: Vec<_> = ["PATCH polecat", "POST pods"].map(|it| named(it).len()).to_vec();
    assert_eq!(writes, [3, 1], "each write, and no more than four");
    assert_eq!(named("POST pods")[0].says(attributes::STATUS), "201", "the code that came");
    let agent = named("agent")[0];
    let env = pod.spec.unwrap().containers[0].env.clone().unwrap();
    let told = env.iter().find(|it| it.name == "TRACEPARENT").unwrap().value.clone().unwrap();
    let told = Context::parse(&told).unwrap();
    assert_eq!((told.trace.to_string(), told.span.to_string()), (id, agent.id.clone()));
    let known: Vec<_> = attributes::TABLE.iter().map(|(name, _)| *name).collect();
    for span in collector.spans() {
        for (name, text) in &span.attributes {
            assert!(known.contains(&name.as_str()), "{name} is in the table");
            assert!(!text.contains(secret), "{name} holds the prompt");
        }
    }
    door.close().await;
}

#[tokio::test]
async fn a_killed_owners_run_is_continued_in_its_trace() {
    let collector = Collector::start().await;
    let script = [("testbed.gastown.io/run-for", "never")];
    let world = world("traced-on", &script, &collector).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    let first = world.operator.name.clone();
    let replica =
        |it: &Span, name: &str| it.name == "reconcile" && it.says(attributes::REPLICA) == name;
    collector.until("pass of the first", |all| all.iter().any(|it| replica(it, &first))).await;
    let second = world.another("second").await;
    world.operator.kill9().await.unwrap();
    world.end("polecat-max").await;
    let done = world.phase("max", "Done").await;
    root_came(&collector, &done).await;
    ended(&second).await;
    let trace = trace_of(&collector, &done);
    is_whole(&trace);
    is_tiled(&trace, &ALL_BUT_HAND_OVER);
    for name in [&first, &second.name] {
        assert!(trace.values().any(|it| replica(it, name)), "{name} worked on it");
    }
}

#[tokio::test]
async fn a_run_whose_polecat_is_deleted_in_the_middle_has_a_root_that_says_so() {
    let collector = Collector::start().await;
    let script = [("testbed.gastown.io/run-for", "never")];
    let world = world("deleted", &script, &collector).await;
    world.create("max", |_| {}).await;
    let works = world.condition("max", "Ready", "True/PodRunning").await;
    world.polecats().delete("max", &DeleteParams::default()).await.unwrap();
    root_came(&collector, &works).await;
    ended(&world.operator).await;
    let trace = trace_of(&collector, &works);
    is_whole(&trace);
    let root = trace.values().find(|it| it.name == RUN).unwrap();
    assert!(root.failed && root.says(attributes::ERROR) == "Deleted", "{root:?}");
}

#[tokio::test]
async fn a_failed_run_says_why_and_a_token_is_read_anew() {
    let collector = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "first\n").unwrap();
    let mut flags = flags(&collector);
    flags.push(format!("--otlp-token-file={}", token.display()));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let said = r#"{"v":1,"reason":"PodFailed","message":"the agent exited with code 7"}"#;
    let script = [
        QUICK[0],
        ("testbed.gastown.io/exit-code.claude", "7"),
        ("testbed.gastown.io/message.claude", said),
    ];
    let world = World::with_flags("traced-fail", &script, &flags).await;
    world.create("max", |_| {}).await;
    let stuck = world.condition("max", "Ready", "False/PodFailed").await;
    root_came(&collector, &stuck).await;
    let trace = trace_of(&collector, &stuck);
    let root = trace.values().find(|it| it.name == RUN).unwrap();
    assert!(root.failed);
    assert_eq!((root.says(attributes::ERROR), root.says(attributes::EXIT)), ("PodFailed", "7"));
    fs::write(&token, "second").unwrap();
    world.create("nux", |_| {}).await;
    let stuck = world.condition("nux", "Ready", "False/PodFailed").await;
    root_came(&collector, &stuck).await;
    let sent = collector.authorizations();
    assert!(sent.contains(&"Bearer first".into()) && sent.contains(&"Bearer second".into()));
}
