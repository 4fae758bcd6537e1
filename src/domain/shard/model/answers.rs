//! What a replica hears, by its watch and as answers.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    replica::{For, Replica},
    storage::{Answer, Kept, Name, Op, shard_name},
};
use crate::domain::{
    lease::Record,
    shard::{
        Map, ShardId,
        protocol::Holding,
        seen::{Session, Shard},
    },
};

const TRIES: u32 = 4;

impl Replica {
    /// Takes in a Lease, from the watch or as an answer.
    pub fn see(&mut self, name: &Name, mut kept: Kept, now: Duration) {
        if self.bugs.own_wait {
            kept.record_mut().wait = Duration::ZERO;
        }
        match kept {
            Kept::Session(it) => {
                let old = self.view.sessions.get(name).map(|it| &it.it.record);
                if old.is_some_and(|old| !newer(&it.record, old)) {
                    return;
                }
                if *name == self.lease && !self.made(&it.record) {
                    self.doubt();
                }
                self.view.session(name, Some(it), now);
            }
            Kept::Shard(id, it) => {
                let old = self.view.shards.get(&id).map(|it| &it.it.record);
                if old.is_some_and(|old| !newer(&it.record, old)) {
                    return;
                }
                self.compare(id, &it);
                self.view.shard(id, Some(it), now);
                self.own.heard(&self.view, id);
            }
        }
    }

    fn compare(&mut self, id: ShardId, shard: &Shard) {
        let held = self.own.held.get(&id);
        let other = held.is_some_and(|it| it.version != shard.record.resource_version);
        let mark = shard.record.mark;
        if other && (mark.is_none() || self.pending.get(&id) != mark.as_ref()) {
            self.lose(id, true);
        }
    }

    pub fn miss(&mut self, name: &Name, now: Duration) {
        let id = self.view.shards.keys().copied().find(|it| shard_name(*it) == *name);
        if let Some(id) = id {
            self.view.shard(id, None, now);
            if self.own.held.contains_key(&id) {
                self.lose(id, true);
            }
        } else {
            self.view.session(name, None, now);
            if *name == self.lease {
                self.doubt();
            }
        }
    }

