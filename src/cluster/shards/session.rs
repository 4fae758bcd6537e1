//! This replica's session: one Lease, renewed for as long as the process lives. Validity counts from the sending of its last
//! accepted write. A session that was lost is never taken up again: the next one has another name.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::{
    door::Answer,
    wire::{self, Writer},
};
use crate::{
    cluster::leases::record,
    domain::{
        lease::{Mark, Memory, Open, Record},
        shard::seen::Says,
    },
};

/// Pause before a request is repeated that brought nothing.
const PAUSE: Duration = Duration::from_millis(200);
/// Least time between two renewals that only tell something new.
const TOLD: Duration = Duration::from_millis(20);
/// The same, where all that is new is what else is in the caches: shards become so one after the other.
const WARMED: Duration = Duration::from_millis(100);

/// The session, and what is known of its Lease.
#[derive(Debug)]
pub struct Session {
    pub writer: Writer,
    /// Sessions begun so far.
    number: u32,
    memory: Memory,
    writes: u64,
    /// What the writes said whose answers are missing, and the last one that was accepted.
    said: Vec<(u64, Says)>,
    pub published: Says,
    /// A request is under way.
    busy: bool,
    /// When a request may be sent next.
    next: Duration,
    /// When one may be that only says which shards are in the caches.
    warmed: Duration,
    /// The API server's time of its beginning, in seconds.
    pub began: i64,
}

/// What to send.
#[derive(Debug)]
pub enum Request {
    Read,
    Write { lease: Box<Lease>, sent: Duration, mark: Mark },
}

/// What became of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Nothing,
    /// Valid until then.
    Valid {
        until: Duration,
    },
    /// Somebody may have written its Lease: nothing is valid before a reading says otherwise.
    Doubtful,
    /// Somebody else wrote its Lease, or deleted it.
    Lost,
}

impl Session {
    pub fn new(writer: Writer) -> Self {
        Self {
            writer,
            number: 1,
            memory: Memory::default(),
            writes: 0,
            said: Vec::new(),
            published: Says::default(),
            busy: false,
            next: Duration::ZERO,
            warmed: Duration::ZERO,
            began: 0,
        }
    }

    /// The session's name, and that of its Lease.
    pub fn holder(&self) -> String {
        format!("{}.{}", self.writer.me.holder(), self.number)
    }

    pub fn lease(&self) -> String {
        wire::session_name(&self.writer.me)
    }

    /// Its Lease is ours, by our own accepted write.
    pub const fn begun(&self) -> bool {
        self.memory.held.is_some()
    }

    /// Until when it may act.
    pub fn valid_until(&self) -> Option<Duration> {
        self.memory.valid_until(&self.writer.times)
    }

    /// From now on under another name. Whoever calls this has stopped all work of the one before.
    pub fn begin_anew(&mut self) {
        self.number += 1;
        self.memory = Memory::default();
        self.said.clear();
        self.published = Says::default();
    }

    /// The next request, or when to ask again.
    pub fn next(&mut self, says: &Says, now: Duration) -> Result<Request, Duration> {
        if self.busy {
            return Err(now + self.writer.times.renew);
        }
        if now < self.next {
            return Err(self.next);
        }
        let due = self.memory.held.as_ref().map(|it| it.sent + self.writer.times.renew);
        let over = self.memory.seen.as_ref().map(|(record, _)| record.clone());
        match (due, over) {
            (Some(due), Some(over)) => {
                if now < due {
                    if self.published == *says {
                        return Err(due);
                    }
                    if now < self.warmed && is_but_for_warm(&self.published, says) {
                        return Err(self.warmed.min(due));
                    }
                }
                self.busy = true;
                Ok(self.write(Some(&over), says, now))
            }
            (Some(_), None) => {
                self.busy = true;
                Ok(Request::Read)
            }
            (None, over) => {
                self.busy = true;
                if over.is_none() && self.memory.missing_since.is_none() {
                    return Ok(Request::Read);
                }
                if self.taken(now).is_some_and(|until| now < until) {
                    self.next = now + PAUSE;
                    return Ok(Request::Read);
                }
                Ok(self.write(over.as_ref(), says, now))
            }
        }
    }

    /// Until when a Lease of our name counts as somebody else's; `None`: it may be taken. The kubelet has ended whoever was in
    /// this pod before us.
    fn taken(&self, now: Duration) -> Option<Duration> {
        let (record, since) = self.memory.seen.as_ref()?;
        let holder = record.holder.as_deref().unwrap_or_default();
        let me = &self.writer.me;
        let ours = holder.is_empty() || me.was(holder) || holder.starts_with(&me.holder());
        (!ours).then(|| (*since + self.writer.times.for_writer_of(record)).max(now))
    }

    /// Somebody else may have written its Lease, or deleted it: it is read before anything else.
    pub fn doubt(&mut self) {
        self.memory.blind();
        self.next = Duration::ZERO;
    }

    /// Whether a write of ours made this record.
    pub fn made(&self, record: &Record) -> bool {
        record.holder.as_deref() == Some(&self.holder())
            && record.mark.is_some_and(|it| it.number <= self.writes)
    }

    fn write(&mut self, over: Option<&Record>, says: &Says, now: Duration) -> Request {
        self.writes += 1;
        let (holder, mark) = (self.holder(), Mark { epoch: 0, number: self.writes });
        let lease = self.writer.session(over, &holder, mark, says);
        self.memory.sends(Open { holder, mark, sent: now });
        self.said.push((self.writes, says.clone()));
        Request::Write { lease: Box::new(lease), sent: now, mark }
    }

