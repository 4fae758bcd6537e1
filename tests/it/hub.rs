//! The hub's schemas on a real API server, in a group of their own until v1beta1 is served: they are accepted as they
//! are, rules and bounds and all, and whoever breaks one is told what to write instead.

use std::time::Duration;

use gastown::kinds::KINDS;
use gastown_testbed::{Node, Testbed};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
    runtime::{conditions::is_crd_established, wait::await_condition},
};
use serde_json::{Value, json};

use crate::world::PATIENCE;

const GROUP: &str = "hub.gastown.io";

/// A spec of each kind, what is changed in it, and what the user is told; nothing where it is accepted.
fn table() -> Vec<(&'static str, Value, Value, &'static str)> {
    let convoy = json!({"description": "d", "beads": [{"id": "gt-1"}]});
    let witness = json!({"rigRef": {"name": "greeter"}});
    let refinery = witness.clone();
    let store = json!({"rigRef": {"name": "greeter"}, "prefix": "gt-"});
    let repository = json!({"url": "git@git.example.com:town/greeter.git"});
    let rig = json!({"repository": repository, "beadsPrefix": "gt"});
    let mut from = repository.clone();
    from["secretRef"] = json!({"name": "key"});
    let polecat = json!({"rig": "greeter", "repository": from});
    let with = |name: &str, value: Value| {
        let mut changed = from.clone();
        changed[name] = value;
        json!({"repository": changed})
    };
    vec![
        ("Polecat", polecat.clone(), json!({"completion": "Push", "desiredState": "Working"}), ""),
        ("Polecat", polecat.clone(), json!({"rig": "A B"}), "such as greeter"),
        ("Polecat", polecat.clone(), with("url", json!("file:///x")), "use git@host:path"),
        ("Polecat", polecat, with("workBranch", json!("-x")), "such as feature/gt-1"),
        ("Rig", rig.clone(), json!({"settings": {"namepoolTheme": "minerals"}}), ""),
        ("Rig", rig.clone(), json!({"beadsPrefix": "hq"}), "use another prefix"),
        ("Rig", rig, json!({"settings": {"namepoolTheme": "jazz"}}), "use mad-max, minerals"),
        ("Convoy", convoy.clone(), json!({}), ""),
        (
            "Convoy",
            convoy.clone(),
            json!({"rigRef": {"name": "greeter"}, "parallelism": 1, "beads": [{"id": "a"}, {"id": "b"}]}),
            "",
        ),
        ("Convoy", convoy.clone(), json!({"beads": [{"id": "a b"}]}), "such as gt-42"),
        (
            "Convoy",
            convoy.clone(),
            json!({"beads": [{"id": "a"}, {"id": "a"}]}),
            "spec.beads[1]: Duplicate value",
        ),
        ("Convoy", convoy.clone(), json!({"parallelism": 0}), "spec.parallelism"),
        ("Convoy", convoy, json!({"rigRef": {"name": "A_B"}}), "such as greeter"),
        ("Witness", witness.clone(), json!({"stuckThresholdSeconds": 30}), ""),
        (
            "Witness",
            witness.clone(),
            json!({"stuckThresholdSeconds": 29}),
            "stuckThresholdSeconds must be at least healthCheckIntervalSeconds",
        ),
        (
            "Witness",
            witness,
            json!({"healthCheckIntervalSeconds": 0}),
            "greater than or equal to 1",
        ),
        ("Refinery", refinery.clone(), json!({"targetBranch": "release/1.0"}), ""),
        ("Refinery", refinery.clone(), json!({"targetBranch": "a b"}), "such as main"),
        ("Refinery", refinery, json!({"testCommand": "x".repeat(4097)}), "4096"),
        ("BeadStore", store.clone(), json!({"syncIntervalSeconds": 604_800}), ""),
        ("BeadStore", store.clone(), json!({"prefix": "GT"}), "a dash at the end, such as gt-"),
        ("BeadStore", store.clone(), json!({"rigRef": {"name": ""}}), "spec.rigRef.name"),
        ("BeadStore", store, json!({"gitSecretRef": {"name": "n".repeat(254)}}), "253"),
    ]
}

#[tokio::test]
async fn the_api_server_takes_the_hubs_schemas_and_says_what_to_write() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let client = bed.client("hub").await.unwrap();
    bed.make_namespace("hub", &[]).await.unwrap();
    for kind in KINDS {
        let Some(beta) = kind.beta else { continue };
        let crd = in_own_group(&beta());
        let name = crd.metadata.name.clone().unwrap();
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        crds.create(&PostParams::default(), &crd).await.unwrap();
        let established = await_condition(crds.clone(), &name, is_crd_established());
        tokio::time::timeout(PATIENCE, established).await.unwrap().unwrap();
        let rows: Vec<_> = table().into_iter().filter(|it| it.0 == kind.kind).collect();
        assert!(rows.iter().any(|it| it.3.is_empty()), "{}: one that is accepted", kind.kind);
        for (number, (_, mut spec, change, want)) in rows.into_iter().enumerate() {
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let told = create(&client, &crd, &format!("it-{number}"), &spec).await;
            let fine = if want.is_empty() { told.is_empty() } else { told.contains(want) };
            assert!(fine, "{} {spec}: wants {want:?}, is told {told:?}", kind.kind);
        }
        crds.delete(&name, &DeleteParams::default()).await.unwrap();
    }
}

/// The definition under a name that nothing else has.
fn in_own_group(crd: &CustomResourceDefinition) -> CustomResourceDefinition {
    let mut crd = crd.clone();
    crd.spec.group = GROUP.into();
    crd.metadata.name = Some(format!("{}.{GROUP}", crd.spec.names.plural));
    crd.spec.names.categories = None;
    crd.spec.names.short_names = None;
    crd
}

/// What the user is told, or nothing.
async fn create(
    client: &Client,
    crd: &CustomResourceDefinition,
    name: &str,
    spec: &Value,
) -> String {
    let names = &crd.spec.names;
    let gvk = GroupVersionKind::gvk(GROUP, "v1beta1", &names.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, &names.plural);
    let api: Api<DynamicObject> = if crd.spec.scope == "Cluster" {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), "hub", &resource)
    };
    let object = DynamicObject::new(name, &resource).data(json!({"spec": spec}));
    let since = tokio::time::Instant::now();
    loop {
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => return String::new(),
            // Established, but not yet served by this API server.
            Err(kube::Error::Api(it)) if it.code == 404 && since.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(kube::Error::Api(it)) => return it.message,
            Err(other) => panic!("{other}"),
        }
    }
}
