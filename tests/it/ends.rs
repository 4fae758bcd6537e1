//! How runs end otherwise than by the agent's own end: idle, stopped, edited, deleted, swept. Pods play a script.

use futures::StreamExt as _;
use gastown_testbed::watch::{self, await_condition};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt as _, conditions::is_deleted, watcher},
};
use serde_json::{Value, json};

use crate::waits::shortened;
use crate::world::{PATIENCE, World, condition, message, phase_of, until};

const NEVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];
const LINGERS: [(&str, &str); 2] =
    [("testbed.gastown.io/run-for", "never"), ("testbed.gastown.io/delete-after", "never")];
const VERDICT: &str = r#"{"v":1,"base":"aaaa","commit":"bbbb","commits":1,"branch":"feature/gt-abc12","pushed":true,"reason":"Pushed","message":"1 commit pushed","taskSha256":"cccc","pushSeconds":0.5}"#;

/// Writes the status of one container of a running pod, as a kubelet would.
async fn report(world: &World, pod: &str, edit: impl Fn(&mut Value)) {
    let mut status = serde_json::to_value(world.pods().get(pod).await.unwrap().status).unwrap();
    edit(&mut status);
    let patch = Patch::Merge(json!({"status": status}));
    world.pods().patch_status(pod, &PatchParams::default(), &patch).await.unwrap();
}

fn container<'a>(status: &'a mut Value, name: &str) -> &'a mut Value {
    let all = status["containerStatuses"].as_array_mut().unwrap();
    all.iter_mut().find(|it| it["name"] == name).unwrap()
}

/// Says that the agent's probe fails since a time long ago.
fn unready(status: &mut Value) {
    let claude = container(status, "claude");
    claude["ready"] = json!(false);
    claude["state"] = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    for condition in status["conditions"].as_array_mut().unwrap() {
        if condition["type"] == "Ready" {
            condition["status"] = json!("False");
            condition["lastTransitionTime"] = json!("2026-01-01T01:00:00Z");
        }
    }
}

