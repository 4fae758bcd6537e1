//! Why a run ended as it did: the word for programs, and the sentence for people that says what to do. The words and what
//! to do about each stand in [`causes`].

use crate::domain::{
    causes,
    conditions::shortened,
    fields::{DEADLINE, MAX_IDLE},
    layout,
    pod_brief::{Container, PodBrief, PodPhase, names_the_runner},
    untrusted::{Scrubber, is_deceptive},
    verdict::{Failure, Verdict, reason as word},
};

/// Longest foreign text inside a message of ours, in bytes.
const MAX_QUOTE: usize = 1024;

/// The same of the API server's refusals, whose decisive words may come last: OpenShift names every constraint that it tried.
const MAX_REFUSAL: usize = 3 * 1024;

/// Why a run waits or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
}

impl Cause {
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }

    /// What happened, and what the table says to do about it.
    pub fn known(reason: &str, happened: impl Into<String>) -> Self {
        let happened = happened.into();
        let message = match causes::of(reason) {
            Some(row) => format!("{happened}; {}", row.advice),
            None => happened,
        };
        Self { reason: reason.to_owned(), message }
    }
}

/// Why a pod that ended did not succeed; `None` where the agent exited with 0. What the clone and the node say comes
/// before what the agent says, since an agent that was never started or was cut off is not to blame.
pub fn ended(pod: &PodBrief, verdict: Option<&Verdict>) -> Option<Cause> {
    if pod.claude.exit_code() == Some(0)
        || (pod.phase == PodPhase::Succeeded && !pod.claude.ended())
    {
        return None;
    }
    let outside =
        clone_failed(pod).or_else(|| cut_off(pod, verdict)).or_else(|| nobody_pushes(pod));
    Some(outside.unwrap_or_else(|| agent_failed(pod, verdict)))
}

/// A container that its node can't start: for want of a usable runner in its image, or for a reason of the node's own.
pub fn not_started(container: &str, said: &str) -> Cause {
    let said_short = quote(said);
    if !names_the_runner(said) {
        let happened = format!("the node failed to start container {container}: {said_short}");
        return Cause::known("ContainerStartFailed", happened);
    }
    if container == layout::CLAUDE {
        let happened = format!("gt-runner can't start in the agent's image: {said_short}");
        return Cause::known("AgentImageIncompatible", happened);
    }
    let happened = format!("the image of {container} has no usable gt-runner: {said_short}");
    Cause::known("RunnerMissing", happened)
}

/// The agent may run, and what it commits would be lost.
fn nobody_pushes(pod: &PodBrief) -> Option<Cause> {
    if pod.claude.ended() || pod.claude.unstartable().is_some() {
        return None;
    }
    if let Some(said) = pod.telemetry.unstartable() {
        return Some(not_started(layout::TELEMETRY, said));
    }
    pod.deserted().then(|| telemetry_failed(&pod.telemetry))
}

/// Why the container that pushes ended before the one that it waits for.
pub fn telemetry_failed(telemetry: &Container) -> Cause {
    let Container::Ended { exit_code, reason, message, .. } = telemetry else {
        return Cause::known("TelemetryFailed", "container telemetry has ended");
    };
    let verdict = || serde_json::from_str::<Verdict>(message).ok();
    let said = last_words(message).map(|it| it.message);
    let said = said.or_else(|| verdict().map(|it| quote(&it.message)));
    let why = said.unwrap_or_else(|| with_words(&format!("code {exit_code}, {reason}"), message));
    let happened = format!(
        "container telemetry ended before the agent did, so nobody would push what it commits, and its pod is ended: {why}"
    );
    Cause::known("TelemetryFailed", happened)
}

fn clone_failed(pod: &PodBrief) -> Option<Cause> {
    if let Some(said) = pod.git_init.unstartable() {
        return Some(not_started(layout::GIT_INIT, said));
    }
    let Container::Ended { exit_code, reason, message, .. } = &pod.git_init else { return None };
    if *exit_code == 0 {
        return None;
    }
    if let Some(said) = last_words(message) {
        return Some(said);
    }
    Some(match &**reason {
        "OOMKilled" => Cause::known("CloneOutOfMemory", "the clone ran out of memory"),
        _ => Cause::known(
            "CloneFailed",
            with_words(&format!("git-init ended with exit code {exit_code}"), message),
        ),
    })
}

/// What happened, with the words of whoever did it, if there are any.
fn with_words(happened: &str, words: &str) -> String {
    let said = quote(words);
    if said.is_empty() { happened.to_owned() } else { format!("{happened}: {said}") }
}

