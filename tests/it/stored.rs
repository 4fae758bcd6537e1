//! Kinds whose controller is not in this release: accepted, stored, warned about, and said to be so in their status.

use gastown::kinds::KINDS;
use gastown_testbed::watch::await_condition;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
    runtime::conditions::is_deleted,
};
use serde_json::{Value, json};

use crate::{
    door::Door,
    samples,
    world::{polecat, until},
};

const REASON: &str = "ControllerNotInThisRelease";

/// What speaks to objects of a sample's kind.
fn api(door: &Door, object: &Value) -> Api<DynamicObject> {
    let kind = KINDS.iter().find(|it| it.kind == object["kind"]).unwrap();
    let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
    let client = door.world.client.clone();
    if (kind.crd)().spec.scope == "Cluster" {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, &door.world.namespace, &resource)
    }
}

/// A sample of each kind whose controller is not in this release, in the world's namespace.
fn samples_of_stored_kinds(door: &Door) -> Vec<Value> {
    let mut all = samples::samples();
    all.retain(|it| KINDS.iter().any(|kind| kind.kind == it["kind"] && !kind.reconciled));
    for sample in &mut all {
        sample["metadata"]["namespace"] = json!(door.world.namespace);
        if sample["kind"] == "Rig" {
            sample["metadata"]["namespace"] = Value::Null;
            sample["metadata"]["name"] = json!("stored-kinds");
        }
    }
    let kinds = KINDS.iter().filter(|it| !it.reconciled).count();
    assert_eq!(all.len(), kinds, "deploy/samples has one of every such kind");
    all
}

#[tokio::test]
async fn every_sample_of_a_stored_kind_is_warned_about_and_says_so() {
    let door = Door::open("stored-kinds", &[]).await;
    for sample in samples_of_stored_kinds(&door) {
        let kind = sample["kind"].as_str().unwrap();
        let answer = door.create(&sample).await;
        assert_eq!(answer.code, 201, "{kind}: {}", answer.message());
        let named = |it: &String| it.contains(kind) && it.contains(REASON);
        assert!(answer.warnings.iter().any(named), "{kind}: {:?}", answer.warnings);
        let says = |it: &DynamicObject| {
            let ready = it.data.pointer("/status/conditions/0");
            ready.is_some_and(|it| {
                it["type"] == "Ready" && it["status"] == "Unknown" && it["reason"] == REASON
            })
        };
        let name = sample["metadata"]["name"].as_str().unwrap();
        let object = until(&api(&door, &sample), name, "condition Ready", says).await;
        let status = &object.data["status"];
        assert_eq!(status["conditions"][0]["observedGeneration"], 1, "{kind}: {status}");
        assert_eq!(status["observedGeneration"], 1, "{kind}: {status}");
        api(&door, &sample).delete(name, &DeleteParams::default()).await.unwrap();
    }
    door.close().await;
}

#[tokio::test]
async fn who_names_a_rig_that_is_not_there_is_told_and_let_in() {
    let door = Door::open("rig-unknown", &[]).await;
    let named = |rig: &str| {
        let mut it = polecat("max");
        it["spec"]["rig"] = json!(rig);
        it
    };
    let told = async |rig: &str| {
        let answer = door.dry_run(&named(rig)).await;
        assert_eq!(answer.code, 201, "{}", answer.message());
        answer
            .warnings
            .iter()
            .filter(|it| it.contains("there is no Rig"))
            .cloned()
            .collect::<Vec<_>>()
    };
    let said = told("rig-unknown").await;
    assert!(
        said.len() == 1 && said[0].contains("spec.rig") && said[0].contains("rig-unknown"),
        "{said:?}"
    );
    let mut rig =
        samples_of_stored_kinds(&door).into_iter().find(|it| it["kind"] == "Rig").unwrap();
    rig["metadata"]["name"] = json!("rig-unknown");
    assert_eq!(door.create(&rig).await.code, 201);
    assert_eq!(told("rig-unknown").await, Vec::<String>::new(), "now it is there");
    api(&door, &rig).delete("rig-unknown", &DeleteParams::default()).await.unwrap();
    door.close().await;
}

#[tokio::test]
async fn finalizers_of_the_original_are_released_and_others_are_kept() {
    let door = Door::open("original-finalizers", &[]).await;
    let polecat = {
        let mut it = polecat("held");
        it["spec"]["desiredState"] = json!("Idle");
        (it, "gastown.io/polecat-cleanup")
    };
    let rig = (
        json!({"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Rig",
            "metadata": {"name": "original-finalizers"},
            "spec": {"gitURL": "git@git.example.com:a/b.git", "beadsPrefix": "gt"}}),
        "gastown.io/rig-cleanup",
    );
    let store = (
        json!({"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "BeadStore", "metadata": {"name": "held"},
            "spec": {"rigRef": "greeter", "prefix": "gt-"}}),
        "gastown.io/beadstore-cleanup",
    );
    for (mut object, finalizer) in [polecat, rig, store] {
        object["metadata"]["finalizers"] = json!([finalizer, "example.com/other"]);
        let answer = door.create(&object).await;
        assert_eq!(answer.code, 201, "{finalizer}: {}", answer.message());
        let (api, name) = (api(&door, &object), object["metadata"]["name"].as_str().unwrap());
        let uid = answer.body["metadata"]["uid"].as_str().unwrap();
        api.delete(name, &DeleteParams::default()).await.unwrap();
        let released = |it: &DynamicObject| {
            it.metadata.finalizers.as_deref() == Some(&["example.com/other".to_owned()])
        };
        until(&api, name, finalizer, released).await;
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        api.patch(name, &PatchParams::default(), &free).await.unwrap();
        let gone = await_condition(api, name, is_deleted(uid));
        tokio::time::timeout(crate::world::PATIENCE, gone).await.unwrap().unwrap();
    }
    door.close().await;
}

#[tokio::test]
async fn unknown_fields_of_old_samples_are_warned_about() {
    let door = Door::open("old-samples", &[]).await;
    let old = json!({"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Convoy", "metadata": {"name": "old"},
        "spec": {"description": "Wave 1", "trackedBeads": ["mp-abc-123"], "notifyOnComplete": "mayor"}});
    let answer = door.dry_run(&old).await;
    assert_eq!(answer.code, 201, "{}", answer.message());
    let named = |it: &String| it.contains("unknown field") && it.contains("spec.notifyOnComplete");
    assert!(answer.warnings.iter().any(named), "{:?}", answer.warnings);
    assert_eq!(answer.body["spec"]["parallelism"], 0, "defaults are filled in");
    door.close().await;
}
