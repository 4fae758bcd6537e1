//! The status of a Polecat for each situation: phase, facts, and both families of conditions with the reasons of the
//! Go original. What other writers set is kept.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    Brief,
    judge::{End, Words},
    spec_changed,
};
use crate::{
    api::v1beta1::{self, ImageDigests, Phase, PolecatStatus, Trace, Usage},
    domain::{
        conditions::{AVAILABLE, Conditions, DEGRADED, Is, PROGRESSING, PUSHED, READY, WORKING},
        failure::{Cause, is_word, not_started, quote},
        layout, names,
        pod::PodSettings,
        pod_brief::PodBrief,
        trace,
        verdict::{Ended, Verdict, reason},
    },
};

/// A row of conditions: type, status, reason. Each takes the same message.
type Row = (&'static str, Is, &'static str);

const HEALTHY: Row = (DEGRADED, Is::False, "Healthy");
const NOT_READY: Row = (AVAILABLE, Is::False, "NotReady");
/// Reason of `Pushed` until `telemetry` has spoken.
pub const NO_VERDICT: &str = "NoVerdict";
/// What it says once nothing more can come.
pub const NO_VERDICT_EVER: &str =
    "container telemetry ended without a verdict; commits that it did not push may be lost";

/// Stopped by wish: nothing runs, nothing is assigned.
pub fn idle(brief: &Brief, now: Timestamp) -> PolecatStatus {
    let mut status = brief.status.clone();
    status.phase = Phase::Idle;
    status.pod_active = status.pod_active.map(|_| false);
    (status.pod_name, status.assigned_bead) = (None, None);
    let rows = [
        (READY, Is::True, "Idle"),
        (WORKING, Is::False, "Idle"),
        (PROGRESSING, Is::False, "Idle"),
        (AVAILABLE, Is::False, "Idle"),
        HEALTHY,
    ];
    write(&mut status, brief, now, &rows, "no work is asked for");
    status
}

/// Ended by wish. `Working` is left as it was, as in the original.
pub fn terminated(brief: &Brief, now: Timestamp) -> PolecatStatus {
    let mut status = brief.status.clone();
    status.phase = Phase::Terminated;
    status.pod_active = status.pod_active.map(|_| false);
    status.pod_name = None;
    let rows = [
        (READY, Is::True, "Terminated"),
        (PROGRESSING, Is::False, "Terminated"),
        (AVAILABLE, Is::False, "Terminated"),
        (DEGRADED, Is::False, "Terminated"),
    ];
    write(&mut status, brief, now, &rows, "ended by desiredState Terminated");
    status
}

/// Nothing to run. Only `Ready` is written, so that what others say of it stays.
pub fn unrunnable(brief: &Brief, now: Timestamp, cause: &Cause) -> PolecatStatus {
    let mut status = brief.status.clone();
    status.phase = Phase::Stuck;
    forget_the_last_end(&mut status);
    conditions(&mut status, brief, now).set(READY, Is::False, &cause.reason, &cause.message);
    status
}

/// No pod can be built from the spec: no attempt is begun.
pub fn unbuildable(brief: &Brief, now: Timestamp, cause: &Cause) -> PolecatStatus {
    let mut status = brief.status.clone();
    // An image that the operator was not given is nothing the Polecat can mend: it waits.
    let waits = matches!(
        cause.reason.as_str(),
        "AgentImageNotSet" | "RunnerImageNotSet" | "WaitingForPreviousPod"
    );
    forget_the_last_end(&mut status);
    status.phase = if waits { Phase::Idle } else { Phase::Stuck };
    (status.pod_name, status.pod_active) = (None, None);
    failed(&mut status, brief, now, cause);
    status
}

/// What ended before is not the end of an attempt that could not begin: mended, it must begin.
fn forget_the_last_end(status: &mut PolecatStatus) {
    status.pod_name = None;
    (status.started_at, status.finished_at, status.exit_code) = (None, None, None);
}

/// An attempt begins: written before its pod is made, by compare-and-swap, so that no attempt runs twice.
pub fn intent(
    brief: &Brief,
    now: Timestamp,
    whole: &v1beta1::Polecat,
    attempt: i32,
    settings: &PodSettings,
) -> PolecatStatus {
    let spec = &whole.spec;
    let mut status = brief.status.clone();
    status.phase = Phase::Working;
    status.attempt = Some(attempt);
    status.pod_name = Some(names::pod(&brief.name, attempt));
    status.pod_active = Some(false);
    status.assigned_bead.clone_from(&spec.bead_id);
    status.branch = spec.repository.as_ref().map(|it| {
        names::work_branch(it.work_branch.as_deref(), spec.bead_id.as_deref(), &brief.name)
    });
    (status.agent, status.agent_model) =
        (Some(spec.agent.kind), spec.agent.model.as_deref().map(Into::into));
    (status.started_at, status.finished_at, status.last_activity) = (None, None, None);
    (status.exit_code, status.commit, status.pushed) = (None, None, None);
    (status.base_commit, status.task_sha256) = (None, None);
    (status.image_digests, status.usage) = (None, None);
    status.trace = Some(traced(brief, settings, attempt));
    spec_changed::note(&mut status, whole);
    conditions(&mut status, brief, now).remove(PUSHED);
    pending_rows(&mut status, brief, now);
    status
}

