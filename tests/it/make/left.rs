//! What an operator made for itself, and what is left of it when its road, Helm or OLM, took away only what it brought.

use std::fs;

use gastown::{cluster::housekeeper, manifests::CERTIFICATES};
use gastown_testbed::Testbed;
use serde_json::{Value, json};

use crate::kubectl::Kubectl;

const TOWN: &str = "went-by-helm";
/// Beside another's, which is in the same namespace.
const OTHERS: [&str; 3] =
    ["lease/theirs", "secret/mine", "secret/gastown-operator-webhook-server-cert"];

fn lease(name: &str, labels: &Value, holder: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"holderIdentity": holder},
        "metadata": {"name": name, "namespace": TOWN, "labels": labels}})
}

fn secret(name: &str, annotations: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": TOWN, "annotations": annotations}})
}

/// Leases of shards, of the map and of who keeps house, the original's as ours holds it, the authority's Secret, and one that cert-manager made of what
/// the chart asked it for. A Secret of the name that the chart has for one that is given is its owner's.
pub async fn is_made(bed: &Testbed, kubectl: &Kubectl) {
    let of_shard = json!({"gastown.io/lease": "shard"});
    let by_cert_manager = json!({"cert-manager.io/certificate-name": "gastown-operator-ca"});
    let (none, ours) = (json!({}), "gastown-operator");
    let items = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TOWN}}),
        lease("gastown-shard-0", &of_shard, "pod_1"),
        lease("gastown-shard-1", &of_shard, ""),
        lease(ours, &none, "pod_1"),
        lease(housekeeper::LEASE, &none, "pod_1"),
        lease("9a7b81dd.gastown.io", &none, ours),
        lease("theirs", &none, "somebody"),
        secret(CERTIFICATES, &none),
        secret("gastown-operator-ca", &by_cert_manager),
        secret("gastown-operator-webhook-server-cert", &none),
        secret("mine", &json!({"cert-manager.io/certificate-name": "mine"})),
    ];
    let file = bed.kubeconfig.with_extension("left.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    fs::write(&file, list.to_string()).unwrap();
    kubectl.said(&["create", "-f", &file.to_string_lossy()]).await;
}

pub async fn is_gone(kubectl: &Kubectl) {
    let left = kubectl.said(&["-n", TOWN, "get", "leases,secrets", "-o", "name"]).await;
    let mut left: Vec<_> = left.lines().map(|it| it.replace(".coordination.k8s.io", "")).collect();
    left.sort();
    let mut others = OTHERS;
    others.sort_unstable();
    assert_eq!(left, others, "no key and no Lease of ours");
}