/// What the node or the control plane did to the pod. Where nobody said what became of the commits, no more will be said.
fn cut_off(pod: &PodBrief, verdict: Option<&Verdict>) -> Option<Cause> {
    let in_danger = verdict.is_none() && !pod.never_began();
    let because = |reason, happened| {
        let happened = with_words(happened, &pod.message);
        let danger = if in_danger { "; commits may be lost" } else { "" };
        Cause::known(reason, format!("{happened}{danger}"))
    };
    let disruption = pod.disruption.as_deref().unwrap_or_default();
    Some(match (&*pod.reason, disruption) {
        ("DeadlineExceeded", _) => because(
            "DeadlineExceeded",
            &format!(
                "the pod, with pulling and cloning, took longer than {DEADLINE} and the push reserve"
            ),
        ),
        (_, "PreemptionByScheduler") => {
            because("Preempted", "a pod of higher priority took its place")
        }
        (_, "DeletionByTaintManager") => because("NodeLost", "its node was tainted or lost"),
        (_, "DeletionByPodGC") | ("NodeLost", _) => because("NodeLost", "its node is gone"),
        (_, "EvictionByEvictionAPI") => because("Drained", "its node was drained"),
        // The kubelet has more than one reason to end a pod, which it calls by one name.
        ("Preempting", "TerminationByKubelet") => {
            because("Preempted", "its node made room for a critical pod")
        }
        ("Terminated" | "NodeShutdown", "TerminationByKubelet") => {
            because("Drained", "its node ended it, as it does when it shuts down")
        }
        ("Evicted", _) | (_, "TerminationByKubelet") => {
            because("Evicted", "its node ended it for want of resources")
        }
        _ => return None,
    })
}

fn agent_failed(pod: &PodBrief, verdict: Option<&Verdict>) -> Cause {
    if let Some(said) = pod.claude.unstartable() {
        return not_started(layout::CLAUDE, said);
    }
    let Container::Ended { exit_code, reason, message, .. } = &pod.claude else {
        let happened = with_words("the pod failed before the agent ended", &pod.reason);
        return Cause::known("PodFailed", with_words(&happened, &pod.message));
    };
    let said = agents_last_words(reason, message);
    if let Some(said) = said.as_ref().filter(|it| it.reason != word::AGENT_FAILED) {
        return said.clone();
    }
    if never_loaded(pod, verdict) {
        let text = format!(
            "gt-runner ended with code {exit_code} before its first word, so the image's loader or libraries do not fit it"
        );
        return Cause::known("AgentImageIncompatible", text);
    }
    let stopped = verdict.and_then(|it| it.agent.as_ref()).and_then(|it| it.stopped.as_deref());
    match (&**reason, stopped) {
        ("OOMKilled", _) => {
            Cause::known("OOMKilled", "the agent needed more memory than its limit")
        }
        (_, Some("Deadline")) => {
            Cause::known("DeadlineExceeded", format!("the agent was ended at {DEADLINE}"))
        }
        (_, Some("IdleTimeout")) => Cause::known(
            "IdleTimeout",
            format!("the agent did nothing for {MAX_IDLE} and was ended"),
        ),
        (_, Some("StorageExceeded")) => Cause::known(
            "StorageExceeded",
            "the agent was ended because a volume of its own was nearly full",
        ),
        _ => said.unwrap_or_else(|| {
            Cause::known("PodFailed", format!("the agent exited with code {exit_code}"))
        }),
    }
}

/// The loader gave up: there are no words, and `telemetry`, where it has spoken, never saw a sign of a runner.
fn never_loaded(pod: &PodBrief, verdict: Option<&Verdict>) -> bool {
    let not_begun = |it: &Verdict| it.reason == word::NOT_BEGUN && it.agent.is_none();
    pod.mute() && verdict.is_none_or(not_begun)
}

/// A `Failure` that our runner left as a container's termination message.
fn last_words(message: &str) -> Option<Cause> {
    let said: Failure = serde_json::from_str(message).ok()?;
    is_word(&said.reason).then(|| Cause::new(&said.reason, quote(&said.message)))
}

