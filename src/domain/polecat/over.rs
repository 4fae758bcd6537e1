//! An attempt that is over: its pod stays for a while, and so does the Polecat, where it says for how long.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Brief, Seen, Stage, judge};
use crate::{
    api::v1beta1::PolecatStatus,
    domain::{
        conditions::READY,
        failure::Cause,
        plan::{Child, Next, Notice, Plan, Retire},
        pod,
        pod_brief::{Container, PodBrief},
        verdict::reason::IDLE_TIMEOUT,
    },
};

impl Brief {
    /// The attempt is over: its pod stays for a while, then goes; so does the Polecat, if it says so.
    pub(super) fn over(&self, seen: &Seen) -> Plan<PolecatStatus> {
        let mut plan = Plan::only(self.status.clone());
        (plan.next, plan.retire) = self.life_left(&self.status, seen);
        if let Some(status) = self.late_words(seen) {
            plan.notices = self.corrected(&status);
            plan.status = status;
        }
        let Some(pod) = seen.pod.as_ref().filter(|it| self.owns(it)) else { return plan };
        let ends = self.was_ended_by_us() && !pod.claude.ended();
        if ends || self.outlived_by(pod) {
            return plan; // it is being deleted, or still has to be
        }
        let wait = Self::pod_left(&self.status, pod, seen);
        if wait != Some(Duration::ZERO) {
            plan.children = vec![Child::Existing { pod: pod.name.to_string() }];
        }
        if let Some(wait) = wait.filter(|it| !it.is_zero()) {
            plan.next = plan.next.or(Next::After(wait));
        }
        plan
    }

    /// Late words that change why it failed are announced.
    fn corrected(&self, status: &PolecatStatus) -> Vec<Notice> {
        let ready = status.conditions.iter().find(|it| it.type_ == READY && it.status == "False");
        ready
            .map(|it| self.news(&Cause::new(it.reason.as_str(), it.message.as_str())))
            .unwrap_or_default()
    }

    /// What is left until the pod of an attempt that is over goes; `None` where it stays.
    pub(super) fn pod_left(
        status: &PolecatStatus,
        pod: &PodBrief,
        seen: &Seen,
    ) -> Option<Duration> {
        // Telemetry of the original's goes on for ever.
        if pod.over() || (pod.by_original && pod.claude.ended()) {
            let end = status.finished_at.as_ref().map(|it| it.0);
            return seen.settings.finished_pod_ttl.map(|ttl| left(end, ttl, seen.now));
        }
        // What still runs in it waits for something that never comes: ended, telemetry says so, and the node is free.
        match &pod.claude {
            _ if pod.futile() => Some(Duration::ZERO),
            _ if pod.deserted() => judge::desertion(pod, seen.now),
            Container::Ended { at, .. } if !pod.telemetry.ended() => {
                Some(left(*at, seen.settings.push_reserve, seen.now))
            }
            _ => None,
        }
    }

    /// Whether an agent has yet to end in this pod although its attempt is over, which is said once the agent of the attempt's
    /// own pod has ended or can't begin, or that pod is gone: this is a second one. Whoever asked for it was away meanwhile.
    pub fn outlived_by(&self, pod: &PodBrief) -> bool {
        let ended = pod.over() || pod.claude.ended() || pod.futile() || pod.telemetry.ended();
        let ours = self.owns(pod) && !pod.by_original;
        self.stage() == Stage::Over && ours && !ended && !self.was_ended_by_us()
    }

    /// The attempt was called over while its agent ran.
    pub(super) fn was_ended_by_us(&self) -> bool {
        self.status.finished_at.is_some()
            && self.status.exit_code.is_none()
            && self
                .status
                .conditions
                .iter()
                .any(|it| it.type_ == READY && it.reason == IDLE_TIMEOUT)
    }

    /// When a finished Polecat is to go, by its own `ttlSecondsAfterFinished`. Its pod goes along, so not before what that still
    /// pushes is pushed, or could be no more.
    pub(super) fn life_left(&self, status: &PolecatStatus, seen: &Seen) -> (Next, Retire) {
        let ttl = self.ttl_after_finished.and_then(|it| u64::try_from(it).ok());
        let (Some(ttl), Some(end)) = (ttl, &status.finished_at) else {
            return (Next::OnChange, Retire::Keep);
        };
        let ttl = Duration::from_secs(ttl);
        let pushes = seen.pod.as_ref().is_some_and(|it| self.owns(it) && may_push(it));
        let ttl = if pushes { ttl.max(seen.settings.push_reserve + pod::GRACE) } else { ttl };
        match left(Some(end.0), ttl, seen.now) {
            Duration::ZERO => (Next::OnChange, Retire::Delete),
            wait => (Next::After(wait), Retire::Keep),
        }
    }
}

/// Whether its `telemetry` is at work still. The original's goes on for ever, and pushes nothing.
fn may_push(pod: &PodBrief) -> bool {
    let silent = pod.over() || pod.telemetry.ended() || pod.futile();
    !silent && !pod.by_original
}

/// What is left of a span that began at `from`; nothing where it is over, all where it has not begun.
pub(super) fn left(from: Option<Timestamp>, span: Duration, now: Timestamp) -> Duration {
    let Some(from) = from else { return span };
    let gone = u64::try_from(now.duration_since(from).as_millis()).unwrap_or(0);
    span.saturating_sub(Duration::from_millis(gone))
}
