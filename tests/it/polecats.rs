//! The life of a Polecat on a real API server, with pods that play a script.

use gastown::api::v1alpha1::{Polecat, Rig};
use gastown_testbed::watch::await_condition;
use k8s_openapi::{
    api::core::v1::Pod,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
    discovery::ApiResource,
};
use serde_json::{Value, json};

use crate::asking::{
    FOUR_WRITES, all_are_named, asked_about, comes_true, said, scraped, writes_of,
};
use crate::door::Door;
use crate::world::{World, condition, message, phase_of, polecat, until};

pub const PUSHED: &str = r#"{"v":1,"base":"aaaa","commit":"bbbb","commits":1,"branch":"feature/gt-abc12","pushed":true,"reason":"Pushed","message":"1 commit pushed"}"#;

fn quick() -> [(&'static str, &'static str); 2] {
    [("testbed.gastown.io/run-for", "300ms"), ("testbed.gastown.io/message.telemetry", PUSHED)]
}

/// The same, but an agent works until it is told to end.
fn held() -> [(&'static str, &'static str); 2] {
    [("testbed.gastown.io/run-for", "never"), ("testbed.gastown.io/message.telemetry", PUSHED)]
}

async fn seen_running_then_done(world: &World, name: &str) -> Polecat {
    world.end_once_seen(name).await;
    world.phase(name, "Done").await
}

#[tokio::test]
async fn a_polecat_runs_to_done_with_four_writes_in_the_safe_order() {
    let world = World::new("four-writes", &held()).await;
    world.create("max", |_| {}).await;
    let done = seen_running_then_done(&world, "max").await;
    let status = done.status.clone().unwrap();
    assert_eq!((status.attempt, status.pod_name.as_deref()), (Some(1), Some("polecat-max")));
    assert_eq!(status.observed_generation, Some(1), "and no write for that alone");
    assert_eq!(
        (status.commit.as_deref(), status.pushed, status.exit_code),
        (Some("bbbb"), Some(true), Some(0))
    );
    let want = [
        ("Ready", "True/PodSucceeded"),
        ("Working", "False/Completed"),
        ("Progressing", "False/Completed"),
        ("Available", "True/WorkComplete"),
        ("Degraded", "False/Healthy"),
        ("Pushed", "True/Pushed"),
    ];
    for (type_, want) in want {
        assert_eq!(condition(&done, type_), want);
        assert!(status.conditions.iter().all(|it| it.observed_generation == Some(1)));
    }
    let asked = asked_about(&world, FOUR_WRITES.len()).await;
    assert_eq!(
        said(&asked),
        writes_of("max"),
        "no read: the pod is built from what the watch brought"
    );
    let stamped = asked.iter().filter(|it| it.resource == "polecats");
    assert!(
        stamped.into_iter().all(|it| it.user_agent.contains("epoch=1")),
        "every write carries its epoch"
    );
    all_are_named(&world.bed.audit_events().await.unwrap(), &[&world.operator.name]);
}

#[tokio::test]
async fn a_change_that_changes_nothing_makes_no_request() {
    let world = World::new("no-request", &held()).await;
    world.create("max", |_| {}).await;
    world.create("nux", |it| it["spec"]["desiredState"] = json!("Idle")).await;
    seen_running_then_done(&world, "max").await;
    world.condition("nux", "Ready", "True/Idle").await;
    for name in ["max", "nux"] {
        world.merge(name, json!({"metadata": {"labels": {"touched": "yes"}}})).await;
    }
    // A later Polecat's end proves that the operator has seen what came before it.
    world.create("slit", |_| {}).await;
    seen_running_then_done(&world, "slit").await;
    let mut want = [writes_of("max"), writes_of("slit")].concat();
    want.push("patch polecats/status nux".to_owned());
    let mut found = said(&asked_about(&world, want.len()).await);
    want.sort();
    found.sort();
    assert_eq!(found, want, "one life of each that works, and the idle one's only phase");
}

#[tokio::test]
async fn the_status_says_whether_the_pod_runs_and_with_which_image() {
    let world = World::new("status-image", &[("testbed.gastown.io/run-for", "never")]).await;
    let asked = json!("localhost/agent:asked");
    world.create("max", |it| it["spec"]["kubernetes"]["image"] = asked).await;
    world.create("nux", |_| {}).await;
    let told = |it: Polecat| it.status.map(|it| (it.pod_active, it.agent_image)).unwrap();
    for (name, image) in [("max", "localhost/agent:asked"), ("nux", "localhost/agent:dev")] {
        let running = world.condition(name, "Ready", "True/PodRunning").await;
        assert_eq!(told(running), (Some(true), Some(image.into())), "{name} runs");
        world.end(&format!("polecat-{name}")).await;
        let done = world.phase(name, "Done").await;
        assert_eq!(told(done), (Some(false), Some(image.into())), "{name} is over");
    }
}

