//! `Polecat` as the Go original serves it. Fields the original accepted stay accepted; bounds it lacked are not added.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use k8s_openapi::api::core::v1::EnvVar;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::{
    shared::{ConfigMapRef, Resources, SecretKeyRef, SecretRef},
    v1beta1::{AgentKind, DesiredState, PolecatStatus, Provider},
};

/// One disposable worker: clones a repository, lets an agent work on one task, pushes the work branch.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(group = "gastown.gastown.io", version = "v1alpha1", kind = "Polecat", plural = "polecats")]
#[kube(namespaced, status = "PolecatStatus", derive = "PartialEq")]
#[kube(shortname = "pcat", category = "gastown")]
#[kube(selectable = ".spec.rig", selectable = ".status.phase")]
#[kube(
    doc = "One disposable worker: clones a repository, lets an agent work on one task, pushes the work branch."
)]
#[kube(printcolumn(name = "Rig", type_ = "string", json_path = ".spec.rig"))]
#[kube(printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"))]
#[kube(printcolumn(name = "Bead", type_ = "string", json_path = ".status.assignedBead"))]
#[kube(printcolumn(name = "Pod", type_ = "string", json_path = ".status.podName"))]
#[kube(printcolumn(name = "Active", type_ = "boolean", json_path = ".status.podActive"))]
#[kube(printcolumn(
    name = "Model",
    type_ = "string",
    json_path = ".status.agentModel",
    priority = 1
))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct PolecatSpec {
    /// Name of the Rig this worker belongs to; it stays what it was. A Rig that does not exist gives a warning, not a
    /// refusal.
    #[x_kube(validation = ("self == oldSelf", "a Polecat stays with its Rig; create another Polecat for the other Rig"))]
    pub rig: String,
    /// The state to steer towards. Idle and Terminated end a running agent; what it committed is pushed.
    #[serde(default)]
    pub desired_state: DesiredState,
    /// The bead (issue) to work on; names the work branch when `workBranch` is not set.
    #[serde(rename = "beadID", default, skip_serializing_if = "Option::is_none")]
    pub bead_id: Option<String>,
    /// What the agent is asked to do, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_description: Option<String>,
    /// Where the worker runs. Only `kubernetes`: a pod of this cluster.
    #[serde(default)]
    pub execution_mode: ExecutionMode,
    /// The kind of agent.
    #[serde(default)]
    pub agent: AgentKind,
    /// How the agent is started. `kubernetes.*` wins over this, this over the top level. What the agent's environment gets:
    ///
    /// | provider | `modelProvider.endpoint` | `modelProvider.apiKeySecretRef` | `model` |
    /// |---|---|---|---|
    /// | `litellm` (default) | `ANTHROPIC_BASE_URL`, `OPENAI_BASE_URL` | `ANTHROPIC_AUTH_TOKEN`, `OPENAI_API_KEY` | `ANTHROPIC_MODEL`, `OPENAI_MODEL` |
    /// | `anthropic` | `ANTHROPIC_BASE_URL` | `ANTHROPIC_API_KEY` | `ANTHROPIC_MODEL` |
    /// | `openai` | `OPENAI_BASE_URL` | `OPENAI_API_KEY` | `OPENAI_MODEL` |
    /// | `ollama` | `OLLAMA_HOST` | `OLLAMA_API_KEY` | `OLLAMA_MODEL` |
    ///
    /// `env` wins over this table, and `kubernetes.apiKeySecretRef` (`ANTHROPIC_API_KEY`) over both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_config: Option<AgentConfig>,
    /// CPU and memory of the agent's container, unless `kubernetes.resources` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Seconds after its end until this Polecat is deleted; unset: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<i32>,
    /// Seconds without output or file changes after which the agent is ended; unset, 0 or less: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_idle_seconds: Option<i32>,
    /// The repository, its credentials and the pod. Without it there is nothing to run: phase Stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesSpec>,
}

/// Where a worker runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionMode {
    #[default]
    Kubernetes,
}

/// How the agent is started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentConfig {
    /// Who serves the model: decides which variables the agent's environment gets.
    #[serde(default)]
    pub provider: Provider,
    /// Model name or id, such as `claude-sonnet-4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's endpoint and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_provider: Option<ModelProvider>,
    /// Image of the agent's container, unless `kubernetes.image` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Program and first arguments; unset: `claude` from the image's PATH, in print mode, with the task as its prompt. An
    /// image without it fails with `AgentNotFound`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// More arguments, after those of `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// A ConfigMap that the agent sees as files, in the folder named by `GT_AGENT_CONFIG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapRef>,
    /// More variables for the agent. Names that start with `GT_`, `GIT_CONFIG_` or `LD_` are refused, and so is a value
    /// from the Secret of `kubernetes.gitSecretRef`, or from a file (`fileKeyRef`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<EnvVar>>,
}

/// The model's endpoint and key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelProvider {
    /// Base URL of the API, such as `https://ai-gateway.example.com/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The Secret key that holds the API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeyRef>,
}

/// The repository, its credentials and the pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesSpec {
    /// Repository: `git@host:path`, `ssh://git@host:port/path` or `https://host/path`.
    #[schemars(regex(
        pattern = r"^(git@[a-zA-Z0-9._-]+:|https?://[a-zA-Z0-9._-]+(:[0-9]+)?/|ssh://([a-zA-Z0-9._-]+@)?[a-zA-Z0-9._-]+(:[0-9]+)?/)[a-zA-Z0-9._~/-]+(\.git)?$"
    ))]
    pub git_repository: String,
    /// Branch to start from.
    #[serde(default = "main_branch")]
    #[schemars(regex(pattern = r"^[a-zA-Z0-9._/-]+$"))]
    pub git_branch: String,
    /// Branch to push; unset: `feature/<beadID>`, or `polecat/<name>` without a bead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-zA-Z0-9._/-]+$"))]
    pub work_branch: Option<String>,
    /// Secret with the git credential: `ssh-privatekey`, `id_rsa` or `id_ed25519`, or a user name and a password or
    /// token with the `host` they are for. The agent never sees it.
    pub git_secret_ref: SecretRef,
    /// Secret with a `.credentials.json` of a Claude subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claude_creds_secret_ref: Option<SecretRef>,
    /// Secret key with an Anthropic API key, given to the agent as `ANTHROPIC_API_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeyRef>,
    /// Image of the agent's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// CPU and memory of the agent's container; unset: requests 500m and 1Gi, limits 2 and 4Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Seconds the agent may run, from its start. Its pod may take this and the operator's `--push-reserve` (120 s) from
    /// the moment a node takes it, so pulling images and cloning are paid from the same account: where they take longer
    /// than the reserve, the agent has that much less. Whichever comes first ends the agent, and what it has committed by
    /// then is pushed.
    #[serde(default = "one_hour")]
    pub active_deadline_seconds: i64,
    /// ConfigMap whose key `known_hosts` replaces the built-in SSH host keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_known_hosts_config_map_ref: Option<ConfigMapRef>,
    /// Host keys are always checked.
    #[serde(default)]
    pub ssh_strict_host_key_checking: StrictHostKeyChecking,
}

/// Whether SSH host keys are checked: always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StrictHostKeyChecking {
    #[default]
    Yes,
}

fn main_branch() -> String {
    "main".into()
}

fn one_hour() -> i64 {
    3600
}