    /// Hears a complete list.
    pub fn hear_all(&mut self, all: Vec<(Name, Kept)>, now: Duration) {
        let there: BTreeSet<&Name> = all.iter().map(|(it, _)| it).collect();
        let shards = self.view.shards.keys().map(|it| shard_name(*it));
        let known = self.view.sessions.keys().cloned().chain(shards);
        let gone: Vec<Name> = known.filter(|it| !there.contains(it)).collect();
        gone.iter().for_each(|it| self.miss(it, now));
        let (sessions, shards): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, it)| matches!(it, Kept::Session(_)));
        sessions.into_iter().chain(shards).for_each(|(name, it)| self.see(&name, it, now));
        self.listed = true;
        self.view.tidy();
        self.note_missing(now);
    }

    fn note_missing(&mut self, now: Duration) {
        if let Some(map) = self.map.clone() {
            self.view.without(map.shards().keys().copied(), now);
        }
    }

    pub fn hear_map(&mut self, map: &Arc<Map>, now: Duration) {
        if self.map.as_ref().is_none_or(|it| it.version() < map.version()) {
            if !self.bugs.on_sight {
                let moved = map.moves().iter().map(|it| (map.version(), it.clone(), ()));
                self.held_back.extend(moved);
            }
            self.own.unsaid.extend(map.givers().into_iter().map(|it| (it, map.version())));
            self.map = Some(map.clone());
            if self.listed {
                self.note_missing(now);
            }
        }
    }

    pub fn answered(&mut self, what: For, answer: Answer, now: Duration) {
        match what {
            For::Renewal { mark, sent } => self.renewed(mark, sent, answer, now),
            For::Read => self.read(answer, now),
            For::Claims { shard, holder, sent, put } => {
                let claims = |(_, it): &(Name, Session)| {
                    *it.holder() != *holder && it.says.holds.contains(&shard)
                };
                match answer {
                    Answer::Sessions(all) if !all.iter().any(claims) => {
                        self.out.push((put, For::Take { shard, holder, sent }));
                    }
                    Answer::Sessions(all) => {
                        all.into_iter()
                            .for_each(|(name, it)| self.see(&name, Kept::Session(it), now));
                        self.look(shard);
                    }
                    _ => self.look(shard),
                }
            }
            For::Take { shard, holder, sent } => self.taken(shard, (&holder, sent), answer, now),
            For::Surely { .. } => self.surely_done(what, answer, now),
            For::Fence { lease } => match answer {
                Answer::Accepted(it) => {
                    self.see(&lease, it, now);
                    self.fencing.remove(&lease);
                }
                _ => {
                    self.ask(lease, None);
                }
            },
            For::Look { name, shard, known } => {
                match answer {
                    Answer::Read(Some(it)) => self.see(&name, it, now),
                    // What was heard since may be newer.
                    Answer::Read(None) if self.knows(&name) == known => self.miss(&name, now),
                    _ => {}
                }
                self.fencing.remove(&name);
                shard.map(|it| (self.taking.remove(&it), self.own.busy.remove(&it)));
            }
            For::Sweep { lease } => drop(self.fencing.remove(&lease)),
            For::Pass { shard, namespace } => {
                let at = self.passes.iter().position(|it| *it == (shard, namespace));
                at.map(|it| self.passes.swap_remove(it));
            }
            For::End => {}
        }
    }

    /// Looks how a shard's Lease stands, before anything is decided about it.
    fn look(&mut self, shard: ShardId) {
        self.pending.remove(&shard);
        self.taking.remove(&shard);
        self.ask(shard_name(shard), Some(shard));
    }

    fn ask(&mut self, name: Name, shard: Option<ShardId>) {
        let known = self.knows(&name);
        self.out.push((Op::Get(name.clone()), For::Look { name, shard, known }));
    }

    /// The version of a Lease that was seen last.
    fn knows(&self, name: &Name) -> Option<String> {
        let shards = self.view.shards.iter().map(|(id, it)| (shard_name(*id), &it.it.record));
        let sessions = self.view.sessions.iter().map(|(name, it)| (name.clone(), &it.it.record));
        let mut all = shards.chain(sessions);
        all.find(|(it, _)| it == name).map(|(_, it)| it.resource_version.clone())
    }

    fn taken(
        &mut self,
        shard: ShardId,
        (holder, sent): (&str, Duration),
        answer: Answer,
        now: Duration,
    ) {
        let Answer::Accepted(kept) = answer else { return self.look(shard) };
        let was_missed = self.own.busy.remove(&shard);
        self.taking.remove(&shard);
        self.pending.remove(&shard);
        let record = kept.record().clone();
        if let Kept::Shard(_, it) = &kept
            && was_missed
            && *holder == *self.holder()
            && !self.mourning
            && self.is_newest(shard, &record)
        {
            let (epoch, version) = (record.transitions, record.resource_version.clone());
            self.own.lost.remove(&shard);
            self.own.held.insert(shard, Holding { epoch, version, map: it.map });
            self.opening.insert(shard, epoch);
            self.unsaid.insert(shard, sent);
            self.confirm(self.accepted, now);
        }
        self.see(&shard_name(shard), kept, now);
    }

    /// Whether nothing newer was heard than this answer, which may have been long on its way.
    fn is_newest(&self, shard: ShardId, record: &Record) -> bool {
        self.view
            .shards
            .get(&shard)
            .is_none_or(|it| it.it.record == *record || newer(record, &it.it.record))
    }

    fn surely_done(&mut self, what: For, answer: Answer, now: Duration) {
        let For::Surely { shard, mark, give, tries, put, looks } = what else { return };
        let Op::Put { over, .. } = &put else { return };
        let accepted = match answer {
            Answer::Accepted(it) => Some(it),
            Answer::Read(Some(it)) if it.record().mark == Some(mark) => Some(it),
            Answer::Read(Some(it))
                if Some(super::storage::key(it.record())) == *over && tries < TRIES =>
            {
                return self.surely(shard, mark, give, tries + 1, put);
            }
            Answer::Unknown if tries < TRIES => {
                let tries = tries + u32::from(looks);
                let get = Op::Get(shard_name(shard));
                self.out.push((get, For::Surely { shard, mark, give, tries, put, looks: true }));
                return;
            }
            _ => None,
        };
        self.pending.remove(&shard);
        match (accepted, give) {
            (Some(it), true) => {
                self.given_up(shard, false);
                self.see(&shard_name(shard), it, now);
            }
            (Some(it), false) => {
                self.own.busy.remove(&shard);
                if let (Some(held), Kept::Shard(_, new)) = (self.own.held.get_mut(&shard), &it) {
                    held.version.clone_from(&new.record.resource_version);
                    held.map = new.map;
                }
                // What was heard meanwhile has closed it.
                let closed = !self.open.contains_key(&shard) && !self.opening.contains_key(&shard);
                if closed || !self.is_newest(shard, it.record()) {
                    self.lose(shard, true);
                }
                self.see(&shard_name(shard), it, now);
            }
            (None, true) => self.given_up(shard, false),
            (None, false) => {
                self.own.busy.remove(&shard);
                self.lose(shard, false);
            }
        }
    }
}

fn newer(record: &Record, than: &Record) -> bool {
    let number = |it: &Record| it.resource_version.parse::<u64>().unwrap_or_default();
    number(record) > number(than)
}
