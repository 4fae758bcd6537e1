//! Which of the operator's requests the API server serves although others flood it, and which pods make room for its own.

use serde_json::{Value, json};

use super::{NAMESPACE, PRIORITY, SERVICE_ACCOUNT};
use crate::kinds::DOOR_READS;

/// Its Leases share a level with those of the cluster's own controllers; what its webhooks read, so that somebody else's
/// request can be answered, is above what tenants ask for.
pub fn schemas() -> [Value; 2] {
    let leases = json!({
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        // The election of who keeps house renews by a patch.
        "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        "namespaces": [NAMESPACE],
    });
    let reads = DOOR_READS.iter().map(|(group, resource, verb, namespaced)| {
        let (scope, of) = match namespaced {
            true => ("namespaces", json!(["*"])),
            false => ("clusterScope", json!(true)),
        };
        json!({"apiGroups": [group], "resources": [resource], "verbs": [verb], (scope): of})
    });
    // Before those of service accounts (9000), behind those of the cluster itself (up to 200, and 900).
    [
        schema("gastown-operator-leases", "leader-election", 210, &[leases]),
        schema("gastown-operator-door", "workload-high", 910, &reads.collect::<Vec<_>>()),
    ]
}

/// The operator's pods come before agents', which have no class or one of their own, and after the cluster's.
pub fn class() -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": PRIORITY},
        "description": "The Gas Town operator: agents make room for it.",
        "value": 1_000_000,
    })
}

fn schema(name: &str, level: &str, precedence: u32, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {
                    "name": SERVICE_ACCOUNT, "namespace": NAMESPACE,
                }}],
                "resourceRules": rules,
            }],
        },
    })
}
