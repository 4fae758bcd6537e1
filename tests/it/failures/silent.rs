//! A node that falls silent: its pods are told to end, and nobody says that they did.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{UNTOUCHED, container, play, reads, row};
use crate::{waits::shortened, world::World};

async fn patch(pods: &Api<Pod>, patch: Value) {
    pods.patch("polecat-max", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

/// As the taint manager ends pods of a node whose kubelet no longer answers: the mark, then a deletion that nobody completes.
/// A finalizer stands for the kubelet here.
#[tokio::test]
async fn a_silent_nodes_pod_is_told_of_and_nothing_runs_again_until_it_is_gone() {
    let flags = shortened(&["--idle-grace=1"]);
    let world = World::with_flags("failures-silent", &UNTOUCHED, flags).await;
    world.create("max", |_| {}).await;
    let runs = json!({"phase": "Running", "containerStatuses": [
        container("claude", &json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}))]});
    play(&world, &row("max", runs, ("Ready", "PodRunning", ""))).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    patch(&world.pods(), json!({"metadata": {"finalizers": ["example.com/kubelet"]}})).await;
    let disrupted = json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True",
        "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint"}]}});
    let merge = PatchParams::default();
    world.pods().patch_status("polecat-max", &merge, &Patch::Merge(disrupted)).await.unwrap();
    world.pods().delete("polecat-max", &DeleteParams::default().grace_period(1)).await.unwrap();

    reads(&world, &row("max", Value::Null, ("Ready", "NodeSilent", "may still run"))).await;
    world.event("max", "NodeSilent").await;

    patch(&world.pods(), json!({"metadata": {"finalizers": null}})).await;
    world.pods().delete("polecat-max", &DeleteParams::default().grace_period(0)).await.ok();
    reads(&world, &row("max", Value::Null, ("Ready", "NodeLost", "commits may be lost"))).await;
    let made = world.requests_of(&world.operator.name).await;
    let made = made.iter().filter(|it| it.verb == "create" && it.resource == "pods").count();
    assert_eq!(made, 1, "nothing is run again");
}
