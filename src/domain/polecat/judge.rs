//! Reads a pod: is it waiting, running, ending, over? `claude`'s own end decides, `telemetry`'s words say what became
//! of the commits. Text from either is untrusted.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::{
    api::v1beta1::PolecatStatus,
    domain::{
        conditions::PUSHED,
        failure::{self, Cause},
        pod_brief::{Container, PodBrief, PodPhase},
        verdict::Verdict,
    },
};

/// How long after the agent's end the verdict is waited for.
const GRACE: Duration = Duration::from_secs(10);

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
        Self { cause: Some(cause), exit_code: None, words: Words::None, at }
    }
}

/// What `telemetry` said.
#[derive(Clone, Debug, PartialEq)]
pub enum Words {
    /// It has not spoken.
    None,
    /// It spoke, and nobody can read it: never taken for "pushed".
    Unreadable,
    Verdict(Box<Verdict>),
}

/// Reads a pod.
pub fn judge(pod: &PodBrief, now: Timestamp) -> Judgement {
    let over = matches!(pod.phase, PodPhase::Succeeded | PodPhase::Failed);
    let both = pod.claude.ended() && pod.telemetry.ended();
    if over || both {
        return Judgement::Ended(end(pod, now));
    }
    if let Container::Ended { at, .. } = &pod.claude {
        let since = at.unwrap_or(now);
        let gone = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(0);
        let wait = GRACE.saturating_sub(Duration::from_millis(gone));
        return if wait.is_zero() {
            Judgement::Ended(end(pod, now))
        } else {
            Judgement::Ending(wait)
        };
    }
    match pod.phase {
        PodPhase::Running => Judgement::Running,
        _ => Judgement::Waiting(failure::waiting(pod)),
    }
}

/// A verdict that came after the attempt was called over without one: it corrects the status once.
pub fn late_verdict(pod: &PodBrief, status: &PolecatStatus) -> Option<End> {
    let open = status
        .conditions
        .iter()
        .any(|it| it.type_ == PUSHED && it.status == "Unknown" && it.reason == "NoVerdict");
    let at = status.finished_at.as_ref()?.0;
    let end = end(pod, at);
    (open && end.words != Words::None).then_some(End { at, ..end })
}

fn end(pod: &PodBrief, now: Timestamp) -> End {
    let words = words(&pod.telemetry);
    let verdict = if let Words::Verdict(it) = &words { Some(&**it) } else { None };
    let at = if let Container::Ended { at: Some(at), .. } = &pod.claude { *at } else { now };
    End { cause: failure::ended(pod, verdict), exit_code: pod.claude.exit_code(), words, at }
}

fn words(telemetry: &Container) -> Words {
    match telemetry {
        Container::Ended { message, .. } if message.is_empty() => Words::None,
        Container::Ended { message, .. } => match serde_json::from_str::<Verdict>(message) {
            Ok(it) if it.v == 1 => Words::Verdict(Box::new(it)),
            _ => Words::Unreadable,
        },
        _ => Words::None,
    }
}
