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
        pending,
        plan::{Next, Plan},
        pod::PodSettings,
        pod_brief::{Container, PodBrief},
    },
};

/// When the Events of a pod are read, in multiples of `--pending-patience` since it got its node: after 10 s, and after 160 s
/// by default, which a kubelet that has waited for a volume for 123 s has spoken before.
const READINGS: [u32; 2] = [1, 16];

/// What is known of a pod's Events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reports {
    /// What they say keeps it, which its status does not carry yet.
    pub told: Option<Cause>,
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
        let times = READINGS.get(usize::try_from(read).ok()?)?;
        let span = settings.pending_patience.saturating_mul(*times);
        self.lacks_reason(pod, settings, now).then(|| super::left(waits_since(pod), span, now))
    }

    /// Whether this pod waits and neither its own status nor the Polecat's says why.
    pub fn lacks_reason(&self, pod: &PodBrief, settings: &PodSettings, now: Timestamp) -> bool {
        let patience = judge::patience(self.completion, settings);
        let judged = judge::judge(pod, self.completion, patience, now);
        let silent = judged == judge::Judgement::Waiting(None) && !pod.deleting;
        silent && self.owns(pod) && !self.told_by_events(pod)
    }

    /// The pod waits; `cause` is what its status says, if that says anything.
    pub(super) fn waits(
        &self,
        seen: &Seen,
        pod: &PodBrief,
        cause: Option<Cause>,
        plan: &mut Plan<PolecatStatus>,
    ) {
        if let Some(cause) = cause.or_else(|| seen.reports.told.clone()) {
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

/// Since when a node could say something of it: one may be found long after the pod was made.
fn waits_since(pod: &PodBrief) -> Option<Timestamp> {
    match pod.moments.scheduled {
        0 => pod.created_at,
        second => Timestamp::from_second(i64::from(second)).ok(),
    }
}
