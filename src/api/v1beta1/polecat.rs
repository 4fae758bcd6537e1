//! `Polecat` as the inside of the operator knows it, and its status, which is the same in every version.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PolecatSpec;
use crate::api::{
    shared::{Condition, conditions, date_time},
    text::Text,
};

/// The whole object, as converted from the version that was served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Polecat {
    pub metadata: ObjectMeta,
    pub spec: PolecatSpec,
    pub status: PolecatStatus,
}

/// The state to steer towards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    #[default]
    Idle,
    Working,
    Terminated,
}

/// The kind of agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AgentKind {
    #[default]
    ClaudeCode,
}

/// Who serves the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    #[default]
    Litellm,
    Anthropic,
    Openai,
    Ollama,
}

/// What is seen of one worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolecatStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the worker stands.
    #[serde(default)]
    pub phase: Phase,
    /// The bead it works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_bead: Option<String>,
    /// Branch that holds the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Pod of the current attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// The pod is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_active: Option<bool>,
    /// When the pod began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_activity: Option<Time>,
    /// The kind of agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentKind>,
    /// Image of the agent's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_image: Option<Text>,
    /// Model the agent was told to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_model: Option<Text>,
    /// Number of the current attempt, from 1. Written before its pod, so that no attempt runs twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "attempt")]
    pub attempt: Option<i32>,
    /// Generation of the spec that the current attempt was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_generation: Option<i64>,
    /// Digest of the spec that the current attempt was made from, without what takes effect at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_spec_digest: Option<String>,
    /// When the agent of the current attempt began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub started_at: Option<Time>,
    /// When the current attempt ended; a finished attempt is never run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub finished_at: Option<Time>,
    /// The agent's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Commit that the agent of the current attempt began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_commit: Option<String>,
    /// SHA-256 of the task that the agent was given, as hex digits.
    #[serde(rename = "taskSHA256", default, skip_serializing_if = "Option::is_none")]
    pub task_sha256: Option<String>,
    /// Digests of the images that the current attempt ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digests: Option<ImageDigests>,
    /// What the current attempt took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Commit that was handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The remote has that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<bool>,
    /// The trace of the current attempt; written before its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// Observations; at most one of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// Where the trace of one attempt is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// Id of the trace, 32 hex digits.
    #[serde(default, rename = "traceID")]
    #[schemars(length(max = 32))]
    pub trace_id: String,
    /// Its page, if the run is recorded and the operator was told how such pages are addressed (`--trace-url-template`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
}

/// Digests of the images of one attempt, such as `sha256:9f86d0…`; one that the node did not tell is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageDigests {
    /// Of the container that clones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_init: Option<Text>,
    /// Of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claude: Option<Text>,
    /// Of the container that pushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Text>,
}

/// What one attempt took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Milliseconds that the agent ran, by its own container's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_milliseconds: Option<i64>,
    /// Milliseconds from the agent's end to the end of the push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_milliseconds: Option<i64>,
    /// Tokens that the agent reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<i64>,
}

/// Where a worker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    #[default]
    Idle,
    Working,
    Done,
    Stuck,
    Terminated,
}

impl Phase {
    /// Every phase, in the order of a life.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Working, Self::Done, Self::Stuck, Self::Terminated];

    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Working => "Working",
            Self::Done => "Done",
            Self::Stuck => "Stuck",
            Self::Terminated => "Terminated",
        }
    }
}

fn attempt(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "integer", "format": "int32", "minimum": 0,
        "description": "Number of the current attempt, from 1. Written before its pod, so that no attempt runs twice.",
    })
}
