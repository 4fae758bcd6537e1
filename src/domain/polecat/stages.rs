//! A run as spans, once it is over: a root, and stages beneath it that tile it from the moment in which work was asked for to
//! the writing of its end, or of what its pod said after that. All of it follows from the Polecat and its pod, so that whoever tells of it tells the same.

use k8s_openapi::jiff::Timestamp;

use super::{
    Brief,
    in_pod::{InPod, Known, identity},
    judge::{self, Words},
};
use crate::{
    api::v1beta1::{Phase, PolecatStatus},
    domain::{
        conditions::{PROGRESSING, PUSHED, READY},
        failure::is_word,
        pod_brief::PodBrief,
        trace::{Kind, Run, Said, Source, Span, Value, attributes as name, recorded},
        verdict::{Times, Verdict},
    },
};

/// The root's name.
pub const RUN: &str = "polecat run";
/// The stage in which the agent works; its own spans hang on it.
pub const AGENT_STAGE: &str = "agent";
pub(super) const START_POD: &str = "start pod";
pub(super) const START_AGENT: &str = "start agent";
pub(super) const CLONE: &str = "clone";
pub(super) const HAND_OVER: &str = "hand over";
pub(super) const PUSH: &str = "push";
/// The stages, in their order. The last ends with the run.
pub const STAGES: [&str; 9] = [
    "queue",
    "schedule pod",
    START_POD,
    CLONE,
    START_AGENT,
    AGENT_STAGE,
    HAND_OVER,
    PUSH,
    "conclude",
];

/// The `error.type` of a run whose Polecat was deleted.
const DELETED: &str = "Deleted";
const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

impl Brief {
    /// The trace of an attempt.
    pub fn run(&self, attempt: i32) -> Run {
        let said = Said {
            namespace: &self.namespace,
            name: &self.name,
            uid: &self.uid,
            context: self.context,
            recorded: recorded(&self.status),
        };
        Run::of(&said, attempt)
    }

    /// The attempt that is under way or was the last, or else comes next.
    pub fn current_run(&self) -> Run {
        self.run(self.attempt_now())
    }

    pub(super) fn attempt_now(&self) -> i32 {
        match self.stage() {
            super::Stage::Fresh { attempt } if self.begins() => attempt,
            super::Stage::Begun { attempt, .. } => attempt,
            _ => self.status.attempt.unwrap_or(1),
        }
    }

    /// When the last was written of the last attempt's end, if it has ended and its pod will say no more.
    pub fn told_whole(&self, pod: Option<&PodBrief>) -> Option<Timestamp> {
        let status = &self.status;
        let ended = status.finished_at.is_some() || is_put_aside(status);
        let silent =
            |it: &PodBrief| it.over() || it.futile() || (it.claude.ended() && it.telemetry.ended());
        let whole = ended && status.attempt.is_some() && pod.is_none_or(silent);
        whole.then(|| done(status)).flatten()
    }

    /// When the last was written of how the last attempt ended, where the status says that still. One that was put aside after
    /// its end says it no more: what was told of it under the same ids would say something else.
    pub fn end_said(&self) -> Option<Timestamp> {
        end_said(&self.status)
    }

    /// Whether the status says for the last time how its attempt ended: the next one puts that aside, or is about another.
    pub fn says_it_last(&self, next: &PolecatStatus) -> bool {
        let same = next.attempt == self.status.attempt && end_said(next).is_some();
        self.end_said().is_some() && !same
    }

    /// The root of the run that is under way, which ends unfinished now: its Polecat was deleted. In nanoseconds since 1970.
    pub fn cut_short(&self, now: u64) -> Option<Span> {
        let run = self.run_under_way()?;
        let attempt = self.attempt_now();
        let from = self.asked_at(&run, attempt).unwrap_or(now).min(now);
        let mut root = self.root(&run, attempt, (from, now));
        root.attributes.retain(|(key, _)| *key != name::ERROR);
        root.attributes.push((name::ERROR, DELETED.into()));
        root.failed = Some("the Polecat was deleted before its run had ended");
        Some(root)
    }

    /// The spans of the last attempt, which is told whole. Without its pod, the root alone.
    pub fn spans(&self, pod: Option<&PodBrief>) -> Vec<Span> {
        let Some(done) = done(&self.status) else { return Vec::new() };
        let attempt = self.status.attempt.unwrap_or(1);
        let run = self.run(attempt);
        // Of the moment in which the end was written only the second is known.
        let to = nanoseconds(done) / SECOND * SECOND + (SECOND - 1);
        let from = self.asked_at(&run, attempt).unwrap_or(to).min(to);
        let root = self.root(&run, attempt, (from, to));
        let Some(pod) = pod else { return vec![root] };
        let mut all = self.stages(&run, attempt, pod, (from, to));
        all.insert(0, root);
        all
    }

    /// When work was asked for, in nanoseconds since 1970. Where nobody wrote that down, when the attempt began, or its pod.
    fn asked_at(&self, run: &Run, attempt: i32) -> Option<u64> {
        let status = &self.status;
        let created = self.created_at.map(nanoseconds);
        let asked = run.second.map(|it| u64::from(it) * SECOND);
        // One that was edited before its first attempt may have been idle until then, and waited for by nobody.
        let edited = status.attempt_generation.or(self.generation).is_some_and(|it| it > 1);
        let since_creation = asked.is_some() || (attempt == 1 && !edited);
        let began = || {
            let intent = status.conditions.iter().find(|it| it.type_ == PROGRESSING);
            let intent =
                intent.filter(|it| it.status == "True").map(|it| it.last_transition_time.0);
            let started = status.started_at.as_ref().map(|it| it.0);
            intent.into_iter().chain(started).min().map(nanoseconds)
        };
        created.filter(|_| since_creation).max(asked).or_else(began)
    }