fn traced(brief: &Brief, settings: &PodSettings, attempt: i32) -> Trace {
    let run = brief.run(attempt);
    // Of a run that nobody records there is no page to lead to.
    let recorded = settings.recorded.is_some_and(|it| it.samples(run.trace, run.sampled));
    let template = settings.trace_url.as_deref().filter(|_| recorded);
    let url = template.map(|it| trace::page(it, run.trace));
    Trace { trace_id: run.trace.to_string(), url }
}

/// The pod waits as pods do.
pub fn pending(brief: &Brief, now: Timestamp) -> PolecatStatus {
    let mut status = brief.status.clone();
    status.phase = Phase::Working;
    pending_rows(&mut status, brief, now);
    status
}

fn pending_rows(status: &mut PolecatStatus, brief: &Brief, now: Timestamp) {
    let rows = [
        (READY, Is::True, "PodCreated"),
        (WORKING, Is::True, "Working"),
        (PROGRESSING, Is::True, "PodCreated"),
        NOT_READY,
        HEALTHY,
    ];
    let text = format!("pod {} is asked for", status.pod_name.as_deref().unwrap_or_default());
    write(status, brief, now, &rows, &text);
}

/// The pod waits for something that a person has to mend.
pub fn stalled(brief: &Brief, now: Timestamp, cause: &Cause) -> PolecatStatus {
    let mut status = brief.status.clone();
    status.phase = Phase::Working;
    let mut it = conditions(&mut status, brief, now);
    it.set(READY, Is::False, &cause.reason, &cause.message);
    it.set(WORKING, Is::False, &cause.reason, &cause.message);
    it.set(PROGRESSING, Is::True, "PodPending", &cause.message);
    it.set(AVAILABLE, Is::False, "NotReady", &cause.message);
    it.set(DEGRADED, Is::True, &cause.reason, &cause.message);
    status
}

/// The pod should be gone, and nobody says whether it is: what it was doing stands.
pub fn silent(brief: &Brief, now: Timestamp, cause: &Cause) -> PolecatStatus {
    let mut status = brief.status.clone();
    status.phase = Phase::Working;
    let mut it = conditions(&mut status, brief, now);
    it.set(READY, Is::False, &cause.reason, &cause.message);
    it.set(WORKING, Is::Unknown, &cause.reason, &cause.message);
    it.set(PROGRESSING, Is::Unknown, &cause.reason, &cause.message);
    it.set(AVAILABLE, Is::False, "NotReady", &cause.message);
    it.set(DEGRADED, Is::True, &cause.reason, &cause.message);
    status
}

/// The pod could not be made; it will be tried again.
pub fn refused(brief: &Brief, now: Timestamp, cause: &Cause) -> PolecatStatus {
    let mut status = brief.status.clone();
    let waits = matches!(
        cause.reason.as_str(),
        "QuotaExceeded" | "QuotaUnmet" | "WaitingForPreviousPod" | "AdmissionUnavailable"
    );
    status.phase = if waits { Phase::Working } else { Phase::Stuck };
    // The attempt stays the one that was begun, also where the original began it, which numbers none.
    let attempt = *status.attempt.get_or_insert(1);
    status.pod_name.get_or_insert_with(|| names::pod(&brief.name, attempt));
    status.pod_active = Some(false);
    failed(&mut status, brief, now, cause);
    status
}

/// The agent runs.
pub fn running(brief: &Brief, now: Timestamp, pod: &PodBrief) -> PolecatStatus {
    let mut status = brief.status.clone();
    status.phase = Phase::Working;
    status.pod_active = Some(true);
    let since = pod.started_at.or(pod.created_at).unwrap_or(now);
    status.started_at = status.started_at.or(Some(Time(since)));
    status.last_activity = pod.started_at.map(Time).or(status.last_activity);
    status.agent_image.clone_from(&pod.image);
    let rows = [
        (READY, Is::True, "PodRunning"),
        (WORKING, Is::True, "Working"),
        (PROGRESSING, Is::True, "PodRunning"),
        NOT_READY,
        HEALTHY,
    ];
    write(&mut status, brief, now, &rows, &format!("the agent works in pod {}", pod.name));
    status
}

