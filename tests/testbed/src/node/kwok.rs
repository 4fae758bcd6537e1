//! A node that runs nothing: kwok plays its pods, each by the script in its annotations.
//!
//! | annotation (`testbed.gastown.io/…`) | meaning | default |
//! | --- | --- | --- |
//! | `run-after` | from scheduled to the first change, a Go duration, or `never` | `100ms` |
//! | `init-run-for` | how long init containers are seen running, or `never`-ending | not seen running |
//! | `init-exit-code` | of the first init container; not 0: the pod fails there | `0` |
//! | `init-message` | termination message of the init containers | none |
//! | `run-for` | from Running to the end, or `never` | `2s` |
//! | `exit-code` | of every container but `telemetry` | `0` |
//! | `exit-code.NAME` | of this container | `exit-code` |
//! | `reason.NAME` | of this container's end, such as `OOMKilled` | `Completed` or `Error` |
//! | `message` | termination message of `telemetry` | none |
//! | `message.NAME` | of this container | none |
//! | `linger` | how much later than the others `telemetry` ends, or `never` | together |
//! | `delete-after` | from the deletion's request to the pod's disappearance, or `never` | `50ms` |
//!
//! The pod's phase is Failed when a container's exit code is not 0, else Succeeded. Annotations of this
//! kind on a Namespace are the script of every pod made in it that does not say otherwise. A script may be changed
//! while it is played: a pod that runs for `never` ends when that becomes `0s`.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use super::NAME;
use crate::{manifests, net::Block, plan::Plan, process::Program, tools::Tool};

const STAGES: &str = include_str!("stages.yaml");
/// Where pods have their addresses: a range for benchmarks, in which nothing listens.
const PODS: &str = "198.18.0.1/15";

/// kwok's command line.
pub fn program(folder: &Path, plan: &Plan, kubeconfig: &Path) -> Result<Program> {
    let path = folder.join("kwok.yaml");
    let node_ip = plan.block.map_or(Ipv4Addr::LOCALHOST, Block::node);
    let configuration = json!({
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "options": {
            "cidr": PODS,
            "nodeIP": IpAddr::from(node_ip),
            "manageAllNodes": true,
            "nodeLeaseDurationSeconds": 40,
            "podPlayStageParallelism": 32,
        },
    });
    let text = format!("{configuration}\n---\n{STAGES}");
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(Program {
        name: "kwok".to_owned(),
        path: plan.tools.path(Tool::Kwok)?.to_owned(),
        arguments: vec![
            format!("--config={}", path.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            "--server-address=".to_owned(),
        ],
        environment: vec![("HOME".to_owned(), folder.to_string_lossy().into_owned())],
        log: folder.join("log/kwok.log"),
        folder: folder.to_owned(),
    })
}

/// Makes the node that kwok plays.
pub async fn create_node(client: &Client) -> Result<()> {
    let node = json!({
        "metadata": {
            "name": NAME,
            "annotations": { "kwok.x-k8s.io/node": "fake" },
            "labels": {
                "kubernetes.io/hostname": NAME,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
            },
        },
    });
    let node: Node = serde_json::from_value(node).context("failed to describe the node")?;
    let made = Api::all(client.clone()).create(&PostParams::default(), &node).await;
    made.map(drop).context("failed to make the node")
}

/// An annotation that every pod gets, by which the policy below is known to work.
const PLAYED: &str = "testbed.gastown.io/played";

/// In which version an API server of this minor version of Kubernetes has policies that change what is made, if any.
pub fn policies(minor: u32) -> Option<&'static str> {
    match minor {
        36.. => Some("v1"),
        34 | 35 => Some("v1beta1"),
        32 | 33 => Some("v1alpha1"),
        _ => None,
    }
}

/// What is missing where it has none: pods would not play what their Namespace says.
pub fn lacking(minor: u32) -> Option<String> {
    policies(minor).is_none().then(|| {
        format!(
            "Kubernetes 1.32 or later, since pods are played by a MutatingAdmissionPolicy, which 1.{minor} does not have (TESTBED_KUBERNETES)"
        )
    })
}

/// Lets a Namespace's script be that of its pods, by policies of this version.
pub async fn copy_scripts(client: &Client, version: &str) -> Result<()> {
    let version = format!("admissionregistration.k8s.io/{version}");
    let policies = json!({
        "apiVersion": version,
        "kind": "MutatingAdmissionPolicy",
        "metadata": { "name": "testbed-scripts" },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
            }]},
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "variables": [
                { "name": "own", "expression": "object.?metadata.annotations.orValue({})" },
                { "name": "all", "expression": "namespaceObject.?metadata.annotations.orValue({})" },
            ],
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": format!(
                "(has(object.metadata.annotations) ? [] : [JSONPatch{{op: 'add', path: '/metadata/annotations', value: {{}}}}]) \
                 + [JSONPatch{{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('{PLAYED}'), value: 'true'}}] \
                 + variables.all.filter(k, k.startsWith('testbed.gastown.io/') && !(k in variables.own))\
                 .map(k, JSONPatch{{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey(k), \
                 value: variables.all[k]}})"
            )}}],
        },
    });
    let binding = json!({
        "apiVersion": version,
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": { "name": "testbed-scripts" },
        "spec": { "policyName": "testbed-scripts" },
    });
    manifests::apply(client, &policies).await?;
    manifests::apply(client, &binding).await
}

/// Whether the policy above is at work: a dry run of a pod shows its mark.
pub async fn scripts_are_copied(client: &Client) -> bool {
    let pod = json!({
        "metadata": { "name": "probe" },
        "spec": { "containers": [{ "name": "probe", "image": "probe" }] },
    });
    let Ok(pod) = serde_json::from_value::<Pod>(pod) else { return false };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let made = Api::<Pod>::default_namespaced(client.clone()).create(&dry, &pod).await;
    made.is_ok_and(|it| it.metadata.annotations.is_some_and(|it| it.contains_key(PLAYED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_plays_scripts_or_is_refused_by_name() {
        let table = [
            (37, Some("v1"), "the newest"),
            (36, Some("v1"), "stable since then"),
            (35, Some("v1beta1"), "a beta"),
            (34, Some("v1beta1"), "since then"),
            (33, Some("v1alpha1"), "an alpha"),
            (32, Some("v1alpha1"), "since then"),
            (31, None, "unknown"),
        ];
        for (minor, want, because) in table {
            assert_eq!(policies(minor), want, "1.{minor}: {because}");
            assert_eq!(lacking(minor).is_some(), want.is_none(), "1.{minor}: {because}");
        }
        let said = lacking(31).unwrap();
        assert!(said.contains("1.32 or later") && said.contains("1.31"), "{said}");
    }

    #[test]
    fn the_stages_are_yaml_and_named_once() {
        let stages: Vec<serde_json::Value> = serde_saphyr::from_multiple(STAGES).unwrap();
        let mut names: Vec<_> =
            stages.iter().map(|it| it["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 7);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 7);
    }
}
