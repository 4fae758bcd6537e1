//! `BeadStore` as the Go original serves it: the issues of a Rig.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{shared::SecretRef, v1beta1::BeadStoreStatus};

/// The beads (issues) of a Rig, kept in its repository.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(group = "gastown.gastown.io", version = "v1alpha1", kind = "BeadStore")]
#[kube(namespaced, plural = "beadstores", status = "BeadStoreStatus", derive = "PartialEq")]
#[kube(shortname = "bds", category = "gastown")]
#[kube(doc = "The beads (issues) of a Rig, kept in its repository.")]
#[kube(selectable = ".spec.rigRef", selectable = ".status.phase")]
#[kube(printcolumn(name = "Rig", type_ = "string", json_path = ".spec.rigRef"))]
#[kube(printcolumn(name = "Prefix", type_ = "string", json_path = ".spec.prefix"))]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Issues", type_ = "integer", json_path = ".status.issueCount"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct BeadStoreSpec {
    /// Name of the Rig whose beads these are.
    pub rig_ref: String,
    /// Prefix of the bead ids with its dash, such as `gt-`.
    #[schemars(regex(pattern = r"^[a-z]+-$"))]
    pub prefix: String,
    /// Secret with the git credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_secret_ref: Option<SecretRef>,
    /// Time between two looks at the repository, such as `5m`.
    #[serde(default = "five_minutes")]
    pub sync_interval: String,
}

fn five_minutes() -> String {
    "5m".into()
}
