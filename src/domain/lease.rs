//! What to do about a Lease: pure, so that every rule can be tested and modelled without a cluster.
//!
//! Time is this replica's own clock, as the time since its machine started. Nobody's wall clock is ever compared: a candidate
//! waits until it has itself seen the same record unchanged for [`Times::wait`]; a holder counts its validity from the moment
//! its last accepted write was *sent*.

use std::time::Duration;

/// The three times of the protocol. `valid` < `wait`: a holder has stopped before anybody may take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a candidate must have seen the record unchanged (D). Each publishes his own with every record that he writes.
    pub wait: Duration,
    /// How long a holder may act after sending its last accepted write (V).
    pub valid: Duration,
    /// How often a holder writes (R).
    pub renew: Duration,
}

impl Times {
    /// Crash noticed in about ten seconds.
    pub const DEFAULT: Self = Self {
        wait: Duration::from_secs(10),
        valid: Duration::from_millis(7_500),
        renew: Duration::from_secs(2),
    };
    /// Crash noticed in about five seconds, for API servers that answer quickly.
    pub const FAST: Self = Self {
        wait: Duration::from_secs(5),
        valid: Duration::from_millis(3_500),
        renew: Duration::from_secs(1),
    };

    /// No wait is longer, whatever a record publishes.
    pub const LONGEST: Duration = Duration::from_secs(3600);

    /// How long a candidate with these times waits for whoever wrote a record: no shorter than that one publishes, who may act
    /// for longer than the candidate would himself. Replicas with other times are alive while the times are changed.
    pub fn for_writer_of(&self, record: &Record) -> Duration {
        self.wait.max(record.wait)
    }

    /// Why these times would be unsafe or useless, if they would.
    pub fn flaw(&self) -> Option<String> {
        let Self { wait, valid, renew } = *self;
        if renew.is_zero() {
            return Some("the renewal interval must not be 0".into());
        }
        // Clocks may run up to 10 % apart: valid * 1.1 must stay below wait * 0.9.
        if valid.as_millis() * 11 >= wait.as_millis() * 9 {
            return Some(format!(
                "validity {valid:?} must be below 9/11 of the wait {wait:?}, for clocks that drift"
            ));
        }
        (renew * 3 > valid)
            .then(|| format!("validity {valid:?} must leave room for three renewals of {renew:?}"))
    }
}

/// What is seen of a Lease: nothing but what a compare-and-swap needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub uid: String,
    pub resource_version: String,
    /// Empty or absent: released.
    pub holder: Option<String>,
    /// The highest epoch that the Lease knows of: `leaseTransitions`, and what its last writer of ours had marked.
    pub transitions: i32,
    /// Which write of its holder made it; absent where somebody else's program did.
    pub mark: Option<Mark>,
    /// How long its writer has others wait for him; zero where nothing says so.
    pub wait: Duration,
}

/// Names one write of one process, so that it knows its own again when the answer was lost. It carries the epoch as well,
/// so that an epoch does not go back when somebody edits `leaseTransitions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub epoch: i32,
    pub number: u64,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.epoch, self.number)
    }
}

impl Mark {
    /// Reads what [`Mark`] displays; anything else is no mark.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, number) = text.split_once('.')?;
        Some(Self { epoch: epoch.parse().ok()?, number: number.parse().ok()? })
    }
}

/// What this replica remembers of a Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The record as last seen, and since when it has been seen unchanged.
    pub seen: Option<(Record, Duration)>,
    /// Since when it has been seen missing.
    pub missing_since: Option<Duration>,
    /// Our own last accepted write: the version it made, and when it was sent.
    pub held: Option<Held>,
    /// Writes of ours whose answers are missing: each may have been accepted, or still be.
    pub open: Vec<Open>,
}

/// A write of ours whose answer is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    pub holder: String,
    pub mark: Mark,
    pub sent: Duration,
}

/// As many writes without an answer are remembered; older ones have lapsed long since.
const MOST_OPEN: usize = 16;

