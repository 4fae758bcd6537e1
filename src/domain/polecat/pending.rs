//! A pod that does not start: after a while its Events are read, and what they say stands until it starts. Where they say
//! nothing they are read once more, later: a node tells of a volume that it can't mount after two minutes.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Brief, Seen, judge, status};
use crate::{
    api::{shared::Condition, v1beta1::PolecatStatus},
    domain::{
        conditions::READY,
        failure::Cause,
        pending::{self, Report},
        plan::{Next, Plan},
        pod::PodSettings,
        pod_brief::{Container, PodBrief},
    },
};

/// When the Events of a pod are read, in multiples of `--pending-patience`: after 10 s, and after 160 s by default, which a
/// kubelet that has waited for a volume for 123 s has spoken before.
const READINGS: [u32; 2] = [1, 16];

/// What is known of a pod's Events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reports {
    /// What was read just now.
    pub said: Vec<Report>,
    /// How long until they are to be read again, if this says nothing.
    pub again: Option<Duration>,
}

impl Brief {
    /// How long until the Events of this pod are to be read, which were `read` so many times; `None` where they would say
    /// nothing that is not known, or never said anything.
    pub fn reports_due(
        &self,
        pod: &PodBrief,
        read: u32,
        settings: &PodSettings,
        now: Timestamp,
    ) -> Option<Duration> {
        let patience = judge::patience(self.completion, settings);
        let judged = judge::judge(pod, self.completion, patience, now);
        let silent = judged == judge::Judgement::Waiting(None) && !pod.deleting;
        let times = READINGS.get(usize::try_from(read).ok()?)?;
        let span = settings.pending_patience.saturating_mul(*times);
        (silent && self.owns(pod) && !self.told_by_events(pod))
            .then(|| super::left(pod.created_at, span, now))
    }

    /// The pod waits; `cause` is what its status says, if that says anything.
    pub(super) fn waits(
        &self,
        seen: &Seen,
        pod: &PodBrief,
        cause: Option<Cause>,
        plan: &mut Plan<PolecatStatus>,
    ) {
        let told = pending::explained(&seen.reports.said);
        if let Some(cause) = cause.or(told) {
            plan.status = status::stalled(self, seen.now, &cause);
            plan.notices = self.news(&cause);
        } else if !self.told_by_events(pod) {
            plan.status = status::pending(self, seen.now);
            plan.next = seen.reports.again.map_or(Next::OnChange, Next::After);
        }
    }

    /// What Events said stands: no container has started since.
    fn told_by_events(&self, pod: &PodBrief) -> bool {
        let ready = self.status.conditions.iter().find(|it| it.type_ == READY);
        let told = |it: &Condition| {
            it.status != "True" && pending::BY_EVENTS.contains(&it.reason.as_str())
        };
        ready.is_some_and(told)
            && matches!(pod.git_init, Container::Unseen | Container::Waiting { .. })
    }
}
