//! `Witness` as the Go original serves it: looks after the health of a Rig's Polecats.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1beta1::WitnessStatus;

/// Looks after the health of a Rig's Polecats in its own namespace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(group = "gastown.gastown.io", version = "v1alpha1", kind = "Witness", plural = "witnesses")]
#[kube(namespaced, status = "WitnessStatus", derive = "PartialEq")]
#[kube(shortname = "wit", category = "gastown")]
#[kube(doc = "Looks after the health of a Rig's Polecats in its own namespace.")]
#[kube(selectable = ".spec.rigRef", selectable = ".status.phase")]
#[kube(printcolumn(name = "Rig", type_ = "string", json_path = ".spec.rigRef"))]
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
#[serde(rename_all = "camelCase")]
pub struct WitnessSpec {
    /// Name of the Rig whose Polecats are looked after.
    pub rig_ref: String,
    /// Time between two looks, such as `30s`.
    #[serde(default = "half_a_minute")]
    pub health_check_interval: String,
    /// How long a Polecat may stay without progress until it counts as stuck, such as `15m`.
    #[serde(default = "quarter_of_an_hour")]
    pub stuck_threshold: String,
    /// Who is told of trouble.
    #[serde(default = "mayor")]
    pub escalation_target: String,
}

fn half_a_minute() -> String {
    "30s".into()
}

fn quarter_of_an_hour() -> String {
    "15m".into()
}

fn mayor() -> String {
    "mayor".into()
}
