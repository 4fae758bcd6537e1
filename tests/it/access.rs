//! What people may do by the cluster's own roles, asked of the real API server as real users.

use gastown::kinds::KINDS;
use gastown_testbed::{Options, Testbed};
use http::Method;
use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    door::{Answer, send},
    kubectl::Kubectl,
    world::{polecat, until},
};

const HOME: &str = "access";
const ABROAD: &str = "access-other";
const VERSION: &str = "gastown.gastown.io/v1alpha1";

/// A testbed with the CRDs and the roles for people, two namespaces, and the users' bindings.
async fn town() -> Testbed {
    let bed = Testbed::start(Options::default()).await.unwrap();
    bed.install_crds().await.unwrap();
    Kubectl::admin(&bed).said(&["apply", "-f", "deploy/rbac/people.yaml"]).await;
    let client = bed.client("binder").await.unwrap();
    for namespace in [HOME, ABROAD] {
        bed.make_namespace(namespace, &[]).await.unwrap();
    }
    for role in ["view", "edit", "admin"] {
        let taken_up = |it: &ClusterRole| {
            let mut rules = it.rules.iter().flatten();
            rules.any(|it| it.resources.iter().flatten().any(|it| it == "polecats"))
        };
        until(&Api::<ClusterRole>::all(client.clone()), role, "rule for Polecats", taken_up).await;
        let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), HOME);
        let binding = binding(&format!("{role}-er"), role);
        bindings.create(&PostParams::default(), &from(binding)).await.unwrap();
    }
    for (user, role) in [
        ("everywhere-viewer", "view"),
        ("everywhere-admin", "admin"),
        ("rig-er", "gastown-operator-rig-admin"),
        ("shard-viewer", "gastown-operator-shard-view"),
        ("shard-er", "gastown-operator-shard-admin"),
    ] {
        let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
        bindings.create(&PostParams::default(), &from(binding(user, role))).await.unwrap();
    }
    // The authorizer follows by watch, and nothing tells when it has: the last written is the last seen.
    for (user, verb, plural, namespace) in [
        ("view-er", "list", "polecats", HOME),
        ("edit-er", "create", "polecats", HOME),
        ("admin-er", "create", "polecats", HOME),
        ("everywhere-viewer", "list", "rigs", ""),
        ("everywhere-admin", "create", "polecats", ABROAD),
        ("everywhere-admin", "list", "rigs", ""),
        ("rig-er", "create", "rigs", ""),
        ("shard-viewer", "list", "shardmaps", HOME),
        ("shard-er", "create", "shardmaps", HOME),
    ] {
        let (group, asked) = ("gastown.gastown.io", (plural, ""));
        let what = format!("{user} to come to {verb} {plural}");
        comes_true(&what, async || may(&client, user, verb, group, asked, namespace).await).await;
    }
    bed
}

fn binding(user: &str, role: &str) -> Value {
    json!({
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}

fn from<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// Whether a user may do this with a resource and subresource.
async fn may(
    client: &Client,
    user: &str,
    verb: &str,
    group: &str,
    (resource, subresource): (&str, &str),
    namespace: &str,
) -> bool {
    let review = json!({"metadata": {}, "spec": {"user": user, "resourceAttributes": {
        "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace,
    }}});
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &from(review)).await.unwrap();
    answer.status.unwrap().allowed
}

#[tokio::test]
async fn roles_of_a_namespace_reach_its_objects_and_no_status_and_no_rig() {
    let bed = town().await;
    let client = bed.client("asker").await.unwrap();
    let reads = ["get", "list", "watch"];
    let writes = ["create", "update", "patch", "delete", "deletecollection"];
    for kind in KINDS {
        let cluster_wide = (kind.crd)().spec.scope == "Cluster";
        let (home, abroad) = if cluster_wide { ("", "") } else { (HOME, ABROAD) };
        let tenants = !cluster_wide && !kind.inner;
        for (user, reader, writer) in [
            ("view-er", tenants, false),
            ("edit-er", tenants, tenants),
            ("admin-er", tenants, tenants),
            ("everywhere-viewer", !kind.inner, false),
            // Whom no RoleBinding holds back: only the roles themselves keep Rigs and the ShardMap from them.
            ("everywhere-admin", !kind.inner, tenants),
            ("rig-er", cluster_wide, cluster_wide),
            ("shard-viewer", kind.inner, false),
            ("shard-er", kind.inner, kind.inner),
        ] {
            let ask = async |verb, subresource, namespace| {
                may(&client, user, verb, kind.group, (kind.plural, subresource), namespace).await
            };
            for (verbs, want) in [(&reads[..], reader), (&writes[..], writer)] {
                // One object is not deleted by the dozen.
                let dozen = |it: &&&str| !kind.inner || **it != "deletecollection";
                for verb in verbs.iter().filter(dozen) {
                    assert_eq!(ask(verb, "", home).await, want, "{user}: {verb} {}", kind.plural);
                    let away = want && !matches!(user, "view-er" | "edit-er" | "admin-er");
                    let found = ask(verb, "", abroad).await;
                    assert_eq!(found, away, "{user}: {verb} {} elsewhere", kind.plural);
                }
            }
            let status = reader && !kind.inner; // which has none
            assert_eq!(ask("get", "status", home).await, status, "{user}: {} status", kind.plural);
            for verb in ["update", "patch"] {
                for subresource in ["status", "finalizers"] {
                    let found = ask(verb, subresource, home).await;
                    assert!(!found, "{user}: {verb} {}/{subresource}", kind.plural);
                }
            }
        }
    }
    bed.stop().await.unwrap();
}

#[tokio::test]
async fn a_person_with_edit_makes_polecats_at_home_alone() {
    let bed = town().await;
    let person = bed.client_in("edit-er", None).await.unwrap();
    let post = async |client: &Client, path: &str, object: &Value| {
        send(client, Method::POST, &format!("/apis/{VERSION}/{path}"), object).await
    };
    let refused = |answer: &Answer, what: &str| {
        assert_eq!(answer.code, 403, "{what}: {}", answer.body);
        assert!(answer.message().contains("edit-er"), "{what}: {}", answer.message());
    };

    let own = format!("namespaces/{HOME}/polecats");
    let made = post(&person, &own, &polecat("furiosa")).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let there = format!("namespaces/{ABROAD}/polecats");
    refused(&post(&person, &there, &polecat("furiosa")).await, "another namespace");

    let mut forged = made.body.clone();
    forged["status"] = json!({"phase": "Done"});
    let path = format!("/apis/{VERSION}/{own}/furiosa");
    let written = send(&person, Method::PUT, &format!("{path}/status"), &forged).await;
    refused(&written, "the status");
    // A write of the object itself may carry one, and it is not taken over.
    let written = send(&person, Method::PUT, &path, &forged).await;
    assert_eq!(written.code, 200, "{}", written.message());
    assert_ne!(written.body["status"]["phase"], "Done", "a status by the back door");

    let rig = json!({"apiVersion": VERSION, "kind": "Rig", "metadata": {"name": "greeter"},
        "spec": {"gitURL": "git@git.example.com:greeter.git", "beadsPrefix": "gt"}});
    refused(&post(&person, "rigs", &rig).await, "a Rig");
    let platform = bed.client_in("rig-er", None).await.unwrap();
    let made = post(&platform, "rigs", &rig).await;
    assert_eq!(made.code, 201, "a platform admin makes Rigs: {}", made.message());
    bed.stop().await.unwrap();
}
