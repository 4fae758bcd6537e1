//! A pod that was to end, and whose node never says that it did: cut off, or dead. Its agent may still run, so nothing is run
//! again; but nobody is told any more that it works.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Brief, Seen, left, status};
use crate::{
    api::v1beta1::PolecatStatus,
    domain::{
        failure::{Cause, quote},
        plan::Plan,
        pod_brief::PodBrief,
    },
};

/// What is left until the node of a pod that was told to end counts as silent; `None` where the pod was not.
pub(super) fn silence_left(seen: &Seen, pod: &PodBrief) -> Option<Duration> {
    let second = Some(i64::from(pod.moments.goes)).filter(|it| *it > 0)?;
    let by = Timestamp::from_second(second).ok()?;
    // The kubelet kills at that moment, and then has to say so.
    Some(left(Some(by), seen.settings.idle_grace, seen.now))
}

impl Brief {
    /// The pod should be gone, and is not.
    pub(super) fn silenced(&self, seen: &Seen, pod: &PodBrief, plan: &mut Plan<PolecatStatus>) {
        let why = match pod.disruption.as_deref() {
            Some("DeletionByTaintManager") => {
                ", because its node was tainted, as one that is lost is".into()
            }
            Some(other) => format!(" ({})", quote(other)),
            None => String::new(),
        };
        let happened = format!(
            "pod {} was to end{why}, and its node does not say that it did; its agent may still run, and commits may be lost",
            pod.name
        );
        let cause = Cause::known("NodeSilent", happened);
        plan.status = status::silent(self, seen.now, &cause);
        plan.notices = self.news(&cause);
    }
}
