//! The session of one replica, as `cluster::shards::session` keeps it around the real `Memory`.

use std::time::Duration;

use super::{
    replica::{For, Replica},
    storage::{Answer, Kept, Op, key},
};
use crate::domain::{
    lease::{Mark, Memory, Open, Record},
    shard::seen::{Says, Session},
};

const PAUSE: Duration = Duration::from_millis(200);
const TOLD: Duration = Duration::from_millis(20);

impl Replica {
    pub fn begin_anew(&mut self) {
        self.session += 1;
        self.memory = Memory::default();
        self.said.clear();
        self.published = Says::default();
        self.accepted = None;
    }

    fn says(&self) -> Says {
        let holds = self.own.held.keys().chain(&self.taking).copied();
        let holds = holds.filter(|_| !self.bugs.unsaid).collect();
        let warm = self.warm.iter().copied().filter(|it| !self.own.held.contains_key(it)).collect();
        Says {
            draining: self.own.draining.is_some(),
            map: self.map.as_ref().map_or(0, |it| it.version()),
            warm,
            holds,
            ..Says::default()
        }
    }

    /// Sends what the session needs; returns when to ask again.
    pub fn renew(&mut self, now: Duration) -> Duration {
        if self.mourning || self.ended || self.renewing {
            return now + self.times.renew;
        }
        if now < self.next {
            return self.next;
        }
        let due = self.memory.held.as_ref().map(|it| it.sent + self.times.renew);
        let over = self.memory.seen.as_ref().map(|(record, _)| record.clone());
        let says = self.says();
        let reads = match (due, &over) {
            (Some(due), Some(_)) if now < due && self.published == says => return due,
            (Some(_), Some(_)) => false,
            (Some(_), None) => true,
            (None, None) => self.memory.missing_since.is_none(),
            (None, Some(record)) => {
                let holder = record.holder.as_deref().unwrap_or_default();
                let ours = holder.is_empty() || holder.starts_with(&*self.pod);
                let since = self.memory.seen.as_ref().map_or(now, |(_, it)| *it);
                if !ours && now < since + self.times.for_writer_of(record) {
                    self.next = now + PAUSE;
                    true
                } else {
                    false
                }
            }
        };
        self.renewing = true;
        if reads {
            self.out.push((Op::Get(self.lease.clone()), For::Read));
        } else {
            self.write(over.as_ref(), says, now);
        }
        now + self.times.renew
    }

    fn write(&mut self, over: Option<&Record>, says: Says, now: Duration) {
        self.writes += 1;
        let (holder, mark) = (self.holder(), Mark { epoch: 0, number: self.writes });
        self.memory.sends(Open { holder: holder.to_string(), mark, sent: now });
        self.said.push((self.writes, says.clone()));
        let (holder, wait) = (Some(holder.to_string()), self.times.wait);
        let record = Record { holder, mark: Some(mark), wait, ..Record::default() };
        let kept = Kept::Session(Session { record, says, ..Session::default() });
        let put = Op::Put { name: self.lease.clone(), over: over.map(key), kept };
        self.out.push((put, For::Renewal { mark, sent: now }));
    }

    pub fn renewed(&mut self, mark: Mark, sent: Duration, answer: Answer, now: Duration) {
        self.renewing = false;
        match answer {
            Answer::Accepted(kept) => {
                self.next = now + TOLD;
                let counts = if self.bugs.from_receipt { now } else { sent };
                self.memory.wrote(kept.record().clone(), counts, now);
                self.accepted(mark.number, sent, now);
                self.see(&self.lease.clone(), kept, now);
            }
            Answer::Unknown => {
                self.memory.blind();
                self.next = now + PAUSE;
            }
            _ => {
                self.memory.blind();
                self.until = None;
            }
        }
    }

    pub fn read(&mut self, answer: Answer, now: Duration) {
        self.renewing = false;
        let Answer::Read(kept) = answer else {
            self.next = now + PAUSE;
            return;
        };
        let had = self.memory.held.clone();
        let record = kept.map(|it| it.record().clone());
        let mark = record.as_ref().and_then(|it| it.mark);
        self.memory.note(record, now);
        match (&had, &self.memory.held) {
            (Some(_), None) => {
                self.until = None;
                self.mourning = true;
                self.opening.clear();
            }
            (_, Some(held)) if had.as_ref() != Some(held) => {
                let sent = held.sent;
                self.accepted(mark.map_or(0, |it| it.number), sent, now);
            }
            _ => {}
        }
    }

    fn accepted(&mut self, number: u64, sent: Duration, now: Duration) {
        if let Some(at) = self.said.iter().position(|(it, _)| *it == number) {
            self.published = self.said.swap_remove(at).1;
        }
        self.said.retain(|(it, _)| *it > number);
        let gap = self.accepted.is_none_or(|it| sent > it + self.times.renew * 2);
        if gap {
            self.view.clear = now;
        }
        self.accepted = Some(sent);
        self.confirm(Some(sent), now);
        if !self.mourning && !self.ended {
            self.until = self.memory.valid_until(&self.times);
        }
    }

    /// Somebody else may have written its Lease, or deleted it.
    pub fn doubt(&mut self) {
        if self.memory.held.is_some() {
            self.memory.blind();
            self.next = Duration::ZERO;
            self.until = None;
        }
    }

    /// Whether a write of ours made this record.
    pub fn made(&self, record: &Record) -> bool {
        let held = self.memory.held.as_ref();
        held.is_some_and(|it| it.resource_version == record.resource_version)
            || self.memory.open.iter().any(|it| {
                record.mark == Some(it.mark) && record.holder.as_deref() == Some(&*it.holder)
            })
    }
}
