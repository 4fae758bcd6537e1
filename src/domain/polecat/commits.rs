//! Commits in danger are announced, whatever became of the run itself.

use super::{Brief, status};
use crate::{
    api::{shared::Condition, v1beta1::PolecatStatus},
    domain::{
        conditions::PUSHED,
        plan::{Notice, Plan},
        verdict::reason,
    },
};

impl Brief {
    /// Adds an Event where a plan says for the first time that commits are not where they should be.
    pub(super) fn with_commit_news(&self, mut plan: Plan<PolecatStatus>) -> Plan<PolecatStatus> {
        let of = |status: &PolecatStatus| -> Option<Condition> {
            status.conditions.iter().find(|it| it.type_ == PUSHED).cloned()
        };
        let known = |it: &Condition| {
            let before = of(&self.status);
            before.is_some_and(|old| old.reason == it.reason && old.message == it.message)
                || plan.notices.iter().any(|notice| notice.reason == it.reason)
                // Why its pod went says it too.
                || (is_silent(it) && plan.notices.iter().any(|notice| notice.message.contains("lost")))
        };
        if let Some(it) = of(&plan.status).filter(in_danger).filter(|it| !known(it)) {
            plan.notices.push(Notice { reason: it.reason, message: it.message });
        }
        plan
    }
}

/// An agent that committed nothing, or never began, has nothing to lose.
fn in_danger(pushed: &Condition) -> bool {
    let harmless = [reason::NOTHING_TO_PUSH, reason::NOT_BEGUN];
    let refused = pushed.status == "False" && !harmless.contains(&pushed.reason.as_str());
    refused || is_silent(pushed) || pushed.reason == "VerdictUnreadable"
}

/// Nobody said what became of them, and nobody will.
fn is_silent(pushed: &Condition) -> bool {
    pushed.reason == status::NO_VERDICT && pushed.message == status::NO_VERDICT_EVER
}
