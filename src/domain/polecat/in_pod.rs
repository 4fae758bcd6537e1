//! The stages of a run as spans. The runner may tell by itself of those that go on in its pod, and the operator tells of all once
//! the run is over: both make them here of the same facts, so that what is told twice is the same.

use super::stages::{AGENT_STAGE, CLONE, HAND_OVER, PUSH};
use crate::domain::{
    layout,
    trace::{Kind, Source, Span, SpanId, TraceId, Value, attributes as name},
    untrusted::Scrubber,
    verdict::{Times, Verdict},
};

const MILLISECOND: u64 = 1_000_000;
/// Longer texts are the names of no model.
const LONGEST_MODEL: usize = 128;

/// The pod of an attempt, and its place in a trace.
#[derive(Clone, Copy, Debug)]
pub struct InPod<'a> {
    pub trace: TraceId,
    pub root: SpanId,
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub attempt: i32,
    pub pod: &'a str,
    pub pod_uid: &'a str,
    /// The model that the agent was told to use.
    pub model: Option<&'a str>,
}

/// What is known of an attempt's end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    pub verdict: Option<&'a Verdict>,
    /// The node's word for the agent's exit code, where the runner's is missing.
    pub exit_code: Option<i32>,
}

impl InPod<'_> {
    /// One stage; `time` in nanoseconds since 1970.
    pub fn stage(&self, stage: &'static str, time: (u64, u64), known: Known<'_>) -> Span {
        Span {
            trace: self.trace,
            id: SpanId::of_stage(self.trace, self.uid, self.attempt, stage),
            parent: Some(self.root),
            name: stage.into(),
            kind: Kind::Internal,
            source: if container(stage).is_some() { Source::Runner } else { Source::Objects },
            from: time.0,
            to: time.1,
            attributes: self.about(stage, known),
            links: Vec::new(),
            failed: None,
        }
    }

    /// The stages that a verdict, or the draft of one, has the times of. An agent may have written its own; they are left to who
    /// can hold them against the node's where they are none.
    pub fn told(&self, verdict: &Verdict) -> Vec<Span> {
        let nanoseconds = |it: u64| it.saturating_mul(MILLISECOND);
        let Times { clone, handed_over, pushed } = verdict.times.unwrap_or_default();
        let clone = clone.map(|(from, to)| (nanoseconds(from), nanoseconds(to)));
        let (handed_over, pushed) = (handed_over.map(nanoseconds), pushed.map(nanoseconds));
        let cloned = clone.map_or(0, |it| it.1);
        let agent = verdict.agent.as_ref().and_then(|it| it.span);
        let agent = agent.map(|(from, to)| (nanoseconds(from), nanoseconds(to))).filter(|it| {
            cloned < it.0 && it.0 <= it.1 && handed_over.is_some_and(|end| it.1 <= end)
        });
        let steps = [
            (CLONE, clone),
            (AGENT_STAGE, agent),
            (HAND_OVER, agent.map(|it| it.1).zip(handed_over)),
            (PUSH, handed_over.zip(pushed)),
        ];
        let (mut all, mut at) = (Vec::new(), 0);
        for (stage, time) in steps {
            let Some((from, to)) = time else { continue };
            let from = from.max(at);
            at = to.max(from + 1);
            let known = Known { verdict: Some(verdict), exit_code: None };
            all.push(self.stage(stage, (from, at), known));
        }
        all
    }

    fn about(&self, stage: &str, known: Known<'_>) -> Vec<(&'static str, Value)> {
        let mut all = identity(self.namespace, self.name, self.uid, self.attempt);
        all.push((name::POD, self.pod.to_owned().into()));
        all.push((name::POD_UID, self.pod_uid.to_owned().into()));
        all.extend(container(stage).map(|it| (name::CONTAINER, it.into())));
        if stage == AGENT_STAGE {
            all.push((name::OPERATION, "invoke_agent".into()));
            let model = self.model.filter(|it| names_a_model(it));
            all.extend(model.map(|it| (name::MODEL, it.to_owned().into())));
            let ended = known.verdict.and_then(|it| it.agent.as_ref());
            let tokens = ended.and_then(|it| i64::try_from(it.tokens?).ok());
            all.extend(tokens.map(|it| (name::TOKENS, it.into())));
            let code = ended.map(|it| it.exit_code).or(known.exit_code);
            all.extend(code.map(|it| (name::EXIT, it.into())));
        }
        if stage == PUSH {
            all.extend(known.verdict.map(|it| (name::PUSHED, it.pushed.into())));
        }
        all
    }
}

/// Which attempt of which Polecat it is about.
pub(super) fn identity(
    namespace: &str,
    polecat: &str,
    uid: &str,
    attempt: i32,
) -> Vec<(&'static str, Value)> {
    vec![
        (name::KIND, "Polecat".into()),
        (name::NAMESPACE, namespace.to_owned().into()),
        (name::NAME, polecat.to_owned().into()),
        (name::UID, uid.to_owned().into()),
        (name::ATTEMPT, attempt.into()),
    ]
}

/// Whether a text reads as the name of a model. Whoever makes a Polecat may have written any other there, or a key by mistake.
fn names_a_model(text: &str) -> bool {
    let of_name = |it: char| it.is_ascii_alphanumeric() || "._:/@+-".contains(it);
    let sized = (1..=LONGEST_MODEL).contains(&text.len());
    sized && text.chars().all(of_name) && Scrubber::default().scrub(text) == text
}

/// The container that a stage runs in.
fn container(stage: &str) -> Option<&'static str> {
    match stage {
        CLONE => Some(layout::GIT_INIT),
        AGENT_STAGE | HAND_OVER => Some(layout::CLAUDE),
        PUSH => Some(layout::TELEMETRY),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_a_model_is_told() {
        for it in [
            "opus",
            "claude-sonnet-4-5@20250929",
            "us.anthropic.claude-opus-4-1-20250805-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3d4e5f6",
            "meta-llama/Llama-3.3-70B-Instruct",
        ] {
            assert!(names_a_model(it), "{it}");
        }
        let long = "x".repeat(LONGEST_MODEL + 1);
        let (prompt, key) = ("write to ada@example.com", "sk-ant-api03-0123456789abcdef");
        for it in ["", "opus\n", prompt, key, &long] {
            assert!(!names_a_model(it), "{it}");
        }
    }
}
