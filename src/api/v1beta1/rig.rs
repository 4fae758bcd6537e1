//! `Rig` as the hub knows it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::shared::{Condition, conditions};

/// What is seen of a Rig.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RigStatus {
    /// Generation of the spec that was last judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Overall state.
    #[serde(default)]
    pub phase: RigPhase,
    /// Polecats of this Rig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub polecat_count: Option<i64>,
    /// Convoys of this Rig that are under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "integer")]
    pub active_convoys: Option<i64>,
    /// The Rig's Witness was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_created: Option<bool>,
    /// The Rig's Refinery was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refinery_created: Option<bool>,
    /// Namespace of the Rig's Witness and Refinery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_namespace: Option<String>,
    /// Observations; at most one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Overall state of a Rig.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RigPhase {
    #[default]
    Initializing,
    Ready,
    Degraded,
}

fn integer(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "integer"})
}
