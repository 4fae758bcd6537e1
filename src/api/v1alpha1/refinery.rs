//! `Refinery` as the Go original serves it: merges finished work, one branch after another.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{shared::SecretRef, v1beta1::RefineryStatus};

/// Merges the finished work of a Rig's Polecats, one branch after another.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(group = "gastown.gastown.io", version = "v1alpha1", kind = "Refinery")]
#[kube(namespaced, plural = "refineries", status = "RefineryStatus", derive = "PartialEq")]
#[kube(shortname = "rfy", category = "gastown")]
#[kube(doc = "Merges the finished work of a Rig's Polecats, one branch after another.")]
#[kube(selectable = ".spec.rigRef", selectable = ".status.phase")]
#[kube(printcolumn(name = "Rig", type_ = "string", json_path = ".spec.rigRef"))]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Queue", type_ = "integer", json_path = ".status.queueLength"))]
#[kube(printcolumn(name = "Current", type_ = "string", json_path = ".status.currentMerge"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct RefinerySpec {
    /// Name of the Rig whose work is merged.
    pub rig_ref: String,
    /// Branch that the work is merged into.
    #[serde(default = "main_branch")]
    pub target_branch: String,
    /// Command that has to succeed before a merge, such as `make test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_command: Option<String>,
    /// Merges at a time.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub parallelism: i32,
    /// Secret with the git credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_secret_ref: Option<SecretRef>,
}

fn main_branch() -> String {
    "main".into()
}

fn one() -> i32 {
    1
}