#[tokio::test]
async fn what_is_missing_is_said_or_does_not_matter() {
    let world = World::new("missing", &quick()).await;
    world.create("bare", |it| drop(it["spec"].as_object_mut().unwrap().remove("kubernetes"))).await;
    let bare = world.condition("bare", "Ready", "False/MissingKubernetesSpec").await;
    assert_eq!(phase_of(&bare), "Stuck");
    assert!(message(&bare, "Ready").contains("spec.kubernetes.gitRepository"), "says what to do");
    world.event("bare", "MissingKubernetesSpec").await;
    world.create("no-rig", |it| it["spec"]["rig"] = json!("nobody-made-it")).await;
    world.phase("no-rig", "Done").await;
    world.merge("bare", json!({"spec": {"kubernetes": polecat("x")["spec"]["kubernetes"]}})).await;
    world.phase("bare", "Done").await;
}

#[tokio::test]
async fn an_object_without_a_spec_is_stored_and_idle() {
    let world = World::new("no-spec", &quick()).await;
    let resource = ApiResource::erase::<Polecat>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    api.create(&PostParams::default(), &DynamicObject::new("empty", &resource)).await.unwrap();
    let has = |it: &DynamicObject| it.data.pointer("/status/phase").is_some_and(|it| it == "Idle");
    until(&api, "empty", "phase Idle", has).await;
}

