//! Images on a real node that come late, never come, or lack the runner.

use gastown_testbed::watch::await_condition;
use k8s_openapi::{
    api::core::v1::{Event, Pod},
    jiff::Timestamp,
};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use crate::{
    real_node::{at, in_bare, repository, world_with},
    waits::shortened,
    world::{PATIENCE, World, condition, message, phase_of},
};

const LATE: &str = "localhost/late:1";

/// When a container of a pod began.
fn began(pod: &Pod, container: &str) -> Option<Timestamp> {
    let mut all = pod.status.iter().flat_map(|it| it.container_statuses.iter().flatten());
    let state = all.find(|it| it.name == container)?.state.clone()?;
    let running = state.running.and_then(|it| it.started_at);
    running.or_else(|| state.terminated.and_then(|it| it.started_at)).map(|it| it.0)
}

/// `telemetry` runs all the while: a free lock without a mark is no end.
#[tokio::test]
async fn an_agent_whose_image_comes_late_runs_and_one_that_never_comes_is_said() {
    let test = "an_agent_whose_image_comes_late_runs_and_one_that_never_comes_is_said";
    let flags = shortened(&["--push-reserve=30"]);
    let Some(world) = world_with(test, "real-late", flags).await else { return };
    let git = world.bed.git.as_ref().unwrap();
    for (name, image, deadline) in [("late", LATE, 600), ("never", "localhost/never:1", 10)] {
        repository(git, name);
        let edit = |it: &mut Value| {
            at(it, git, name, "Append \"Good bye.\" to greeting.txt");
            it["spec"]["kubernetes"]["image"] = json!(image);
            it["spec"]["kubernetes"]["activeDeadlineSeconds"] = json!(deadline);
        };
        world.create(name, edit).await;
    }
    for name in ["late", "never"] {
        let waits = world.condition(name, "Ready", "False/ImagePullFailed").await;
        assert_eq!(phase_of(&waits), "Working", "{name}: it waits");
        let said = message(&waits, "Ready");
        assert!(said.contains("container claude") && said.contains("pull secrets"), "{said}");
    }
    // The other one's deadline passes first, at least 40 s after its pod began: so long this image is late.
    let lost = world.condition("never", "Ready", "False/DeadlineExceeded").await;
    assert_eq!((phase_of(&lost), condition(&lost, "Pushed").as_str()), ("Stuck", "False/NotBegun"));
    let said = message(&lost, "Ready");
    assert!(!said.contains("may be lost"), "there was nothing to lose: {said}");
    world.bed.name_image("localhost/agent:dev", LATE).await.unwrap();
    let done = world.condition("late", "Pushed", "True/Pushed").await;
    assert_eq!(phase_of(&done), "Done");
    let file = in_bare(git, "late", &["show", "feature/gt-abc12:greeting.txt"]);
    assert_eq!(file, "Hello.\nGood bye.\n");
    let pod = world.pods().get("polecat-late").await.unwrap();
    let waited = began(&pod, "claude").unwrap().duration_since(began(&pod, "telemetry").unwrap());
    assert!(waited.as_secs() >= 30, "telemetry waited for it: {waited:?}");
}

/// An agent that ran before would have worked for nothing, had the image never come.
#[tokio::test]
async fn an_agent_waits_for_telemetry_whose_image_comes_late() {
    const LATE: &str = "localhost/gt-runner:late";
    let test = "an_agent_waits_for_telemetry_whose_image_comes_late";
    let flag = format!("--telemetry-image={LATE}");
    let Some(world) = world_with(test, "real-late-telemetry", &[&flag]).await else { return };
    let git = world.bed.git.as_ref().unwrap();
    repository(git, "late-telemetry");
    let task = "Append \"Good bye.\" to greeting.txt; Commit";
    world.create("max", |it| at(it, git, "late-telemetry", task)).await;
    let waits = world.condition("max", "Ready", "False/ImagePullFailed").await;
    assert_eq!(phase_of(&waits), "Working", "it waits");
    let said = message(&waits, "Ready");
    assert!(said.contains("container telemetry") && said.contains("pull secrets"), "{said}");
    world.logged("polecat-max", "claude", "Waiting for container telemetry").await;
    world.bed.name_image("localhost/gt-runner:dev", LATE).await.unwrap();
    let done = world.condition("max", "Pushed", "True/Pushed").await;
    assert_eq!(phase_of(&done), "Done");
    let file = in_bare(git, "late-telemetry", &["show", "feature/gt-abc12:greeting.txt"]);
    assert_eq!(file, "Hello.\nGood bye.\n");
}

