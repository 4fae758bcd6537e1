//! Every generated file, from the table of kinds: what it is called and what it says. Writing them is the job of the
//! program `manifests`; comparing them, that of a test.

pub mod alerts;
mod cert_manager;
mod certificates;
pub mod chart;
pub mod dashboards;
pub mod images;
mod kustomize;
pub mod mirror;
mod monitoring;
mod network;
pub mod olm;
pub mod operator;
mod people;
pub mod pods;
pub mod policies;
mod priority;
mod reference;
mod service_ca;
mod storage;
pub mod switched_off;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    cluster::meters::table,
    conversion::table::Version,
    domain::causes,
    kinds::{FOREIGN, KINDS, Kind},
};
use operator::{Edition, Shape};

/// The Service in front of every replica's admission server.
pub const WEBHOOK_SERVICE: &str = "gastown-operator-webhook-service";
/// The original's name for the Service in front of every replica's metrics, and for the role of those who read them.
pub const METRICS_SERVICE: &str = "gastown-operator-controller-manager-metrics-service";
pub const METRICS_READER: &str = "gastown-operator-metrics-reader";
/// Names of the webhook configurations.
pub const MUTATING: &str = "gastown-operator-mutating-webhook-configuration";
pub const VALIDATING: &str = "gastown-operator-validating-webhook-configuration";
/// The same for pods.
pub const PODS_MUTATING: &str = "gastown-operator-pods-mutating-webhook-configuration";
pub const PODS_VALIDATING: &str = "gastown-operator-pods-validating-webhook-configuration";
/// The Secret with the certificates of our own authority.
pub const CERTIFICATES: &str = "gastown-operator-webhook-certificates";
/// Where the original is installed, and we are.
pub const NAMESPACE: &str = "gastown-operator-system";
/// Who the operator's pods are.
pub const SERVICE_ACCOUNT: &str = "gastown-operator-controller-manager";
/// How important they are.
pub const PRIORITY: &str = "gastown-operator";
/// What they may do everywhere, and in their own namespace.
pub const MANAGER_ROLE: &str = "gastown-operator-manager-role";
pub const LEADER_ROLE: &str = "gastown-operator-leader-election-role";

/// Who the operator is to the API server, where it is in this namespace.
pub fn own_user(namespace: &str) -> String {
    format!("system:serviceaccount:{namespace}:{SERVICE_ACCOUNT}")
}

const HEADER: &str =
    "# Generated from src/kinds.rs by `cargo run --bin manifests`; edits are overwritten.\n";

/// Paths below the top folder, and contents, of everything as it is installed.
pub fn files() -> anyhow::Result<Vec<(String, String)>> {
    files_storing(Version::V1beta1)
}

/// The same where objects are stored in another version; nothing but the definitions differs.
pub fn files_storing(storage: Version) -> anyhow::Result<Vec<(String, String)>> {
    let parts = parts(storage)?;
    let mut files = Vec::new();
    for (path, objects) in &parts {
        files.push((path.clone(), documents(objects)?));
    }
    files.extend(kustomize::files(&parts)?);
    files.extend(chart::files(&parts)?);
    files.push(("deploy/install.yaml".into(), documents(&kustomize::in_order(&parts))?));
    files.extend(olm::files()?);
    files.extend(mirror::files()?);
    files.push(("docs/api.md".into(), reference::page()?));
    files.push(("docs/failures.md".into(), causes::page()));
    files.push(("docs/metrics.md".into(), table::page()));
    files.extend(alerts::runbooks());
    files.extend(dashboards::files()?);
    Ok(files)
}

/// Everything that an installation into this namespace applies, in an order in which it can be applied.
pub fn installed(namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut all = kustomize::in_order(&parts(Version::V1beta1)?);
    for it in &mut all {
        whole_numbers(it);
        moved(it, namespace);
    }
    Ok(all)
}

/// What the operator's account may do: everywhere, and in its own namespace.
pub fn rights() -> [Value; 2] {
    [cluster_role(), own_role()]
}

/// Puts another namespace in the place of ours, wherever that is named.
fn moved(value: &mut Value, namespace: &str) {
    match value {
        Value::String(it) if it.contains(NAMESPACE) => *it = it.replace(NAMESPACE, namespace),
        Value::Array(items) => items.iter_mut().for_each(|it| moved(it, namespace)),
        Value::Object(map) => map.values_mut().for_each(|it| moved(it, namespace)),
        _ => {}
    }
}

