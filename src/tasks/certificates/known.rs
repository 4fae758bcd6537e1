//! What the keeper of certificates knows at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::AGAIN;
use crate::{
    cluster::certificates::{Consumer, Kept, News},
    domain::certificates::{Book, Canary},
};

/// Writes of the same bundle into the same consumer within [`FIGHT`] until it counts as a fight with somebody else.
const ROUNDS: usize = 3;
const FIGHT: Duration = Duration::from_secs(60);
/// How long nothing is written where the API server refuses it again and again.
const CALM: Duration = Duration::from_secs(60);
/// Authorities that one replica makes anew within this span: more are a sign that clocks differ.
const ANEW: usize = 5;
const WHILE: Duration = Duration::from_secs(3600);

/// What is known at a time.
#[derive(Default)]
pub struct Known {
    pub kept: Option<Kept>,
    pub consumers: BTreeMap<Consumer, Heard>,
    /// The last book that could be used, and what of it is served.
    pub good: Option<Book>,
    pub served: String,
    /// How many callers had not trusted what was served before that.
    pub alerts: u64,
    pub canary: Canary,
    /// Whether it was noted that the switch under way has been watched for long enough.
    pub settled: bool,
    anew: VecDeque<Instant>,
    fights: BTreeMap<Consumer, (String, VecDeque<Instant>)>,
    refused: Option<Refused>,
    /// What is wrong, as of this look.
    pub problem: Option<(&'static str, String)>,
}

/// A write of the Secret that the API server did not have.
struct Refused {
    /// Over which version of it.
    version: String,
    /// How often in a row.
    times: u32,
    until: Instant,
    why: String,
}

/// What is known of a consumer.
pub enum Heard {
    Nothing,
    Gone,
    There(Value),
}

impl Known {
    /// Nothing yet, of anybody who is to be told.
    pub fn nothing(consumers: &[Consumer]) -> Self {
        let consumers = consumers.iter().map(|it| (it.clone(), Heard::Nothing)).collect();
        Self { consumers, ..Self::default() }
    }

    pub fn hear(&mut self, news: News) {
        match news {
            News::Kept(kept) => {
                // A canary tells of the book that it was sent under.
                if self.kept.as_ref().is_none_or(|it| it.book != kept.book) {
                    self.canary = Canary::Untold;
                    self.settled = false;
                }
                self.kept = Some(*kept);
            }
            News::Consumer(consumer, object) => {
                let heard = object.map_or(Heard::Gone, Heard::There);
                self.consumers.insert(consumer, heard);
            }
        }
    }

    pub fn problem(&mut self, reason: &'static str, text: &str) {
        self.problem = Some((reason, text.to_owned()));
    }

    /// Another authority is wished, and waits for one to retire, in seconds since 1970.
    pub fn has_no_room(&mut self, until: i64) {
        let until = Timestamp::from_second(until).unwrap_or_default();
        let text = format!(
            "another authority is wished while as many as can be wait for their retirement: it is made when the first of them has \
             left the bundle, at {until} (docs/certificates.md)"
        );
        self.problem("TooManyRetired", &text);
    }

    /// The API server refused what was written over this version; how long until that is tried again. It may only not have
    /// heard of our rights yet, but will not have the same for ever, unless somebody does something.
    pub fn turned_down(&mut self, version: &str, why: &str, now: Instant) -> Duration {
        let before = self.refused.as_ref().filter(|it| it.version == version);
        let times = before.map_or(0, |it| it.times).saturating_add(1);
        let pause = (AGAIN * 2_u32.saturating_pow(times - 1)).min(CALM);
        let (version, why) = (version.to_owned(), why.to_owned());
        self.refused = Some(Refused { version, times, until: now + pause, why });
        pause
    }

    /// How long nothing is written over this version, and why; nothing of another one is known.
    pub fn is_turned_down(&self, version: &str, now: Instant) -> Option<(Duration, String)> {
        let it = self.refused.as_ref().filter(|it| it.version == version)?;
        let left = it.until.checked_duration_since(now).filter(|it| !it.is_zero())?;
        Some((left, it.why.clone()))
    }

    /// Notes another authority that nothing leads to from the one before, if it is to be.
    pub fn begins_anew(&mut self, now: Instant) -> bool {
        self.anew.retain(|it| now.duration_since(*it) < WHILE);
        let goes = self.anew.len() < ANEW;
        if goes {
            self.anew.push_back(now);
        }
        goes
    }

    /// Whether this very bundle was written there again and again. Only what was written counts: replicas that come second
    /// fight nobody.
    pub fn fight(&mut self, consumer: &Consumer, bundle: &str, now: Instant) -> bool {
        let (last, rounds) = self.fights.entry(consumer.clone()).or_default();
        if last != bundle {
            bundle.clone_into(last);
            rounds.clear();
        }
        while rounds.front().is_some_and(|it| now.duration_since(*it) > FIGHT) {
            rounds.pop_front();
        }
        rounds.len() >= ROUNDS
    }

    pub fn won(&mut self, consumer: &Consumer, now: Instant) {
        self.fights.entry(consumer.clone()).or_default().1.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::certificates::Sort;

    #[test]
    fn authorities_are_not_made_anew_without_end() {
        let (mut known, begin) = (Known::default(), Instant::now());
        let at = |minutes: u64| begin + Duration::from_secs(60 * minutes);
        let made: Vec<_> = [0, 1, 2, 3, 4, 5, 59, 60].map(|it| known.begins_anew(at(it))).into();
        assert_eq!(made, [true, true, true, true, true, false, false, true]);
    }

    #[test]
    fn what_was_refused_over_one_version_is_tried_ever_later_and_over_another_at_once() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert_eq!(known.is_turned_down("7", now), None);
        let pauses: Vec<_> = (0..9).map(|_| known.turned_down("7", "no", now)).collect();
        let want = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0].map(Duration::from_secs_f64);
        assert_eq!(pauses, want);
        let (second, almost) = (Duration::from_secs(1), Duration::from_secs(59));
        assert_eq!(known.is_turned_down("7", now + almost), Some((second, "no".into())));
        assert_eq!(known.is_turned_down("7", now + CALM), None, "it is tried again");
        assert_eq!(known.is_turned_down("8", now), None, "somebody did something");
        assert_eq!(known.turned_down("8", "no", now), AGAIN, "and may go on doing so");
    }

    #[test]
    fn the_same_bundle_is_written_three_times_a_minute_and_another_one_at_once() {
        let of = |name: &str| Consumer { sort: Sort::Validating, name: name.into() };
        let (one, other) = (of("one"), of("other"));
        let (mut known, begin) = (Known::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for second in [0, 1, 2] {
            assert!(!known.fight(&one, "a", at(second)), "at {second}");
            known.won(&one, at(second));
        }
        assert!(known.fight(&one, "a", at(3)) && known.fight(&one, "a", at(60)), "that was enough");
        assert!(!known.fight(&other, "a", at(3)), "nobody changes the other one");
        assert!(!known.fight(&one, "a", at(61)), "a round is over a minute ago: once more");
        known.won(&one, at(61));
        assert!(known.fight(&one, "a", at(61)), "and not twice");
        assert!(!known.fight(&one, "b", at(61)), "what is to be said has changed");
    }
}
