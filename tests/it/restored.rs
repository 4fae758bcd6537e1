//! What came back without its status is held, and runs once it is told to: from a backup, and as an export of one that had
//! run. The webhook marks the latter, so these tests register it for their namespaces.

use gastown_testbed::watch::await_condition;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::conditions::is_deleted,
};
use serde_json::{Value, json};

use crate::asking::comes_true;
use crate::world::{PATIENCE, World, condition, message, phase_of, polecat, until};

const QUICK: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "300ms")];

/// The webhooks of one world's operator, for its namespace only.
struct Webhooks {
    world: World,
    names: Vec<String>,
}

impl Webhooks {
    async fn new(namespace: &str) -> Self {
        let world = World::new(namespace, &QUICK).await;
        let label = (format!("testbed.gastown.io/{namespace}"), "on");
        let scope = (label.0.as_str(), label.1);
        let names = world.operator.register_webhooks(world.bed, namespace, scope).await.unwrap();
        let api: Api<Namespace> = Api::all(world.client.clone());
        let patch = Patch::Merge(json!({"metadata": {"labels": {&label.0: label.1}}}));
        api.patch(namespace, &PatchParams::default(), &patch).await.unwrap();
        let it = Self { world, names };
        it.wait_in_force().await;
        it
    }

    /// A configuration takes effect a moment after it is stored, and only a request tells when.
    async fn wait_in_force(&self) {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let probe = serde_json::from_value(polecat("probe")).unwrap();
        comes_true("the webhook to be called", async || {
            let made = self.world.polecats().create(&dry, &probe).await.unwrap();
            made.labels().contains_key("gastown.io/polecat")
        })
        .await;
    }

    async fn remove(self) {
        self.world.operator.unregister_webhooks(self.world.bed, &self.names).await.unwrap();
    }
}

/// Pods that the operator was allowed to make.
async fn pods_made(world: &World) -> usize {
    let all = world.requests_of(&world.operator.name).await;
    all.iter().filter(|it| it.verb == "create" && it.resource == "pods" && it.code == 201).count()
}

