//! The last words of a pod's containers, as they cross from the runner to the operator. Pure data: JSON
//! of at most [`MAX_BYTES`] bytes by construction. Whatever comes from `claude` in it is untrusted text.

use serde::{Deserialize, Serialize};

use crate::domain::untrusted;

/// What the kubelet keeps of a termination message is 4,096 bytes; ours stay well below.
pub const MAX_BYTES: usize = 3072;

/// What `telemetry` reports: the verdict of one attempt. Fields that a later runner adds here (not in
/// `agent`, which the agent could have written) are skipped: an operator that was rolled back still judges the pods that its
/// successor made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Version of this shape: 1. Another one is another shape, and nothing of it is read.
    pub v: u8,
    /// Commit the work branch stood on when the agent began, 40 or 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Commit that was handed over, or the signed one that took its place; absent when the agent committed
    /// nothing.
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
    /// When the steps in the pod began and ended, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
}

/// Moments in a pod, in milliseconds since 1970; what was not reached is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// The clone's begin and end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone: Option<(u64, u64)>,
    /// The agent's container had ended, or was waited for no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_over: Option<u64>,
    /// The push had come to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<u64>,
}

/// What the runner in `claude` says of the agent's end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ended {
    /// The agent's exit code; 128 plus the signal's number when a signal ended it.
    pub exit_code: i32,
    /// Why the runner ended it, if it did: `Deadline`, `IdleTimeout`, `StorageExceeded`, `Terminated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Seconds the agent ran.
    pub seconds: f64,
    /// Tokens the agent reported, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// What was handed over: `Bundle`, `Nothing`, or `Partly`, `Failed` and `TooLarge`, where commits may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<String>,
    /// When it began and ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(u64, u64)>,
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

/// Longest message, branch, hash and word, in bytes of JSON. Together with the keys they stay below
/// [`MAX_BYTES`].
const MAX_MESSAGE: usize = 1400;
const MAX_BRANCH: usize = 512;
const MAX_HASH: usize = 64;
const MAX_WORD: usize = 48;

impl Verdict {
    /// The termination message: JSON of at most [`MAX_BYTES`] bytes, whatever the fields hold.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let Self {
            v,
            base,
            commit,
            commits,
            branch,
            pushed,
            reason,
            message,
            agent,
            task_sha256,
            push_seconds,
            times,
        } = self;
        let hash = |it: &Option<String>| it.as_deref().map(|it| untrusted::fit(it, MAX_HASH));
        serde_json::to_string(&Self {
            v: *v,
            base: hash(base),
            commit: hash(commit),
            commits: *commits,
            branch: branch.as_deref().map(|it| untrusted::fit(it, MAX_BRANCH)),
            pushed: *pushed,
            reason: untrusted::fit(reason, MAX_WORD),
            message: untrusted::fit(message, MAX_MESSAGE),
            agent: agent.as_ref().map(Ended::fit),
            task_sha256: hash(task_sha256),
            push_seconds: seconds(*push_seconds),
            times: *times,
        })
    }
}

impl Ended {
    /// The same with every text cut and every number finite.
    #[must_use]
    pub fn fit(&self) -> Self {
        let Self { exit_code, stopped, seconds: ran, tokens, handover, span } = self;
        let word = |it: &Option<String>| it.as_deref().map(|it| untrusted::fit(it, MAX_WORD));
        Self {
            exit_code: *exit_code,
            stopped: word(stopped),
            seconds: seconds(*ran),
            tokens: *tokens,
            handover: word(handover),
            span: *span,
        }
    }
}

impl Failure {
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { v: 1, reason: reason.to_owned(), message: message.into() }
    }

    /// The termination message: JSON of at most [`MAX_BYTES`] bytes, whatever the fields hold.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let Self { v, reason, message } = self;
        let (reason, message) =
            (untrusted::fit(reason, MAX_WORD), untrusted::fit(message, MAX_MESSAGE));
        serde_json::to_string(&Self { v: *v, reason, message })
    }
}

/// Whole milliseconds, finite, not negative and below a year: JSON knows no other numbers, and none takes
/// many digits.
fn seconds(it: f64) -> f64 {
    const YEAR: f64 = 366.0 * 86_400.0;
    if it.is_finite() { (it.clamp(0.0, YEAR) * 1000.0).round() / 1000.0 } else { 0.0 }
}