/// The attempt is over, one way or the other.
pub fn ended(brief: &Brief, now: Timestamp, pod: Option<&PodBrief>, end: &End) -> PolecatStatus {
    let mut status = brief.status.clone();
    status.pod_active = Some(false);
    status.finished_at = status.finished_at.or(Some(Time(end.at)));
    status.exit_code = end.exit_code;
    if let Some(pod) = pod {
        status.agent_image.clone_from(&pod.image);
        seen_images(&mut status, Some(pod));
        let ran = pod.claude.ended() && pod.claude.unstartable().is_none();
        status.started_at = status.started_at.or_else(|| pod.started_at.filter(|_| ran).map(Time));
        status.last_activity = pod.started_at.map(Time).or(status.last_activity);
    }
    match &end.cause {
        None => {
            status.phase = Phase::Done;
            let rows = [
                (READY, Is::True, "PodSucceeded"),
                (WORKING, Is::False, "Completed"),
                (PROGRESSING, Is::False, "Completed"),
                (AVAILABLE, Is::True, "WorkComplete"),
                HEALTHY,
            ];
            write(&mut status, brief, now, &rows, "the agent exited with code 0");
        }
        Some(cause) => {
            status.phase = Phase::Stuck;
            failed(&mut status, brief, now, cause);
        }
    }
    let spoken = matches!(end.words, Words::Verdict(_) | Words::Unreadable);
    if pod.is_some_and(PodBrief::never_began) && !spoken {
        let text = "the agent did not run, so there is nothing to push";
        conditions(&mut status, brief, now).set(PUSHED, Is::False, reason::NOTHING_TO_PUSH, text);
    } else {
        pushed(&mut status, brief, now, &end.words);
    }
    status
}

fn failed(status: &mut PolecatStatus, brief: &Brief, now: Timestamp, cause: &Cause) {
    let mut it = conditions(status, brief, now);
    it.set(READY, Is::False, &cause.reason, &cause.message);
    it.set(WORKING, Is::False, "Failed", &cause.message);
    it.set(PROGRESSING, Is::False, "Failed", &cause.message);
    it.set(AVAILABLE, Is::False, "Failed", &cause.message);
    it.set(DEGRADED, Is::True, &cause.reason, &cause.message);
}

/// The images that a pod ran, by the node's word.
pub fn seen_images(status: &mut PolecatStatus, pod: Option<&PodBrief>) {
    let Some(pod) = pod.filter(|it| it.digests.iter().any(Option::is_some)) else { return };
    let [git_init, claude, telemetry] = pod.digests.map(|it| it.map(|it| it.to_string().into()));
    status.image_digests = Some(ImageDigests { git_init, claude, telemetry });
}

/// What became of the commits, by `telemetry`'s word.
pub fn pushed(status: &mut PolecatStatus, brief: &Brief, now: Timestamp, words: &Words) {
    let (is, reason, message) = match words {
        Words::None => {
            let text = "container telemetry has left no verdict; commits that it did not push are lost with the pod";
            (Is::Unknown, NO_VERDICT.to_owned(), text.to_owned())
        }
        Words::Original => {
            let text = "the Go original made the pod, whose agent pushes by itself; nobody reports what became of its commits";
            (Is::Unknown, "MadeByOriginal".to_owned(), text.to_owned())
        }
        Words::Silent => (Is::Unknown, NO_VERDICT.to_owned(), NO_VERDICT_EVER.to_owned()),
        Words::Unstartable(said) => {
            let Cause { reason, message } = not_started(layout::TELEMETRY, said);
            (Is::False, reason, format!("nobody pushes what was committed: {message}"))
        }
        Words::Deserted(it) => (Is::False, it.reason.clone(), it.message.clone()),
        Words::Unreadable => {
            let text =
                "the verdict of container telemetry is cut or damaged; see its log".to_owned();
            (Is::Unknown, "VerdictUnreadable".to_owned(), text)
        }
        Words::Verdict(it) => {
            status.commit.clone_from(&it.commit);
            status.pushed = Some(it.pushed);
            status.base_commit.clone_from(&it.base);
            status.task_sha256.clone_from(&it.task_sha256);
            status.usage = Some(usage(it));
            status.branch = it.branch.clone().or_else(|| status.branch.take());
            let is = if it.pushed { Is::True } else { Is::False };
            let word = is_word(&it.reason);
            let reason = if word { it.reason.clone() } else { "VerdictUnreadable".to_owned() };
            (is, reason, quote(&it.message))
        }
    };
    conditions(status, brief, now).set(PUSHED, is, &reason, &message);
}

fn usage(verdict: &Verdict) -> Usage {
    // Both are rounded to milliseconds and less than a year.
    #[expect(clippy::cast_possible_truncation, reason = "less than a year")]
    let milliseconds = |seconds: f64| (seconds * 1000.0).round() as i64;
    let agent = verdict.agent.as_ref().map(Ended::fit);
    Usage {
        agent_milliseconds: agent.as_ref().map(|it| milliseconds(it.seconds)),
        push_milliseconds: Some(milliseconds(verdict.push_seconds.clamp(0.0, 4e7))),
        tokens: agent.and_then(|it| it.tokens).and_then(|it| i64::try_from(it).ok()),
    }
}

fn write(status: &mut PolecatStatus, brief: &Brief, now: Timestamp, rows: &[Row], message: &str) {
    let mut it = conditions(status, brief, now);
    for (type_, is, reason) in rows {
        it.set(type_, *is, reason, message);
    }
}

fn conditions<'a>(status: &'a mut PolecatStatus, brief: &Brief, now: Timestamp) -> Conditions<'a> {
    Conditions { list: &mut status.conditions, generation: brief.generation, now }
}
