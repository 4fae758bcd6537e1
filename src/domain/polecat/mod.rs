//! What one Polecat is to do: `step` by what is wanted and what is there. The old status is read only for what nothing
//! else can prove: that an attempt was begun, that its agent ran, that it ended.

mod brief;
mod commits;
mod followed;
mod goes;
mod handed;
mod hold;
mod idle;
mod in_pod;
mod judge;
mod last_words;
mod left_behind;
mod over;
mod pending;
mod pulls;
mod restored;
mod silent;
mod spec_changed;
mod stages;
mod status;
mod unshown;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};

use crate::{
    api::v1beta1::{self, DesiredState, Phase, PolecatStatus},
    domain::{
        brake::Hold,
        failure::Cause,
        fields, names,
        plan::{Child, Finalizer, Next, Notice, Plan, Retire},
        pod::{self, PodSettings},
        pod_brief::PodBrief,
    },
};
pub use brief::Brief;
pub use followed::{CONVOY, FOLLOWED, follows, trace_of};
pub use goes::goes_with;
pub use handed::HandOver;
pub use in_pod::InPod;
use judge::{End, Judgement};
use over::left;
pub use pending::Reports;
pub use pulls::{PULLED, Pulled, may_have_pulled};
pub use restored::Origin;
pub use spec_changed::{Drift, made_from};
pub use stages::{AGENT_STAGE, RUN, STAGES};

/// How far the current attempt has come, by the status alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No attempt is under way: the next one has this number.
    Fresh { attempt: i32 },
    /// This attempt was begun: its pod may be there, may have been there, or may never have been made.
    Begun { attempt: i32, pod: String },
    /// The last attempt ended, and is not run again.
    Over,
}

impl Brief {
    /// How far the current attempt has come.
    pub fn stage(&self) -> Stage {
        let it = &self.status;
        let begun = || Stage::Begun {
            attempt: it.attempt.unwrap_or(1),
            pod: it
                .pod_name
                .clone()
                .unwrap_or_else(|| names::pod(&self.name, it.attempt.unwrap_or(1))),
        };
        match it.phase {
            Phase::Done => Stage::Over,
            Phase::Stuck if it.finished_at.is_some() => Stage::Over,
            // The Go original records no attempt and no end; what it called Stuck with a pod had failed.
            Phase::Stuck if it.attempt.is_none() && it.pod_name.is_some() => Stage::Over,
            Phase::Working => begun(),
            Phase::Stuck if it.pod_name.is_some() => begun(),
            Phase::Idle | Phase::Stuck | Phase::Terminated => {
                Stage::Fresh { attempt: it.attempt.unwrap_or(0) + 1 }
            }
        }
    }

    /// Whether a pod may have to be built: then the whole object must be read.
    pub fn wants_pod(&self, seen: &Seen) -> bool {
        let wanted = self.desired == DesiredState::Working && self.runnable && !self.deleting;
        wanted
            && match self.stage() {
                Stage::Fresh { .. } => {
                    self.restored().is_none() && self.left_behind(seen).is_none()
                }
                Stage::Begun { .. } => {
                    seen.pod.is_none()
                        && !self.begun_by_original()
                        && !self.begun_before()
                        && seen.departed.is_none()
                        && seen.past == Past::NeverScheduled
                        && self.status.started_at.is_none()
                }
                Stage::Over => false,
            }
    }

    /// Whether the API server must be asked what became of a pod: the attempt was begun, and the cache has no pod.
    pub fn wants_past(&self, pod: Option<&PodBrief>) -> Option<String> {
        let asked = self.desired == DesiredState::Working && !self.deleting && pod.is_none();
        match self.stage() {
            Stage::Begun { pod, .. } if asked => Some(pod),
            _ => None,
        }
    }

    /// Whether an attempt is asked for and none is under way.
    pub fn begins(&self) -> bool {
        self.desired == DesiredState::Working
            && !self.deleting
            && self.restored().is_none()
            && matches!(self.stage(), Stage::Fresh { .. })
    }

    /// Whether this pod is this Polecat's, by an owner as the operator alone may write it.
    pub fn owns(&self, pod: &PodBrief) -> bool {
        pod.owner.as_ref().is_some_and(|it| it.is_polecat() && it.uid == self.uid)
    }
}

/// What was seen of the world around one Polecat.
#[derive(Clone, Debug)]
pub struct Seen {
    pub now: Timestamp,
    /// The pod of the name that the status gives, whoever owns it.
    pub pod: Option<PodBrief>,
    /// What is known of a pod that is not there.
    pub past: Past,
    /// The pod is ours and was asked for by its name: no watch tells of it.
    pub unshown: bool,
    /// The pod of that name as it was when it went, where it had something to say.
    pub departed: Option<PodBrief>,
    /// A pod of an earlier attempt that is still there.
    pub ending: Option<String>,
    /// The Events of a pod that has been pending for a while.
    pub reports: Reports,
    /// The whole object, read where a pod may have to be built.
    pub whole: Option<Arc<v1beta1::Polecat>>,
    /// What keeps it from beginning; looked at only where a pod may have to be built.
    pub hold: Option<Hold>,
    /// What the API server answered when the pod was to be created a moment ago.
    pub refusal: Option<Cause>,
    pub settings: Arc<PodSettings>,
}

