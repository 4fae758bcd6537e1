//! Polecats of another shape than ours, as an older or foreign CRD would have let in: theirs alone is the damage. On a
//! control plane of its own, since the CRD is loosened.

use std::time::Duration;

use gastown::api::v1alpha1::Polecat;
use gastown_testbed::{Node, Options, Testbed, http_get};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::asking::answered;
use crate::world::{World, polecat};

#[tokio::test]
async fn one_unreadable_polecat_stops_no_other() {
    let bed = Testbed::start(Options { node: Node::Kwok, ..Options::default() }).await.unwrap();
    // Ends with this process; the test of a testbed's end is its own.
    let bed: &'static Testbed = Box::leak(Box::new(bed));
    let script = [("testbed.gastown.io/run-for", "300ms")];
    let world = World::apart(bed, "poisoned-polecat", &script).await;
    world.create("before", |_| {}).await;
    world.phase("before", "Done").await;
    let poisoned = poison(&world).await;
    world.event("poisoned", "Unreadable").await;
    world.create("after", |_| {}).await;
    world.phase("after", "Done").await;
    assert_eq!(world.operator.ended(), None, "the process lives");
    let (_, text) = http_get(&world.operator.metrics).await.unwrap();
    assert!(text.contains("gastown_undecodable_objects_total{controller=\"polecats\"}"), "{text}");
    // A replica that finds it there at its start works as well.
    assert_eq!(world.operator.terminate(Duration::from_secs(30)).await.unwrap(), 0);
    let _second = world.another("second").await;
    world.create("later", |_| {}).await;
    world.phase("later", "Done").await;
    let kept = poisoned.get("poisoned").await.unwrap();
    assert_eq!(kept.data.pointer("/spec/rig"), Some(&json!(7)), "nobody touched it");
    assert_eq!(kept.data.pointer("/status"), None, "nor judged it");
}

/// Versions of a definition whose schemas accept anything.
pub fn loose() -> Value {
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    json!([version("v1beta1", true), version("v1alpha1", false)])
}

/// Stores a Polecat whose rig is a number.
async fn poison(world: &World) -> Api<DynamicObject> {
    let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let loose = json!({"spec": {"versions": loose()}});
    let name = "polecats.gastown.gastown.io";
    crds.patch(name, &PatchParams::default(), &Patch::Merge(loose)).await.unwrap();
    let resource = ApiResource::erase::<Polecat>(&());
    let polecats: Api<DynamicObject> =
        Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let mut object = polecat("poisoned");
    object["spec"]["rig"] = json!(7);
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let stored = answered("the looser schema to be served", async || {
        polecats.create(&PostParams::default(), &object).await.ok()
    });
    assert_eq!(stored.await.name_any(), "poisoned");
    polecats
}
