//! A spec that was edited while an attempt is under way: the attempt goes on as it began, and says so. What takes effect
//! at once is no such edit: `desiredState`, and when the object goes after its end.

use k8s_openapi::jiff::Timestamp;

use super::{Brief, Stage};
use crate::{
    api::v1beta1::{DesiredState, Polecat, PolecatSpec, PolecatStatus},
    domain::{
        conditions::{Conditions, Is, SPEC_CHANGED},
        names,
        plan::Plan,
    },
};

/// Hex digits of a digest that is compared with one other.
const DIGITS: usize = 16;

/// What an attempt is made from: the spec without what takes effect at once.
pub fn made_from(spec: &PolecatSpec) -> PolecatSpec {
    let mut same = spec.clone();
    same.desired_state = DesiredState::default();
    same.limits.ttl_seconds_after_finished = None;
    same
}

/// The same as a digest. Only compared where the generation differs too, so it need not be the same in another release.
fn digest(spec: &PolecatSpec) -> String {
    let mut hex = names::sha256(&format!("{:?}", made_from(spec)));
    hex.truncate(DIGITS);
    hex
}

/// Whether the spec is the one that the attempt under way was made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drift {
    #[default]
    None,
    Changed,
}

/// Notes what an attempt is made from.
pub(super) fn note(status: &mut PolecatStatus, whole: &Polecat) {
    status.attempt_generation = whole.metadata.generation;
    status.attempt_spec_digest = Some(digest(&whole.spec));
}

/// Compares an object with what its attempt was made from.
pub(super) fn drift(polecat: &Polecat) -> Drift {
    let status = &polecat.status;
    let (Some(generation), Some(made_from)) =
        (status.attempt_generation, &status.attempt_spec_digest)
    else {
        return Drift::None;
    };
    let edited = polecat.metadata.generation != Some(generation);
    if edited && digest(&polecat.spec) != *made_from { Drift::Changed } else { Drift::None }
}

impl Brief {
    /// Says it of an attempt under way, and of nothing else.
    pub(super) fn with_spec_change(
        &self,
        now: Timestamp,
        mut plan: Plan<PolecatStatus>,
    ) -> Plan<PolecatStatus> {
        let status = &mut plan.status;
        let attempt = match self.stage() {
            Stage::Begun { attempt, .. } if status.finished_at.is_none() => attempt,
            _ => 0,
        };
        let made_anew = status.attempt_spec_digest != self.status.attempt_spec_digest;
        let list = &mut status.conditions;
        let mut it = Conditions { list, generation: self.generation, now };
        if attempt == 0 || made_anew || self.drift == Drift::None || status.pod_name.is_none() {
            it.remove(SPEC_CHANGED);
            return plan;
        }
        let text = format!(
            "the spec was changed after attempt {attempt} had begun, which goes on as it began; set desiredState to Idle \
             and back to Working for an attempt with the new spec"
        );
        it.set(SPEC_CHANGED, Is::True, SPEC_CHANGED, &text);
        plan
    }
}
