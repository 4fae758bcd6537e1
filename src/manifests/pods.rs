//! Webhooks for pods, and the policy below them. Polecat pods are told by their label, so that the entry for them is safe in
//! any namespace; every pod of a namespace is looked at only where an administrator labelled it. Nothing in the namespaces of
//! the cluster itself, or in ours, ever waits for us.

use serde_json::{Value, json};

use super::{NAMESPACE, WEBHOOK_SERVICE};
use crate::{
    admission::pods::{Level, RuntimeClasses, Standard, approved, cel, door, ours, pss},
    api::GROUP,
    domain::names::POLECAT_LABEL,
};

/// Label of a namespace, of any value, whose pods are all held to the rules.
pub const NAMESPACE_LABEL: &str = "gastown.io/pod-security";
/// Name of the policy, and of its bindings.
pub const POLICY: &str = "gastown-operator-pods";
/// Name of the policy about who makes a Polecat's pods, and of its binding.
pub const OWNED: &str = "gastown-operator-polecat-pods";
/// Name of the policy about who says by a status whose pod one is, and of its binding.
pub const MARKED: &str = "gastown-operator-polecat-marks";

/// Name of the configurations that the operator applies itself, for the pods of labelled namespaces, where nobody else does.
pub const OF_NAMESPACES: &str = "gastown-operator-pods-of-namespaces";

/// Pods that are created, and ephemeral containers that are added.
fn rules(operations: &[(&str, &str)]) -> Value {
    let rule = |(operation, resource): &(&str, &str)| json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": [resource], "operations": [operation], "scope": "Namespaced"});
    operations.iter().map(rule).collect()
}

fn not_being_deleted() -> Value {
    json!({"name": "not-being-deleted", "expression": "!has(object.metadata.deletionTimestamp)"})
}

/// Mirror pods are the kubelet's: it runs what its node's files say, whoever refuses to show it.
fn conditions() -> Value {
    json!([
        not_being_deleted(),
        {"name": "not-a-node", "expression": "!request.userInfo.username.startsWith('system:node:')"},
    ])
}

/// Of an update of a pod that is nobody's Polecat's, nothing is refused but what it changes of what is judged. All others need not
/// wait for us: else Jobs would not end in a labelled namespace while no replica answers.
fn of_what_changes() -> Value {
    let annotations =
        |of: &str| format!("(has({of}.metadata.annotations) ? {of}.metadata.annotations : {{}})");
    let (new, old) = (annotations("object"), annotations("oldObject"));
    let changes =
        format!("request.operation != 'UPDATE' || object.spec != oldObject.spec || {new} != {old}");
    let mut all = conditions();
    if let Some(all) = all.as_array_mut() {
        all.push(json!({"name": "what-is-judged-changes", "expression": changes}));
    }
    all
}

/// The operator's own is spared, wherever that is.
fn labelled_namespaces(own: &str) -> Value {
    let spared = [own, "kube-system", "kube-public", "kube-node-lease"];
    json!({"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": spared},
        {"key": NAMESPACE_LABEL, "operator": "Exists"},
    ]})
}

fn polecats(operator: &str) -> Value {
    json!({"matchExpressions": [{"key": POLECAT_LABEL, "operator": operator}]})
}

fn webhook(name: &str, path: &str, rules: &Value, rest: &Value) -> Value {
    let mut webhook = json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {
            "name": WEBHOOK_SERVICE, "namespace": NAMESPACE, "path": path, "port": 443,
        }},
        "matchConditions": conditions(),
        "matchPolicy": "Equivalent",
        "rules": rules,
        "sideEffects": "None",
    });
    json_patch::merge(&mut webhook, rest);
    webhook
}

