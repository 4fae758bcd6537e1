//! `BeadStore` as the hub knows it.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RigRef;
use crate::api::shared::{Condition, SecretRef, conditions, date_time};

/// The beads (issues) of a Rig, kept in its repository.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(group = "gastown.gastown.io", version = "v1beta1", kind = "BeadStore")]
#[kube(namespaced, plural = "beadstores", status = "BeadStoreStatus", derive = "PartialEq")]
#[kube(shortname = "bds", category = "gastown")]
#[kube(doc = "The beads (issues) of a Rig, kept in its repository.")]
#[kube(selectable = ".spec.rigRef.name", selectable = ".status.phase")]
#[kube(printcolumn(name = "Rig", type_ = "string", json_path = ".spec.rigRef.name"))]
#[kube(printcolumn(name = "Prefix", type_ = "string", json_path = ".spec.prefix"))]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Issues", type_ = "integer", json_path = ".status.issueCount"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct BeadStoreSpec {
    /// The Rig whose beads these are.
    pub rig_ref: RigRef,
    /// What the id of every bead begins with: 1 to 31 letters a to z and a dash, such as `gt-`.
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = ("self.matches('^[a-z]+-$')", "use letters a to z and a dash at the end, such as gt-"))]
    pub prefix: String,
    /// Secret of the same namespace with the git credential. Unset: the repository is read without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_secret_ref: Option<SecretRef>,
    /// Seconds between two looks at the repository, 1 to 604800 (a week).
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 1, max = 604_800))]
    pub sync_interval_seconds: i32,
}

const fn five_minutes() -> i32 {
    300
}

/// What is seen of a store of beads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BeadStoreStatus {
    /// Generation of the spec that was last judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether the store is in step with its repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BeadStorePhase>,
    /// When it last was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_sync_time: Option<Time>,
    /// Beads in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue_count: Option<i32>,
    /// Observations; at most one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Whether a store is in step with its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BeadStorePhase {
    Pending,
    Synced,
    Error,
}
