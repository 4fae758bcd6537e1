//! Field types that several kinds and versions use, and the schemas that the Go original gave them.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ResourceClaim,
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::api::text::Text;

/// What Kubernetes takes as an amount, such as `500m` or `1Gi`.
pub const QUANTITY: &str = "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|\
    ([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$";

/// A key of a Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// Key in the Secret.
    pub key: String,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    pub name: String,
}

/// A ConfigMap in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ConfigMapRef {
    /// Name of the ConfigMap.
    #[serde(default)]
    pub name: String,
}

/// CPU and memory of a container, as in a Pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Most that the container may use. A container that exceeds its memory limit is ended (OOMKilled).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantities")]
    pub limits: Option<BTreeMap<String, Quantity>>,
    /// What the scheduler reserves. Defaults to the limits where those are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "quantities")]
    pub requests: Option<BTreeMap<String, Quantity>>,
    /// Claims of spec.resourceClaims; an agent pod has none, so a Polecat with claims is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "claims")]
    pub claims: Option<Vec<ResourceClaim>>,
}

/// One observation about an object, as in the Kubernetes API conventions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is asked, such as `Ready`.
    #[serde(rename = "type")]
    pub type_: Text,
    /// `True`, `False` or `Unknown`.
    pub status: Text,
    /// Generation of the spec that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// A word for programs.
    pub reason: Text,
    /// A sentence for people.
    pub message: Text,
}

impl JsonSchema for Condition {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "One observation about the object, as in the Kubernetes API conventions.",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {"type": "string", "format": "date-time",
                    "description": "When the status last changed."},
                "message": {"type": "string", "maxLength": 32768, "description": "A sentence for people."},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0,
                    "description": "Generation of the spec that was judged."},
                "reason": {"type": "string", "maxLength": 1024, "minLength": 1,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", "description": "A word for programs."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "Whether it is so."},
                "type": {"type": "string", "maxLength": 316, "description": "What is asked, such as `Ready`.", "pattern":
                    "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"},
            },
        })
    }
}

/// Conditions, merged by type: several writers can own different ones.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "Observations about the object; at most one of each type.",
        "items": Condition::json_schema(generator),
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

/// A moment.
pub(crate) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "Amounts by resource name, such as cpu and memory.",
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "pattern": QUANTITY,
        },
    })
}

fn claims(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "Resource claims of the pod.",
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "description": "Name of the claim."},
                "request": {"type": "string", "description": "One request of the claim; unset: all of it."},
            },
        },
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    })
}
