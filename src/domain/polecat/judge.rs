//! Reads a pod: is it waiting, running, ending, over? `claude`'s own end decides, `telemetry`'s words say what became
//! of the commits. Text from either is untrusted.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::left;
use crate::{
    api::v1beta1::Completion,
    domain::{
        failure::{self, Cause, quote},
        layout, pending,
        pod::PodSettings,
        pod_brief::{Container, PodBrief, PodPhase},
        verdict::Verdict,
    },
};

/// How much later than its `telemetry` the agent's container may be seen to end.
const LATE: Duration = Duration::from_secs(15);

/// What a pod's state means.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    Waiting(Option<Cause>),
    Running,
    /// The agent has ended; its verdict may still come within this time.
    Ending(Duration),
    Ended(End),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Why it failed; `None`: it succeeded.
    pub cause: Option<Cause>,
    pub exit_code: Option<i32>,
    pub words: Words,
    pub at: Timestamp,
}

impl End {
    /// An attempt whose pod is gone.
    pub const fn lost(cause: Cause, at: Timestamp) -> Self {
        Self { cause: Some(cause), exit_code: None, words: Words::Silent, at }
    }
}

/// What `telemetry` said.
#[derive(Clone, Debug, PartialEq)]
pub enum Words {
    /// It has not spoken yet.
    None,
    /// It has not spoken, and will not.
    Silent,
    /// It can't be started; what the node said.
    Unstartable(String),
    /// It ended before there was anything to push.
    Deserted(Cause),
    /// It spoke, and nobody can read it: never taken for "pushed".
    Unreadable,
    /// It is the Go original's, and never will.
    Original,
    Verdict(Box<Verdict>),
}

impl Words {
    /// The same where nothing more can come.
    #[must_use]
    pub fn last(self) -> Self {
        if self == Self::None { Self::Silent } else { self }
    }
}

/// How long after the agent's end the verdict is waited for: a run that is complete only with its commits waits as long as
/// the push may take.
pub const fn patience(completion: Completion, settings: &PodSettings) -> Duration {
    match completion {
        Completion::ExitCode => settings.verdict_wait,
        Completion::Commit | Completion::Push => settings.push_reserve,
    }
}

/// Reads a pod, whose verdict is waited for as long as `patience` says.
pub fn judge(
    pod: &PodBrief,
    completion: Completion,
    patience: Duration,
    now: Timestamp,
) -> Judgement {
    let both = pod.claude.ended() && pod.telemetry.ended();
    if pod.over() || both || pod.futile() {
        return Judgement::Ended(end(pod, completion, now));
    }
    if let Some(wait) = desertion(pod, now) {
        return match wait {
            Duration::ZERO => Judgement::Ended(end(pod, completion, now)),
            wait => Judgement::Ending(wait),
        };
    }
    // In a pod of the original's nobody speaks, and telemetry never ends.
    let patience = if pod.by_original { Duration::ZERO } else { patience };
    if let Container::Ended { at, .. } = &pod.claude {
        let wait = at.map_or(Duration::ZERO, |it| left(Some(it), patience, now));
        return if wait.is_zero() {
            Judgement::Ended(end(pod, completion, now))
        } else {
            Judgement::Ending(wait)
        };
    }
    match pod.phase {
        PodPhase::Running => Judgement::Running,
        _ => Judgement::Waiting(pending::waiting(pod)),
    }
}

/// What is left until a pod is given up of which nobody would push the commits; `None` where somebody may, or did: a
/// verdict that knows of the agent's end came a moment before its container's own.
pub fn desertion(pod: &PodBrief, now: Timestamp) -> Option<Duration> {
    let Container::Ended { at, .. } = &pod.telemetry else { return None };
    let knows = match words(&pod.telemetry) {
        Words::Verdict(it) => it.base.is_some() || it.agent.is_some(),
        _ => false,
    };
    (pod.deserted() && !knows).then(|| at.map_or(Duration::ZERO, |it| left(Some(it), LATE, now)))
}

/// The end of a pod that is gone, where it was seen to end.
pub fn seen_end(pod: &PodBrief, completion: Completion, now: Timestamp) -> Option<End> {
    (pod.over() || pod.claude.ended() || pod.disruption.is_some()).then(|| {
        let end = end(pod, completion, now);
        End { words: end.words.last(), ..end }
    })
}

/// What the pod's `telemetry` has said so far.
pub fn words_of(pod: &PodBrief) -> Words {
    match pod.telemetry.unstartable() {
        _ if pod.by_original => Words::Original,
        Some(said) => Words::Unstartable(said.to_owned()),
        None => match words(&pod.telemetry) {
            Words::Verdict(it) => Words::Verdict(it),
            _ if pod.deserted() => Words::Deserted(failure::telemetry_failed(&pod.telemetry)),
            other if pod.over() => other.last(),
            other => other,
        },
    }
}

/// How a pod ended, as far as it has spoken.
pub fn end(pod: &PodBrief, completion: Completion, now: Timestamp) -> End {
    let words = words_of(pod);
    let verdict = if let Words::Verdict(it) = &words { Some(&**it) } else { None };
    let at = if let Container::Ended { at: Some(at), .. } = &pod.claude { *at } else { now };
    let cause = failure::ended(pod, verdict).or_else(|| incomplete(completion, &words));
    End { cause, exit_code: pod.claude.exit_code(), words, at }
}

/// What a run that exited with 0 still lacks.
fn incomplete(completion: Completion, words: &Words) -> Option<Cause> {
    let needs = match completion {
        Completion::ExitCode => return None,
        Completion::Commit => "a commit",
        Completion::Push => "its commits on the remote",
    };
    let (reason, what) = match words {
        Words::None | Words::Silent | Words::Original => (
            "VerdictMissing",
            "container telemetry left no verdict in the push reserve; see its log".to_owned(),
        ),
        Words::Unstartable(said) => return Some(failure::not_started(layout::TELEMETRY, said)),
        Words::Deserted(cause) => return Some(cause.clone()),
        Words::Unreadable => (
            "VerdictUnreadable",
            "the verdict of container telemetry is cut or damaged; see its log".to_owned(),
        ),
        Words::Verdict(it) if completion == Completion::Commit => match it.commit {
            Some(_) => return None,
            None => ("NotCommitted", quote(&it.message)),
        },
        Words::Verdict(it) if it.pushed => return None,
        Words::Verdict(it) => ("NotPushed", quote(&it.message)),
    };
    let text =
        format!("the agent exited with code 0, but the run needs {needs} to be done: {what}");
    Some(Cause::new(reason, text))
}

fn words(telemetry: &Container) -> Words {
    match telemetry {
        Container::Ended { message, .. } if message.is_empty() => Words::Silent,
        Container::Ended { message, .. } => match serde_json::from_str::<Verdict>(message) {
            Ok(it) if it.v == 1 => Words::Verdict(Box::new(it)),
            _ => Words::Unreadable,
        },
        _ => Words::None,
    }
}
