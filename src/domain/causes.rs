//! The table of everything that a run can wait for or fail of: its word, what becomes of the Polecat, what happened, and
//! what to do. `docs/failures.md` is written from it.

/// What becomes of a Polecat, or of what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on by itself once the cause is gone: phase `Working` or `Idle`.
    Waits,
    /// The attempt is over, or can't begin as it is asked for: phase `Stuck`.
    Stuck,
    /// It is about the commits alone, and stands in the condition `Pushed`.
    Commits,
}

/// One cause.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Reason of the condition and of the Event.
    pub reason: &'static str,
    pub fate: Fate,
    pub what: &'static str,
    pub advice: &'static str,
    /// Whether an Event of type `Warning` says it too, once.
    pub announced: bool,
}

const fn row(reason: &'static str, fate: Fate, what: &'static str, advice: &'static str) -> Row {
    Row { reason, fate, what, advice, announced: true }
}

/// One that nobody has to mend, that whoever caused it knows, or where no Event can be written: none.
const fn quiet(reason: &'static str, fate: Fate, what: &'static str, advice: &'static str) -> Row {
    Row { announced: false, ..row(reason, fate, what, advice) }
}

/// A part of the table, with the sentence that stands above it.
pub struct Part {
    pub title: &'static str,
    pub rows: &'static [Row],
}

use Fate::{Commits, Stuck, Waits};

/// The whole table, in the order of a life.
pub const PARTS: &[Part] = &[
    Part { title: "Before there is a pod", rows: BEFORE },
    Part { title: "The API server refuses the pod", rows: REFUSED },
    Part { title: "The pod does not start", rows: PENDING },
    Part { title: "The clone fails", rows: CLONE },
    Part { title: "The agent fails", rows: AGENT },
    Part { title: "The pod is cut off", rows: CUT_OFF },
    Part { title: "What became of the commits", rows: COMMITS },
];

#[rustfmt::skip]
const BEFORE: &[Row] = &[
    row("MissingKubernetesSpec", Stuck, "there is no repository to work on", "set spec.repository.url (v1alpha1: spec.kubernetes.gitRepository) and spec.repository.secretRef (v1alpha1: spec.kubernetes.gitSecretRef)"),
    row("PodBuildFailed", Stuck, "a field of the spec can't be used; the message names it", "mend that field; the attempt then begins by itself"),
    row("AgentImageNotSet", Waits, "neither the Polecat nor the operator names an image for the agent", "set spec.agent.image (v1alpha1: spec.kubernetes.image), or start the operator with --agent-image (RELATED_IMAGE_AGENT); `make agent-image AGENT_NPM=package@version` builds one"),
    row("RunnerImageNotSet", Waits, "the operator was started without an image for its runner", "start it with --runner-image"),
    row("WaitingForPreviousPod", Waits, "a pod of that name is still ending", "nothing: it begins when that pod is gone"),
    row("PodNameTaken", Stuck, "a pod of that name belongs to somebody else, and is left alone", "delete that pod, or give the Polecat another name"),
    row("NotAllowedByRig", Stuck, "its Rig does not let it begin: from this namespace, with this image or service account, or under its tlsPolicy", "use what the message names, or ask a platform admin to change the Rig; it then begins by itself"),
    row("Restored", Waits, "it came back, from a backup or as an export, and may have run before, or since that backup was made", "annotate it with gastown.io/resume=true, or set desiredState to Idle and back to Working"),
    quiet("Paused", Waits, "its Namespace, its Rig or the operator is paused", "kubectl gt resume, or start the operator without --paused"),
    quiet("NamespaceLimit", Waits, "its namespace has as many running as --max-running-per-namespace allows", "nothing: the oldest that waits begins when one ends"),
];