/// The stable words of this shape. Each is written by the runner alone, with a sentence that says what to do.
pub mod reason {
    // The clone: `git-init` leaves one of these in a `Failure`.
    /// An environment variable that the operator sets is missing or malformed.
    pub const SETTING_INVALID: &str = "SettingInvalid";
    /// The repository's address is refused.
    pub const REPOSITORY_INVALID: &str = "RepositoryInvalid";
    /// A branch name is refused.
    pub const BRANCH_INVALID: &str = "BranchInvalid";
    /// The remote has no such branch to start from.
    pub const BRANCH_NOT_FOUND: &str = "BranchNotFound";
    /// The remote has a branch whose name excludes the work branch, such as `a` for `a/b`.
    pub const BRANCH_CONFLICT: &str = "BranchConflict";
    /// The host answers, and knows no such repository, or hides it from this credential.
    pub const REPOSITORY_NOT_FOUND: &str = "RepositoryNotFound";
    /// git's objects fail its own checks.
    pub const REPOSITORY_REFUSED: &str = "RepositoryRefused";
    /// The repository keeps files in Git LFS.
    pub const LFS_UNSUPPORTED: &str = "LfsUnsupported";
    /// The repository has submodules.
    pub const SUBMODULES_UNSUPPORTED: &str = "SubmodulesUnsupported";
    /// The git Secret lacks a key that this address needs.
    pub const CREDENTIALS_MISSING: &str = "CredentialsMissing";
    /// A key of the git Secret can't be read as what it should be.
    pub const CREDENTIALS_MALFORMED: &str = "CredentialsMalformed";
    /// The git Secret's token is meant for another host.
    pub const CREDENTIALS_FOR_ANOTHER_HOST: &str = "CredentialsForAnotherHost";
    /// The remote refuses the credential.
    pub const CREDENTIALS_REFUSED: &str = "CredentialsRefused";
    /// No host key is known for the host.
    pub const HOST_KEY_UNKNOWN: &str = "HostKeyUnknown";
    /// The host shows another key than the known one.
    pub const HOST_KEY_MISMATCH: &str = "HostKeyMismatch";
    /// The host has no address, or nothing answers there.
    pub const HOST_NOT_REACHABLE: &str = "HostNotReachable";
    /// The host's certificate is signed by nobody we trust, or is for another name.
    pub const CERTIFICATE_UNTRUSTED: &str = "CertificateUntrusted";
    /// The host sends us elsewhere; a credential is never carried along.
    pub const REDIRECT_REFUSED: &str = "RedirectRefused";
    /// ssh needs an entry for this user id in the image's passwd.
    pub const USER_UNKNOWN: &str = "UserUnknown";
    /// The image has no git, or no ssh.
    pub const GIT_MISSING: &str = "GitMissing";
    pub const SSH_MISSING: &str = "SshMissing";
    /// A volume is full.
    pub const VOLUME_FULL: &str = "VolumeFull";
    /// A volume can't be read or written.
    pub const VOLUME_UNUSABLE: &str = "VolumeUnusable";
    /// Anything else that git said against the clone.
    pub const CLONE_REFUSED: &str = "CloneRefused";
    /// The container was told to end before its work was done.
    pub const TERMINATED: &str = "Terminated";

    // The agent: `claude` leaves one of these in a `Failure`; the last words of `Ended.stopped` beside them.
    /// The agent exited with another code than 0, or its runner was cut off.
    pub const AGENT_FAILED: &str = "PodFailed";
    /// The image has no such program.
    pub const AGENT_NOT_FOUND: &str = "AgentNotFound";
    /// The program can't be run.
    pub const AGENT_NOT_EXECUTABLE: &str = "AgentNotExecutable";
    /// The agent ran into the spec's deadline.
    pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
    /// The agent did nothing for too long.
    pub const IDLE_TIMEOUT: &str = "IdleTimeout";
    /// The agent's files came close to the size limit of a volume.
    pub const STORAGE_EXCEEDED: &str = "StorageExceeded";

