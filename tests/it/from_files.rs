//! Certificates from files, as cert-manager, service-ca and OLM lay them: these write the bundles, and what none of them sees to
//! is put right by the operator.

use gastown::api::v1alpha1::Polecat;
use gastown_testbed::{Node, Options, Testbed, manifests as bed_manifests};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    asking::{answered, comes_true},
    preconditions::skip,
    world::polecat,
};

const TOWN: &str = "town";
const DEFINITION: &str = "polecats.gastown.gastown.io";

/// An object but for what every write changes.
fn settled(object: &Polecat) -> Value {
    let mut it = serde_json::to_value(object).unwrap();
    for key in ["resourceVersion", "managedFields"] {
        it["metadata"].as_object_mut().unwrap().remove(key);
    }
    it
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_was_applied_away_comes_back_and_objects_are_whole() {
    let test = "a_conversion_that_was_applied_away_comes_back_and_objects_are_whole";
    let options = Options { node: Node::None, replicas: 1, ..Options::default() };
    let bed = Testbed::start(options).await.unwrap();
    if !bed.enclosed {
        return skip(test, "root", "without namespaces of its own a Service leads nowhere");
    }
    let client = bed.client("admin").await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), TOWN);
    let mut object = polecat("max");
    object["spec"]["desiredState"] = json!("Idle");
    let object = serde_json::from_value(object).unwrap();
    polecats.create(&PostParams::default(), &object).await.unwrap();
    let before = answered("its status", async || {
        let it = polecats.get("max").await.unwrap();
        it.status.as_ref().is_some_and(|it| !it.conditions.is_empty()).then(|| settled(&it))
    })
    .await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let stanza = definitions.get(DEFINITION).await.unwrap().spec.conversion.unwrap();

    // As somebody applies it who has no conversion in his file, and as OLM leaves it.
    let path = "crds/gastown.gastown.io_polecats.yaml";
    let file = std::fs::read_to_string(bed_manifests::project(None).unwrap().join(path)).unwrap();
    let mut definition: CustomResourceDefinition = serde_saphyr::from_str(&file).unwrap();
    definition.spec.conversion = None;
    definition.metadata.resource_version =
        definitions.get(DEFINITION).await.unwrap().metadata.resource_version;
    definitions.replace(DEFINITION, &PostParams::default(), &definition).await.unwrap();
    let back = answered("the conversion to be back", async || {
        let it = definitions.get(DEFINITION).await.unwrap().spec.conversion?;
        (it.strategy == "Webhook").then_some(it)
    })
    .await;
    assert_eq!(back, stanza, "with the bundle that it had");
    comes_true("a write to be taken again", async || {
        let edit = Patch::Merge(json!({"metadata": {"labels": {"seen": "yes"}}}));
        polecats.patch("max", &PatchParams::default(), &edit).await.is_ok()
    })
    .await;
    let seen = json!({"metadata": {"labels": {"seen": null}}});
    polecats.patch("max", &PatchParams::default(), &Patch::Merge(seen)).await.unwrap();
    assert_eq!(settled(&polecats.get("max").await.unwrap()), before, "it is whole");
    bed.stop().await.unwrap();
}
