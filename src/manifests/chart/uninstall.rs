//! Who Helm has end the conversion, once all else of a release is gone: an account that may change the definitions which are
//! converted, and nothing else. Its Job, which values shape, is by hand (`templates/uninstall-job.yaml`).

use serde_json::{Value, json};

use crate::{
    kinds::convertible,
    manifests::{NAMESPACE, network, operator::labelled},
};

/// Name of all of it.
const NAME: &str = "gastown-operator-uninstall";

/// Account, role and binding, as hooks: they are made when the rest is gone, and go when the Job has ended.
pub fn objects() -> Vec<Value> {
    let group = "rbac.authorization.k8s.io";
    let definitions: Vec<String> = convertible().collect();
    let rule = json!({
        "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"],
        "resourceNames": definitions, "verbs": ["get", "patch"],
    });
    let all = [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(Some(NAMESPACE))}),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRole",
            "metadata": metadata(None), "rules": [rule],
        }),
        json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
            "metadata": metadata(None),
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        }),
    ];
    all.map(labelled).into()
}

/// What its pod reaches, where nothing may be reached that no policy lets: the API server, as the operator does. It is a hook as
/// well, since the policies of the release are gone by then.
pub fn network() -> Value {
    let [_, mut egress] = network::policies();
    if let Some(policy) = egress.as_object_mut() {
        policy.insert("metadata".into(), metadata(Some(NAMESPACE)));
    }
    if let Some(selected) = egress.pointer_mut("/spec/podSelector/matchLabels") {
        *selected = json!({"app.kubernetes.io/name": NAME});
    }
    labelled(egress)
}

fn metadata(namespace: Option<&str>) -> Value {
    let mut metadata = json!({"name": NAME, "annotations": {
        "helm.sh/hook": "post-delete",
        "helm.sh/hook-weight": "0",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded,hook-failed",
    }});
    if let (Some(namespace), Some(all)) = (namespace, metadata.as_object_mut()) {
        all.insert("namespace".into(), namespace.into());
    }
    metadata
}
