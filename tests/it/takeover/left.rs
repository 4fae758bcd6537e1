//! What the original left behind: objects, statuses and pods as it writes them. Its agents' ends are judged, and nothing is
//! run twice.

use std::collections::BTreeMap;

use gastown::{api::v1alpha1::Polecat, domain::names::ORIGINAL_FINALIZER};
use gastown_testbed::{Node, Testbed, watch::await_condition};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::conditions::is_deleted,
};
use serde_json::{Value, json};

use crate::world::{self, PATIENCE, World, condition, phase_of, polecat, until};

/// Agents of which none ends by itself; telemetry never does.
const SCRIPT: [(&str, &str); 2] =
    [("testbed.gastown.io/run-for", "never"), ("testbed.gastown.io/linger", "never")];

/// The original at work, played: what it has written of some Polecats.
struct Left {
    polecats: Api<Polecat>,
    pods: Api<Pod>,
}

impl Left {
    async fn new(bed: &'static Testbed, name: &str) -> Self {
        world::install_crds(bed).await;
        world::make_namespaces(bed, name, &SCRIPT).await;
        let client = bed.client(&format!("original-{name}")).await.unwrap();
        Self {
            polecats: Api::namespaced(client.clone(), name),
            pods: Api::namespaced(client, name),
        }
    }

    /// A Polecat with its finalizer.
    async fn polecat(&self, name: &str) -> Polecat {
        let mut object = polecat(name);
        object["metadata"]["finalizers"] = json!([ORIGINAL_FINALIZER]);
        let object = serde_json::from_value(object).unwrap();
        self.polecats.create(&PostParams::default(), &object).await.unwrap()
    }