/// What is known of a pod that was asked for and is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Past {
    #[default]
    Unasked,
    /// No Event of that pod says that a node took it: it never ran.
    NeverScheduled,
    /// A node took it, so its agent may have run.
    Scheduled,
    /// This replica saw it, and saw it go.
    Seen,
}

impl Brief {
    /// The whole desired outcome for this Polecat.
    pub fn decide(&self, seen: &Seen) -> Plan<PolecatStatus> {
        if self.deleting {
            return self.farewell();
        }
        let plan = match self.desired {
            DesiredState::Idle => {
                self.stopped(seen, self.release(status::idle(self, seen.now), seen.now))
            }
            DesiredState::Terminated => {
                self.stopped(seen, self.release(status::terminated(self, seen.now), seen.now))
            }
            DesiredState::Working => match self.stage() {
                Stage::Over => self.over(seen),
                // A run under way goes on, whatever became of the spec.
                Stage::Begun { attempt, .. } => {
                    let plan = match &seen.pod {
                        Some(pod) if self.owns(pod) => self.follow(seen, pod),
                        Some(pod) => self.taken(seen, pod),
                        None => self.recover(seen, attempt),
                    };
                    left_behind::numbered(plan, attempt)
                }
                Stage::Fresh { attempt } => match self.left_behind(seen) {
                    Some(pod) => self.adopt(seen, pod, attempt),
                    None if !self.runnable => self.unrunnable(seen),
                    None => self.begin(seen, attempt),
                },
            },
        };
        let plan = self.with_commit_news(self.with_spec_change(seen.now, plan));
        let plan = self.with_trace_news(plan);
        seen.in_sight(self.observed(Self::unpaused(seen, plan)))
    }

    /// Which spec the status speaks of: along with whatever else is written, and from then on whenever the spec changes. So
    /// nothing is written for it alone into statuses that others, or an older release, have written.
    fn observed(&self, mut plan: Plan<PolecatStatus>) -> Plan<PolecatStatus> {
        if plan.status != self.status || self.status.observed_generation.is_some() {
            plan.status.observed_generation = self.generation;
        }
        plan
    }

    /// Children are owned, so the garbage collector removes them; only the original's finalizer stands in the way.
    fn farewell(&self) -> Plan<PolecatStatus> {
        let mut plan = Plan::only(self.status.clone());
        if self.original_finalizer {
            plan.finalizer = Finalizer::Release(names::ORIGINAL_FINALIZER);
        }
        plan
    }

    /// A status, and an Event that says why, unless the conditions say the same already.
    fn complain(&self, status: PolecatStatus, cause: &Cause) -> Plan<PolecatStatus> {
        let mut plan = Plan::only(status);
        plan.notices = self.news(cause);
        plan
    }

    fn unrunnable(&self, seen: &Seen) -> Plan<PolecatStatus> {
        let text = format!(
            "{} is missing, so there is no repository to work on; set {} and {}",
            fields::REPOSITORY,
            fields::URL,
            fields::GIT_SECRET
        );
        let cause = Cause::new("MissingKubernetesSpec", text);
        self.complain(status::unrunnable(self, seen.now, &cause), &cause)
    }

    /// The first pod of a new attempt: the intent in the status, then the pod.
    fn begin(&self, seen: &Seen, attempt: i32) -> Plan<PolecatStatus> {
        if let Some(cause) = self.restored() {
            return self.held_back(seen, &cause);
        }
        if let Some(hold) = &seen.hold {
            return self.held(seen, hold);
        }
        if let Some(pod) = &seen.ending {
            return self.waits_for_previous(seen, pod);
        }
        let Some(whole) = &seen.whole else { return Plan::only(self.status.clone()) };
        match pod::agent_pod(whole, attempt, &seen.settings) {
            Ok(pod) => {
                let intent = status::intent(self, seen.now, whole, attempt, &seen.settings);
                with_pod(self.release(intent, seen.now), pod)
            }
            Err(cause) => self.complain(status::unbuildable(self, seen.now, &cause), &cause),
        }
    }

