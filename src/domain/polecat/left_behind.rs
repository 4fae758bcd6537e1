//! What the Go original left behind: runs that it began. It numbers no attempts, makes a pod before it writes a status, and its
//! pods have no runner of ours, so that nobody in them reports a verdict and `telemetry` never ends by itself.

use super::{Brief, Seen, Stage};
use crate::{
    api::v1beta1::{Phase, PolecatStatus},
    domain::{failure::Cause, names, plan::Plan, pod_brief::PodBrief},
};

impl Brief {
    /// The original wrote of this attempt, which it does only once the attempt's pod was made: should that be gone, its agent
    /// may have run.
    pub(super) fn begun_by_original(&self) -> bool {
        self.status.attempt.is_none() && self.status.pod_name.is_some()
    }

    /// A pod of the original, of which its status tells nothing: it died between the two writes.
    pub(super) fn left_behind<'a>(&self, seen: &'a Seen) -> Option<&'a PodBrief> {
        let Stage::Fresh { attempt } = self.stage() else { return None };
        let pod = seen.pod.as_ref().filter(|it| it.by_original && self.owns(it))?;
        (self.status.attempt.is_none() && *pod.name == *names::pod(&self.name, attempt))
            .then_some(pod)
    }

    /// That pod is this attempt's. One that is going is not: then the attempt waits for its name.
    pub(super) fn adopt(&self, seen: &Seen, pod: &PodBrief, attempt: i32) -> Plan<PolecatStatus> {
        if pod.deleting {
            return self.waits_for_previous(seen, &pod.name);
        }
        let mut begun = self.clone();
        begun.status.phase = Phase::Working;
        begun.status.pod_name = Some(pod.name.to_string());
        begun.status.attempt = Some(attempt);
        begun.follow(seen, pod)
    }

    /// A pod of the attempt before is in the way. Its end wakes this Polecat.
    pub(super) fn waits_for_previous(&self, seen: &Seen, pod: &str) -> Plan<PolecatStatus> {
        let text = format!(
            "pod {pod} of the attempt before is still ending; the next starts when it is gone"
        );
        let cause = Cause::new("WaitingForPreviousPod", text);
        self.complain(super::status::unbuildable(self, seen.now, &cause), &cause)
    }
}

/// An attempt that the original began has a number from our first write on.
pub(super) fn numbered(mut plan: Plan<PolecatStatus>, attempt: i32) -> Plan<PolecatStatus> {
    if plan.status.pod_name.is_some() {
        plan.status.attempt.get_or_insert(attempt);
    }
    plan
}