#[tokio::test]
async fn conditions_of_others_are_kept() {
    let script = [("testbed.gastown.io/run-for", "never")];
    let world = World::new("foreign-conditions", &script).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    let mut object = world.polecats().get("max").await.unwrap();
    let merged = json!({"type": "Merged", "status": "True", "reason": "MergeComplete", "message": "by somebody else",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    object.status.as_mut().unwrap().conditions.push(serde_json::from_value(merged).unwrap());
    world.polecats().replace_status("max", &PostParams::default(), &object).await.unwrap();
    let end = json!({"metadata": {"annotations": {"testbed.gastown.io/run-for": "0s"}}});
    world.pods().patch("polecat-max", &PatchParams::default(), &Patch::Merge(end)).await.unwrap();
    let done = world.phase("max", "Done").await;
    assert_eq!(condition(&done, "Merged"), "True/MergeComplete");
    assert!(message(&done, "Merged").contains("somebody else"));
}

#[tokio::test]
async fn idle_and_terminated_end_the_pod_and_working_again_is_a_new_attempt() {
    let world = World::new("states", &[("testbed.gastown.io/run-for", "never")]).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    world.merge("max", json!({"spec": {"desiredState": "Idle"}})).await;
    let idle = world.phase("max", "Idle").await;
    assert_eq!(idle.status.unwrap().pod_name, None);
    world.merge("max", json!({"spec": {"desiredState": "Working"}})).await;
    let again = world.condition("max", "Ready", "True/PodRunning").await;
    assert_eq!(again.status.unwrap().pod_name.as_deref(), Some("polecat-max-2"));
    world.merge("max", json!({"spec": {"desiredState": "Terminated"}})).await;
    world.phase("max", "Terminated").await;
    // The status says it before the pod is deleted: evidence goes last.
    let gone = |it: Option<&Pod>| it.is_none_or(|it| it.metadata.deletion_timestamp.is_some());
    for pod in ["polecat-max", "polecat-max-2"] {
        let waited = await_condition(world.pods(), pod, gone);
        let waited = tokio::time::timeout(crate::world::PATIENCE, waited).await;
        assert!(waited.is_ok(), "{pod} is gone or going");
    }
}

#[tokio::test]
async fn a_failed_agent_and_a_failed_clone_read_well() {
    const EXITED: &str = r#"{"v":1,"reason":"PodFailed","message":"the agent exited with code 3"}"#;
    let world = World::new("failures", &quick()).await;
    let said = r#"{"v":1,"reason":"BranchNotFound","message":"the repository has no branch nope"}"#;
    let script = |pairs: &'static [(&'static str, &'static str)]| pairs;
    for (name, annotations, ready) in [
        (
            "agent",
            script(&[("exit-code.claude", "3"), ("message.claude", EXITED)]),
            "False/PodFailed",
        ),
        (
            "memory",
            script(&[("exit-code.claude", "137"), ("reason.claude", "OOMKilled")]),
            "False/OOMKilled",
        ),
    ] {
        play(&world, annotations).await;
        world.create(name, |_| {}).await;
        let stuck = world.condition(name, "Ready", ready).await;
        assert_eq!(phase_of(&stuck), "Stuck");
        assert_eq!(condition(&stuck, "Degraded"), ready.replace("False", "True"));
        let fine =
            [("exit-code.claude", "0"), ("reason.claude", "Completed"), ("message.claude", "")];
        play(&world, &fine).await;
    }
    play(&world, &[("init-exit-code", "1"), ("init-message", said)]).await;
    world.create("clone", |_| {}).await;
    let stuck = world.condition("clone", "Ready", "False/BranchNotFound").await;
    assert!(message(&stuck, "Ready").contains("no branch nope"), "the runner's own words");
    for (name, reason) in
        [("agent", "PodFailed"), ("memory", "OOMKilled"), ("clone", "BranchNotFound")]
    {
        world.event(name, reason).await;
    }
}

/// Changes the script of the namespace.
async fn play(world: &World, script: &[(&str, &str)]) {
    let annotations: serde_json::Map<_, _> = script
        .iter()
        .map(|(key, value)| (format!("testbed.gastown.io/{key}"), json!(value)))
        .collect();
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(world.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    api.patch(&world.namespace, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_pod_of_somebody_else_is_left_alone() {
    let world = World::new("foreign-pod", &quick()).await;
    let foreign: Pod = serde_json::from_value(json!({
        "metadata": {"name": "polecat-max"},
        "spec": {"containers": [{"name": "other", "image": "other:1"}]},
    }))
    .unwrap();
    let made = world.pods().create(&PostParams::default(), &foreign).await.unwrap();
    world.create("max", |_| {}).await;
    let stuck = world.condition("max", "Ready", "False/PodNameTaken").await;
    assert!(message(&stuck, "Ready").contains("polecat-max"));
    world.event("max", "PodNameTaken").await;
    assert_eq!(
        world.pods().get("polecat-max").await.unwrap().uid(),
        made.uid(),
        "it is still there"
    );
}

#[tokio::test]
async fn a_deleted_pod_is_never_run_again() {
    let world = World::new("pod-lost", &[("testbed.gastown.io/run-for", "never")]).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    world.pods().delete("polecat-max", &DeleteParams::default()).await.unwrap();
    let lost = world.condition("max", "Ready", "False/PodLost").await;
    assert_eq!(phase_of(&lost), "Stuck");
    let requests = world.requests_of(&world.operator.name).await;
    let created = requests.iter().filter(|it| it.verb == "create" && it.resource == "pods").count();
    assert_eq!(created, 1);
}

#[tokio::test]
async fn a_polecat_made_again_under_its_name_waits_for_the_old_pod_and_runs() {
    let script =
        [("testbed.gastown.io/run-for", "never"), ("testbed.gastown.io/delete-after", "never")];
    let world = World::new("made-again", &script).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    let old = world.pods().get("polecat-max").await.unwrap();
    world.polecats().delete("max", &DeleteParams::default()).await.unwrap();
    let going = |it: Option<&Pod>| it.is_none_or(|it| it.metadata.deletion_timestamp.is_some());
    await_condition(world.pods(), "polecat-max", going).await.unwrap();
    world.create("max", |_| {}).await;
    let waits = world.condition("max", "Ready", "False/WaitingForPreviousPod").await;
    assert_eq!(phase_of(&waits), "Working");
    world.event("max", "WaitingForPreviousPod").await;
    let gone = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    world.pods().delete("polecat-max", &gone).await.unwrap();
    world.condition("max", "Ready", "True/PodRunning").await;
    assert_ne!(world.pods().get("polecat-max").await.unwrap().uid(), old.uid(), "a pod of its own");
}

#[tokio::test]
async fn a_quota_is_waited_for_and_a_refusal_is_quoted() {
    let world = World::new("refused", &quick()).await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    let api: Api<k8s_openapi::api::core::v1::ResourceQuota> =
        Api::namespaced(world.client.clone(), &world.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let counted = |it: &k8s_openapi::api::core::v1::ResourceQuota| {
        it.status.as_ref().is_some_and(|it| it.hard.is_some())
    };
    until(&api, "none", "status", counted).await;
    world.create("max", |_| {}).await;
    let waits = world.condition("max", "Ready", "False/QuotaExceeded").await;
    assert_eq!(phase_of(&waits), "Working", "waits, never Stuck");
    assert!(
        message(&waits, "Ready").contains("exceeded quota: none"),
        "the API server's own words"
    );
}

/// Loosens the schema for a moment, so that an object of another shape is stored: as an older or foreign CRD would.
#[tokio::test]
async fn one_unreadable_object_stops_nobody_else() {
    let world = World::new("poisoned", &quick()).await;
    let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let resource = ApiResource::erase::<Rig>(&());
    let rigs: Api<DynamicObject> = Api::all_with(world.client.clone(), &resource);
    let loose = json!({"spec": {"versions": crate::poisoned::loose()}});
    let name = "rigs.gastown.gastown.io";
    let strict = crds.get(name).await.unwrap();
    crds.patch(name, &PatchParams::default(), &Patch::Merge(loose)).await.unwrap();
    let poisoned: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Rig", "metadata": {"name": "poisoned"},
        "status": {"conditions": {"not": "a list"}}, "spec": {},
    }))
    .unwrap();
    let bad = json!({"status": {"conditions": {"not": "a list"}}});
    // The looser schema is served a moment after it is stored, and nothing tells when.
    comes_true("the looser schema to be served", async || {
        let _ = rigs.create(&PostParams::default(), &poisoned).await;
        let written =
            rigs.patch_status("poisoned", &PatchParams::default(), &Patch::Merge(&bad)).await;
        written.is_ok_and(|it| it.data.pointer("/status/conditions/not").is_some())
    })
    .await;
    let good: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Rig", "metadata": {"name": "good"},
        "spec": {"gitURL": "git@git.example.com:a/b.git", "beadsPrefix": "gt"},
    }))
    .unwrap();
    rigs.create(&PostParams::default(), &good).await.unwrap();
    let judged = |it: &DynamicObject| {
        it.data
            .pointer("/status/conditions/0/reason")
            .is_some_and(|it| it == "ControllerNotInThisRelease")
    };
    until(&rigs, "good", "condition", judged).await;
    // Another test's operator may have judged the good one; ours has to have counted and skipped the bad one.
    let line = "gastown_undecodable_objects_total{controller=\"rigs\"}";
    scraped(&world.operator, |it| it.contains(line)).await;
    rigs.delete("poisoned", &DeleteParams::default()).await.unwrap();
    let back = json!({"spec": {"versions": strict.spec.versions}});
    crds.patch(name, &PatchParams::default(), &Patch::Merge(back)).await.unwrap();
}

