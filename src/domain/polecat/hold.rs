//! A Polecat that a brake holds: it waits without a pod, says why, and writes nothing twice.

use k8s_openapi::jiff::Timestamp;

use super::{Brief, Seen, Stage, status};
use crate::{
    api::{
        shared::Condition,
        v1beta1::{DesiredState, Phase, PolecatStatus},
    },
    domain::{
        brake::{self, Hold, Place},
        conditions::{AVAILABLE, Conditions, DEGRADED, Is, PAUSED, PROGRESSING, READY, WORKING},
        plan::{Next, Plan},
        slots::Standing,
    },
};

impl Brief {
    /// It waits. No Event: whoever braked knows it, and a thousand that wait need no thousand Events.
    pub(super) fn held(&self, seen: &Seen, hold: &Hold) -> Plan<PolecatStatus> {
        if let Hold::Forbidden(cause) = hold {
            return match self.stage() {
                Stage::Fresh { .. } => {
                    self.complain(status::unbuildable(self, seen.now, cause), cause)
                }
                _ => self.again_later(seen, cause),
            };
        }
        if matches!(hold, Hold::Full { .. }) && self.stays_refused() {
            // What it was refused for says more than that there is no room now to be refused again.
            let mut plan = Plan::only(self.status.clone());
            plan.next = Next::Retry;
            return plan;
        }
        Plan::only(held(self, seen.now, hold))
    }

    /// A pause is over, or does not concern what this Polecat does now.
    pub(super) fn unpaused(seen: &Seen, mut plan: Plan<PolecatStatus>) -> Plan<PolecatStatus> {
        if seen.hold.as_ref().and_then(Hold::pause).is_none() {
            plan.status.conditions.retain(|it| it.type_ != PAUSED);
        }
        plan
    }

    /// Whether a pause that begins or ends changes anything for it.
    pub fn minds_a_pause(&self) -> bool {
        self.begins() || self.status.conditions.iter().any(|it| it.type_ == PAUSED)
    }

    /// Its place among those of its namespace that wait to begin.
    pub fn place(&self) -> Place {
        (self.created_at, self.name.clone())
    }

    /// What it is to the book of slots while nothing pauses it. One that waits for something else than room stands in nobody's way.
    pub fn standing(&self) -> Standing {
        match self.stage() {
            Stage::Begun { .. } if !self.gave_its_place_back() => Standing::Begun,
            Stage::Begun { .. } if self.asks_again() => Standing::InLine(self.place()),
            Stage::Fresh { .. } if self.begins() && self.runnable && !self.waits_for_more() => {
                Standing::InLine(self.place())
            }
            _ => Standing::Out,
        }
    }

    /// Whether its attempt began, and the API server would not have its pod: it asks for room anew when it tries again. A pod
    /// that is there after all has its own.
    fn gave_its_place_back(&self) -> bool {
        let it = &self.status;
        it.phase == Phase::Stuck && it.finished_at.is_none() && it.pod_name.is_some()
    }

    /// Whether its pod may be taken now that was refused before.
    fn asks_again(&self) -> bool {
        self.desired == DesiredState::Working && !self.deleting && !self.waits_for_more()
    }

    /// Whether its pod was refused, and nobody has edited it since: else it has its turn like others.
    fn stays_refused(&self) -> bool {
        let same = self.ready().is_some_and(|it| it.observed_generation == self.generation);
        same && self.gave_its_place_back() && self.waits_for_more()
    }

    fn ready(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|it| it.type_ == READY)
    }

    fn waits_for_more(&self) -> bool {
        let brakes = [brake::PAUSED, brake::NAMESPACE_LIMIT];
        self.ready().is_some_and(|it| it.status != "True" && !brakes.contains(&it.reason.as_str()))
    }
}

fn held(brief: &Brief, now: Timestamp, hold: &Hold) -> PolecatStatus {
    let mut status = brief.status.clone();
    let cause = hold.cause();
    if matches!(brief.stage(), Stage::Fresh { .. }) && brief.desired == DesiredState::Working {
        status.phase = Phase::Idle;
        (status.pod_name, status.pod_active) = (None, status.pod_active.map(|_| false));
    }
    let list = &mut status.conditions;
    let mut it = Conditions { list, generation: brief.generation, now };
    for type_ in [READY, WORKING, PROGRESSING] {
        it.set(type_, Is::False, &cause.reason, &cause.message);
    }
    it.set(AVAILABLE, Is::False, "NotReady", &cause.message);
    it.set(DEGRADED, Is::False, "Healthy", &cause.message);
    if let Some(reason) = hold.pause() {
        it.set(PAUSED, Is::True, reason, &cause.message);
    }
    status
}
