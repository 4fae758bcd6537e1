//! `Refinery` as the hub knows it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::shared::{Condition, conditions, date_time};

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