    /// The status that it writes; no attempt, no beginning, no end.
    async fn status(&self, name: &str, phase: &str, ready: (&str, &str), active: bool) {
        let condition = json!({"type": "Ready", "status": ready.0, "reason": ready.1, "message": "m",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-20T00:00:00Z"});
        let status = json!({"status": {"phase": phase, "podName": format!("polecat-{name}"), "podActive": active,
            "assignedBead": "gt-abc12", "conditions": [condition]}});
        let params = PatchParams::default();
        self.polecats.patch_status(name, &params, &Patch::Merge(status)).await.unwrap();
    }

    /// The pod that it makes, before it writes the status; with notes for whoever plays it.
    async fn pod(&self, owner: &Polecat, notes: &[(&str, &str)]) {
        let name = owner.name_any();
        let shell = |name: &str, image: &str| json!({"name": name, "image": image, "command": ["/bin/sh", "-c"], "args": ["exit 0"]});
        let notes: BTreeMap<_, _> = notes.iter().copied().collect();
        let pod = json!({
            "metadata": {
                "name": format!("polecat-{name}"),
                "annotations": notes,
                "labels": {"gastown.io/polecat": name, "gastown.io/rig": "greeter", "gastown.io/bead": "gt-abc12"},
                "ownerReferences": [{"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat", "name": name,
                    "uid": owner.uid().unwrap(), "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {
                "restartPolicy": "Never",
                "activeDeadlineSeconds": 3600,
                "initContainers": [shell("git-init", "agent:0.4.0")],
                "containers": [shell("claude", "agent:0.4.0"), shell("telemetry", "alpine:latest")],
            },
        });
        let pod = serde_json::from_value(pod).unwrap();
        self.pods.create(&PostParams::default(), &pod).await.unwrap();
        let running =
            |it: &Pod| it.status.as_ref().and_then(|it| it.phase.as_deref()) == Some("Running");
        until(&self.pods, &format!("polecat-{name}"), "phase Running", running).await;
    }

    /// A Polecat that works, as far as the original knows.
    async fn working(&self, name: &str, notes: &[(&str, &str)]) {
        let owner = Box::pin(self.polecat(name)).await;
        Box::pin(self.pod(&owner, notes)).await;
        self.status(name, "Working", ("True", "PodRunning"), true).await;
    }

    /// Ends a pod's agent; its telemetry goes on.
    async fn end(&self, name: &str) {
        let end = Patch::Merge(
            json!({"metadata": {"annotations": {"testbed.gastown.io/run-for": "0s"}}}),
        );
        self.pods.patch(&format!("polecat-{name}"), &PatchParams::default(), &end).await.unwrap();
    }
}

fn facts(polecat: &Polecat) -> (&'static str, String, String, Option<i32>) {
    let attempt = polecat.status.as_ref().and_then(|it| it.attempt);
    (phase_of(polecat), condition(polecat, "Ready"), condition(polecat, "Pushed"), attempt)
}

fn want(
    phase: &'static str,
    ready: &str,
    pushed: &str,
) -> (&'static str, String, String, Option<i32>) {
    (phase, ready.into(), pushed.into(), Some(1))
}

#[tokio::test]
async fn its_runs_are_judged_by_their_agents_and_none_is_run_twice() {
    let name = "original-left";
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let left = Left::new(bed, name).await;
    // The namespace's script says `never`; a pod says otherwise for itself.
    left.working("good", &[]).await;
    left.working("bad", &[("testbed.gastown.io/exit-code.claude", "3")]).await;
    left.working("ended", &[("testbed.gastown.io/run-for", "0s")]).await;
    let unwritten = left.polecat("unwritten").await;
    Box::pin(left.pod(&unwritten, &[])).await;
    left.polecat("gone").await;
    left.status("gone", "Working", ("True", "PodRunning"), true).await;
    left.polecat("done").await;
    left.status("done", "Done", ("True", "PodSucceeded"), false).await;
    left.polecat("stuck").await;
    left.status("stuck", "Stuck", ("False", "PodFailed"), false).await;

    let world = World::new(name, &SCRIPT).await;
    let ended = world.phase("ended", "Done").await;
    assert_eq!(facts(&ended), want("Done", "True/PodSucceeded", "Unknown/MadeByOriginal"));
    for running in ["good", "bad", "unwritten"] {
        let numbered = |it: &Polecat| it.status.as_ref().is_some_and(|it| it.attempt == Some(1));
        let it = until(&world.polecats(), running, "attempt 1", numbered).await;
        assert_eq!(facts(&it), want("Working", "True/PodRunning", ""), "{running} runs on");
        left.end(running).await;
    }
    for (of, ready, phase) in [
        ("good", "True/PodSucceeded", "Done"),
        ("unwritten", "True/PodSucceeded", "Done"),
        ("bad", "False/PodFailed", "Stuck"),
    ] {
        let it = world.phase(of, phase).await;
        assert_eq!(facts(&it), want(phase, ready, "Unknown/MadeByOriginal"), "{of}");
    }
    let gone = world.phase("gone", "Stuck").await;
    assert_eq!(
        facts(&gone),
        want("Stuck", "False/PodLost", "Unknown/NoVerdict"),
        "it may have run"
    );
    for over in ["done", "stuck"] {
        let it = world.polecats().get(over).await.unwrap();
        assert_eq!(facts(&it).3, None, "{over}: what had ended is left as it was");
    }
    let made: Vec<_> = world.work().await;
    let made = made.iter().filter(|it| it.resource == "pods" && it.verb == "create").count();
    assert_eq!(made, 0, "not one pod was made by ours");
    deleted(&world).await;
}

/// All of them go when they are deleted, and their pods with them.
async fn deleted(world: &World) {
    for name in ["good", "bad", "ended", "unwritten", "gone", "done", "stuck"] {
        let uid = world.polecats().get(name).await.unwrap().uid().unwrap();
        world.polecats().delete(name, &DeleteParams::default()).await.unwrap();
        let gone = await_condition(world.polecats(), name, is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone).await.expect("it goes").unwrap();
    }
    for name in ["good", "bad", "ended", "unwritten"] {
        let (pod, gone) = (format!("polecat-{name}"), |it: Option<&Pod>| it.is_none());
        let gone = await_condition(world.pods(), &pod, gone);
        tokio::time::timeout(PATIENCE, gone).await.expect("its pod goes").unwrap();
    }
}

/// After a run that the original began, the next has a number and a pod name of its own.
#[tokio::test]
async fn a_run_after_one_of_the_originals_is_the_second() {
    let name = "original-second";
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let left = Left::new(bed, name).await;
    left.working("max", &[("testbed.gastown.io/run-for", "0s")]).await;
    let world = World::new(name, &SCRIPT).await;
    world.phase("max", "Done").await;
    for state in ["Idle", "Working"] {
        let patch: Value = json!({"spec": {"desiredState": state}});
        world.merge("max", patch).await;
        world.phase("max", state).await;
    }
    let it = world.condition("max", "Ready", "True/PodRunning").await.status.unwrap();
    assert_eq!((it.attempt, it.pod_name.as_deref()), (Some(2), Some("polecat-max-2")));
}

/// Its telemetry never ends, and it numbers no attempts: our first one has a pod of the very name.
#[tokio::test]
async fn what_it_finished_can_work_again() {
    let name = "original-again";
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let left = Left::new(bed, name).await;
    let finished = left.polecat("again").await;
    Box::pin(left.pod(&finished, &[("testbed.gastown.io/run-for", "0s")])).await;
    left.status("again", "Stuck", ("False", "PodFailed"), false).await;
    let old = left.pods.get("polecat-again").await.unwrap().uid().unwrap();

    let world = World::new(name, &SCRIPT).await;
    world.merge("again", json!({"spec": {"desiredState": "Idle"}})).await;
    let gone = await_condition(left.pods.clone(), "polecat-again", is_deleted(&old));
    tokio::time::timeout(PATIENCE, gone).await.expect("its pod goes").unwrap();
    world.merge("again", json!({"spec": {"desiredState": "Working"}})).await;
    let it = world.condition("again", "Ready", "True/PodRunning").await.status.unwrap();
    assert_eq!((it.attempt, it.pod_name.as_deref()), (Some(1), Some("polecat-again")));
}
