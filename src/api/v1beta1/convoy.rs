//! `Convoy` as the hub knows it.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RigRef;
use crate::api::shared::{Condition, conditions, date_time};

/// A batch of beads that are followed together until all are done.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(group = "gastown.gastown.io", version = "v1beta1", kind = "Convoy", plural = "convoys")]
#[kube(namespaced, status = "ConvoyStatus", derive = "PartialEq")]
#[kube(shortname = "cvy", category = "gastown")]
#[kube(doc = "A batch of beads that are followed together until all are done.")]
#[kube(selectable = ".spec.rigRef.name", selectable = ".status.phase")]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct ConvoySpec {
    /// What this batch is about, for people: 1 to 4096 characters.
    #[schemars(length(min = 1, max = 4096))]
    pub description: String,
    /// The beads that are followed, 1 to 1000; each once.
    #[schemars(length(min = 1, max = 1000))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub beads: Vec<FollowedBead>,
    /// Most Polecats at work at a time, from 1. Unset: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub parallelism: Option<i32>,
    /// The Rig whose beads these are. Unset: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rig_ref: Option<RigRef>,
}

/// One bead of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct FollowedBead {
    /// Id of the bead, such as `gt-42`: 1 to 128 letters, digits, dots, dashes and underscores.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = (
        "self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')",
        "use the id of a bead: letters, digits, dots, dashes and underscores, such as gt-42"
    ))]
    pub id: String,
}

/// What is seen of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConvoyStatus {
    /// Generation of the spec that was last judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the batch stands.
    #[serde(default)]
    pub phase: ConvoyPhase,
    /// Beads done of beads followed, as `k/n`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Beads whose work is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub completed_beads: Option<Vec<String>>,
    /// Beads whose work is not done yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub pending_beads: Option<Vec<String>>,
    /// When the batch was first looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub started_at: Option<Time>,
    /// When the last bead was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub completed_at: Option<Time>,
    /// Observations; at most one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConvoyPhase {
    #[default]
    Pending,
    InProgress,
    Complete,
    Failed,
}