#[rustfmt::skip]
const REFUSED: &[Row] = &[
    row("QuotaExceeded", Waits, "a ResourceQuota of the namespace has no room", "it is tried again when the quota has more room, and in growing pauses; raise the quota, or ask for less in spec.agent.resources (v1alpha1: spec.kubernetes.resources)"),
    row("QuotaUnmet", Waits, "a ResourceQuota of the namespace counts an amount that the pod does not state", "set what it names in spec.agent.resources (v1alpha1: spec.kubernetes.resources), or give the namespace a LimitRange with defaults; it is tried again in growing pauses"),
    row("LimitRangeRefused", Stuck, "a LimitRange of the namespace does not allow these resources", "fit spec.agent.resources (v1alpha1: spec.kubernetes.resources) into it; those of git-init (requests 100m and 128Mi, limits 1 and 1Gi) and telemetry are fixed, and it must allow them; it is tried again in growing pauses"),
    row("PodSecurityRefused", Stuck, "the namespace's Pod Security level refuses the pod", "look at its pod-security.kubernetes.io labels; agent pods fit the level restricted; it is tried again in growing pauses"),
    row("SecurityContextConstraintRefused", Stuck, "no security context constraint allows the pod", "grant the namespace's default service account one that does, such as restricted-v2; it is tried again in growing pauses"),
    row("ServiceAccountMissing", Stuck, "the service account that the spec names is not there", "create it in the Polecat's namespace, or leave spec.agent.serviceAccountName out, which v1beta1 alone has: no token of it is mounted in any case; it is tried again in growing pauses"),
    row("AdmissionRefused", Stuck, "an admission webhook or a policy of this cluster refuses the pod; the message has its words", "mend what it names, or ask who runs it; it is tried again in growing pauses"),
    row("AdmissionUnavailable", Waits, "an admission webhook of this cluster that must agree to the pod does not answer", "its words name it; ask who runs it; it is tried again in growing pauses"),
    row("PodInvalid", Stuck, "the API server finds a field of the pod invalid", "mend the field that it names; it is tried again in growing pauses"),
    quiet("NamespaceTerminating", Stuck, "the namespace is being deleted", "create the Polecat elsewhere"),
    row("PodCreateFailed", Stuck, "the API server refuses the pod for another reason", "its words say why; it is tried again in growing pauses"),
];

#[rustfmt::skip]
const PENDING: &[Row] = &[
    row("Unschedulable", Waits, "no node takes the pod", "ask for less in spec.agent.resources (v1alpha1: spec.kubernetes.resources), or make room; it starts as soon as a node takes it"),
    row("ImagePullFailed", Waits, "an image can't be pulled", "check its name, its registry and the namespace's pull secrets; the node tries again by itself"),
    row("ImageNameInvalid", Waits, "an image has no valid name", "mend spec.agent.image (v1alpha1: spec.kubernetes.image), then set desiredState to Idle and back to Working"),
    row("SecretMissing", Waits, "a Secret that the spec names is not there, or lacks the key", "create it in the Polecat's namespace; the pod starts by itself"),
    row("ConfigMapMissing", Waits, "a ConfigMap that the spec names is not there, or lacks the key", "create it in the Polecat's namespace; the pod starts by itself"),
    row("ContainerConfigMissing", Waits, "a container can't be configured", "create what is missing; the pod starts by itself"),
    row("ContainerNotStarted", Waits, "the node can't start a container", "its words say why; mend the image or the node"),
    row("VolumeMountFailed", Waits, "the node can't mount a volume", "mend what it names; it tries again by itself"),
    row("SandboxFailed", Waits, "the node can't set the pod up", "look at the node's container runtime and network plugin; it tries again by itself"),
];

