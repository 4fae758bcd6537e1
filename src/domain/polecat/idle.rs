//! An agent that does nothing. The runner ends it at its limit; where the runner does not come to that, its failing probe
//! keeps the pod unready, and then the pod goes.

use std::time::Duration;

use super::{
    Brief, Seen,
    judge::{End, Words},
    left, status,
};
use crate::{
    api::v1beta1::PolecatStatus,
    domain::{failure::Cause, fields::MAX_IDLE, plan::Plan, pod_brief::PodBrief, verdict::reason},
};

impl Brief {
    /// What is left until an idle agent's pod goes; `None` where it is not idle, or may be so for ever.
    pub(super) fn idle_left(&self, seen: &Seen, pod: &PodBrief) -> Option<Duration> {
        let limit = self.max_idle.and_then(|it| u64::try_from(it).ok()).filter(|it| *it > 0)?;
        let unready = pod.unready.as_ref().filter(|_| !pod.deleting)?;
        let grace = seen.settings.idle_grace;
        // One that never was ready has not been idle before it could have been.
        let whole = Duration::from_secs(limit) + grace;
        let since_ready = left(Some(unready.since), grace, seen.now);
        Some(since_ready.max(left(Some(unready.began), whole, seen.now)))
    }

    /// The attempt is over, and its pod goes; what its agent committed is pushed on the way.
    pub(super) fn idled(&self, seen: &Seen, pod: &PodBrief) -> Plan<PolecatStatus> {
        let text = format!(
            "the agent did nothing for {MAX_IDLE}, {} s, and its runner did not end it in {} s more, so its pod \
             is deleted; Pushed says what becomes of its commits",
            self.max_idle.unwrap_or_default(),
            seen.settings.idle_grace.as_secs()
        );
        let cause = Cause::new(reason::IDLE_TIMEOUT, text);
        let end =
            End { cause: Some(cause.clone()), exit_code: None, words: Words::None, at: seen.now };
        self.complain(status::ended(self, seen.now, Some(pod), &end), &cause)
    }
}