/// What the runner beside the agent says of its own failures. An agent whose runner was killed may have written these words
/// itself: then the node's word counts, and no word that is not the runner's.
fn agents_last_words(reason: &str, message: &str) -> Option<Cause> {
    const KNOWN: [&str; 10] = [
        word::AGENT_FAILED,
        word::AGENT_NOT_FOUND,
        word::AGENT_NOT_EXECUTABLE,
        word::DEADLINE_EXCEEDED,
        word::IDLE_TIMEOUT,
        word::STORAGE_EXCEEDED,
        word::TERMINATED,
        word::SETTING_INVALID,
        word::VOLUME_FULL,
        word::VOLUME_UNUSABLE,
    ];
    let said = last_words(message).filter(|it| KNOWN.contains(&it.reason.as_str()));
    said.filter(|_| reason != "OOMKilled")
}

/// Whether a foreign text can be a condition's reason.
pub fn is_word(text: &str) -> bool {
    let first = text.chars().next().is_some_and(|it| it.is_ascii_alphabetic());
    first && text.len() <= 64 && text.chars().all(|it| it.is_ascii_alphanumeric())
}

/// Foreign text: one line, printable, cut, without what looks like a credential.
pub fn quote(text: &str) -> String {
    quoted(text, MAX_QUOTE)
}

/// The same where the words are the API server's own.
pub fn quote_whole(text: &str) -> String {
    quoted(text, MAX_REFUSAL)
}