#[rustfmt::skip]
const CLONE: &[Row] = &[
    row("SettingInvalid", Stuck, "a variable that the operator sets is missing or malformed", "update operator and runner image together"),
    row("RepositoryInvalid", Stuck, "the repository's address is refused", "write git@host:path, ssh://git@host:port/path or https://host/path"),
    row("BranchInvalid", Stuck, "a branch name is refused", "give it a name that git takes"),
    row("BranchNotFound", Stuck, "the repository has no such branch to start from", "mend spec.repository.baseBranch (v1alpha1: spec.kubernetes.gitBranch), or push the branch"),
    row("BranchConflict", Stuck, "a branch of the remote excludes the work branch's name, as a does a/b", "choose another spec.repository.workBranch (v1alpha1: spec.kubernetes.workBranch)"),
    row("RepositoryNotFound", Stuck, "the host knows no such repository, or hides it from this credential", "check the path and the credential's rights"),
    row("RepositoryRefused", Stuck, "the repository holds an object that git's own checks refuse", "mend its history; git fsck names the object"),
    row("LfsUnsupported", Stuck, "the repository keeps files in Git LFS, or the agent put some there; then its commits are kept on the branch that the message names", "use a repository without"),
    row("SubmodulesUnsupported", Stuck, "the repository has submodules, or the agent committed a repository inside it; then its commits are kept on the branch that the message names", "use a repository without, and have the agent remove the inner .git"),
    row("CredentialsMissing", Stuck, "the git Secret lacks a key that this address needs", "add the key that the message names"),
    row("CredentialsMalformed", Stuck, "a key of the git Secret can't be read as what it should be", "put the file there, whole and unchanged, a private key without passphrase"),
    row("CredentialsForAnotherHost", Stuck, "the git Secret's token is meant for another host", "set its key host to the repository's host"),
    row("CredentialsRefused", Stuck, "the host refuses the credential", "add the public key to the account, or renew the token"),
    row("HostKeyUnknown", Stuck, "no key is known for the ssh host", "put its line into the ConfigMap of spec.repository.knownHostsConfigMapRef (v1alpha1: spec.kubernetes.sshKnownHostsConfigMapRef), or under known_hosts into the git Secret"),
    row("HostKeyMismatch", Stuck, "the ssh host shows another key than the known one", "if it was changed on purpose, replace the known one; else somebody is in between"),
    row("HostNotReachable", Stuck, "the host has no address, or nothing answers there", "check host and port, DNS, network policies and proxy"),
    row("CertificateUntrusted", Stuck, "the host's certificate is not trusted", "put the authority that signed it under ca.crt into the git Secret"),
    row("RedirectRefused", Stuck, "the host sends elsewhere, and a credential is never carried along", "write the final address"),
    row("UserUnknown", Stuck, "ssh needs a passwd entry for the pod's user id", "use the runner's own image, or an https address"),
    row("GitMissing", Stuck, "the image has no git", "use the runner's own image"),
    row("SshMissing", Stuck, "the image has no ssh", "use the runner's own image, or an https address"),
    row("VolumeFull", Stuck, "a volume of the pod is full", "use a smaller repository or a shallower history"),
    row("VolumeUnusable", Stuck, "a volume of the pod can't be read or written", "look at the node's disk"),
    row("CloneRefused", Stuck, "git refuses the clone for another reason", "its words say why; the log of git-init has more"),
    row("CloneFailed", Stuck, "git-init ended without saying why", "see its log"),
    row("CloneOutOfMemory", Stuck, "the clone ran out of memory", "the repository may be too large for 1 GiB"),
    row("RunnerMissing", Stuck, "the image of git-init or telemetry has no usable gt-runner", "use the runner's own image for --git-image and --telemetry-image"),
];

#[rustfmt::skip]
const AGENT: &[Row] = &[
    row("PodFailed", Stuck, "the agent exited with another code than 0, or its container was killed before it could", "see the log of container claude"),
    row("OOMKilled", Stuck, "the agent needed more memory than its limit", "raise spec.agent.resources.limits.memory (v1alpha1: spec.kubernetes.resources.limits.memory)"),
    row("DeadlineExceeded", Stuck, "the agent ran longer than it may, or its pod, which pulls and clones on the same clock", "raise spec.limits.activeDeadlineSeconds (v1alpha1: spec.kubernetes.activeDeadlineSeconds), or give it a smaller task"),
    row("IdleTimeout", Stuck, "the agent did nothing for spec.limits.maxIdleSeconds (v1alpha1: spec.maxIdleSeconds)", "give it more time, or look in the log of container claude for what it waited for"),
    row("StorageExceeded", Stuck, "the agent was ended at nine tenths of what /workspace (10 GiB), /tmp or its home (2 GiB each) may hold, or of its limit of ephemeral-storage for all together: at the whole, the node ends the pod at once, and nothing is pushed", "have the agent keep less there, give it a smaller task, or raise limits of ephemeral-storage in spec.agent.resources (v1alpha1: spec.kubernetes.resources)"),
    row("AgentNotFound", Stuck, "the image has no such program", "use an image with it, or set spec.agent.command (v1alpha1: spec.agentConfig.command)"),
    row("AgentNotExecutable", Stuck, "the agent's program can't be run", "use a program of the node's architecture with its execute bit set"),
    row("AgentImageIncompatible", Stuck, "gt-runner can't start in the agent's image", "use an image of the node's architecture with a glibc of 2.34 or newer and its loader (ldd --version in the image), or a runner image whose gt-runner is static"),
    row("TelemetryFailed", Stuck, "the container that pushes ended before the agent did: its pod is ended at once, and what the agent had committed is lost", "its words say why; see the log of container telemetry; set desiredState to Idle and back to Working for a new attempt"),
    row("ContainerStartFailed", Stuck, "a node failed to start a container, for a reason of its own", "its words say why; look at the node; set desiredState to Idle and back to Working for a new attempt"),
    row("Terminated", Stuck, "a container was told to end before its work was done", "set desiredState to Idle and back to Working for a new attempt"),
];

