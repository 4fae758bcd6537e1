//! `Witness` as the hub knows it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::shared::{Condition, conditions, date_time};

/// What is seen by a Witness.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WitnessStatus {
    /// Generation of the spec that was last judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Overall health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<WitnessPhase>,
    /// When the Polecats were last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_check_time: Option<Time>,
    /// How many Polecats are in which state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polecats_summary: Option<PolecatsSummary>,
    /// Observations; at most one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Overall health of a Rig's Polecats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WitnessPhase {
    Pending,
    Active,
    Degraded,
}

/// How many Polecats are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolecatsSummary {
    /// All of the Rig.
    pub total: i32,
    /// At work.
    pub running: i32,
    /// Done.
    pub succeeded: i32,
    /// Failed.
    pub failed: i32,
    /// At work without progress.
    pub stuck: i32,
}