    /// Takes in what came of a write.
    pub fn wrote(
        &mut self,
        mark: Mark,
        sent: Duration,
        answer: Answer<Lease>,
        now: Duration,
    ) -> News {
        self.busy = false;
        match answer {
            Answer::Accepted(lease) => {
                (self.next, self.warmed) = (now + TOLD, now + WARMED);
                self.began = wire::session(&lease).began;
                self.memory.wrote(record(&lease), sent, now);
                self.accepted(mark.number);
                self.valid()
            }
            // Somebody wrote; a reading tells whether it was ourselves, by a write whose answer was lost.
            Answer::Refused => {
                self.memory.blind();
                News::Doubtful
            }
            Answer::Unknown(why) => {
                tracing::warn!(why, "The session was not renewed");
                self.next = now + PAUSE;
                self.memory.blind();
                News::Nothing
            }
        }
    }

    /// Takes in what was read.
    pub fn read(&mut self, answer: Answer<Option<Lease>>, now: Duration) -> News {
        self.busy = false;
        let lease = match answer {
            Answer::Accepted(lease) => lease,
            Answer::Refused => None,
            Answer::Unknown(why) => {
                tracing::warn!(why, "The session can't be read");
                self.next = now + PAUSE;
                return News::Nothing;
            }
        };
        let had = self.memory.held.clone();
        let record = lease.as_ref().map(record);
        let mark = record.as_ref().and_then(|it| it.mark);
        self.memory.note(record, now);
        match (&had, &self.memory.held) {
            (Some(_), None) => News::Lost,
            (_, Some(held)) if had.as_ref() != Some(held) => {
                self.accepted(mark.map_or(0, |it| it.number));
                self.valid()
            }
            // It still is as our last write made it, so that is as good as before.
            (Some(_), Some(_)) => self.valid(),
            (None, _) => News::Nothing,
        }
    }

    fn accepted(&mut self, number: u64) {
        if let Some(at) = self.said.iter().position(|(it, _)| *it == number) {
            self.published = self.said.swap_remove(at).1;
        }
        self.said.retain(|(it, _)| *it > number);
    }

    fn valid(&self) -> News {
        self.valid_until().map_or(News::Nothing, |until| News::Valid { until })
    }

    /// The Lease as it is known, to be deleted at the end.
    pub fn seen(&self) -> Option<Record> {
        let (record, _) = self.memory.seen.as_ref()?;
        self.memory.held.as_ref().map(|_| record.clone())
    }
}

/// Whether nothing else is new than what is in the caches.
fn is_but_for_warm(published: &Says, says: &Says) -> bool {
    let Says { build, zone, draining, map, warm: _, holds } = published;
    *build == says.build
        && *zone == says.zone
        && *draining == says.draining
        && *map == says.map
        && *holds == says.holds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::{Identity, Times};

    #[test]
    fn a_doubt_ends_with_the_reading_that_answers_it() {
        let me = Identity { pod: "op".into(), pod_uid: "1".into(), nonce: "n".into() };
        let writer = Writer::new(me, Times::DEFAULT);
        let (mut session, says) = (Session::new(writer), Says::default());
        let (at, second) = (Duration::from_secs, Duration::from_secs(1));
        assert!(matches!(session.next(&says, at(1)), Ok(Request::Read)));
        assert_eq!(session.read(Answer::Accepted(None), at(1)), News::Nothing);
        let Ok(Request::Write { lease, sent, mark }) = session.next(&says, at(2)) else {
            panic!("it begins")
        };
        let mut made = *lease;
        made.metadata.uid = Some("u".into());
        made.metadata.resource_version = Some("7".into());
        let until = sent + Times::DEFAULT.valid;
        let answer = Answer::Accepted(made.clone());
        assert_eq!(session.wrote(mark, sent, answer, at(2) + second / 2), News::Valid { until });
        session.doubt();
        assert!(matches!(session.next(&says, at(3)), Ok(Request::Read)), "before anything else");
        let same = session.read(Answer::Accepted(Some(made.clone())), at(3));
        assert_eq!(same, News::Valid { until }, "nobody wrote, so it is valid as before, at once");
        session.doubt();
        assert!(matches!(session.next(&says, at(4)), Ok(Request::Read)));
        made.metadata.resource_version = Some("8".into());
        made.spec.as_mut().unwrap().holder_identity = Some("somebody".into());
        assert_eq!(session.read(Answer::Accepted(Some(made)), at(4)), News::Lost);
    }

    #[test]
    fn what_is_held_is_said_at_once_and_what_is_only_in_the_caches_together() {
        let me = Identity { pod: "op".into(), pod_uid: "1".into(), nonce: "n".into() };
        let (mut session, at) =
            (Session::new(Writer::new(me, Times::DEFAULT)), Duration::from_millis);
        let nothing = Says::default();
        assert!(matches!(session.next(&nothing, at(0)), Ok(Request::Read)));
        session.read(Answer::Accepted(None), at(0));
        let written = |session: &mut Session, says: &Says, now| {
            let Ok(Request::Write { lease, sent, mark }) = session.next(says, now) else {
                panic!("nothing is sent at {now:?}")
            };
            let mut made = *lease;
            made.metadata.uid = Some("u".into());
            made.metadata.resource_version = Some(format!("{}", now.as_millis()));
            session.wrote(mark, sent, Answer::Accepted(made), now);
        };
        written(&mut session, &nothing, at(0));
        let warm = Says { warm: [crate::domain::shard::ShardId(1)].into(), ..nothing };
        assert_eq!(session.next(&warm, at(30)).err(), Some(at(100)), "more may come");
        written(&mut session, &warm, at(100));
        let holds = Says { holds: [crate::domain::shard::ShardId(1)].into(), ..Says::default() };
        assert_eq!(session.next(&holds, at(110)).err(), Some(at(120)));
        written(&mut session, &holds, at(120));
    }
}
