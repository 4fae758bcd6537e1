//! `Refinery` as the hub knows it.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RigRef;
use crate::api::shared::{Condition, SecretRef, conditions, date_time};

/// Merges the finished work of a Rig's Polecats, one branch after another.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(group = "gastown.gastown.io", version = "v1beta1", kind = "Refinery")]
#[kube(namespaced, plural = "refineries", status = "RefineryStatus", derive = "PartialEq")]
#[kube(shortname = "rfy", category = "gastown")]
#[kube(doc = "Merges the finished work of a Rig's Polecats, one branch after another.")]
#[kube(selectable = ".spec.rigRef.name", selectable = ".status.phase")]
#[kube(printcolumn(name = "Rig", type_ = "string", json_path = ".spec.rigRef.name"))]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Queue", type_ = "integer", json_path = ".status.queueLength"))]
#[kube(printcolumn(name = "Current", type_ = "string", json_path = ".status.currentMerge"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct RefinerySpec {
    /// The Rig whose work is merged.
    pub rig_ref: RigRef,
    /// Branch that the work is merged into: 1 to 244 characters.
    #[serde(default = "main_branch")]
    #[schemars(length(min = 1, max = 244))]
    #[x_kube(validation = (
        "self.matches('^[a-zA-Z0-9._/-]+$')",
        "use the name of a branch: letters, digits, dots, dashes, underscores and slashes, such as main"
    ))]
    pub target_branch: String,
    /// Command that has to succeed before a merge, as a shell takes it, such as `make test`; at most 4096 characters.
    /// Unset: nothing is tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub test_command: Option<String>,
    /// Merges at a time, 1 to 100.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub parallelism: i32,
    /// Secret of the same namespace with the git credential. Unset: the repository is used without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_secret_ref: Option<SecretRef>,
}

fn main_branch() -> String {
    "main".into()
}

const fn one() -> i32 {
    1
}

/// What is seen of a merge queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefineryStatus {
    /// Generation of the spec that was last judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the queue is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RefineryPhase>,
    /// Branches that wait to be merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_length: Option<i32>,
    /// Polecat whose work is being merged, or was last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_merge: Option<String>,
    /// When work was last merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_merge_time: Option<Time>,
    /// How many merges went which way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merges_summary: Option<MergesSummary>,
    /// Observations; at most one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// What a merge queue is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RefineryPhase {
    Idle,
    Processing,
    Error,
}

/// How many merges went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MergesSummary {
    /// All that were tried.
    pub total: i32,
    /// Merged.
    pub succeeded: i32,
    /// Not merged.
    pub failed: i32,
    /// Still to be tried.
    pub pending: i32,
}