    /// The attempt was begun, and its pod is not there.
    fn recover(&self, seen: &Seen, attempt: i32) -> Plan<PolecatStatus> {
        if let Some(refusal) = &seen.refusal {
            return self.again_later(seen, refusal);
        }
        let gone = seen.departed.as_ref().filter(|it| self.owns(it));
        if let Some(pod) = gone
            && let Some(end) = judge::seen_end(pod, self.completion, seen.now)
        {
            let mut plan = Plan::only(status::ended(self, seen.now, Some(pod), &end));
            plan.notices = end.cause.iter().flat_map(|it| self.news(it)).collect();
            return plan;
        }
        let was_there = gone.is_some() || matches!(seen.past, Past::Scheduled | Past::Seen);
        let earlier = self.begun_by_original() || self.begun_before();
        if self.status.started_at.is_some() || was_there || earlier {
            let text = "the pod is gone and its agent may have run, so it is not run again; commits that were not pushed \
                        are lost; set desiredState to Idle and back to Working for a new attempt";
            let cause = Cause::new("PodLost", text);
            let end = End::lost(cause.clone(), seen.now);
            return self.complain(status::ended(self, seen.now, None, &end), &cause);
        }
        if !self.runnable {
            return self.unrunnable(seen);
        }
        if let Some(hold) = &seen.hold {
            return self.held(seen, hold);
        }
        let Some(whole) = &seen.whole else { return Plan::only(self.status.clone()) };
        // The intent stands, unless the original wrote it, which numbers no attempts.
        let status = match self.status.attempt {
            Some(_) => {
                let mut status = self.status.clone();
                spec_changed::note(&mut status, whole);
                status
            }
            None => status::intent(self, seen.now, whole, attempt, &seen.settings),
        };
        match pod::agent_pod(whole, attempt, &seen.settings) {
            Ok(pod) => with_pod(status, pod),
            Err(cause) => self.complain(status::refused(self, seen.now, &cause), &cause),
        }
    }

    /// The pod of the attempt's name belongs to somebody else.
    fn taken(&self, seen: &Seen, pod: &PodBrief) -> Plan<PolecatStatus> {
        let owner = pod.owner.as_ref();
        let owner = owner.map_or_else(|| "nobody".into(), |it| format!("{} {}", it.kind, it.name));
        let cause = if pod.deleting {
            let text = format!(
                "pod {} of {owner} is still ending; this one starts when it is gone",
                pod.name
            );
            Cause::new("WaitingForPreviousPod", text)
        } else {
            let text = format!(
                "pod {} is there already and belongs to {owner}; it is left alone; delete it, or give this Polecat \
                 another name",
                pod.name
            );
            Cause::new("PodNameTaken", text)
        };
        self.again_later(seen, &cause)
    }

    /// The pod could not be made now.
    fn again_later(&self, seen: &Seen, cause: &Cause) -> Plan<PolecatStatus> {
        let mut plan = self.complain(status::refused(self, seen.now, cause), cause);
        plan.next = Next::Retry;
        plan
    }

    /// The attempt's own pod is there.
    fn follow(&self, seen: &Seen, pod: &PodBrief) -> Plan<PolecatStatus> {
        let mut plan = Plan::only(self.status.clone());
        plan.children = vec![Child::Existing { pod: pod.name.to_string() }];
        let patience = judge::patience(self.completion, &seen.settings);
        let silence = silent::silence_left(seen, pod);
        match judge::judge(pod, self.completion, patience, seen.now) {
            Judgement::Waiting(_) | Judgement::Running if silence == Some(Duration::ZERO) => {
                self.silenced(seen, pod, &mut plan);
            }
            Judgement::Waiting(cause) => {
                self.waits(seen, pod, cause, &mut plan);
                plan.next = plan.next.or(silence.map_or(Next::OnChange, Next::After));
            }
            Judgement::Running => match self.idle_left(seen, pod) {
                Some(Duration::ZERO) => return self.idled(seen, pod),
                wait => {
                    plan.status = status::running(self, seen.now, pod);
                    plan.next = wait.or(silence).map_or(Next::OnChange, Next::After);
                }
            },
            Judgement::Ending(wait) => {
                plan.status = status::running(self, seen.now, pod);
                plan.next = Next::After(wait);
            }
            Judgement::Ended(end) => {
                plan.notices = end.cause.iter().flat_map(|it| self.news(it)).collect();
                plan.status = status::ended(self, seen.now, Some(pod), &end);
                let (next, retire) = self.life_left(&plan.status, seen);
                // Not in the same breath: the end is written first, and seen.
                plan.next =
                    if retire == Retire::Delete { Next::After(Duration::ZERO) } else { next };
                if let Some(wait) = Self::pod_left(&plan.status, pod, seen) {
                    plan.next = plan.next.or(Next::After(wait));
                }
            }
        }
        plan
    }

    /// An Event, unless the conditions say the same already.
    fn news(&self, cause: &Cause) -> Vec<Notice> {
        let known = self
            .status
            .conditions
            .iter()
            .any(|it| it.reason == cause.reason && it.message == cause.message);
        if known {
            Vec::new()
        } else {
            vec![Notice { reason: cause.reason.clone(), message: cause.message.clone() }]
        }
    }
}

fn with_pod(status: PolecatStatus, pod: Pod) -> Plan<PolecatStatus> {
    let mut plan = Plan::only(status);
    plan.children = vec![Child::Pod(Box::new(pod))];
    plan
}

#[cfg(test)]
mod tests;