    // The push: `telemetry` leaves one of these, or one of the clone's, in a `Verdict`.
    /// The remote has the commit on the work branch.
    pub const PUSHED: &str = "Pushed";
    /// The agent committed nothing.
    pub const NOTHING_TO_PUSH: &str = "NothingToPush";
    /// The remote did not take the work branch.
    pub const PUSH_REJECTED: &str = "PushRejected";
    /// The commits could not be signed.
    pub const SIGNING_FAILED: &str = "SigningFailed";
    /// Anything else that kept the push from the remote.
    pub const PUSH_FAILED: &str = "PushFailed";
    /// The push took longer than its reserve.
    pub const PUSH_TIMED_OUT: &str = "PushTimedOut";
    /// The agent committed, and nothing of it on the work branch.
    pub const COMMITTED_ELSEWHERE: &str = "CommittedElsewhere";
    /// The commits do not continue the one that the agent began with.
    pub const HISTORY_REWRITTEN: &str = "HistoryRewritten";
    /// The agent's container never began.
    pub const NOT_BEGUN: &str = "NotBegun";
    /// The agent's container ended without handing over, as when it is killed or out of memory.
    pub const HANDOVER_MISSING: &str = "HandoverMissing";
    /// The agent's container could not make a bundle of its repository.
    pub const HANDOVER_FAILED: &str = "HandoverFailed";
    /// The pod was ended, and nothing was handed over in time.
    pub const HANDOVER_LATE: &str = "HandoverLate";
    /// The bundle is no bundle that we take: not a plain file, too large, malformed, or its objects fail
    /// git's checks.
    pub const BUNDLE_REFUSED: &str = "BundleRefused";
    /// The bundle is larger than the cap.
    pub const BUNDLE_TOO_LARGE: &str = "BundleTooLarge";
}

/// What `Ended` may say.
pub mod words {
    /// Of [`super::Ended::stopped`].
    pub const DEADLINE: &str = "Deadline";
    pub const IDLE_TIMEOUT: &str = "IdleTimeout";
    pub const STORAGE_EXCEEDED: &str = "StorageExceeded";
    pub const TERMINATED: &str = "Terminated";
    /// All of them.
    pub const STOPPED: [&str; 4] = [DEADLINE, IDLE_TIMEOUT, STORAGE_EXCEEDED, TERMINATED];
    /// Of [`super::Ended::handover`].
    pub const BUNDLE: &str = "Bundle";
    /// A bundle, and not of all branches.
    pub const PARTLY: &str = "Partly";
    pub const NOTHING: &str = "Nothing";
    pub const FAILED: &str = "Failed";
    pub const TOO_LARGE: &str = "TooLarge";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ended() -> impl Strategy<Value = Ended> {
        let word = || proptest::option::of(any::<String>());
        (any::<i32>(), word(), any::<f64>(), any::<Option<u64>>(), word()).prop_map(
            |(exit_code, stopped, seconds, tokens, handover)| Ended {
                exit_code,
                stopped,
                seconds,
                tokens,
                handover,
                span: Some((u64::MAX, u64::MAX)),
            },
        )
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[\"\\\\]{0,5000}",
            "[\\u{0}-\\u{1f}]{0,3000}",
            "[𝄞é\u{202e}]{0,3000}"
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_verdict_always_fits_and_reads_back(
            (base, branch) in (proptest::option::of(text()), proptest::option::of(text())),
            (reason, message) in (text(), text()),
            agent in proptest::option::of(ended()),
            (commits, push_seconds) in (any::<u32>(), any::<f64>()),
        ) {
            let (commit, task_sha256) = (base.clone(), base.clone());
            let verdict = Verdict {
                v: 1,
                base,
                commit,
                commits,
                branch,
                pushed: true,
                reason,
                message,
                agent,
                task_sha256,
                push_seconds,
                times: Some(Times {
                    clone: Some((u64::MAX, u64::MAX)),
                    handed_over: Some(u64::MAX),
                    pushed: Some(u64::MAX),
                }),
            };
            let json = verdict.to_json().unwrap();
            prop_assert!(json.len() <= MAX_BYTES, "{} bytes", json.len());
            let back: Verdict = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back.to_json().unwrap(), json, "fitting twice changes nothing");
        }

        #[test]
        fn a_failure_always_fits_and_reads_back(reason in text(), message in text()) {
            let json = Failure::new(&reason, message).to_json().unwrap();
            prop_assert!(json.len() <= MAX_BYTES);
            prop_assert!(serde_json::from_str::<Failure>(&json).is_ok());
        }
    }
}
