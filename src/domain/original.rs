//! When the Go original has stopped, and how it is kept from beginning again beside us: pure, so that every rule can be
//! tested without a cluster.
//!
//! The original acts as long as its Lease changes. Once that has been seen unchanged for its own duration, or is free, or
//! missing, it is taken by compare-and-swap on exactly what was seen, and held from then on: an original that is started
//! again waits as one of its own candidates would. All replicas of ours hold it together, under one name, since they agree
//! among themselves by Leases of their own: whichever comes first renews it.
//!
//! Time is this replica's own clock, as in [`super::lease`]; nobody's wall clock is compared.

use std::time::Duration;

use super::lease::Times;

/// The Lease by which the original elects its leader.
pub const LEASE: &str = "9a7b81dd.gastown.io";
/// Under this name all replicas of ours hold it.
pub const HOLDER: &str = "gastown-operator";
/// How long it is held after a write, how long a replica relies on that, and how often it is renewed.
pub const TIMES: Times = Times {
    wait: Duration::from_secs(30),
    valid: Duration::from_secs(24),
    renew: Duration::from_secs(8),
};
/// Where a Lease says no duration: that of the original.
const DURATION: Duration = Duration::from_secs(15);

/// What is seen of the original's Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub uid: String,
    pub resource_version: String,
    /// Empty or absent: released.
    pub holder: Option<String>,
    pub duration_seconds: Option<i32>,
}

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    Nobodys,
    Ours,
    /// The original's, or that of anybody else who takes part.
    Theirs(&'a str),
}

impl Record {
    pub fn whose(&self) -> Whose<'_> {
        match self.holder.as_deref() {
            None | Some("") => Whose::Nobodys,
            Some(HOLDER) => Whose::Ours,
            Some(other) => Whose::Theirs(other),
        }
    }

    /// How long it must be seen unchanged until its holder has stopped.
    pub fn duration(&self) -> Duration {
        let given = self.duration_seconds.and_then(|it| u64::try_from(it).ok());
        given.filter(|it| *it > 0).map_or(DURATION, Duration::from_secs)
    }
}

/// What this replica remembers of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    seen: Option<Seen>,
    /// When the last request was sent that was answered: what is seen to have changed since then, changed after it.
    asked: Option<Duration>,
}

/// The Lease as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// `None`: it does not exist.
    record: Option<Record>,
    /// When it was first seen like this.
    since: Duration,
    /// It was written after this moment; unknown for what was there at the first look.
    not_before: Option<Duration>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Look,
    /// Write ourselves in on exactly what was seen; `None`: create it.
    Claim {
        over: Option<Record>,
    },
    /// Nothing for so long, unless it changes.
    Wait(Duration),
}

impl Memory {
    /// Takes note of an answer that came at `now`, to a reading that was sent at `sent`; `None`: there is no such Lease.
    pub fn note(&mut self, record: Option<Record>, sent: Duration, now: Duration) {
        if self.seen.as_ref().is_none_or(|it| it.record != record) {
            self.seen = Some(Seen { record, since: now, not_before: self.asked });
        }
        self.asked = Some(sent);
    }

    /// Takes note of what a watch tells at `now`. It may be late, so nothing is known of when it was written.
    pub fn hear(&mut self, record: Option<Record>, now: Duration) {
        if self.seen.as_ref().is_none_or(|it| it.record != record) {
            self.seen = Some(Seen { record, since: now, not_before: None });
        }
    }

    /// Takes note of our own accepted write.
    pub fn wrote(&mut self, record: Record, sent: Duration, now: Duration) {
        self.seen = Some(Seen { record: Some(record), since: now, not_before: Some(sent) });
        self.asked = Some(sent);
    }

    /// What was last seen to be there.
    pub fn record(&self) -> Option<&Record> {
        self.seen.as_ref()?.record.as_ref()
    }

    /// Who else holds it, or held it when it was last seen.
    pub fn theirs(&self) -> Option<&str> {
        match self.record()?.whose() {
            Whose::Theirs(holder) => Some(holder),
            Whose::Nobodys | Whose::Ours => None,
        }
    }

    /// Until when the original is kept from acting for certain.
    pub fn valid_until(&self) -> Option<Duration> {
        let seen = self.seen.as_ref()?;
        let ours = seen.record.as_ref().is_some_and(|it| it.whose() == Whose::Ours);
        seen.not_before.filter(|_| ours).map(|it| it + TIMES.valid)
    }