#[rustfmt::skip]
const CUT_OFF: &[Row] = &[
    row("Preempted", Stuck, "a pod of higher priority took its place", "set desiredState to Idle and back to Working for a new attempt"),
    row("Drained", Stuck, "its node was drained", "set desiredState to Idle and back to Working for a new attempt"),
    row("Evicted", Stuck, "its node ended it for want of memory, disk or process ids", "ask for what it needs in spec.agent.resources (v1alpha1: spec.kubernetes.resources), then set desiredState to Idle and back to Working"),
    row("NodeSilent", Waits, "its pod was to end, and its node does not say that it did: its agent may still run, so nothing is run again", "bring the node back; or, where it is surely off, delete the pod by `kubectl delete pod NAME --force --grace-period=0`, and set desiredState to Idle and back to Working for a new attempt"),
    row("NodeLost", Stuck, "its node is gone, or was tainted", "set desiredState to Idle and back to Working for a new attempt"),
    row("PodLost", Stuck, "the pod is gone and its agent may have run, so it is not run again", "commits that were not pushed are lost; set desiredState to Idle and back to Working for a new attempt"),
];

#[rustfmt::skip]
const COMMITS: &[Row] = &[
    row("NotCommitted", Stuck, "the agent exited with 0, and the run needs a commit to be done", "see the log of container claude"),
    row("NotPushed", Stuck, "the agent exited with 0, and the run needs its commits on the remote to be done", "Pushed says why they are not there"),
    row("VerdictMissing", Stuck, "the run needs its commits, and telemetry left no verdict", "see the log of container telemetry"),
    row("VerdictUnreadable", Commits, "the verdict of container telemetry is cut or damaged, and never taken for pushed", "look at the work branch on the remote, and at the log of container telemetry"),
    row("NoVerdict", Commits, "container telemetry has said nothing, or nothing yet; an Event where nothing more can come", "look at the work branch on the remote; commits that are not there may be lost"),
    quiet("MadeByOriginal", Commits, "the Go original made the pod, whose agent pushes by itself and reports nothing", "look at the work branch on the remote"),
    quiet("NothingToPush", Commits, "the agent committed nothing, or did not run", "see the condition Ready, and the log of container claude"),
    row("PushRejected", Commits, "the remote did not take the work branch", "the commits are kept on the branch that the message names; merge it, or mend the remote's rules"),
    row("PushFailed", Commits, "the push failed for another reason", "git's words say why; see the log of container telemetry"),
    row("PushTimedOut", Commits, "the push took longer than its reserve", "raise --push-reserve"),
    row("SigningFailed", Commits, "the commits could not be signed", "check the signing key in the git Secret"),
    row("HistoryRewritten", Commits, "the commits do not continue the one that the agent began with", "tell the agent to add commits and to rewrite none"),
    row("CommittedElsewhere", Commits, "the agent committed on other branches alone, and left the work branch checked out as it was", "its commits are kept on the branches that the message names: merge them from there, or tell the agent to commit on the branch that is checked out"),
    quiet("NotBegun", Commits, "there was no sign that the agent's container began", "Ready says why"),
    row("HandoverMissing", Commits, "the agent's container ended without handing over", "Ready says why it ended; commits may be lost"),
    row("HandoverFailed", Commits, "no bundle could be made of the agent's repository", "see the log of container claude; commits may be lost"),
    row("HandoverLate", Commits, "the pod was ended, and nothing was handed over in time, nor at a checkpoint before", "commits may be lost"),
    row("BundleRefused", Commits, "what was handed over is no bundle that is taken", "see the log of container telemetry"),
    row("BundleTooLarge", Commits, "the bundle of the agent's commits is larger than its cap of 512 MiB", "have the agent commit less"),
];

