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
        role("view", Some("view"), &rules(false, READ)),
        role("edit", Some("edit"), &rules(false, &all)),
        role("admin", Some("admin"), &rules(false, &all)),
        // In effect through a ClusterRoleBinding alone: a RoleBinding gives nothing that belongs to the whole cluster.
        role("rig-view", Some("view"), &rules(true, READ)),
        // For platform admins. Not aggregated: who administers a namespace has no say about everybody's Rigs.
        role("rig-admin", None, &rules(true, &all)),
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

/// The same verbs on all kinds of a scope; their status can be read.
fn rules(cluster_wide: bool, verbs: &[&str]) -> Vec<Value> {
    KINDS
        .iter()
        .filter(|it| is_cluster_wide(it) == cluster_wide)
        .flat_map(|it| {
            let status = format!("{}/status", it.plural);
            [
                json!({"apiGroups": [it.group], "resources": [it.plural], "verbs": verbs}),
                json!({"apiGroups": [it.group], "resources": [status], "verbs": ["get"]}),
            ]
        })
        .collect()
}

fn is_cluster_wide(kind: &Kind) -> bool {
    (kind.crd)().spec.scope == "Cluster"
}
