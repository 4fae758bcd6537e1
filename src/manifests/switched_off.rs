//! The policy that keeps objects whole while nobody converts. Who takes the operator away may leave the CRDs with their
//! conversion switched off (OLM sets strategy `None` when a CSV is deleted): the API server then relabels objects between
//! versions instead of converting them, and what it stores is cut to the other version's fields. The policy is not part of
//! what goes: it lets writes pass as long as the operator's service account holds a right that stands for "this cluster
//! has a converter" and goes together with the operator's other roles. With the operator there, a definition may still be
//! without its conversion for some seconds; so what is in the shape of another version than its own is not written either,
//! which is how an object looks that was read relabelled. An object that is being deleted may always be written, so that
//! finalizers are released.

use serde_json::{Value, json};

use super::SERVICE_ACCOUNT;
use crate::{api::GROUP, kinds::KINDS};

/// Name of the policy, and of its binding.
pub const NAME: &str = "gastown-operator-conversion";
/// The right: a verb on a resource that nobody serves.
pub const VERB: &str = "serve";
pub const RESOURCE: &str = "conversions";

/// Whether an object has the shape of the version that it is written in, by a place that every one has, by kind.
const SHAPES: &[(&str, &str)] = &[
    ("Polecat", "!has(object.spec.agent) || (type(object.spec.agent) == string) == variables.old"),
    ("Rig", "variables.old ? has(object.spec.gitURL) : has(object.spec.repository)"),
    ("Convoy", "variables.old ? has(object.spec.trackedBeads) : has(object.spec.beads)"),
];
/// The same of all other kinds.
const ELSE: &str =
    "!has(object.spec.rigRef) || (type(object.spec.rigRef) == string) == variables.old";

fn shape() -> String {
    let shapes =
        SHAPES.iter().map(|(kind, shape)| format!("object.kind == '{kind}' ? ({shape}) : "));
    format!("!has(object.spec) || ({}({ELSE}))", shapes.collect::<String>())
}

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
    let relabelled = "this object was read in another version than it is stored in, and only relabelled, since the definition asks nobody for \
         conversion: what is written now would be stored without some of its fields. Once spec.conversion.strategy of the \
         definition is Webhook again, which the operator sees to, write it again";
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
            "variables": [{"name": "old", "expression": format!("object.apiVersion == '{GROUP}/v1alpha1'")}],
            "validations": [
                {"expression": asked, "message": message, "reason": "Forbidden"},
                {"expression": shape(), "message": relabelled, "reason": "Forbidden"},
            ],
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
