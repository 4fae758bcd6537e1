//! What `kubectl apply -k` brings together: one kustomization a folder, the base of all, and an overlay for each edition. The
//! folders that people also apply with `-f` say it in a file without an ending, which `-f` passes by.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    NAMESPACE, cert_manager, document,
    operator::{CONTAINER, DEPLOYMENT, EDITIONS, Edition},
    service_ca,
};

/// Folders below the top one whose generated files belong to an installation, as the base names them.
const FOLDERS: [(&str, &str); 5] = [
    ("crds", "../../crds"),
    ("deploy/rbac", "../rbac"),
    ("deploy/priority", "../priority"),
    ("deploy/policies", "../policies"),
    ("webhooks", "../../webhooks"),
];
/// Where a Deployment has the arguments of the operator.
pub(super) const ARGUMENTS: &str = "/spec/template/spec/containers/0/args";
/// The folder of the operator itself, which the base lies in.
const BASE: &str = "deploy/base";

/// The kustomizations.
pub fn files(parts: &[(String, Vec<Value>)]) -> anyhow::Result<Vec<(String, String)>> {
    let mut inside: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (folder, file) in parts.iter().filter_map(|(path, _)| path.rsplit_once('/')) {
        inside.entry(folder).or_default().push(file);
    }
    let mut made = Vec::new();
    for (folder, mut resources) in inside {
        if folder == cert_manager::FOLDER {
            made.push((format!("{folder}/Kustomization"), document(&cert_manager::component())?));
            continue;
        }
        let named = if folder == BASE {
            resources.extend(FOLDERS.map(|(_, path)| path));
            "kustomization.yaml"
        } else {
            "Kustomization"
        };
        made.push((format!("{folder}/{named}"), kustomization(&resources, &json!({}))?));
    }
    // It has nothing of its own to apply.
    let component = document(&service_ca::component())?;
    made.push((format!("{}/Kustomization", service_ca::FOLDER), component));
    for edition in EDITIONS {
        let path = format!("deploy/{}/kustomization.yaml", edition.name());
        made.push((path, kustomization(&["../base"], &overlay(edition))?));
    }
    Ok(made)
}

/// What an edition changes: which images are started, and with which flags beside those of both.
fn overlay(edition: Edition) -> Value {
    if edition == Edition::Community {
        return json!({});
    }
    let container = json!({
        "name": CONTAINER,
        "image": edition.operator_image(),
        "env": [{"name": "RELATED_IMAGE_RUNNER", "value": edition.runner_image()}],
    });
    let patch = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE},
        "spec": {"template": {"spec": {"containers": [container]}}},
    });
    let flags = edition.flags().iter();
    let flags: Value = flags
        .map(|it| json!({"op": "add", "path": format!("{ARGUMENTS}/-"), "value": it}))
        .collect();
    json!({"patches": [{"patch": patch.to_string()}, of_deployment(&flags)]})
}

/// A JSON patch of the Deployment: arguments have no names, so a merge would replace them all, also what another patch has added.
pub(super) fn of_deployment(patch: &Value) -> Value {
    json!({"patch": patch.to_string(), "target": {"kind": "Deployment", "name": DEPLOYMENT}})
}

fn kustomization(resources: &[&str], rest: &Value) -> anyhow::Result<String> {
    let mut whole = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
    });
    json_patch::merge(&mut whole, rest);
    document(&whole)
}

/// Everything in the order in which `kubectl apply -f` can take it: definitions and namespace first, those who ask us last.
pub fn in_order(parts: &[(String, Vec<Value>)]) -> Vec<Value> {
    let folders =
        ["crds", BASE].into_iter().chain(FOLDERS.iter().skip(1).map(|(folder, _)| *folder));
    let of = |folder: &str| {
        let inside = format!("{folder}/");
        parts.iter().filter(move |(path, _)| path.starts_with(&inside)).flat_map(|(_, it)| it)
    };
    folders.flat_map(of).cloned().collect()
}