impl Open {
    /// Whether this very write made the record.
    fn made(&self, record: &Record) -> bool {
        record.mark == Some(self.mark) && record.holder.as_deref() == Some(&*self.holder)
    }
}

/// Our own last accepted write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub resource_version: String,
    pub sent: Duration,
}

impl Memory {
    /// Takes note of what was read at `now`: `None` means that the Lease does not exist.
    pub fn note(&mut self, record: Option<Record>, now: Duration) {
        match record {
            None => {
                self.seen = None;
                self.held = None;
                self.missing_since.get_or_insert(now);
            }
            Some(record) => {
                self.missing_since = None;
                // The answer to it was lost, but the write was ours.
                let own = self.open.iter().find(|it| it.made(&record)).map(|it| it.sent);
                if let Some(sent) = own {
                    self.wrote(record, sent, now);
                    return;
                }
                // A record that names us without our own accepted write is not ownership.
                if self
                    .held
                    .as_ref()
                    .is_some_and(|it| it.resource_version != record.resource_version)
                {
                    self.held = None;
                }
                let same = self.seen.as_ref().is_some_and(|(old, _)| *old == record);
                if !same {
                    self.seen = Some((record, now));
                }
            }
        }
    }

    /// Takes note of our own accepted write.
    pub fn wrote(&mut self, record: Record, sent: Duration, now: Duration) {
        self.held = Some(Held { resource_version: record.resource_version.clone(), sent });
        self.missing_since = None;
        self.open.clear();
        self.seen = Some((record, now));
    }

    /// Takes note of a write that is about to be sent: until its answer is there, it may or may not be accepted.
    pub fn sends(&mut self, write: Open) {
        if self.open.len() >= MOST_OPEN {
            self.open.remove(0);
        }
        self.open.push(write);
    }

    /// Forgets how long anything was seen: while the API server could not be asked, nothing was seen.
    pub fn blind(&mut self) {
        self.seen = None;
        self.missing_since = None;
    }

    /// Until when this replica may act, if it holds the Lease.
    pub fn valid_until(&self, times: &Times) -> Option<Duration> {
        self.held.as_ref().map(|it| it.sent + times.valid)
    }
}

/// Who this replica is: `<pod>_<pod uid>_<nonce of this process>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub pod: String,
    /// Empty outside a pod: then nobody before us is known to be gone.
    pub pod_uid: String,
    pub nonce: String,
}

impl Identity {
    /// The holder's name in a Lease.
    pub fn holder(&self) -> String {
        format!("{}_{}_{}", self.pod, self.pod_uid, self.nonce)
    }

    /// The same process where it takes part once more, after so many times: its sessions have names of their own.
    #[must_use]
    pub fn taking_part(&self, before: u32) -> Self {
        let nonce = &self.nonce;
        let nonce = if before == 0 { nonce.clone() } else { format!("{nonce}-{before}") };
        Self { nonce, ..self.clone() }
    }

    /// How every holder of this pod begins; empty outside of pods.
    pub fn prefix(&self) -> String {
        if self.pod_uid.is_empty() {
            String::new()
        } else {
            format!("{}_{}_", self.pod, self.pod_uid)
        }
    }

