//! What a pod says when it is no longer followed: after `Idle` or `Terminated`, after its attempt was called over, and
//! with its deletion. The end of a run stands; only what became of its commits is added, once.

use k8s_openapi::jiff::Timestamp;

use super::{
    Brief, Seen, Stage,
    judge::{self, Words},
    status,
};
use crate::{
    api::v1beta1::PolecatStatus,
    domain::{conditions::PUSHED, plan::Plan, pod_brief::PodBrief},
};

impl Brief {
    /// The pod of the last attempt: as it is, or as it was when it went, and what its `telemetry` has said. Of one that is
    /// gone nothing more will come.
    fn last_pod<'a>(&self, seen: &'a Seen) -> (Option<&'a PodBrief>, Words) {
        if let Some(there) = seen.pod.as_ref().filter(|it| self.owns(it)) {
            return (Some(there), judge::words_of(there));
        }
        let gone = seen.departed.as_ref().filter(|it| self.owns(it));
        (gone, gone.map_or(Words::Silent, |it| judge::words_of(it).last()))
    }

    /// Stopped by wish: the pod goes, and its last words are waited for where its agent may have run.
    pub(super) fn stopped(&self, seen: &Seen, mut status: PolecatStatus) -> Plan<PolecatStatus> {
        let (pod, words) = self.last_pod(seen);
        let ran = self.status.started_at.is_some() || pod.is_some_and(|it| it.scheduled);
        let ends_now = matches!(self.stage(), Stage::Begun { .. }) && ran;
        if ends_now || (self.awaits_words() && words != Words::None) {
            status.exit_code = pod.and_then(|it| it.claude.exit_code()).or(status.exit_code);
            self.add_words(&mut status, seen.now, pod, &words);
        }
        Plan::only(status)
    }

    /// A verdict that came after the attempt was called over without one corrects the status once.
    pub(super) fn late_words(&self, seen: &Seen) -> Option<PolecatStatus> {
        let (pod, words) = self.last_pod(seen);
        if words == Words::None || !self.awaits_words() {
            return None;
        }
        let at = self.status.finished_at.as_ref()?.0;
        let Some(pod) = pod.filter(|_| !self.was_ended_by_us()) else {
            let mut status = self.status.clone();
            self.add_words(&mut status, seen.now, pod, &words);
            return Some(status);
        };
        let end = judge::end(pod, self.completion, at);
        Some(status::ended(self, seen.now, Some(pod), &judge::End { words, at, ..end }))
    }

    fn add_words(
        &self,
        status: &mut PolecatStatus,
        now: Timestamp,
        pod: Option<&PodBrief>,
        words: &Words,
    ) {
        status::seen_images(status, pod);
        status::pushed(status, self, now, words);
    }

    fn awaits_words(&self) -> bool {
        let mut all = self.status.conditions.iter();
        all.any(|it| {
            it.type_ == PUSHED && it.status == "Unknown" && it.reason == status::NO_VERDICT
        })
    }
}
