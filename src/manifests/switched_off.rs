//! The policy that keeps objects whole while nobody converts. Who takes the operator away may leave the CRDs with their
//! conversion switched off (OLM sets strategy `None` when a CSV is deleted): the API server then relabels objects between
//! versions instead of converting them, and what it stores is cut to the other version's fields. The policy is not part of
//! what goes: it lets writes pass as long as the operator's service account holds a right that stands for "this cluster
//! has a converter" and goes together with the operator's other roles. An object that is being deleted may always be
//! written, so that finalizers are released.

use serde_json::{Value, json};

use super::SERVICE_ACCOUNT;
use crate::{api::GROUP, kinds::KINDS};

/// Name of the policy, and of its binding.
pub const NAME: &str = "gastown-operator-conversion";
/// The right: a verb on a resource that nobody serves.
pub const VERB: &str = "serve";
pub const RESOURCE: &str = "conversions";

/// The rule that says so, for the operator's role.
pub fn rule() -> Value {
    json!({"apiGroups": [GROUP], "resources": [RESOURCE], "verbs": [VERB]})
}

/// The policy and its binding, for an operator that is in this namespace.
pub fn policy(namespace: &str) -> [Value; 2] {
    let plurals: Vec<&str> = KINDS
        .iter()
        .filter(|it| it.group == GROUP && it.beta.is_some())
        .map(|it| it.plural)
        .collect();
    let resources: Vec<String> =
        plurals.iter().flat_map(|it| [(*it).to_owned(), format!("{it}/status")]).collect();
    let asked = format!(
        "authorizer.serviceAccount('{namespace}', '{SERVICE_ACCOUNT}').group('{GROUP}').resource('{RESOURCE}').check('{VERB}').allowed()"
    );
    let message = format!(
        "nobody converts {GROUP} objects between versions at present, because ServiceAccount {namespace}/{SERVICE_ACCOUNT} \
         lacks the operator's role: what is written now could be stored without some of its fields. Install the operator \
         again; or, if no object of it is to be kept, `kubectl delete validatingadmissionpolicy {NAME}`"
    );
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "resourceRules": [{
                    "apiGroups": [GROUP], "apiVersions": ["*"], "resources": resources,
                    "operations": ["CREATE", "UPDATE"], "scope": "*",
                }],
            },
            "matchConditions": [{
                "name": "not-being-deleted",
                "expression": "!has(object.metadata.deletionTimestamp)",
            }],
            "validations": [{"expression": asked, "message": message, "reason": "Forbidden"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": NAME},
        "spec": {"policyName": NAME, "validationActions": ["Deny"]},
    });
    [policy, binding]
}
