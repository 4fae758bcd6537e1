//! What people may do: roles that the cluster's own `view`, `edit` and `admin` take up, and those for Rigs, which belong to
//! the whole cluster. Status is the operator's to write, so no role here does.

use serde_json::{Value, json};

use crate::kinds::{KINDS, Kind};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];

/// Every role, in the order of the file.
pub fn roles() -> Vec<Value> {
    let all: Vec<&str> = [READ, WRITE].concat();
    vec![
        role("view", Some("view"), &rules(is_namespaced, READ)),
        role("edit", Some("edit"), &rules(is_namespaced, &all)),
        role("admin", Some("admin"), &rules(is_namespaced, &all)),
        // In effect through a ClusterRoleBinding alone: a RoleBinding gives nothing that belongs to the whole cluster.
        role("rig-view", Some("view"), &rules(is_cluster_wide, READ)),
        // For platform admins. Not aggregated: who administers a namespace has no say about everybody's Rigs.
        role("rig-admin", None, &rules(is_cluster_wide, &all)),
        // For `kubectl gt shards`, through a RoleBinding in the operator's namespace.
        role("shard-view", None, &shards(&[READ])),
        role("shard-admin", None, &shards(&[READ, &["create", "update", "patch", "delete"]])),
        // For who scrapes the metrics, through a ClusterRoleBinding.
        role("metrics-reader", None, &[json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]})]),
    ]
}

fn role(name: &str, into: Option<&str>, rules: &[Value]) -> Value {
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": format!("gastown-operator-{name}")},
        "rules": rules,
    });
    if let (Some(into), Some(metadata)) = (into, role.get_mut("metadata")) {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{into}");
        if let Some(it) = metadata.as_object_mut() {
            it.insert("labels".into(), json!({label: "true"}));
        }
    }
    role
}

/// The same verbs on all kinds of a sort; their status can be read.
fn rules(sort: fn(&Kind) -> bool, verbs: &[&str]) -> Vec<Value> {
    KINDS
        .iter()
        .filter(|it| sort(it))
        .flat_map(|it| {
            let status = format!("{}/status", it.plural);
            [
                json!({"apiGroups": [it.group], "resources": [it.plural], "verbs": verbs}),
                json!({"apiGroups": [it.group], "resources": [status], "verbs": ["get"]}),
            ]
        })
        .collect()
}

/// These verbs on the operator's own kinds, and a look at the Leases, which say who owns what.
fn shards(verbs: &[&[&str]]) -> Vec<Value> {
    let verbs = verbs.concat();
    let own = KINDS.iter().filter(|it| it.inner);
    own.map(|it| json!({"apiGroups": [it.group], "resources": [it.plural], "verbs": verbs}))
        .chain([
            json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": READ}),
        ])
        .collect()
}

fn is_namespaced(kind: &Kind) -> bool {
    !kind.inner && !is_cluster_wide(kind)
}

fn is_cluster_wide(kind: &Kind) -> bool {
    (kind.crd)().spec.scope == "Cluster"
}
