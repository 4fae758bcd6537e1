//! OLM as far as a machine without its catalogs has it: its own operator, given what an install plan makes of a bundle
//! (`pkg/controller/install` and `pkg/controller/operators/catalog` of it).

#![expect(
    clippy::indexing_slicing,
    reason = "JSON that lacks a field is read as null there; what is written to are objects of the project itself"
)]

use std::path::Path;

use anyhow::{Context as _, Result};
use kube::Client;
use serde_json::{Map, Value, json};

use crate::{Operator, OperatorOptions, Testbed, manifests};

/// Kinds with a namespace that a bundle has as manifests: into whatever namespace it is installed.
pub const INTO_ANY: [&str; 4] = ["ConfigMap", "PodDisruptionBudget", "PrometheusRule", "Service"];

/// Starts OLM's operator, which takes what [`define`] has defined.
pub async fn start(bed: &Testbed, program: &Path) -> Result<Operator> {
    let options = OperatorOptions {
        program: Some(program.to_owned()),
        name: "olm".into(),
        namespace: "olm-itself".into(),
        group: "system:masters".into(),
        only_these_flags: true,
        ..OperatorOptions::default()
    };
    Operator::start(bed, options).await
}

/// OLM's own definitions, from a folder of them.
pub async fn define(client: &Client, folder: &Path) -> Result<()> {
    manifests::apply_crds(client, folder, None).await
}

/// The group by which what is installed into a namespace is for all of them.
pub fn group(namespace: &str) -> Value {
    json!({
        "apiVersion": "operators.coreos.com/v1", "kind": "OperatorGroup",
        "metadata": {"name": "all", "namespace": namespace}, "spec": {},
    })
}

/// What OLM's operator is given of a bundle's manifests, in two parts: all but the CSV, as install plans make it, and the CSV.
///
/// # Errors
/// Where there is no CSV among them, or one without what an installer needs.
pub fn of_bundle(manifests: Vec<Value>, namespace: &str) -> Result<(Vec<Value>, Value)> {
    let (csvs, mut others): (Vec<_>, Vec<_>) =
        manifests.into_iter().partition(|it| it["kind"] == "ClusterServiceVersion");
    let mut csv = csvs.into_iter().next().context("no ClusterServiceVersion in the bundle")?;
    csv["metadata"]["namespace"] = json!(namespace);
    others.extend(rights(&csv, namespace)?);
    for object in &mut others {
        object["metadata"]["labels"]["olm.managed"] = json!("true");
        if INTO_ANY.iter().any(|it| object["kind"] == *it) {
            object["metadata"]["namespace"] = json!(namespace);
        }
    }
    Ok((others, csv))
}

/// What an install plan makes of a CSV's permissions: its own, which go with it. Deployment and Service are for OLM to make.
///
/// # Errors
/// As [`of_bundle`].
pub fn rights(csv: &Value, namespace: &str) -> Result<Vec<Value>> {
    let owner = &csv["metadata"]["name"];
    let version = csv["spec"]["version"].as_str().context("no version in the CSV")?;
    let mut all = installed_in(csv, namespace)?;
    all.retain(|it| it["kind"] != "Deployment" && it["kind"] != "Service");
    for it in all.iter_mut().filter(|it| it["kind"] != "ServiceAccount") {
        it["metadata"]["labels"] = json!({"olm.owner": owner,
            "olm.owner.kind": "ClusterServiceVersion", "olm.owner.namespace": namespace});
        for at in ["/metadata/name", "/roleRef/name"] {
            if let Some(name) = it.pointer_mut(at) {
                *name = json!(format!("{}-{version}", name.as_str().unwrap_or_default()));
            }
        }
    }
    for it in &mut all {
        // Its caches hold what has this label alone.
        it["metadata"]["labels"]["olm.managed"] = json!("true");
    }
    Ok(all)
}

/// What OLM makes of the strategy of a CSV: account and rights (its install plans), Deployments, and the Service of each that
/// serves (its installer).
///
/// # Errors
/// As [`of_bundle`].
pub fn installed_in(csv: &Value, namespace: &str) -> Result<Vec<Value>> {
    let spec = &csv["spec"]["install"]["spec"];
    let mut all = Vec::new();
    for (part, kind, name) in [
        ("clusterPermissions", "ClusterRole", "gastown-operator.v0-cluster"),
        ("permissions", "Role", "gastown-operator.v0-own"),
    ] {
        for permission in spec[part].as_array().with_context(|| format!("no {part} in the CSV"))? {
            all.extend(permitted(permission, (kind, name), namespace));
        }
    }
    let deployments = spec["deployments"].as_array().context("no deployments in the CSV")?;
    for deployment in deployments {
        let name = deployment["name"].as_str().context("a deployment in the CSV has no name")?;
        let mut made = named("Deployment", name, Some(namespace), json!({}));
        made["spec"] = deployment["spec"].clone();
        made["metadata"]["labels"] = deployment["label"].clone();
        all.push(made);
        let port = json!({"name": "443", "port": 443, "protocol": "TCP", "targetPort": 9443});
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let spec = json!({"spec": {"ports": [port], "selector": selector}});
        all.push(named("Service", &format!("{name}-service"), Some(namespace), spec));
    }
    Ok(all)
}

/// A role, its binding, and where it is for one namespace the account.
fn permitted(permission: &Value, (kind, name): (&str, &str), namespace: &str) -> Vec<Value> {
    let account = &permission["serviceAccountName"];
    let own = (kind == "Role").then_some(namespace);
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace});
    let binding = json!({"roleRef": role, "subjects": [subject]});
    let mut all = vec![
        named(kind, name, own, json!({"rules": permission["rules"]})),
        named(&format!("{kind}Binding"), &format!("{name}-binding"), own, binding),
    ];
    if own.is_some() {
        all.push(named("ServiceAccount", account.as_str().unwrap_or_default(), own, json!({})));
    }
    all
}

fn named(kind: &str, name: &str, namespace: Option<&str>, fields: Value) -> Value {
    let version = match kind {
        "Deployment" => "apps/v1",
        "Service" | "ServiceAccount" => "v1",
        _ => "rbac.authorization.k8s.io/v1",
    };
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let mut made = Map::new();
    made.insert("apiVersion".into(), json!(version));
    made.insert("kind".into(), json!(kind));
    made.insert("metadata".into(), metadata);
    if let Value::Object(fields) = fields {
        made.extend(fields);
    }
    made.into()
}
