//! The policies that the operator applies itself, where nobody else does, and the webhooks for labelled namespaces: OLM installs
//! none of them. Its rights are for these alone, by name.

use serde_json::{Value, json};

use super::{
    operator::labelled,
    pods::{self, Held},
    switched_off,
};

/// All of them and their bindings, for an operator that is in this namespace and holds pods against this.
pub fn of(namespace: &str, held: Held<'_>) -> Vec<Value> {
    let all = switched_off::policy(namespace).into_iter().chain(pods::policy(namespace, held));
    let user = super::own_user(namespace);
    all.chain(pods::owned(&user)).chain(pods::marked(&user)).map(labelled).collect()
}

/// The webhooks for pods of labelled namespaces, for an operator that is in this namespace; where they lead is not in them.
pub fn hooks(namespace: &str) -> Vec<Value> {
    pods::of_namespaces(namespace).into_iter().map(labelled).collect()
}

/// What applying them takes.
pub fn rules() -> [Value; 4] {
    let all = of(super::NAMESPACE, Held::default()).into_iter().chain(hooks(super::NAMESPACE));
    let all: Vec<_> = all.collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::pods::{Level, RuntimeClasses, Standard};

    /// What the floor says of each of its rows.
    fn messages(held: Held<'_>) -> Vec<String> {
        let all = of("town", held);
        let floor = all.iter().find(|it| it["metadata"]["name"] == pods::POLICY).unwrap();
        let rows = floor["spec"]["validations"].as_array().unwrap().iter();
        rows.map(|it| it["message"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_floor_that_the_operator_applies_holds_what_the_operator_does() {
        let has = |all: &[String], head: &str| all.iter().any(|it| it.starts_with(head));
        let all = messages(Held::default());
        for row in ["ours.hostAliases: ", "ours.root: ", "capabilities_restricted: "] {
            assert!(has(&all, row), "{row}: {all:#?}");
        }
        let excepted = messages(Held { exceptions: &["ours.hostAliases"], ..Held::default() });
        assert!(!has(&excepted, "ours.hostAliases: "), "{excepted:#?}");
        assert_eq!(excepted.len(), all.len() - 1, "and no other");
        let never = messages(Held { exceptions: &["ours.nodeName"], ..Held::default() });
        assert_eq!(never, all, "what can't be switched off");
        let runtime_classes = RuntimeClasses::of(vec!["gvisor".into(), "kata".into()]);
        let listed = messages(Held { runtime_classes, ..Held::default() });
        let must = "ours.runtimeClassName: spec.runtimeClassName must be unset or one of";
        assert!(!has(&all, "ours.runtimeClassName: ") && has(&listed, must), "{listed:#?}");
        assert_eq!(listed.len(), all.len() + 1, "and nothing else");
        let standard = Standard { level: Level::Baseline, minor: 30 };
        let baseline = messages(Held { standard, ..Held::default() });
        assert!(has(&baseline, "capabilities_baseline: "), "{baseline:#?}");
        for row in ["ours.root: ", "capabilities_restricted: ", "hostProbes"] {
            assert!(!has(&baseline, row), "{row}: {baseline:#?}");
        }
        assert!(baseline.iter().any(|it| it.ends_with("(PSS baseline v1.30)")), "{baseline:#?}");
    }
}
