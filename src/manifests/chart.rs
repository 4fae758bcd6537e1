//! The Helm chart, as far as it is generated: what it is called, its values with their schema, and the templates of everything
//! that is the same on every road. Only what values shape in many ways (the Deployment above all) is written by hand, and
//! `tests/it/roads.rs` holds it against the other roads.

mod template;
mod uninstall;
pub mod values;
mod written;

use serde_json::{Value, json};

use super::{HEADER, document, olm, operator};
use crate::{api, kinds::KINDS};

/// The chart's folder.
pub const FOLDER: &str = "charts/gastown-operator";

/// Its generated files, of what is installed.
pub fn files(parts: &[(String, Vec<Value>)]) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = vec![
        ("Chart.yaml".to_owned(), document(&about()?)?),
        ("values.yaml".to_owned(), written::values()?),
        ("values.schema.json".to_owned(), written::schema()?),
    ];
    for (name, condition, folders) in TEMPLATES {
        let of = |path: &str| folders.iter().any(|it| path.starts_with(it));
        let by_hand = |path: &str, it: &Value| {
            path == OPERATOR
                && BY_HAND.iter().any(|kind| it.get("kind").is_some_and(|it| it == kind))
        };
        let objects: Vec<Value> = parts
            .iter()
            .filter(|(path, _)| of(path))
            .flat_map(|(path, it)| it.iter().filter(|it| !by_hand(path, it)))
            .cloned()
            .collect();
        let text = template::write(&objects, condition)?;
        files.push((format!("templates/{name}.yaml"), text));
    }
    let text = template::write(&uninstall::objects(), RIGHTS)?;
    files.push(("templates/uninstall.yaml".into(), text));
    let text = template::write(&[uninstall::network()], UNINSTALL_NETWORK)?;
    files.push(("templates/uninstall-network.yaml".into(), text));
    Ok(files.into_iter().map(|(path, text)| (format!("{FOLDER}/{path}"), text)).collect())
}

/// Whose objects templates written by hand bring, as far as values shape them.
const OPERATOR: &str = "deploy/base/operator.yaml";
/// Where the release brings roles.
const RIGHTS: &str = ".Values.rbac.create";
/// Where a Job of the release's ends it, and networks are closed.
const UNINSTALL_NETWORK: &str = "and .Values.rbac.create .Values.networkPolicy.enabled";
/// While others than this machine may ask for metrics.
const SECURE: &str = "and .Values.metrics.enabled .Values.metrics.secure";
/// Generated templates: their name, the value that they wait for, and of which files they are made.
const TEMPLATES: &[(&str, &str, &[&str])] = &[
    ("definitions", ".Values.crds.enabled", &["crds/"]),
    ("roles", RIGHTS, &["deploy/rbac/role.yaml", OPERATOR]),
    ("people", ".Values.rbac.people", &["deploy/rbac/people.yaml"]),
    ("flowschemas", ".Values.flowSchemas.enabled", &["deploy/priority/flowschemas.yaml"]),
    (
        "priority",
        "and .Values.priorityClass.create (eq .Values.priorityClass.name \"gastown-operator\")",
        &["deploy/priority/class.yaml"],
    ),
    ("network", ".Values.networkPolicy.enabled", &["deploy/base/network.yaml"]),
    ("metrics", SECURE, &["deploy/base/metrics.yaml"]),
    (
        "metrics-network",
        "and .Values.networkPolicy.enabled .Values.metrics.enabled .Values.metrics.secure",
        &["deploy/base/metrics-network.yaml"],
    ),
    ("rules", ".Values.metrics.prometheusRule.enabled", &["deploy/monitoring/rules.yaml"]),
    ("dashboards", ".Values.metrics.dashboards.enabled", &["deploy/dashboards/"]),
    (
        "monitor",
        ".Values.metrics.serviceMonitor.enabled",
        &["deploy/monitoring/access.yaml", "deploy/monitoring/monitor.yaml"],
    ),
    ("pods-policy", ".Values.policies.pods", &["deploy/policies/pods.yaml"]),
    ("conversion-policy", ".Values.policies.conversion", &["deploy/policies/conversion.yaml"]),
    ("webhook-service", "", &["webhooks/service.yaml"]),
    ("webhooks", "include \"gastown-operator.asks\" .", WEBHOOKS),
];
/// What asks the operator.
const WEBHOOKS: &[&str] = &["webhooks/mutating.yaml", "webhooks/pods-", "webhooks/validating.yaml"];
/// Their kinds.
const BY_HAND: [&str; 5] =
    ["Namespace", "ServiceAccount", "Lease", "PodDisruptionBudget", "Deployment"];

/// Chart.yaml, in which a release also says where the project is (`deploy/images/chart.sh`).
fn about() -> anyhow::Result<Value> {
    let version = env!("CARGO_PKG_VERSION");
    let definitions: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            let (name, newest) = (format!("{}.{}", kind.plural, kind.group), kind.versions());
            json!({"kind": kind.kind, "name": name, "version": newest.first(), "displayName": kind.kind, "description": kind.doc})
        })
        .collect();
    Ok(json!({
        "apiVersion": "v2",
        "name": "gastown-operator",
        "type": "application",
        "version": version,
        "appVersion": version,
        "kubeVersion": format!(">={}-0", olm::MIN_KUBERNETES),
        "description": "Runs AI coding agents as disposable workers, and proves what they did",
        "keywords": ["gastown", "operator", "agents", api::GROUP],
        "maintainers": [{"name": "Gas Town"}],
        "annotations": {
            "artifacthub.io/operator": "true",
            "artifacthub.io/operatorCapabilities": "Basic Install",
            "artifacthub.io/license": "Apache-2.0",
            "artifacthub.io/crds": serde_saphyr::to_string(&definitions)?,
            "artifacthub.io/images": serde_saphyr::to_string(&images())?,
        },
    }))
}

/// What the chart runs, in each edition; a release puts its registry before them (`deploy/images/chart.sh`).
fn images() -> Vec<Value> {
    let of = |edition: operator::Edition| {
        let all = [("operator", edition.operator_image()), ("runner", edition.runner_image())];
        let named = move |(what, image)| json!({"name": format!("{what}-{}", edition.name()), "image": image});
        all.map(named)
    };
    operator::EDITIONS.into_iter().flat_map(of).collect()
}

/// A part of the pods that the other roads make.
fn pod(at: &str) -> Value {
    let whole = operator::deployment(operator::Shape::of(operator::Edition::Community));
    whole.pointer(&format!("/spec/template/spec{at}")).cloned().unwrap_or_default()
}

/// A generated text with a head of its own.
fn headed(text: &str) -> String {
    format!("{HEADER}{text}")
}