/// What the node says of an image without the runner, at both ends of a run.
#[tokio::test]
async fn an_image_without_the_runner_is_named_at_once_and_its_pod_goes() {
    let test = "an_image_without_the_runner_is_named_at_once_and_its_pod_goes";
    for (container, flag, namespace) in [
        ("git-init", "--git-image=localhost/agent:dev", "real-no-git-runner"),
        ("telemetry", "--telemetry-image=localhost/agent:dev", "real-no-telemetry-runner"),
    ] {
        let Some(world) = world_with(test, namespace, &[flag]).await else { return };
        let git = world.bed.git.as_ref().unwrap();
        repository(git, namespace);
        let task = "Append \"Good bye.\" to greeting.txt; Commit; Sleep 600";
        world.create("max", |it| at(it, git, namespace, task)).await;
        let stuck = world.condition("max", "Ready", "False/RunnerMissing").await;
        assert_eq!(phase_of(&stuck), "Stuck", "{container}");
        let said = message(&stuck, "Ready");
        let part = format!("the image of {container} has no usable gt-runner");
        assert!(said.contains(&part) && said.contains("/usr/local/bin/gt-runner"), "{said}");
        assert!(condition(&stuck, "Pushed").starts_with("False/"), "{container}: never pushed");
        ends(&world, "polecat-max", container).await;
    }
}

/// A runner that needs a loader, in an image that has none: nothing of it ever runs, and its node calls that an exit.
#[tokio::test]
async fn an_image_without_the_runners_loader_is_blamed_at_once() {
    const RUNNER: &str = "localhost/gt-runner:dynamic";
    let test = "an_image_without_the_runners_loader_is_blamed_at_once";
    let flag = format!("--git-image={RUNNER}"); // it lays the runner out for the agent
    let Some(world) = world_with(test, "real-no-loader", &[&flag]).await else { return };
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_gt-runner"));
    world.bed.make_runner_image(program, RUNNER).await.unwrap();
    let git = world.bed.git.as_ref().unwrap();
    repository(git, "real-no-loader");
    let edit = |it: &mut Value| {
        at(it, git, "real-no-loader", "Append \"Good bye.\" to greeting.txt");
        it["spec"]["kubernetes"]["image"] = json!("localhost/pause:1"); // one static program
    };
    world.create("max", edit).await;
    let stuck = world.condition("max", "Ready", "False/AgentImageIncompatible").await;
    let said = message(&stuck, "Ready");
    assert!(phase_of(&stuck) == "Stuck" && said.contains("glibc of 2.34"), "{said}");
    let told = world.condition("max", "Pushed", "False/NotBegun").await;
    assert_eq!(condition(&told, "Ready"), "False/AgentImageIncompatible");
    ends(&world, "polecat-max", "claude").await;
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    let about = ListParams::default().fields("involvedObject.kind=Polecat");
    let said = events.list(&about).await.unwrap().items;
    let blamed: Vec<_> = said.into_iter().filter_map(|it| it.reason).collect();
    assert!(!blamed.iter().any(|it| it == "PodFailed"), "nobody blamed the agent: {blamed:?}");
}

/// A pod that the kubelet has ended stays for its logs; one of which a part still runs goes.
async fn ends(world: &World, name: &str, container: &str) {
    let over = |it: Option<&Pod>| {
        it.is_none_or(|it| {
            let phase = it.status.as_ref().and_then(|it| it.phase.as_deref());
            it.metadata.deletion_timestamp.is_some() || phase == Some("Failed")
        })
    };
    let waited = await_condition(world.pods(), name, over);
    let waited = tokio::time::timeout(PATIENCE, waited).await;
    waited.unwrap_or_else(|_| panic!("{container}: its pod runs on")).unwrap();
}
