//! What Events say besides: commits in danger are announced, whatever became of the run itself, and where its trace is.

use super::{Brief, Stage, status};
use crate::{
    api::{shared::Condition, v1beta1::PolecatStatus},
    domain::{
        conditions::{PUSHED, cut},
        plan::{MOST_OF_A_NOTICE, Notice, Plan},
        verdict::reason,
    },
};

const TRACE: &str = "; trace: ";

impl Brief {
    /// Adds an Event where a plan says for the first time that commits are not where they should be.
    pub(super) fn with_commit_news(&self, mut plan: Plan<PolecatStatus>) -> Plan<PolecatStatus> {
        let of = |status: &PolecatStatus| -> Option<Condition> {
            status.conditions.iter().find(|it| it.type_ == PUSHED).cloned()
        };
        let known = |it: &Condition| {
            let before = of(&self.status);
            before.is_some_and(|old| old.reason == it.reason && old.message == it.message)
                || plan.notices.iter().any(|notice| it.reason == notice.reason)
                // Why its pod went says it too.
                || (is_silent(it) && plan.notices.iter().any(|notice| notice.message.contains("lost")))
        };
        if let Some(it) = of(&plan.status).filter(in_danger).filter(|it| !known(it)) {
            plan.notices.push(Notice { reason: it.reason.into(), message: it.message.into() });
        }
        plan
    }
}

impl Brief {
    /// Says in Events of an attempt where its trace is, where there is a page for it.
    pub(super) fn with_trace_news(&self, mut plan: Plan<PolecatStatus>) -> Plan<PolecatStatus> {
        let url = plan.status.trace.as_ref().and_then(|it| it.url.as_deref());
        // Before an attempt begins, the trace is that of the one before.
        let Some(url) = url.filter(|_| !matches!(self.stage(), Stage::Fresh { .. })) else {
            return plan;
        };
        let room = MOST_OF_A_NOTICE.saturating_sub(url.len() + TRACE.len());
        for it in plan.notices.iter_mut().filter(|_| room > 0) {
            it.message = format!("{}{TRACE}{url}", cut(&it.message, room));
        }
        plan
    }
}

/// An agent that committed nothing, or never began, has nothing to lose.
pub(super) fn may_exist(pushed: &Condition) -> bool {
    ![reason::NOTHING_TO_PUSH, reason::NOT_BEGUN].contains(&pushed.reason.as_str())
}

/// There are commits, perhaps, and not where they should be.
fn in_danger(pushed: &Condition) -> bool {
    let refused = pushed.status == "False" && may_exist(pushed);
    refused || is_silent(pushed) || pushed.reason == "VerdictUnreadable"
}

/// Nobody said what became of them, and nobody will.
fn is_silent(pushed: &Condition) -> bool {
    pushed.reason == status::NO_VERDICT && pushed.message == status::NO_VERDICT_EVER
}