/// Says that both containers have ended, the agent by SIGTERM.
fn ended(status: &mut Value) {
    let state = |code: i32, message: &str| {
        json!({"terminated": {"exitCode": code, "message": message, "reason": "x",
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z"}, "running": null})
    };
    container(status, "claude")["state"] = state(143, "");
    container(status, "telemetry")["state"] = state(0, VERDICT);
}

async fn gone(world: &World, pod: &str, uid: &str) {
    let waited = await_condition(world.pods(), pod, is_deleted(uid));
    tokio::time::timeout(PATIENCE, waited).await.expect("the pod goes").unwrap();
}

#[tokio::test]
async fn an_agent_that_stays_idle_loses_its_pod_and_its_last_words_are_kept() {
    let world = World::with_flags("idle-limit", &LINGERS, shortened(&["--idle-grace=1"])).await;
    world.create("max", |it| it["spec"]["maxIdleSeconds"] = json!(5)).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    let pod = world.pods().get("polecat-max").await.unwrap();
    let probe = pod.spec.as_ref().unwrap().containers[0].readiness_probe.clone().unwrap();
    assert!(probe.exec.is_some(), "only a look inside the container, no request of ours");
    report(&world, "polecat-max", unready).await;
    let stuck = world.condition("max", "Ready", "False/IdleTimeout").await;
    assert_eq!(phase_of(&stuck), "Stuck");
    assert_eq!(condition(&stuck, "Pushed"), "Unknown/NoVerdict", "its commits may still come");
    world.event("max", "IdleTimeout").await;
    let going = |it: Option<&Pod>| it.is_none_or(|it| it.metadata.deletion_timestamp.is_some());
    await_condition(world.pods(), "polecat-max", going).await.unwrap();
    report(&world, "polecat-max", ended).await;
    let told = world.condition("max", "Pushed", "True/Pushed").await;
    assert_eq!(condition(&told, "Ready"), "False/IdleTimeout", "the end stands");
    assert_eq!(told.status.unwrap().commit.as_deref(), Some("bbbb"));
}

#[tokio::test]
async fn what_a_stopped_pod_says_last_is_recorded_also_with_its_deletion() {
    let world = World::new("last-words", &LINGERS).await;
    for (name, state) in [("max", "Idle"), ("nux", "Terminated")] {
        let pod = format!("polecat-{name}");
        world.create(name, |_| {}).await;
        world.condition(name, "Ready", "True/PodRunning").await;
        world.merge(name, json!({"spec": {"desiredState": state}})).await;
        world.condition(name, "Pushed", "Unknown/NoVerdict").await;
        // While the operator does not look, the pod ends and goes: only the deletion tells of it.
        world.operator.pause();
        report(&world, &pod, ended).await;
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        world.pods().delete(&pod, &now).await.unwrap();
        world.operator.resume();
        let told = world.condition(name, "Pushed", "True/Pushed").await;
        assert_eq!(phase_of(&told), state);
        let status = told.status.unwrap();
        assert_eq!(
            (status.commit.as_deref(), status.exit_code),
            (Some("bbbb"), Some(143)),
            "{state}"
        );
        assert_eq!(
            (status.base_commit.as_deref(), status.task_sha256.as_deref()),
            (Some("aaaa"), Some("cccc"))
        );
        assert!(status.image_digests.unwrap().claude.unwrap().starts_with("sha256:"), "{state}");
    }
}

#[tokio::test]
async fn an_edit_of_a_run_under_way_is_said_and_a_toggle_is_not() {
    let world = World::new("spec-changed", &NEVER).await;
    world.create("max", |it| it["spec"]["desiredState"] = json!("Idle")).await;
    world.condition("max", "Ready", "True/Idle").await;
    world.merge("max", json!({"spec": {"desiredState": "Working"}})).await;
    let begun = world.condition("max", "Ready", "True/PodRunning").await;
    assert_eq!(condition(&begun, "SpecChanged"), "", "it began with this spec");
    assert_eq!(begun.status.as_ref().unwrap().attempt_generation, Some(2));
    world.merge("max", json!({"spec": {"taskDescription": "something else"}})).await;
    let said = world.condition("max", "SpecChanged", "True/SpecChanged").await;
    assert!(
        message(&said, "SpecChanged").contains("attempt 1"),
        "{}",
        message(&said, "SpecChanged")
    );
    assert_eq!(condition(&said, "Ready"), "True/PodRunning", "the run goes on");
    world.merge("max", json!({"spec": {"desiredState": "Idle"}})).await;
    let idle = world.phase("max", "Idle").await;
    assert_eq!(condition(&idle, "SpecChanged"), "", "no attempt is under way");
}

/// The operator dies before it could write that the pod runs, and the pod goes before the next one looks: only the
/// scheduler's Event tells.
#[tokio::test]
async fn a_run_that_nobody_wrote_down_is_not_run_again() {
    let fault = "--test-faults=kill-before-write=3";
    let world = World::with_flags("unseen-run", &NEVER, &[fault]).await;
    world.create("max", |_| {}).await;
    assert_eq!(world.operator.wait_end(PATIENCE).await.unwrap(), 128 + 9, "it died as by SIGKILL");
    let events: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    let config =
        watcher::Config::default().fields("involvedObject.name=polecat-max,reason=Scheduled");
    let mut stream = std::pin::pin!(watch::watcher(events, config).applied_objects());
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("an Event").unwrap().unwrap();
    let uid = world.pods().get("polecat-max").await.unwrap().uid().unwrap();
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    world.pods().delete("polecat-max", &now).await.unwrap();
    gone(&world, "polecat-max", &uid).await;
    let next = world.another_with("operator", &[]).await;
    let lost = world.condition("max", "Ready", "False/PodLost").await;
    assert_eq!((phase_of(&lost), lost.status.unwrap().attempt), ("Stuck", Some(1)));
    world.event("max", "PodLost").await;
    let all = world.bed.audit_events().await.unwrap();
    let ours = |it: &&gastown_testbed::audit::Event| it.user == next.name && it.resource == "pods";
    let made = all.iter().filter(ours).filter(|it| it.verb == "create" && it.code == 201).count();
    assert_eq!(made, 1, "the one that ran");
}

#[tokio::test]
async fn a_finished_pod_goes_after_its_time_and_its_polecat_stays() {
    let world = World::with_flags("pod-ttl", &NEVER, &["--finished-pod-ttl=1"]).await;
    world.create("max", |_| {}).await;
    let pod = until(&world.pods(), "polecat-max", "there", |_: &Pod| true).await;
    world.end("polecat-max").await;
    world.phase("max", "Done").await;
    gone(&world, "polecat-max", &pod.uid().unwrap()).await;
    let stays = world.polecats().get("max").await.unwrap();
    assert_eq!(
        (phase_of(&stays), condition(&stays, "Ready")),
        ("Done", "True/PodSucceeded".into())
    );
    let made = world.requests_of(&world.operator.name).await;
    let made = made.iter().filter(|it| it.verb == "create" && it.resource == "pods").count();
    assert_eq!(made, 1, "and nothing is run again");
}

#[tokio::test]
async fn a_verdict_that_comes_late_corrects_the_end_once() {
    let script = [
        ("testbed.gastown.io/run-for", "100ms"),
        ("testbed.gastown.io/linger", "never"),
        ("testbed.gastown.io/message.telemetry", VERDICT),
    ];
    let world = World::with_flags("late-verdict", &script, shortened(&["--verdict-wait=1"])).await;
    world.create("max", |_| {}).await;
    let done = world.phase("max", "Done").await;
    assert_eq!(condition(&done, "Pushed"), "Unknown/NoVerdict", "done by its exit code alone");
    assert!(message(&done, "Pushed").contains("lost"), "says that commits may be lost");
    let now = json!({"metadata": {"annotations": {"testbed.gastown.io/linger": "0s"}}});
    world.pods().patch("polecat-max", &PatchParams::default(), &Patch::Merge(now)).await.unwrap();
    let told = world.condition("max", "Pushed", "True/Pushed").await;
    assert_eq!((phase_of(&told), told.status.unwrap().commit.as_deref()), ("Done", Some("bbbb")));
}
