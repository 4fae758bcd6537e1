//! What is wanted of a `Polecat`: one place each for repository, agent, limits and completion. The Rig stays a plain name
//! in `spec.rig`, as in v1alpha1, so that one field selector works in both versions.

#![expect(clippy::duplicated_attributes, reason = "the columns of a CRD repeat their keys")]

use k8s_openapi::api::core::v1::EnvVar;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AgentKind, ConfigMapRef, DesiredState, PolecatStatus, Provider};
use crate::api::shared::{Resources, SecretKeyRef, SecretRef};

/// One disposable worker: clones a repository, lets an agent work on one task, pushes the work branch.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(group = "gastown.gastown.io", version = "v1beta1", kind = "Polecat", plural = "polecats")]
#[kube(root = "PolecatObject", namespaced, status = "PolecatStatus", derive = "PartialEq")]
#[kube(shortname = "pcat", category = "gastown")]
// In another order than in v1alpha1: what is the same in all versions the API server takes for set once for all of them,
// and refuses beside schemas that differ.
#[kube(selectable = ".status.phase", selectable = ".spec.rig")]
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
#[kube(printcolumn(
    name = "Trace",
    type_ = "string",
    json_path = ".status.trace.url",
    priority = 1
))]
#[kube(printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"))]
#[serde(rename_all = "camelCase")]
pub struct PolecatSpec {
    /// Name of the Rig this worker belongs to; it stays what it was. A Rig that does not exist gives a warning, not a
    /// refusal.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')", "use the name of a Rig: lower-case letters, digits, dashes and dots, such as greeter"))]
    #[x_kube(validation = ("self == oldSelf", "a Polecat stays with its Rig; create another Polecat for the other Rig"))]
    pub rig: String,
    /// The state to steer towards. Idle and Terminated end a running agent; what it committed is pushed.
    #[serde(default)]
    pub desired_state: DesiredState,
    /// The bead (issue) to work on, such as `gt-1x2y3`; names the work branch when `repository.workBranch` is not set.
    #[serde(rename = "beadID", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub bead_id: Option<String>,
    /// What the agent is asked to do, in full. At most 130816 bytes, which is what fits into its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 130_816))]
    pub task: Option<String>,
    /// What is cloned and pushed, and with which credential. Without it there is nothing to run: phase Stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// How the agent is started. What its environment gets:
    ///
    /// | provider | `endpoint` | `apiKeySecretRef` | `model` |
    /// |---|---|---|---|
    /// | `litellm` (default) | `ANTHROPIC_BASE_URL`, `OPENAI_BASE_URL` | `ANTHROPIC_AUTH_TOKEN`, `OPENAI_API_KEY` | `ANTHROPIC_MODEL`, `OPENAI_MODEL` |
    /// | `anthropic` | `ANTHROPIC_BASE_URL` | `ANTHROPIC_API_KEY` | `ANTHROPIC_MODEL` |
    /// | `openai` | `OPENAI_BASE_URL` | `OPENAI_API_KEY` | `OPENAI_MODEL` |
    /// | `ollama` | `OLLAMA_HOST` | `OLLAMA_API_KEY` | `OLLAMA_MODEL` |
    ///
    /// `env` wins over this table, and `anthropicKeySecretRef` (`ANTHROPIC_API_KEY`) over both.
    #[serde(default)]
    pub agent: Agent,
    /// How long things may take.
    #[serde(default)]
    pub limits: Limits,
    /// What makes a run count as done: `ExitCode`, that the agent exited with 0; `Commit`, that it also committed something;
    /// `Push`, that the remote also has its commits on the work branch. A run that lacks what is asked for is Stuck.
    #[serde(default)]
    pub completion: Completion,
}

/// What is cloned and pushed, and with which credential.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// Address of the repository: `git@host:path`, `ssh://git@host:port/path` or `https://host/path`.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = (
        r"self.matches('^(git@[a-zA-Z0-9._-]+:|https?://[a-zA-Z0-9._-]+(:[0-9]+)?/|ssh://([a-zA-Z0-9._-]+@)?[a-zA-Z0-9._-]+(:[0-9]+)?/)[a-zA-Z0-9._~/-]+$')",
        "use git@host:path, ssh://git@host:port/path or https://host/path, without a user name, password or token for https; the credential belongs into the Secret of secretRef"
    ))]
    pub url: String,
    /// Branch to start from.
    #[serde(default = "main_branch")]
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = (
        "self.matches('^[a-zA-Z0-9._/-]+$') && !self.startsWith('-')",
        "use the name of a branch: letters, digits and . _ / -, not beginning with a dash, such as main"
    ))]
    pub base_branch: String,
    /// Branch to push; unset: `feature/<beadID>`, or `polecat/<name>` without a bead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = (
        "self.matches('^[a-zA-Z0-9._/-]+$') && !self.startsWith('-')",
        "use the name of a branch: letters, digits and . _ / -, not beginning with a dash, such as feature/gt-1; or leave it out"
    ))]
    pub work_branch: Option<String>,
    /// Secret with the git credential: `ssh-privatekey`, `id_rsa` or `id_ed25519`, or a user name and a password or
    /// token with the `host` they are for. The agent never sees it.
    pub secret_ref: SecretRef,
    /// ConfigMap whose key `known_hosts` replaces the built-in SSH host keys. Host keys are always checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts_config_map_ref: Option<ConfigMapRef>,
}