/// What refuses pods, and advises on what makes them.
pub fn validating() -> Value {
    let pods =
        rules(&[("CREATE", "pods"), ("UPDATE", "pods"), ("UPDATE", "pods/ephemeralcontainers")]);
    let makers = json!([
        {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "replicasets", "statefulsets", "daemonsets"], "operations": ["CREATE", "UPDATE"], "scope": "Namespaced"},
        {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs", "cronjobs"], "operations": ["CREATE", "UPDATE"], "scope": "Namespaced"},
    ]);
    let strict = |selectors: Value| {
        let mut rest = json!({"failurePolicy": "Fail", "timeoutSeconds": 3});
        json_patch::merge(&mut rest, &selectors);
        rest
    };
    let (ours, all) = (polecats("Exists"), labelled_namespaces(NAMESPACE));
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": super::PODS_VALIDATING},
        "webhooks": [
            webhook("vpod.kb.io", "/validate-pods", &pods, &strict(json!({"objectSelector": ours}))),
            webhook("vpod-of-namespace.kb.io", "/validate-pods", &pods,
                &strict(json!({"namespaceSelector": all, "objectSelector": polecats("DoesNotExist"), "matchConditions": of_what_changes()}))),
            webhook("vtemplate.kb.io", "/validate-pods", &makers,
                &json!({"failurePolicy": "Ignore", "timeoutSeconds": 3, "namespaceSelector": all})),
        ],
    })
}

/// What sets on pods that nobody set. Who comes past it is refused by the other one.
pub fn mutating() -> Value {
    let pods = rules(&[("CREATE", "pods"), ("UPDATE", "pods/ephemeralcontainers")]);
    let lax = |selectors: Value| {
        let mut rest = json!({"failurePolicy": "Ignore", "timeoutSeconds": 2, "reinvocationPolicy": "IfNeeded"});
        json_patch::merge(&mut rest, &selectors);
        rest
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": super::PODS_MUTATING},
        "webhooks": [
            webhook("mpod.kb.io", "/mutate-pods", &pods, &lax(json!({"objectSelector": polecats("Exists")}))),
            webhook("mpod-of-namespace.kb.io", "/mutate-pods", &pods,
                &lax(json!({"namespaceSelector": labelled_namespaces(NAMESPACE), "objectSelector": polecats("DoesNotExist")}))),
        ],
    })
}

/// What looks at the pods of labelled namespaces, and at what makes them, as configurations of their own for an operator in this
/// namespace. Nobody takes them away with it, so they must hold up nobody once it is gone: the floor is below them.
pub fn of_namespaces(namespace: &str) -> [Value; 2] {
    let lax =
        json!({"failurePolicy": "Ignore", "namespaceSelector": labelled_namespaces(namespace)});
    [validating(), mutating()].map(|mut configuration| {
        if let Some(all) = configuration.get_mut("webhooks").and_then(Value::as_array_mut) {
            all.retain(|it| it.get("namespaceSelector").is_some());
            for it in all {
                json_patch::merge(it, &lax);
            }
        }
        json_patch::merge(&mut configuration, &json!({"metadata": {"name": OF_NAMESPACES}}));
        configuration
    })
}

/// What the floor holds pods against. By default that is all there is: restricted, of the newest version, and every rule of ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held<'h> {
    pub standard: Standard,
    /// Rules of ours that do not hold, by id.
    pub exceptions: &'h [&'static str],
    pub runtime_classes: RuntimeClasses,
}

/// The floor: the rows of Pod Security and of our own, and what a TLS policy wants, as a policy that the API server runs by
/// itself, bound once to Polecat pods and once to labelled namespaces.
pub fn policy(namespace: &str, held: Held<'_>) -> [Value; 3] {
    let Held { standard, exceptions, runtime_classes } = held;
    let rows = pss::rows(standard).iter().copied().map(|it| (it, format!("PSS {standard}")));
    let ours = ours::rows(exceptions, runtime_classes, standard.level == Level::Restricted);
    let rows = rows.chain(ours.map(|it| (it, "ours".to_owned())));
    let rows = rows.filter_map(|(row, standard)| cel::condition(row, &standard));
    let conditions: Vec<_> = rows.chain([approved::condition()]).collect();
    policy_of(POLICY, namespace, &conditions)
}

