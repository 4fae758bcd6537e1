//! A run of the real runner as one trace: every stage, told by who knows it, and what the pod tells by itself is what the operator
//! tells again.

use gastown::domain::{polecat::STAGES, trace::attributes};
use gastown_testbed::{Node, Testbed, preconditions, repository::with_commit};

use super::{at, gate::Gate, world_with};
use crate::{
    door::Door,
    tracing::{
        collector::{Collector, Span},
        ended, flags, is_tiled, is_whole, root_came, trace_of,
    },
};

/// What goes on in the pod.
const OF_RUNNER: [&str; 4] = ["clone", "agent", "hand over", "push"];

#[tokio::test]
async fn a_run_is_one_trace_with_every_stage_also_where_its_pod_tells_of_it_too() {
    let name = "a_run_is_one_trace_with_every_stage_also_where_its_pod_tells_of_it_too";
    if !preconditions::allow(name, Node::Real).unwrap() {
        return;
    }
    let host = Testbed::shared_with(Node::Real).await.unwrap().host_address;
    let (collector, gate) = (Collector::at(host).await, Gate::at(host).await);
    let mut flags = flags(&collector);
    flags.push(format!("--runner-otlp-endpoint={}", collector.endpoint));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let Some(world) = world_with(name, "real-trace", &flags).await else { return };
    let door = Door::before(world).await;
    let git = door.world.bed.git.as_ref().unwrap();
    let (seed, bare) = (tempfile::tempdir().unwrap(), git.repositories.join("real-trace.git"));
    let files = [("greeting.txt", "Hello.\n"), ("check.sh", gate.check.as_str())];
    with_commit(seed.path(), &bare, "first", &files).unwrap();
    let task = "Append \"Good bye.\" to greeting.txt";
    door.world.create("max", |it| at(it, git, "real-trace", task)).await;
    // The operator says nothing of stages before the end.
    let clone = |all: &[Span]| all.iter().filter(|it| it.name == "clone").count();
    collector.until("clone, while the agent works", |all| clone(all) == 1).await;
    gate.has(1).await;
    gate.open();
    let done = door.world.condition("max", "Pushed", "True/Pushed").await;
    root_came(&collector, &done).await;
    let world = door.close().await;
    ended(&world.operator).await;
    assert_eq!(clone(&collector.spans()), 2, "by the pod, and by the operator");
    let trace = trace_of(&collector, &done);
    is_whole(&trace);
    is_tiled(&trace, &STAGES);
    let named = |name: &str| trace.values().filter(|it| it.name == name).collect::<Vec<_>>();
    for stage in STAGES {
        let of_runner = OF_RUNNER.contains(&stage);
        let service = if of_runner { "gastown-runner" } else { "gastown-operator" };
        assert_eq!(named(stage)[0].service, service, "{stage}");
    }
    for call in
        ["admission mutate", "admission validate", "admission mutate pod", "admission validate pod"]
    {
        let found = named(call);
        assert!(!found.is_empty(), "{call}");
        assert!(found.iter().all(|it| it.says(attributes::ADMITTED) == "true"), "{found:?}");
    }
}
