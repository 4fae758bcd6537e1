//! Who tries to reach, through what the operator does for him, what he was not given: each try is refused by name, or has no
//! effect. Two tenants with the cluster's own `edit` are in `tenants/crossings`.

mod crossings;

use http::Method;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use crate::{
    door::{Answer, Door, send},
    world::{World, polecat},
};

const HERE: &str = "references";
const POLECATS: &str = "/apis/gastown.gastown.io/v1alpha1/namespaces";

/// Someone who may write Polecats in one namespace, and nothing else.
async fn writer(world: &World, name: &str, namespace: &str, more: Value) -> Client {
    let mut rules = vec![json!({
        "apiGroups": ["gastown.gastown.io"], "resources": ["polecats"], "verbs": ["get", "create", "update", "patch"],
    })];
    rules.extend(more.as_array().cloned().unwrap_or_default());
    let role = json!({"metadata": {"name": name}, "rules": rules});
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
    });
    let params = PostParams::default();
    let api: Api<Role> = Api::namespaced(world.client.clone(), namespace);
    api.create(&params, &serde_json::from_value(role).unwrap()).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(world.client.clone(), namespace);
    bindings.create(&params, &serde_json::from_value(binding).unwrap()).await.unwrap();
    world.bed.client_in(name, None).await.unwrap()
}

async fn create(client: &Client, namespace: &str, object: &Value) -> Answer {
    send(client, Method::POST, &format!("{POLECATS}/{namespace}/polecats?dryRun=All"), object).await
}

#[tokio::test]
async fn a_polecat_is_no_way_to_what_one_was_not_given() {
    let world = World::with_flags(HERE, &[], &["--reference-access=enforce"]).await;
    let rights = json!([
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["git-key", "llm"], "verbs": ["get"]},
    ]);
    let ada = writer(&world, "tenant-ada", HERE, rights).await;
    let bob = writer(&world, "tenant-bob", HERE, json!([])).await;
    let door = Door::before(world).await;

    let made = create(&ada, HERE, &polecat("fine")).await;
    assert_eq!(made.code, 201, "who may get both Secrets may name them: {}", made.body);
    let told = create(&bob, HERE, &polecat("theft")).await;
    assert_eq!(told.code, 422, "{}", told.body);
    for part in ["spec.kubernetes.gitSecretRef", "you may not get secrets/git-key", "secrets/llm"] {
        assert!(told.message().contains(part), "{part}: {}", told.message());
    }
    let mut other = polecat("other");
    other["spec"]["kubernetes"]["apiKeySecretRef"]["name"] = json!("another");
    let told = create(&ada, HERE, &other).await;
    assert!(told.message().contains("secrets/another"), "{}", told.message());
    assert!(!told.message().contains("secrets/git-key"), "only what is denied: {}", told.message());
    let elsewhere = create(&ada, "default", &polecat("elsewhere")).await;
    assert_eq!(elsewhere.code, 403, "another namespace: {}", elsewhere.body);

    let mut hub = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": "hub"},
        "spec": {"rig": "greeter", "desiredState": "Idle", "agent": {"serviceAccountName": "builder"}}});
    let path = format!("/apis/gastown.gastown.io/v1beta1/namespaces/{HERE}/polecats?dryRun=All");
    let told = send(&ada, Method::POST, &path, &hub).await;
    assert!(told.message().contains("impersonate serviceaccounts/builder"), "{}", told.message());
    hub["spec"]["agent"] = json!({});
    assert_eq!(send(&ada, Method::POST, &path, &hub).await.code, 201, "without it");
    door.close().await;
}
