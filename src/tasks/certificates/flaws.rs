//! What is wrong with what is served, as a metric: every reason from zero, and one of them 1 while it is so.

use super::keeping;
use crate::{
    cluster::{
        certificates::Unusable,
        meters::{Flawed, Meters},
    },
    tls::check::Flaw,
};

/// What can be wrong beside what is in the Secret or in files.
const OTHERS: [&str; 7] = [
    keeping::IMMUTABLE,
    keeping::REFUSED,
    "SwitchTakenBack",
    "CanaryRefused",
    "BundleFoughtOver",
    "ClocksDiffer",
    "TooManyRetired",
];

/// Says it.
pub struct Flaws(Meters);

impl Flaws {
    /// Nothing is wrong yet.
    pub fn begin(meters: &Meters) -> Self {
        let it = Self(meters.clone());
        it.say(None);
        it
    }

    /// From now on this is wrong, or nothing.
    pub fn say(&self, reason: Option<&'static str>) {
        let all = Flaw::REASONS.iter().chain(&Unusable::REASONS).chain(&OTHERS);
        for each in all.copied().chain(reason) {
            let wrong = i64::from(reason == Some(each));
            self.0.certificate_flaws.get_or_create(&Flawed { reason: each }).set(wrong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_at_a_time_is_wrong_and_all_are_told() {
        let meters = Meters::default();
        let flaws = Flaws::begin(&meters);
        let now = |reason| meters.certificate_flaws.get_or_create(&Flawed { reason }).get();
        assert_eq!((now("Expired"), now("BundleFoughtOver")), (0, 0));
        flaws.say(Some("Expired"));
        assert_eq!((now("Expired"), now("BundleFoughtOver")), (1, 0));
        flaws.say(Some("BundleFoughtOver"));
        assert_eq!((now("Expired"), now("BundleFoughtOver")), (0, 1));
        flaws.say(None);
        assert_eq!((now("Expired"), now("BundleFoughtOver")), (0, 0));
    }
}