/// How the agent is started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// The kind of agent.
    #[serde(default)]
    pub kind: AgentKind,
    /// Who serves the model: decides which variables the agent's environment gets.
    #[serde(default)]
    pub provider: Provider,
    /// Model name or id, such as `claude-sonnet-4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub model: Option<String>,
    /// Base URL of the model's API, such as `https://ai-gateway.example.com/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub endpoint: Option<String>,
    /// The Secret key that holds the key for the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret_ref: Option<SecretKeyRef>,
    /// Secret key with an Anthropic API key, given to the agent as `ANTHROPIC_API_KEY` whatever the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anthropic_key_secret_ref: Option<SecretKeyRef>,
    /// Secret with a `.credentials.json` of a Claude subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
    /// Image of the agent's container, such as `registry.example.com/agents/claude:1.2`; unset: the operator's
    /// `--agent-image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Service account of the pod, for its pull secrets and for what the cluster allows it; unset: the namespace's default.
    /// No token of it is ever in the pod. The Rig may say which ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')", "use the name of a service account: lower-case letters, digits, dashes and dots, such as agent"))]
    pub service_account_name: Option<String>,
    /// Program and first arguments; unset: `claude` from the image's PATH, in print mode, with the task as its prompt. An
    /// image without it fails with `AgentNotFound`. At most 256, of 130816 characters each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(max = 130_816)))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub command: Option<Vec<String>>,
    /// More arguments, after those of `command`. At most 256, of 130816 characters each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(max = 130_816)))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub args: Option<Vec<String>>,
    /// A ConfigMap that the agent sees as files, in the folder named by `GT_AGENT_CONFIG`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapRef>,
    /// More variables for the agent, at most 256. Names that start with `GT_`, `GIT_CONFIG_` or `LD_` are refused, and so
    /// is a value from the Secret of `repository.secretRef`, or from a file (`fileKeyRef`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = (
        "self.all(it, !it.name.startsWith('GT_') && !it.name.startsWith('GIT_CONFIG_') && !it.name.startsWith('LD_'))",
        "names that start with GT_, GIT_CONFIG_ or LD_ are the operator's; rename the variable"
    ))]
    #[x_kube(validation = (
        "self.all(it, self.exists_one(other, other.name == it.name))",
        "each variable may be there once; take out the others of the same name"
    ))]
    #[x_kube(validation = (
        "self.all(it, !has(it.valueFrom) || !has(it.valueFrom.fileKeyRef))",
        "files of the pod's volumes are the operator's; take the value from a Secret (secretKeyRef) or a ConfigMap (configMapKeyRef)"
    ))]
    pub env: Option<Vec<EnvVar>>,
    /// CPU and memory of the agent's container; unset: requests 500m and 1Gi, limits 2 and 4Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "!has(self.claims) || self.claims.size() == 0",
        "leave claims out: an agent pod has no resource claims"
    ))]
    pub resources: Option<Resources>,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Seconds the agent may run, from its start: 1 to 31536000 (a year); the operator's `--max-active-deadline` may
    /// allow less. Its pod may take this and the operator's `--push-reserve` (120 s) from the moment a node takes it, so
    /// pulling images and cloning are paid from the same account. Whichever comes first ends the agent, and what it has
    /// committed by then is pushed.
    #[serde(default = "one_hour")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub active_deadline_seconds: i64,
    /// Seconds without output or file changes after which the agent is ended, 1 to 31536000; unset: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub max_idle_seconds: Option<i32>,
    /// Seconds after its end until this Polecat is deleted, 0 to 315360000 (ten years); unset: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 315_360_000))]
    pub ttl_seconds_after_finished: Option<i32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            active_deadline_seconds: one_hour(),
            max_idle_seconds: None,
            ttl_seconds_after_finished: None,
        }
    }
}

/// What makes a run count as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Completion {
    /// The agent exited with 0: the meaning of every v1alpha1 object.
    #[default]
    ExitCode,
    /// And it committed something.
    Commit,
    /// And the remote has its commits on the work branch.
    Push,
}

fn main_branch() -> String {
    "main".into()
}

const fn one_hour() -> i64 {
    3600
}