/// What is installed, as files of objects: definitions, webhooks, roles, policies, priorities, and the operator.
fn parts(storage: Version) -> anyhow::Result<Vec<(String, Vec<Value>)>> {
    let mut parts = Vec::new();
    for kind in KINDS {
        let path = format!("crds/{}_{}.yaml", kind.group, kind.plural);
        parts.push((path, vec![serde_json::to_value(kind.stored_in(storage))?]));
    }
    let mut part = |path: &str, objects: Vec<Value>| parts.push((path.to_owned(), objects));
    part("webhooks/mutating.yaml", vec![mutating()]);
    part("webhooks/pods-mutating.yaml", vec![pods::mutating()]);
    part("webhooks/pods-validating.yaml", vec![pods::validating()]);
    part("webhooks/validating.yaml", vec![validating()]);
    part("webhooks/service.yaml", vec![service()]);
    part("deploy/rbac/role.yaml", vec![cluster_role(), own_role()]);
    part("deploy/rbac/people.yaml", people::roles());
    part("deploy/policies/conversion.yaml", switched_off::policy(NAMESPACE).into());
    let user = own_user(NAMESPACE);
    let of_polecats = pods::owned(&user).into_iter().chain(pods::marked(&user));
    let floor = pods::policy(NAMESPACE, pods::Held::default());
    part("deploy/policies/pods.yaml", floor.into_iter().chain(of_polecats).collect());
    part("deploy/priority/flowschemas.yaml", priority::schemas().into());
    part("deploy/priority/class.yaml", vec![priority::class()]);
    part("deploy/base/operator.yaml", operator::objects(Shape::of(Edition::Community)));
    part("deploy/base/network.yaml", network::policies().into());
    part("deploy/base/metrics.yaml", vec![monitoring::service()]);
    part("deploy/base/metrics-network.yaml", vec![network::metrics()]);
    part("deploy/monitoring/access.yaml", monitoring::access().into());
    part("deploy/monitoring/monitor.yaml", vec![monitoring::monitor()]);
    part("deploy/monitoring/rules.yaml", vec![alerts::rules()]);
    part("deploy/dashboards/dashboards.yaml", dashboards::objects()?);
    part("deploy/cert-manager/issuers.yaml", cert_manager::issuers().into());
    part("deploy/cert-manager/certificates.yaml", cert_manager::certificates().into());
    let told = |(path, objects): (String, Vec<Value>)| {
        (path, objects.into_iter().map(operator::labelled).collect())
    };
    Ok(parts.into_iter().map(told).collect())
}

/// Several objects in one file.
fn documents(objects: &[Value]) -> anyhow::Result<String> {
    let all: Vec<String> = objects.iter().map(document).collect::<Result<_, _>>()?;
    Ok(all.join("---\n"))
}

fn document(object: &impl Serialize) -> anyhow::Result<String> {
    // Through a value, so that keys come in one order and empty parts are left out as written.
    let mut value = serde_json::to_value(object)?;
    whole_numbers(&mut value);
    Ok(format!("{HEADER}{}", serde_saphyr::to_string(&value)?))
}

/// Bounds of a schema are floating-point in the API's types; `minimum: 1` is what people write.
#[expect(clippy::cast_possible_truncation, reason = "only whole numbers are converted")]
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(it) => {
            if let Some(float) = it.as_f64().filter(|float| it.is_f64() && float.fract() == 0.0) {
                *value = json!(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

fn mutating() -> Value {
    let webhooks: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            let mut webhook = webhook(kind, "m", "/mutate");
            // Who comes past it is told so by the other webhook; of what was run before, the status alone tells, and that
            // the other never sees.
            let works = kind.goes_with.is_some();
            webhook.insert("failurePolicy".into(), if works { "Fail" } else { "Ignore" }.into());
            webhook.insert("reinvocationPolicy".into(), "Never".into());
            webhook.insert("timeoutSeconds".into(), if works { 3 } else { 2 }.into());
            let conditions = works.then(going).into_iter().chain(kind.inner.then(by_others));
            let conditions: Vec<_> = conditions.collect();
            if !conditions.is_empty() {
                webhook.insert("matchConditions".into(), conditions.into());
            }
            webhook.into()
        })
        .collect();
    configuration("Mutating", MUTATING, &webhooks)
}

fn validating() -> Value {
    let webhooks: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            let mut webhook = webhook(kind, "v", "/validate");
            // Of a kind that nothing is refused of, no write waits for us.
            let refuses = kind.beta.is_some() || kind.reconciled;
            webhook.insert("failurePolicy".into(), if refuses { "Fail" } else { "Ignore" }.into());
            webhook.insert("timeoutSeconds".into(), 3.into());
            let own = kind.inner.then(by_others);
            let conditions: Vec<_> = [going()].into_iter().chain(own).collect();
            webhook.insert("matchConditions".into(), conditions.into());
            webhook.into()
        })
        .chain(KINDS.iter().filter(|it| it.goes_with.is_some()).map(deletes))
        .collect();
    configuration("Validating", VALIDATING, &webhooks)
}