    fn root(&self, run: &Run, attempt: i32, (from, to): (u64, u64)) -> Span {
        let status = &self.status;
        let mut attributes = self.identity(attempt);
        attributes.push((name::RIG, self.rig.to_string().into()));
        // One that was stopped is told of in one way, also where it is put aside in the other way later.
        let phase = if is_put_aside(status) { Phase::Terminated } else { status.phase };
        attributes.push((name::PHASE, phase.as_str().into()));
        attributes.extend(status.exit_code.map(|it| (name::EXIT, it.into())));
        attributes.extend(status.pushed.map(|it| (name::PUSHED, it.into())));
        attributes.extend(status.commit.clone().map(|it| (name::COMMIT, it.into())));
        let ready = status.conditions.iter().find(|it| it.type_ == READY);
        let reason = ready.map(|it| it.reason.to_string()).filter(|it| is_word(it));
        let failed = status.phase == Phase::Stuck;
        attributes.extend(reason.filter(|_| failed).map(|it| (name::ERROR, it.into())));
        Span {
            trace: run.trace,
            id: run.root,
            parent: run.parent,
            name: RUN.into(),
            kind: Kind::Internal,
            source: Source::Objects,
            from,
            to,
            attributes,
            links: Vec::new(),
            failed: failed.then_some("the run did not reach its end; see error.type"),
        }
    }

    pub(super) fn identity(&self, attempt: i32) -> Vec<(&'static str, Value)> {
        identity(&self.namespace, &self.name, &self.uid, attempt)
    }

    fn stages(&self, run: &Run, attempt: i32, pod: &PodBrief, (from, to): (u64, u64)) -> Vec<Span> {
        let verdict = match judge::words_of(pod) {
            Words::Verdict(it) => Some(*it),
            _ => None,
        };
        let within = InPod {
            trace: run.trace,
            root: run.root,
            namespace: &self.namespace,
            name: &self.name,
            uid: &self.uid,
            attempt,
            pod: &pod.name,
            pod_uid: &pod.uid,
            model: self.status.agent_model.as_deref(),
        };
        let known = Known { verdict: verdict.as_ref(), exit_code: pod.claude.exit_code() };
        let ends = ends(pod, verdict.as_ref());
        let last = ends.iter().rposition(Option::is_some).map_or(0, |it| it + 1);
        let (mut all, mut at) = (Vec::new(), from);
        for (index, (&stage, end)) in STAGES.iter().zip(ends.into_iter().chain([None])).enumerate()
        {
            let end = if index == last { Some(to) } else { end };
            let Some(end) = end else { continue };
            // What was under way when the run ended lasted until then, also where the node let its containers go on and they
            // said nothing that anybody wrote down.
            let over = index == last || (verdict.is_none() && end >= to);
            let end = if over { to } else { end };
            // One that took no time that the node counts: Jaeger takes a length of nothing for a mistake.
            let end = end.max(at + 1);
            all.push(within.stage(stage, (at, end), known));
            at = end;
            if over {
                break;
            }
        }
        all
    }
}

/// When each stage but the last ended. The kubelet knows whole seconds; the containers' own word is finer, and is taken where
/// it lies within what the kubelet says of the container.
fn ends(pod: &PodBrief, verdict: Option<&Verdict>) -> [Option<u64>; 8] {
    let of = |second: u32| (second > 0).then_some(u64::from(second) * SECOND);
    let (began, ended) = (pod.moments.began.map(of), pod.moments.ended.map(of));
    let [git_init, claude, telemetry] = began;
    let [git_init_end, claude_end, telemetry_end] = ended;
    let fine = |said: Option<u64>, from: Option<u64>, to: Option<u64>| {
        let said = said.map(|it| it.saturating_mul(MILLISECOND));
        said.filter(|it| from.is_some_and(|from| *it >= from))
            .filter(|it| to.is_some_and(|to| *it < to + SECOND))
    };
    let Times { clone, handed_over, pushed } = verdict.and_then(|it| it.times).unwrap_or_default();
    let agent = verdict.and_then(|it| it.agent.as_ref()).and_then(|it| it.span);
    let agent_end = fine(agent.map(|it| it.1), claude, claude_end);
    [
        pod.created_at.map(nanoseconds),
        of(pod.moments.scheduled),
        fine(clone.map(|it| it.0), git_init, git_init_end).or(git_init),
        fine(clone.map(|it| it.1), git_init, git_init_end).or(git_init_end),
        fine(agent.map(|it| it.0), claude, claude_end).or(claude),
        agent_end.or(claude_end),
        // Both clocks are the node's.
        fine(handed_over, claude, telemetry_end).or(claude_end.filter(|_| agent_end.is_some())),
        fine(pushed, telemetry, telemetry_end).or(telemetry_end),
    ]
}

const fn is_put_aside(status: &PolecatStatus) -> bool {
    matches!(status.phase, Phase::Idle | Phase::Terminated)
}

fn end_said(status: &PolecatStatus) -> Option<Timestamp> {
    let says = status.attempt.is_some() && status.finished_at.is_some() != is_put_aside(status);
    says.then(|| done(status)).flatten()
}

/// When the end of an attempt was written, or what became of its commits, where that was said later.
fn done(status: &PolecatStatus) -> Option<Timestamp> {
    let of = |type_| status.conditions.iter().find(move |it| it.type_ == type_);
    let over = of(PROGRESSING).filter(|it| it.status == "False");
    let written = over.map(|it| it.last_transition_time.0);
    let written = written.max(status.finished_at.as_ref().map(|it| it.0))?;
    let said = of(PUSHED).map(|it| it.last_transition_time.0);
    Some(said.map_or(written, |it| it.max(written)))
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}
