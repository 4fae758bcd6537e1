//! `Convoy` as the Go original serves it: beads that are followed together.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1beta1::ConvoyStatus;

/// A batch of beads that are followed together until all are done.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(group = "gastown.gastown.io", version = "v1alpha1", kind = "Convoy", plural = "convoys")]
#[kube(namespaced, status = "ConvoyStatus", derive = "PartialEq")]
#[kube(shortname = "cvy", category = "gastown")]
#[kube(doc = "A batch of beads that are followed together until all are done.")]
#[kube(selectable = ".spec.rigRef", selectable = ".status.phase")]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct ConvoySpec {
    /// What this batch is about, for people.
    #[schemars(length(min = 1))]
    pub description: String,
    /// Ids of the beads that are followed.
    #[schemars(length(min = 1))]
    pub tracked_beads: Vec<String>,
    /// Most Polecats at work at a time; 0: no limit.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub parallelism: i32,
    /// Name of the Rig whose beads these are; unset: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rig_ref: Option<String>,
}
