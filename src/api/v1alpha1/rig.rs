//! `Rig` as the Go original serves it: a project's repository and settings, for the whole cluster.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::v1beta1::RigStatus;

/// A project: its repository, its bead prefix, its settings.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(group = "gastown.gastown.io", version = "v1alpha1", kind = "Rig", plural = "rigs")]
#[kube(status = "RigStatus", derive = "PartialEq", shortname = "rg", category = "gastown")]
#[kube(selectable = ".status.phase")]
#[kube(doc = "A project: its repository, its bead prefix, its settings.")]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Polecats", type_ = "integer", json_path = ".status.polecatCount"))]
#[kube(printcolumn(name = "Convoys", type_ = "integer", json_path = ".status.activeConvoys"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct RigSpec {
    /// Repository of the project.
    #[serde(rename = "gitURL")]
    pub git_url: String,
    /// Prefix of the project's bead ids, such as `ap` for `ap-1x2y3`. It stays what it was.
    #[schemars(regex(pattern = r"^[a-z]{2,10}$"))]
    #[x_kube(validation = ("self == oldSelf", "the ids of beads begin with it, so it stays what it was; create another Rig for another prefix"))]
    pub beads_prefix: String,
    /// Settings of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<RigSettings>,
}

/// Settings of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RigSettings {
    /// Theme of the worker names, such as `mad-max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namepool_theme: Option<String>,
    /// Most Polecats of this Rig, 1 to 100.
    #[serde(default = "eight")]
    #[schemars(schema_with = "max_polecats")]
    pub max_polecats: i32,
}

fn eight() -> i32 {
    8
}

fn max_polecats(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "integer", "minimum": 1, "maximum": 100, "default": 8,
        "description": "Most Polecats of this Rig, 1 to 100.",
    })
}