/// A word to people who delete; an entry of its own, since no deletion waits for us.
fn deletes(kind: &Kind) -> Value {
    let mut webhook = webhook_of(kind, "d", "/validate", &["DELETE"]);
    webhook.insert("failurePolicy".into(), "Ignore".into());
    webhook.insert("timeoutSeconds".into(), 2.into());
    let going = "!has(oldObject.metadata.deletionTimestamp)";
    // The garbage collector and the end of a namespace delete many, and read no warnings.
    let people = "!request.userInfo.username.startsWith('system:serviceaccount:kube-system:') && \
                  request.userInfo.username != 'system:kube-controller-manager'";
    let conditions = json!([
        {"name": "not-going", "expression": going},
        by_others(),
        {"name": "not-the-cluster", "expression": people},
    ]);
    webhook.insert("matchConditions".into(), conditions);
    webhook.into()
}

fn configuration(sort: &str, name: &str, webhooks: &[Value]) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": format!("{sort}WebhookConfiguration"),
        "metadata": {"name": name},
        "webhooks": webhooks,
    })
}

/// What both webhooks of a kind have in common.
fn webhook(kind: &Kind, prefix: &str, path: &str) -> Map<String, Value> {
    webhook_of(kind, prefix, path, &["CREATE", "UPDATE"])
}

/// A webhook that is asked about these operations.
fn webhook_of(kind: &Kind, prefix: &str, path: &str, operations: &[&str]) -> Map<String, Value> {
    let scope = (kind.crd)().spec.scope;
    let webhook = json!({
        "name": format!("{prefix}{}.kb.io", kind.kind.to_lowercase()),
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {
            "name": WEBHOOK_SERVICE, "namespace": NAMESPACE, "path": path, "port": 443,
        }},
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "rules": [{
            "apiGroups": [kind.group], "apiVersions": kind.versions(), "resources": [kind.plural],
            "operations": operations, "scope": scope,
        }],
    });
    match webhook {
        Value::Object(it) => it,
        _ => Map::new(),
    }
}

/// Nothing on its way out waits for us: its last updates take finalizers off.
fn going() -> Value {
    json!({"name": "not-going", "expression": "!has(object.metadata.deletionTimestamp)"})
}

/// The operator checks what it writes before it does, and waits for no replica of its own.
fn by_others() -> Value {
    let own = format!("system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}");
    json!({"name": "by-others", "expression": format!("request.userInfo.username != '{own}'")})
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": WEBHOOK_SERVICE, "namespace": NAMESPACE},
        "spec": {
            "selector": operator::selector(),
            "ports": [{"name": "webhooks", "port": 443, "protocol": "TCP", "targetPort": operator::WEBHOOK_PORT}],
        },
    })
}

fn cluster_role() -> Value {
    let ours = KINDS.iter().filter(|it| !it.inner).flat_map(|kind| {
        let rule = |part: &str, verbs: &[&str]| {
            json!({"apiGroups": [kind.group], "resources": [format!("{}{part}", kind.plural)], "verbs": verbs})
        };
        // Owner references that block deletion ask for the last one, so only of what owns pods.
        let owns = kind.reconciled.then(|| rule("/finalizers", &["update"]));
        [rule("", kind.verbs), rule("/status", &["patch"])].into_iter().chain(owns)
    });
    let foreign =
        FOREIGN.iter().map(|(group, resource, verbs, _)| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs}));
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": MANAGER_ROLE},
        "rules": ours.chain(foreign).chain(storage::rules()).chain([switched_off::rule()]).chain(certificates::rules()).chain([certificates::profile()]).collect::<Vec<_>>(),
    })
}

/// What the operator does in its own namespace.
fn own_role() -> Value {
    let leases = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]});
    let own = KINDS.iter().filter(|it| it.inner);
    let own = own.flat_map(|it| {
        let rule = |resource: &str, verbs: &[&str]| {
            json!({"apiGroups": [it.group], "resources": [resource], "verbs": verbs})
        };
        [rule(it.plural, it.verbs), rule(&format!("{}/status", it.plural), &["update"])]
    });
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": LEADER_ROLE, "namespace": NAMESPACE},
        "rules": std::iter::once(leases).chain(own).chain(certificates::own_rules()).collect::<Vec<_>>(),
    })
}