    /// What to do at `now`.
    pub fn step(&self, now: Duration) -> Step {
        let Some(Seen { record, since, not_before }) = &self.seen else { return Step::Look };
        let claim = || Step::Claim { over: record.clone() };
        let due = match record.as_ref().map(|it| (it.whose(), it)) {
            None | Some((Whose::Nobodys, _)) => return claim(),
            Some((Whose::Theirs(_), it)) => *since + it.duration(),
            // One of us holds it, since a moment that nobody here knows.
            Some((Whose::Ours, _)) => match not_before {
                None => return claim(),
                Some(written) => (*since + TIMES.renew).min(*written + TIMES.renew * 2),
            },
        };
        match due.saturating_sub(now) {
            Duration::ZERO => claim(),
            wait => Step::Wait(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn record(version: &str, holder: &str) -> Record {
        Record {
            uid: "u".into(),
            resource_version: version.into(),
            holder: Some(holder.into()),
            duration_seconds: Some(15),
        }
    }

    #[test]
    fn the_times_are_safe_for_clocks_that_drift() {
        assert_eq!(TIMES.flaw(), None);
    }

    #[test]
    fn nothing_is_taken_before_it_was_seen() {
        assert_eq!(Memory::default().step(at(0)), Step::Look);
        assert_eq!(Memory::default().valid_until(), None);
    }

    #[test]
    fn one_that_changes_is_left_alone_and_one_that_does_not_is_taken_after_its_own_duration() {
        let mut memory = Memory::default();
        for (number, second) in (0..20).map(|it| (it, it * 2)) {
            memory.note(
                Some(record(&number.to_string(), "host_1")),
                at(second * 1000),
                at(second * 1000),
            );
            assert_eq!(memory.step(at(second * 1000)), Step::Wait(at(15_000)), "{second} s");
        }
        let last = record("19", "host_1");
        for second in [40, 46, 52] {
            memory.note(Some(last.clone()), at(second * 1000), at(second * 1000));
            assert_eq!(memory.step(at(second * 1000)), Step::Wait(at((53 - second) * 1000)));
        }
        assert_eq!(memory.theirs(), Some("host_1"));
        assert_eq!(memory.step(at(53_000)), Step::Claim { over: Some(last) }, "on that version");
        assert_eq!(memory.valid_until(), None, "to claim is not to hold");
    }

    #[test]
    fn what_is_free_or_missing_is_taken_at_once() {
        let none = |duration_seconds| Record { duration_seconds, ..record("1", "") };
        let table = [
            (None, "it never ran here"),
            (Some(none(Some(15))), "released"),
            (Some(Record { holder: None, ..none(None) }), "never held"),
        ];
        for (found, because) in table {
            let mut memory = Memory::default();
            memory.note(found.clone(), at(0), at(5));
            assert_eq!(memory.step(at(5)), Step::Claim { over: found }, "{because}");
        }
    }

    #[test]
    fn a_lease_that_says_no_duration_has_the_originals() {
        let table = [(None, 15), (Some(0), 15), (Some(-3), 15), (Some(60), 60)];
        for (duration_seconds, want) in table {
            let it = Record { duration_seconds, ..record("1", "host_1") };
            assert_eq!(it.duration(), Duration::from_secs(want), "{duration_seconds:?}");
        }
    }

    #[test]
    fn what_we_hold_is_renewed_and_relied_on_from_the_moment_of_sending() {
        let mut memory = Memory::default();
        memory.wrote(record("2", HOLDER), at(1000), at(1400));
        assert_eq!(memory.valid_until(), Some(at(25_000)), "not from the answer");
        assert_eq!(memory.step(at(2000)), Step::Wait(at(7400)));
        assert!(matches!(memory.step(at(9400)), Step::Claim { over: Some(_) }));
        assert_eq!(memory.theirs(), None);
    }

    #[test]
    fn a_renewal_by_another_replica_of_ours_counts_from_when_it_was_not_there_yet() {
        let mut memory = Memory::default();
        memory.note(Some(record("2", HOLDER)), at(0), at(100));
        assert_eq!(memory.valid_until(), None, "it may have been written long ago");
        assert!(matches!(memory.step(at(100)), Step::Claim { .. }), "so it is written anew");
        memory.wrote(record("3", HOLDER), at(200), at(300));
        memory.note(Some(record("4", HOLDER)), at(7000), at(7100));
        assert_eq!(memory.valid_until(), Some(at(24_200)), "written some time after 200 ms");
        assert_eq!(memory.step(at(7100)), Step::Wait(at(8000)), "no race of renewals");
        memory.note(Some(record("5", HOLDER)), at(22_000), at(22_100));
        assert_eq!(memory.valid_until(), Some(at(31_000)));
        assert_eq!(memory.step(at(22_100)), Step::Wait(at(900)), "nor one that comes too late");
    }

    #[test]
    fn somebody_who_takes_it_from_us_ends_our_leave_at_once() {
        let mut memory = Memory::default();
        memory.wrote(record("2", HOLDER), at(0), at(10));
        memory.note(Some(record("3", "host_2")), at(1000), at(1010));
        assert_eq!((memory.valid_until(), memory.theirs()), (None, Some("host_2")));
        assert_eq!(memory.step(at(1010)), Step::Wait(at(15_000)));
        memory.note(None, at(2000), at(2010));
        assert_eq!(memory.theirs(), None);
        assert_eq!(memory.step(at(2010)), Step::Claim { over: None }, "deleted: taken again");
    }

    #[test]
    fn what_a_watch_tells_gives_no_leave() {
        let mut memory = Memory::default();
        memory.note(Some(record("1", "host_1")), at(0), at(10));
        memory.hear(Some(record("2", "host_1")), at(9000));
        assert_eq!(memory.step(at(20_000)), Step::Wait(at(4000)), "it changed");
        memory.hear(Some(record("3", HOLDER)), at(21_000));
        assert_eq!(memory.valid_until(), None, "nobody knows how old that is");
    }
}
