//! `Witness` as the hub knows it.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RigRef;
use crate::api::shared::{Condition, conditions, date_time};

/// Looks after the health of a Rig's Polecats in its own namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(group = "gastown.gastown.io", version = "v1beta1", kind = "Witness", plural = "witnesses")]
#[kube(namespaced, status = "WitnessStatus", derive = "PartialEq")]
#[kube(shortname = "wit", category = "gastown")]
#[kube(doc = "Looks after the health of a Rig's Polecats in its own namespace.")]
#[kube(selectable = ".spec.rigRef.name", selectable = ".status.phase")]
#[kube(printcolumn(name = "Rig", type_ = "string", json_path = ".spec.rigRef.name"))]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(
    name = "Running",
    type_ = "integer",
    json_path = ".status.polecatsSummary.running"
))]
#[kube(printcolumn(
    name = "Stuck",
    type_ = "integer",
    json_path = ".status.polecatsSummary.stuck"
))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
// The API server leaves alone what an edit leaves as it was only where that is all a rule hangs on; this one hangs on the spec.
#[x_kube(validation = Rule::new(
    "self.stuckThresholdSeconds >= self.healthCheckIntervalSeconds || (oldSelf.hasValue() && \
     oldSelf.value().stuckThresholdSeconds == self.stuckThresholdSeconds && \
     oldSelf.value().healthCheckIntervalSeconds == self.healthCheckIntervalSeconds)"
).message(
    "stuckThresholdSeconds must be at least healthCheckIntervalSeconds: a Polecat is only looked at that often"
).optional_old_self(true))]
#[serde(rename_all = "camelCase")]
pub struct WitnessSpec {
    /// The Rig whose Polecats are looked after.
    pub rig_ref: RigRef,
    /// Seconds between two looks, 1 to 86400 (a day).
    #[serde(default = "half_a_minute")]
    #[schemars(range(min = 1, max = 86_400))]
    pub health_check_interval_seconds: i32,
    /// Seconds that a Polecat may stay without progress until it counts as stuck, 1 to 604800 (a week); at least
    /// healthCheckIntervalSeconds.
    #[serde(default = "quarter_of_an_hour")]
    #[schemars(range(min = 1, max = 604_800))]
    pub stuck_threshold_seconds: i32,
    /// Who is told of trouble: a role or address that the town knows, such as `mayor`; at most 253 characters.
    #[serde(default = "mayor")]
    #[schemars(length(max = 253))]
    pub escalation_target: String,
}

const fn half_a_minute() -> i32 {
    30
}

const fn quarter_of_an_hour() -> i32 {
    900
}

fn mayor() -> String {
    "mayor".into()
}

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