fn quoted(text: &str, max: usize) -> String {
    let text = Scrubber::default().scrub(text);
    let line: String =
        text.trim().chars().map(|it| if is_deceptive(it) { ' ' } else { it }).collect();
    shortened(&line, max).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(exit_code: i32, reason: &str, message: &str) -> Container {
        Container::Ended { exit_code, reason: reason.into(), message: message.into(), at: None }
    }

    #[test]
    fn every_end_has_its_word() {
        let failed = PodBrief { phase: PodPhase::Failed, ..PodBrief::default() };
        let said = r#"{"v":1,"reason":"BranchNotFound","message":"no branch nope"}"#;
        let (bad_clone, no_json) = (over(1, "Error", said), over(1, "Error", "boom"));
        let table = [
            (
                PodBrief { git_init: bad_clone, ..failed.clone() },
                Some("BranchNotFound"),
                "the runner's own words",
            ),
            (
                PodBrief { git_init: no_json, ..failed.clone() },
                Some("CloneFailed"),
                "somebody else's words",
            ),
            (
                PodBrief { claude: over(0, "Completed", ""), ..failed.clone() },
                None,
                "exit 0 is success whatever else",
            ),
            (
                PodBrief { claude: over(3, "Error", ""), by_original: true, ..failed.clone() },
                Some("PodFailed"),
                "as in the original, whose containers have no words",
            ),
            (
                PodBrief { claude: over(137, "OOMKilled", ""), ..failed.clone() },
                Some("OOMKilled"),
                "the kubelet says so",
            ),
            (
                PodBrief {
                    reason: "DeadlineExceeded".into(),
                    claude: over(143, "Error", ""),
                    ..failed.clone()
                },
                Some("DeadlineExceeded"),
                "the pod's own deadline",
            ),
            (
                PodBrief { disruption: Some("EvictionByEvictionAPI".into()), ..failed.clone() },
                Some("Drained"),
                "kubectl drain",
            ),
            (
                PodBrief { phase: PodPhase::Succeeded, ..failed },
                None,
                "no container state: the pod's phase decides",
            ),
        ];
        for (pod, want, because) in table {
            assert_eq!(ended(&pod, None).map(|it| it.reason).as_deref(), want, "{because}");
        }
    }

    #[test]
    fn only_a_runner_that_never_began_blames_the_image() {
        let verdict =
            |reason: &str, agent| Verdict { reason: reason.into(), agent, ..Verdict::default() };
        let ended_by = Some(crate::domain::verdict::Ended { exit_code: 1, ..Default::default() });
        let stopped = Some(crate::domain::verdict::Ended {
            stopped: Some("Deadline".into()),
            ..Default::default()
        });
        let begun = r#"{"v":1,"reason":"VolumeFull","message":"m"}"#;
        let exited = r#"{"v":1,"reason":"PodFailed","message":"the agent exited with code 3"}"#;
        #[rustfmt::skip]
        let table = [
            (over(1, "Error", ""), Some(verdict("NotBegun", None)), "AgentImageIncompatible", "glibc is too old"),
            (over(127, "Error", ""), Some(verdict("NotBegun", None)), "AgentImageIncompatible", "a library is missing"),
            (over(1, "Error", ""), Some(verdict("NothingToPush", ended_by.clone())), "PodFailed", "the agent's own exit"),
            (over(1, "Error", ""), Some(verdict("NotBegun", ended_by)), "PodFailed", "a runner has reported"),
            (over(1, "Error", ""), None, "AgentImageIncompatible", "at once, and not when telemetry is told to end"),
            (over(3, "Error", exited), None, "PodFailed", "the runner's word for an exit of the agent's"),
            (over(137, "Error", exited), Some(verdict("Pushed", stopped)), "DeadlineExceeded", "cut off after it had handed over"),
            (over(137, "Error", ""), Some(verdict("NotBegun", None)), "PodFailed", "killed by the node"),
            (over(137, "OOMKilled", ""), Some(verdict("NotBegun", None)), "OOMKilled", "the node's word"),
            (over(1, "Error", begun), Some(verdict("NotBegun", None)), "VolumeFull", "it had words"),
            (over(1, "Error", "boom"), Some(verdict("NotBegun", None)), "PodFailed", "somebody had words"),
        ];
        for (claude, verdict, want, because) in table {
            let pod = PodBrief { phase: PodPhase::Failed, claude, ..PodBrief::default() };
            let cause = ended(&pod, verdict.as_ref()).unwrap();
            assert_eq!(cause.reason, want, "{because}");
            let advised =
                ["architecture", "glibc", "loader"].iter().all(|it| cause.message.contains(it));
            assert_eq!(advised, want == "AgentImageIncompatible", "{}", cause.message);
        }
    }

    /// Words of containerd 1.6 with runc 1.1, of cri-o with crun, and of a node without room.
    #[test]
    fn only_words_about_the_program_blame_the_image() {
        let run = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
                   failed: unable to start container process: ";
        let table = [
            (
                format!(
                    "{run}exec: \"/gastown/tools/gt-runner\": stat /gastown/tools/gt-runner: no such file or directory: unknown"
                ),
                true,
            ),
            (
                "executable file `/gastown/tools/gt-runner` not found: No such file or directory"
                    .into(),
                true,
            ),
            (format!("{run}exec: \"/gastown/tools/gt-runner\": permission denied: unknown"), true),
            ("exec user process caused: exec format error".into(), true),
            (
                format!(
                    "{run}error during container init: error setting cgroup config for procHooks process: failed to write \"100000\": no space left on device"
                ),
                false,
            ),
            (
                format!(
                    "{run}error during container init: error mounting \"/var/lib/kubelet/pods/1/volumes/tools\" to rootfs at \"/gastown/tools\": no such file or directory"
                ),
                false,
            ),
            ("context deadline exceeded".into(), false),
        ];
        for (words, image) in table {
            for (container, word) in [
                (layout::GIT_INIT, "RunnerMissing"),
                (layout::CLAUDE, "AgentImageIncompatible"),
                (layout::TELEMETRY, "RunnerMissing"),
            ] {
                let cause = not_started(container, &words);
                let want = if image { word } else { "ContainerStartFailed" };
                assert_eq!(cause.reason, want, "{container}: {words}");
            }
        }
    }

    #[test]
    fn an_agent_that_forges_last_words_gains_nothing() {
        let said = |word: &str| format!(r#"{{"v":1,"reason":"{word}","message":"m"}}"#);
        let table = [
            ("Error", said("AgentNotFound"), "AgentNotFound", "the runner's own word"),
            (
                "OOMKilled",
                said("AgentNotFound"),
                "OOMKilled",
                "the runner was killed: the node's word",
            ),
            ("Error", said("QuotaExceeded"), "PodFailed", "no word of the runner's"),
        ];
        for (reason, message, want, because) in table {
            let pod = PodBrief {
                phase: PodPhase::Failed,
                claude: over(1, reason, &message),
                ..PodBrief::default()
            };
            assert_eq!(ended(&pod, None).map(|it| it.reason).as_deref(), Some(want), "{because}");
        }
        let leak = "sign in failed for https://ada:hunter2hunter2@git.example.com with ghp_0123456789abcdefghijABCDEFGHIJ012345";
        let said = quote(leak);
        assert!(!said.contains("hunter2") && !said.contains("ghp_0123"), "{said}");
        assert!(said.contains("git.example.com"), "{said}");
        assert_eq!(
            quote("a\u{202e}b"),
            "a b",
            "nor a line that reads otherwise than it is written"
        );
    }

    #[test]
    fn a_forged_reason_does_not_become_a_condition() {
        let forged = r#"{"v":1,"reason":"Not A Word","message":"x"}"#;
        assert_eq!(last_words(forged), None);
        assert_eq!(quote("a\nb\u{7}c"), "a b c");
    }
}
