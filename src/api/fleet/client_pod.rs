//! `ClientPod` as the fleet operator serves it: its fields and defaults; additions are optional.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::shared::{Condition, QUANTITY, conditions, date_time};

/// One gptme server for one client.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(group = "gptme.ai", version = "v1", kind = "ClientPod", plural = "clientpods")]
#[kube(namespaced, status = "ClientPodStatus", shortname = "cpod", derive = "PartialEq")]
#[kube(doc = "One gptme server for one client.", category = "gastown")]
#[kube(selectable = ".spec.clientId", selectable = ".status.phase")]
#[kube(printcolumn(name = "ClientID", type_ = "string", json_path = ".spec.clientId"))]
#[kube(printcolumn(name = "Model", type_ = "string", json_path = ".spec.model"))]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Pod", type_ = "string", json_path = ".status.podName"))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct ClientPodSpec {
    /// Unique identifier of the client.
    pub client_id: String,
    /// Model that the server uses, such as `anthropic/claude-sonnet-4`; `default`: its own choice.
    #[serde(default = "default_model")]
    pub model: String,
    /// CPU and memory of the server, reserved and at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ClientPodResources>,
    /// Seconds without use after which the pod goes; 0: never.
    #[serde(default = "one_hour")]
    #[schemars(schema_with = "timeout")]
    pub timeout: i64,
}

/// CPU and memory of a server, reserved and at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientPodResources {
    /// CPU, such as `100m`.
    #[serde(default = "tenth_of_a_core")]
    #[schemars(regex(pattern = QUANTITY))]
    pub cpu: String,
    /// Memory, such as `256Mi`.
    #[serde(default = "quarter_of_a_gibibyte")]
    #[schemars(regex(pattern = QUANTITY))]
    pub memory: String,
}

/// What is seen of a client's server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientPodStatus {
    /// Generation of the spec that was last judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Name of the Pod and of its Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Phase of the Pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// When the server was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_activity: Option<Time>,
    /// Observations; at most one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

fn default_model() -> String {
    "default".into()
}

fn tenth_of_a_core() -> String {
    "100m".into()
}

fn quarter_of_a_gibibyte() -> String {
    "256Mi".into()
}

fn one_hour() -> i64 {
    3600
}

fn timeout(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "integer", "minimum": 0, "default": 3600})
}
