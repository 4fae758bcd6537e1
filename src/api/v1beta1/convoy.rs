//! `Convoy` as the hub knows it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::shared::{Condition, conditions, date_time};

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
    pub completed_beads: Option<Vec<String>>,
    /// Beads whose work is not done yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
