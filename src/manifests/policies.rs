//! The policies that the operator applies itself, where nobody else does, and the webhooks for labelled namespaces: OLM installs
//! none of them. Its rights are for these alone, by name.

use serde_json::{Value, json};

use super::{operator::labelled, pods, switched_off};

/// All of them and their bindings, for an operator that is in this namespace.
pub fn of(namespace: &str) -> Vec<Value> {
    let all = switched_off::policy(namespace).into_iter().chain(pods::policy(namespace));
    all.chain(pods::owned(&super::own_user(namespace))).map(labelled).collect()
}

/// The webhooks for pods of labelled namespaces, for an operator that is in this namespace; where they lead is not in them.
pub fn hooks(namespace: &str) -> Vec<Value> {
    pods::of_namespaces(namespace).into_iter().map(labelled).collect()
}

/// What applying them takes.
pub fn rules() -> [Value; 4] {
    let all: Vec<_> = of(super::NAMESPACE).into_iter().chain(hooks(super::NAMESPACE)).collect();
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
        rule("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
        rule("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
    ]
}