/// The row of a reason.
pub fn of(reason: &str) -> Option<&'static Row> {
    PARTS.iter().flat_map(|it| it.rows).find(|it| it.reason == reason)
}

/// The table as a page for people.
pub fn page() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(
        "<!-- Generated from src/domain/causes.rs by `cargo run --bin manifests`; edits are overwritten. -->\n\
         # Why a Polecat waits or is stuck\n\n\
         `kubectl gt polecat status NAME` and `kubectl describe polecat NAME` show a reason and a sentence: the reason of the \
         condition `Ready` is in one of the tables below, that of `Pushed` in the last. *Waits*: it goes on by itself once \
         the cause is gone. *Stuck*: the attempt is over, or can't begin as it is asked for. *Commits*: it is about the \
         commits alone, whatever the phase. Where *Event* says `Warning`, an Event of the Polecat has the same reason and words. A \
         finished attempt is never run again by itself: set `desiredState` to `Idle` and back to `Working`.\n",
    );
    for Part { title, rows } in PARTS {
        let _ = write!(
            page,
            "\n## {title}\n\n| reason | phase | Event | what happened | what to do |\n|---|---|---|---|---|\n"
        );
        for Row { reason, fate, what, advice, announced } in *rows {
            let event = if *announced { "`Warning`" } else { "none" };
            let _ = writeln!(page, "| `{reason}` | {fate:?} | {event} | {what} | {advice} |");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_reason_stands_once_and_says_what_to_do() {
        let mut seen = HashSet::new();
        for Row { reason, what, advice, .. } in PARTS.iter().flat_map(|it| it.rows) {
            assert!(seen.insert(reason), "{reason} stands twice");
            assert!(super::super::failure::is_word(reason), "{reason} can be a condition's reason");
            assert!(what.len() > 15 && advice.len() > 10, "{reason} says too little");
            assert!(!what.contains('|') && !advice.contains('|'), "{reason} breaks the table");
        }
    }

    /// Words that are no condition's.
    const FOREIGN: [&str; 16] = [
        "Pushed",
        "Deadline",
        "Bundle",
        "Partly",
        "Nothing",
        "Failed",
        "TooLarge", // words inside a verdict
        "Error",
        "OOMKilled",
        "DeadlineExceeded",
        "Evicted",
        "NodeLost",
        "Preempting", // the node's own words
        "git-init",
        "telemetry",
        "claude",
    ];

    /// Every word that the code has for a condition is in the table.
    #[test]
    fn no_word_of_the_code_is_missing() {
        let files = [
            include_str!("verdict.rs"),
            include_str!("failure.rs"),
            include_str!("pending.rs"),
            include_str!("refusal.rs"),
            include_str!("brake.rs"),
            include_str!("tenancy.rs"),
            include_str!("polecat/mod.rs"),
            include_str!("polecat/judge.rs"),
            include_str!("polecat/silent.rs"),
            include_str!("pod/checks.rs"),
        ];
        let production = files.map(|it| it.split("#[cfg(test)]").next().unwrap());
        let mut words = HashSet::new();
        for text in production {
            for start in [
                "Cause::new(\"",
                "Cause::known(\"",
                "Cause::new(\n            \"",
                "            (\"",
                "pub const ",
            ] {
                for (at, _) in text.match_indices(start) {
                    let rest = &text[at + start.len()..];
                    let rest = if start == "pub const " {
                        let line = rest.lines().next().unwrap();
                        let Some((_, value)) = line.split_once(": &str = \"") else { continue };
                        value
                    } else {
                        rest
                    };
                    words.extend(
                        rest.split('"').next().filter(|it| it.len() > 5).map(str::to_owned),
                    );
                }
            }
        }
        assert!(words.len() > 40, "the search finds them: {}", words.len());
        let camel =
            |it: &&String| it.chars().next().is_some_and(char::is_uppercase) && !it.contains(' ');
        let missing: Vec<_> = words
            .iter()
            .filter(|it| camel(it) && of(it).is_none() && !FOREIGN.contains(&it.as_str()))
            .collect();
        assert!(missing.is_empty(), "{missing:?} stand in no row");
    }
}
