//! The policies that the operator applies itself, where nobody else does: OLM installs none. Its rights are for these alone,
//! by name.

use serde_json::{Value, json};

use super::{operator::labelled, pods, switched_off};

/// All of them and their bindings, for an operator that is in this namespace.
pub fn of(namespace: &str) -> Vec<Value> {
    let all = switched_off::policy(namespace).into_iter().chain(pods::policy(namespace));
    all.chain(pods::owned(&super::own_user(namespace))).map(labelled).collect()
}

/// What applying them takes.
pub fn rules() -> [Value; 2] {
    let all = of(super::NAMESPACE);
    let rule = |kind: &str, resource: &str| {
        let of_kind = all.iter().filter(|it| it.get("kind").is_some_and(|it| it == kind));
        let names: Vec<_> = of_kind.filter_map(|it| it.pointer("/metadata/name")).collect();
        json!({
            "apiGroups": ["admissionregistration.k8s.io"], "resources": [resource],
            "resourceNames": names, "verbs": ["get", "list", "watch", "create", "patch"],
        })
    };
    [
        rule("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
        rule("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    ]
}