async fn delete_and_wait(world: &World, name: &str) {
    let uid = world.polecats().get(name).await.unwrap().uid().unwrap();
    world.polecats().delete(name, &DeleteParams::default()).await.unwrap();
    let gone = await_condition(world.polecats(), name, is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await.expect("deleted").unwrap();
}

/// The object as `kubectl get -o json` exports it.
async fn export(world: &World, name: &str) -> Value {
    let mut it = serde_json::to_value(world.polecats().get(name).await.unwrap()).unwrap();
    for field in ["resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"] {
        it["metadata"].as_object_mut().unwrap().remove(field);
    }
    it
}

async fn apply(world: &World, object: Value) {
    let object = serde_json::from_value(object).unwrap();
    world.polecats().create(&PostParams::default(), &object).await.unwrap();
}

#[tokio::test]
async fn an_export_of_a_finished_polecat_is_held_and_runs_when_told() {
    let webhooks = Webhooks::new("restored-export").await;
    let world = &webhooks.world;
    world.create("max", |_| {}).await;
    world.phase("max", "Done").await;
    let mut exported = export(world, "max").await;
    exported["metadata"]["annotations"]["gastown.io/resume"] = json!("true");
    delete_and_wait(world, "max").await;
    let again = exported.clone();
    apply(world, exported).await;
    let held = world.condition("max", "Restored", "True/RestoredFromExport").await;
    assert_eq!(phase_of(&held), "Idle");
    world.event("max", "Restored").await;
    assert_eq!(held.annotations()["gastown.io/restored-from"], "Done 1");
    assert!(
        !held.annotations().contains_key("gastown.io/resume"),
        "the word was for the earlier one"
    );
    assert!(message(&held, "Ready").contains("gastown.io/resume=true"), "says how to go on");
    // The same by `kubectl apply --server-side`.
    let mut served = again.clone();
    served["metadata"]["name"] = json!("nux");
    let (params, patch) = (PatchParams::apply("person"), Patch::Apply(served));
    world.polecats().patch("nux", &params, &patch).await.unwrap();
    world.condition("nux", "Restored", "True/RestoredFromExport").await;
    assert_eq!(pods_made(world).await, 1, "only that of the first run");
    world.merge("max", json!({"metadata": {"annotations": {"gastown.io/resume": "true"}}})).await;
    let done = world.phase("max", "Done").await;
    assert_eq!(condition(&done, "Restored"), "False/Released");
    assert_eq!(pods_made(world).await, 2);
    webhooks.remove().await;
}

#[tokio::test]
async fn what_a_backup_brought_back_is_held_until_idle_and_back() {
    let world = World::new("restored-backup", &QUICK).await;
    let label = json!({"velero.io/restore-name": "last-night"});
    world.create("max", |it| it["metadata"]["labels"] = label.clone()).await;
    world.condition("max", "Restored", "True/RestoredFromBackup").await;
    assert_eq!(pods_made(&world).await, 0);
    // With its status, as Velero writes it where the object asks for that, it is what it was.
    world.create("nux", |it| it["metadata"]["labels"] = label.clone()).await;
    let status = json!({"status": {"phase": "Done", "attempt": 1, "podName": "polecat-nux",
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z"}});
    world
        .polecats()
        .patch_status("nux", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    // Once told to run, then backed up and brought back: that word was for the life before.
    world.create("toast", |it| it["metadata"]["labels"] = label.clone()).await;
    let status = json!({"status": {"phase": "Idle", "conditions": [{"type": "Restored", "status": "False",
        "reason": "Released", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    world
        .polecats()
        .patch_status("toast", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    // Begun when the backup was made, and no Event of its pod came along: it may have run since.
    world.create("slit", |it| it["metadata"]["labels"] = label).await;
    let status = json!({"status": {"phase": "Working", "attempt": 1, "podName": "polecat-slit"}});
    world
        .polecats()
        .patch_status("slit", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    world.condition("slit", "Ready", "False/PodLost").await;
    world.condition("toast", "Restored", "True/RestoredFromBackup").await;
    world.merge("max", json!({"spec": {"desiredState": "Idle"}})).await;
    world.condition("max", "Restored", "False/Released").await;
    world.merge("max", json!({"spec": {"desiredState": "Working"}})).await;
    world.phase("max", "Done").await;
    let made = world.requests_of(&world.operator.name).await;
    let of = |name: &str| {
        made.iter().any(|it| it.resource == "pods" && it.verb == "create" && it.name == name)
    };
    for name in ["polecat-nux", "polecat-slit", "polecat-toast"] {
        assert!(!of(name), "{name} may have run");
    }
    assert_eq!(pods_made(&world).await, 1);
}

#[tokio::test]
async fn a_name_that_is_used_again_at_once_is_not_taken_for_the_run_before() {
    let script =
        [("testbed.gastown.io/run-for", "300ms"), ("testbed.gastown.io/delete-after", "1500ms")];
    let world = World::new("name-again", &script).await;
    world.create("max", |_| {}).await;
    let first = world.phase("max", "Done").await;
    delete_and_wait(&world, "max").await;
    world.create("max", |_| {}).await; // within the second: the old pod still goes, and its Events are as young
    let uid = first.uid();
    let again =
        move |it: &gastown::api::v1alpha1::Polecat| it.uid() != uid && phase_of(it) == "Done";
    until(&world.polecats(), "max", "phase Done of its own run", again).await;
    assert_eq!(pods_made(&world).await, 2);
}

#[tokio::test]
async fn the_git_credential_is_refused_at_the_door_and_who_asks_is_stamped() {
    let webhooks = Webhooks::new("at-the-door").await;
    let world = &webhooks.world;
    let mut bad = polecat("thief");
    bad["spec"]["agentConfig"] = json!({"env": [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "git-key", "key": "token"}}},
        {"name": "LD_PRELOAD", "value": "/workspace/x.so"},
    ]});
    let object = serde_json::from_value(bad).unwrap();
    let answer = world.polecats().create(&PostParams::default(), &object).await.unwrap_err();
    let kube::Error::Api(status) = answer else { panic!("{answer:?}") };
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "{status:?}");
    let causes = status.details.unwrap().causes;
    let fields: Vec<_> = causes.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(
        fields,
        ["spec.agentConfig.env[0].valueFrom.secretKeyRef", "spec.agentConfig.env[1].name"],
        "all at once"
    );
    let forged = json!({"gastown.io/requested-by": "root"});
    let made = world.create("max", |it| it["metadata"]["annotations"] = forged.clone()).await;
    assert_eq!(made.annotations()["gastown.io/requested-by"], "user-at-the-door");
    world.merge("max", json!({"metadata": {"annotations": forged}})).await;
    let kept = world.polecats().get("max").await.unwrap();
    assert_eq!(kept.annotations()["gastown.io/requested-by"], "user-at-the-door", "protected");
    assert_eq!(
        kept.annotations()["velero.io/restore-status"],
        "true",
        "a restore brings its status"
    );
    world.phase("max", "Done").await;
    let pod = world.pods().get("polecat-max").await.unwrap().spec.unwrap();
    let init = pod.init_containers.unwrap().remove(0).env.unwrap();
    let told = init.iter().find(|it| it.name == "GT_REQUESTED_BY").and_then(|it| it.value.clone());
    assert_eq!(told.as_deref(), Some("user-at-the-door"), "for the commits' trailers");
    webhooks.remove().await;
}