#[tokio::test]
async fn a_finished_polecat_goes_when_its_time_is_up() {
    let world = World::new("ttl", &quick()).await;
    let made = world.create("max", |it| it["spec"]["ttlSecondsAfterFinished"] = json!(1)).await;
    world.phase("max", "Done").await;
    let uid = made.uid().unwrap();
    let gone = kube::runtime::conditions::is_deleted(&uid);
    let waited = await_condition(world.polecats(), "max", gone);
    tokio::time::timeout(crate::world::PATIENCE, waited)
        .await
        .expect("deleted by its ttl")
        .unwrap();
}

#[tokio::test]
async fn the_webhook_stamps_labels_and_warns() {
    let door = Door::open("webhook", &quick()).await;
    let bead = "gt-ünïcode.and.much.longer.than.a.label.may.be.in.kubernetes.which.is.63";
    let forge = |it: &mut Value| {
        it["spec"]["beadID"] = json!(bead);
        it["metadata"]["labels"] = json!({"gastown.io/bucket": "1024"});
    };
    let stamped = door.world.create("max", forge).await;
    assert_eq!(stamped.labels()["gastown.io/polecat"], "max");
    assert_eq!(stamped.labels()["gastown.io/rig"], "greeter");
    assert_eq!(stamped.annotations()["gastown.io/bead"], bead, "the truth stands in an annotation");
    assert!(stamped.labels()["gastown.io/bead"].len() <= 63);
    let bucket = gastown::domain::shard::bucket::label(&door.world.namespace);
    assert_eq!(stamped.labels()["gastown.io/bucket"], bucket, "not the forged one");
    door.close().await;
}
