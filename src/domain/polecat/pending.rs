//! A pod that does not start: after a while its Events are read, once, and what they say stands until it starts.

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

/// What is known of a pod's Events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reports {
    /// Nobody asked for them.
    #[default]
    Unread,
    /// They were read before: what they said stands in the status.
    Known,
    Read(Vec<Report>),
}

impl Brief {
    /// How long until the Events of this pod are to be read; `None` where they would say nothing that is not known.
    pub fn reports_due(
        &self,
        pod: &PodBrief,
        settings: &PodSettings,
        now: Timestamp,
    ) -> Option<Duration> {
        let patience = judge::patience(self.completion, settings);
        let judged = judge::judge(pod, self.completion, patience, now);
        let silent = judged == judge::Judgement::Waiting(None) && !pod.deleting;
        (silent && self.owns(pod) && !self.told_by_events(pod))
            .then(|| super::left(pod.created_at, settings.pending_patience, now))
    }

    /// The pod waits; `cause` is what its status says, if that says anything.
    pub(super) fn waits(
        &self,
        seen: &Seen,
        pod: &PodBrief,
        cause: Option<Cause>,
        plan: &mut Plan<PolecatStatus>,
    ) {
        let told = match &seen.reports {
            Reports::Read(reports) => pending::explained(reports),
            Reports::Unread | Reports::Known => None,
        };
        if let Some(cause) = cause.or(told) {
            plan.status = status::stalled(self, seen.now, &cause);
            plan.notices = self.news(&cause);
        } else if !self.told_by_events(pod) {
            plan.status = status::pending(self, seen.now);
            if seen.reports == Reports::Unread {
                let due = self.reports_due(pod, &seen.settings, seen.now);
                plan.next = due.map_or(Next::OnChange, Next::After);
            }
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
