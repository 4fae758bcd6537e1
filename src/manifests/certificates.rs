//! What the operator may do about certificates: one Secret of its own, and the bundles of those who call it; and what a
//! cluster asks of TLS. Only what is made anew can't be narrowed by name.

use serde_json::{Value, json};

use super::{CERTIFICATES, MUTATING, PODS_MUTATING, PODS_VALIDATING, VALIDATING};
use crate::kinds::convertible;

/// Of the cluster, for an authority of our own.
pub fn rules() -> Vec<Value> {
    bundles().into_iter().chain([conversions()]).collect()
}

/// The bundles of webhook configurations.
pub fn bundles() -> [Value; 2] {
    let group = "admissionregistration.k8s.io";
    let (mutating, validating) =
        ("mutatingwebhookconfigurations", "validatingwebhookconfigurations");
    let verbs = ["list", "watch", "patch"];
    [
        json!({"apiGroups": [group], "resources": [mutating], "resourceNames": [MUTATING, PODS_MUTATING], "verbs": verbs}),
        json!({"apiGroups": [group], "resources": [validating], "resourceNames": [VALIDATING, PODS_VALIDATING], "verbs": verbs}),
    ]
}

/// What definitions say of their conversion, which is given back also where others bring the bundles.
fn conversions() -> Value {
    let definitions: Vec<String> = convertible().collect();
    json!({
        "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"],
        "resourceNames": definitions, "verbs": ["patch"],
    })
}

/// OpenShift's TLS profile.
pub fn profile() -> Value {
    json!({
        "apiGroups": ["config.openshift.io"], "resources": ["apiservers"],
        "resourceNames": ["cluster"], "verbs": ["list", "watch"],
    })
}

/// In the operator's own namespace: the Secret, and a Polecat that is never stored, to find out whether calls reach us.
pub fn own_rules() -> [Value; 3] {
    [
        json!({
            "apiGroups": [""], "resources": ["secrets"],
            "resourceNames": [CERTIFICATES], "verbs": ["list", "watch", "update"],
        }),
        json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}),
        json!({"apiGroups": [crate::api::GROUP], "resources": ["polecats"], "verbs": ["create"]}),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::rights;

    #[test]
    fn no_secret_is_read_but_its_own_certificates_by_name() {
        let [everywhere, own] = rights();
        let about = |role: &Value| -> Vec<Value> {
            let all = role["rules"].as_array().unwrap().iter();
            let named = |it: &&Value, key: &str, word: &str| {
                it[key].as_array().unwrap().iter().any(|it| it == word)
            };
            for rule in all.clone() {
                for key in ["apiGroups", "resources", "verbs"] {
                    assert!(!named(&rule, key, "*"), "nothing is asked for as a whole: {rule}");
                }
            }
            all.filter(|it| named(it, "resources", "secrets")).cloned().collect()
        };
        assert_eq!(about(&everywhere), Vec::<Value>::new());
        let rules = about(&own);
        assert!(!rules.is_empty());
        for rule in rules {
            let by_name = rule["resourceNames"] == json!([CERTIFICATES]);
            let makes = rule["verbs"] == json!(["create"]);
            assert!(by_name || makes, "of whatever name: {rule}");
        }
    }
}
