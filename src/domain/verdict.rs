//! The last words of a pod's containers, as they cross from the runner to the operator. Pure data: JSON of at most
//! [`MAX_BYTES`] bytes by construction. Whatever comes from `claude` in it is untrusted text.

use serde::{Deserialize, Serialize};

/// What the kubelet keeps of a termination message is 4,096 bytes; ours stay well below.
pub const MAX_BYTES: usize = 3072;

/// What `telemetry` reports: the verdict of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verdict {
    /// Version of this shape: 1.
    pub v: u8,
    /// Commit the work branch stood on when the agent began, 40 or 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Commit that was handed over; absent when the agent committed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Commits from base to commit.
    #[serde(default)]
    pub commits: u32,
    /// Branch that holds the commit on the remote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The remote has the commit.
    pub pushed: bool,
    /// A stable word for what became of the push, such as `Pushed`, `NothingToPush`, `PushRejected`.
    pub reason: String,
    /// One sentence for people; escaped, cut, free of credentials.
    #[serde(default)]
    pub message: String,
    /// What the runner beside the agent said of its end. Written by a container the agent runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Ended>,
    /// SHA-256 of the task's text, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_sha256: Option<String>,
    /// Seconds from the agent's end to the end of the push.
    #[serde(default)]
    pub push_seconds: f64,
}

/// What the runner in `claude` says of the agent's end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ended {
    /// The agent's exit code; 128 plus the signal's number when a signal ended it.
    pub exit_code: i32,
    /// Why the runner ended it, if it did: `Deadline`, `IdleTimeout`, `Terminated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Seconds the agent ran.
    pub seconds: f64,
    /// Tokens the agent reported, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
}

/// What `git-init` and `claude` leave when they fail, and a success leaves out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failure {
    /// Version of this shape: 1.
    pub v: u8,
    /// A stable word such as `BranchNotFound`, `HostKeyUnknown`, `CloneRefused`, `AgentNotFound`.
    pub reason: String,
    /// One sentence that says what happened and what to do.
    pub message: String,
}