/// A policy of these conditions, and its bindings.
pub fn policy_of(name: &str, namespace: &str, conditions: &[cel::Condition]) -> [Value; 3] {
    let validations: Vec<_> = conditions
        .iter()
        .map(
            |it| json!({"expression": it.expression, "message": it.message, "reason": "Forbidden"}),
        )
        .collect();
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "resourceRules": rules(&[("CREATE", "pods"), ("UPDATE", "pods/ephemeralcontainers")]),
            },
            "matchConditions": self::conditions(),
            "variables": [{"name": "containers", "expression": cel::CONTAINERS}],
            "validations": validations,
        },
    });
    let binding = |suffix: &str, resources: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": format!("{name}{suffix}")},
            "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": resources},
        })
    };
    [
        policy,
        binding("-of-polecats", json!({"objectSelector": polecats("Exists")})),
        binding("-of-namespaces", json!({"namespaceSelector": labelled_namespaces(namespace)})),
    ]
}

/// Nobody but this user makes a pod that names a Polecat as its owner: such a pod would be followed as a run, and what it says
/// of its end would be told as the run's. No label tells such pods beforehand, so no webhook is asked about them; the API server
/// judges by itself. Of an update only an owner that comes new is refused: one that was no Polecat before, whatever its uid, since
/// under another kind anybody may name one. Also of a pod that is on its way out, which is still heard as it goes; whoever releases
/// its finalizers brings no owner.
pub fn owned(user: &str) -> [Value; 2] {
    let is = |it: &str| format!("{it}.kind == 'Polecat' && {it}.apiVersion.startsWith('{GROUP}/')");
    let all = |object: &str| format!("{object}.metadata.?ownerReferences.orValue([])");
    let known = format!(
        "request.operation == 'UPDATE' && {}.exists(o, o.uid == r.uid && {})",
        all("oldObject"),
        is("o")
    );
    let expression = format!(
        "request.userInfo.username == '{user}' || {}.all(r, !({}) || ({known}))",
        all("object"),
        is("r")
    );
    let message = "metadata.ownerReferences names a Polecat, whose pods are made by the operator alone: take that owner out";
    let names = format!("{}.exists(r, {})", all("object"), is("r"));
    own_policy(
        OWNED,
        &rules(&[("CREATE", "pods"), ("UPDATE", "pods")]),
        &json!({"name": "names-a-polecat", "expression": names}),
        (&expression, message),
    )
}

/// Nobody but this user says, on the way of a status, whose pod one is: an API server takes labels and annotations from there too.
/// The nodes tell of their pods that way all the time, and change none of these, so no webhook is in their way: only where the
/// label of a Polecat's pod is, or was, the API server looks at all.
pub fn marked(user: &str) -> [Value; 2] {
    let marks = door::MARKS.iter().chain(&door::MARKS_OF_POLECATS);
    let stays = |(list, key, _): &(&str, &str, &str)| {
        let [now, before] =
            ["object", "oldObject"].map(|it| format!("{it}.metadata.?{list}[?'{key}']"));
        format!("{now} == {before}")
    };
    let all: Vec<_> = marks.map(stays).collect();
    let expression = format!("request.userInfo.username == '{user}' || ({})", all.join(" && "));
    let message = "a status changes what the operator alone says of a Polecat's pod: leave the labels and annotations of gastown.io as they were";
    let rules = rules(&[("UPDATE", "pods/status")]);
    let [policy, mut binding] =
        own_policy(MARKED, &rules, &not_being_deleted(), (&expression, message));
    let selected = json!({"spec": {"matchResources": {"objectSelector": polecats("Exists")}}});
    json_patch::merge(&mut binding, &selected);
    [policy, binding]
}

/// A policy of one validation for requests that meet a condition, and its binding.
fn own_policy(
    name: &str,
    rules: &Value,
    condition: &Value,
    (expression, message): (&str, &str),
) -> [Value; 2] {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "resourceRules": rules},
            "matchConditions": [condition],
            "validations": [{"expression": expression, "message": message, "reason": "Forbidden"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    [policy, binding]
}