    /// Whether that holder was this process, or one before it in the same pod.
    pub fn was(&self, holder: &str) -> bool {
        let before_us = !self.pod_uid.is_empty() && holder.starts_with(&self.prefix());
        before_us || holder == self.holder()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Times = Times::DEFAULT;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn me() -> Identity {
        Identity { pod: "me".into(), pod_uid: "1".into(), nonce: "b".into() }
    }

    fn record(holder: &str, version: &str) -> Record {
        Record {
            uid: "u".into(),
            resource_version: version.into(),
            holder: Some(holder.into()),
            transitions: 4,
            ..Record::default()
        }
    }

    fn open(number: u64, sent: u64) -> Open {
        let mark = Mark { epoch: 4, number };
        Open { holder: me().holder(), mark, sent: at(sent) }
    }

    fn marked(version: &str, number: u64) -> Record {
        let mark = Some(Mark { epoch: 4, number });
        Record { mark, ..record(&me().holder(), version) }
    }

    #[test]
    fn a_write_whose_answer_was_lost_is_known_again() {
        let mut memory = Memory::default();
        memory.wrote(marked("7", 1), at(0), at(0));
        memory.sends(open(2, 2));
        memory.note(Some(marked("7", 1)), at(4));
        assert_eq!(memory.valid_until(&T), Some(at(0) + T.valid), "not accepted so far");
        memory.sends(open(3, 4));
        memory.note(Some(marked("8", 2)), at(5));
        assert_eq!(memory.valid_until(&T), Some(at(2) + T.valid), "accepted late, after all");
        assert_eq!(
            memory.seen.as_ref().map(|(it, _)| it.transitions),
            Some(4),
            "under the same epoch"
        );
        assert!(memory.open.is_empty(), "what was sent before it can't be accepted any more");
    }

    #[test]
    fn what_only_looks_like_our_write_is_not() {
        let table = [
            (marked("8", 3), "a write that this process never sent"),
            (Record { mark: None, ..marked("8", 2) }, "no mark: somebody edited it"),
            (Record { holder: Some("me_1_a".into()), ..marked("8", 2) }, "the process before us"),
        ];
        for (record, because) in table {
            let mut memory = Memory::default();
            memory.wrote(marked("7", 1), at(0), at(0));
            memory.sends(open(2, 2));
            memory.note(Some(record), at(3));
            assert_eq!(memory.held, None, "{because}");
        }
    }

    #[test]
    fn marks_are_read_as_they_are_written() {
        let mark = Mark { epoch: 3, number: 17 };
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        for text in ["", "3", "3.", ".1", "3.1.2", "-3.x"] {
            assert_eq!(Mark::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn validity_counts_from_the_sending() {
        let mut memory = Memory::default();
        memory.wrote(record("me", "7"), at(3), at(5));
        assert_eq!(memory.valid_until(&T), Some(at(3) + T.valid), "not from the answer");
    }

    #[test]
    fn another_write_ends_the_hold_at_once() {
        let mut memory = Memory::default();
        memory.wrote(record("me", "7"), at(0), at(0));
        memory.note(Some(record("me", "8")), at(1));
        assert_eq!(memory.held, None, "even one that names us");
    }

    #[test]
    fn whoever_may_act_for_longer_is_waited_for() {
        let of = |times: Times| Record { wait: times.wait, ..record("other", "7") };
        assert_eq!(Times::FAST.for_writer_of(&of(T)), T.wait, "he goes by longer times");
        assert_eq!(T.for_writer_of(&of(Times::FAST)), T.wait, "by shorter ones");
        assert_eq!(T.for_writer_of(&record("other", "7")), T.wait, "he does not say by which");
    }

    #[test]
    fn a_process_that_takes_part_again_has_another_name_and_its_pod_is_the_same() {
        let (first, second) = (me().taking_part(0), me().taking_part(1));
        assert_eq!(first, me());
        assert_ne!(first.holder(), second.holder());
        assert!(second.was(&first.holder()), "what it had is known to have stopped");
        let outside = Identity { pod_uid: String::new(), ..me() };
        assert!(!outside.taking_part(1).was(&outside.holder()), "as any other, outside of pods");
    }

    /// By which a crash is taken over within 10.3 and 5.3 s.
    #[test]
    fn the_times_are_those_that_the_pages_promise() {
        let milliseconds = |it: Times| [it.wait, it.valid, it.renew].map(|it| it.as_millis());
        assert_eq!(milliseconds(Times::DEFAULT), [10_000, 7_500, 2_000]);
        assert_eq!(milliseconds(Times::FAST), [5_000, 3_500, 1_000]);
    }

    #[test]
    fn unsafe_times_are_named() {
        assert_eq!(T.flaw(), None);
        assert_eq!(Times::FAST.flaw(), None);
        assert!(Times { valid: at(9), ..T }.flaw().is_some());
        assert!(Times { renew: at(4), ..T }.flaw().is_some());
    }
}
