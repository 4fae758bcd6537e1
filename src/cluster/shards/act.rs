//! What is done about the steps that were decided, and what came of each.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;

use super::{
    door::{Answer, is_claimed, put_surely},
    keeper::{Keeper, clock},
    parts::Opening,
    wire::{self, Writer},
};
use crate::{
    cluster::ownership::Shut,
    domain::{
        lease::{Mark, Record},
        shard::{
            Map, ShardId,
            map::Move,
            protocol::{Decision, Holding, Step},
        },
    },
};

/// So many shards are taken at a time.
const TAKES: usize = 16;
/// So many are on their way from an owner to the next at a time: each is without one for a shorter time then.
const RELEASES: usize = 4;
/// A moment in which no pass is under way in a shard is waited for so long: passes take tens of milliseconds.
const REST: Duration = Duration::from_millis(500);
/// What is left of the time to drain when a shard is closed although passes are under way: for the answer to what they sent.
const LAST_WRITE: Duration = Duration::from_secs(1);
/// Whoever is to take a shard that was given back and has not done so by then is not waited for.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Something that was under way.
pub enum Done {
    Read(Answer<Option<Lease>>),
    Renewed {
        mark: Mark,
        sent: Duration,
        answer: Answer<Lease>,
    },
    Taken {
        shard: ShardId,
        holder: Box<str>,
        sent: Duration,
        answer: Answer<Lease>,
        /// Sessions that were read before it.
        read: Vec<Lease>,
    },
    /// Read anew, because a write over it was refused.
    Seen {
        name: String,
        /// The version that had been seen when this was asked.
        known: Option<String>,
        answer: Answer<Option<Lease>>,
    },
    /// All work has ended in a shard that we own no more.
    Lost(ShardId),
    Released {
        shard: ShardId,
        to: Option<Box<str>>,
        answer: Answer<Lease>,
    },
    Acknowledged {
        shard: ShardId,
        answer: Answer<Lease>,
    },
    Fenced {
        lease: Box<str>,
        answer: Answer<Lease>,
    },
    Swept {
        lease: Box<str>,
    },
    Founded {
        founder: bool,
    },
    /// An Event was written, or was not.
    Told,
}

impl Keeper {
    pub(super) fn carry_out(&mut self, map: &Arc<Map>, decision: Decision) {
        for step in decision.steps {
            match step {
                Step::Fence { lease } => self.fence(lease),
                Step::Sweep { lease } => self.sweep(lease),
                Step::Take { shard, epoch, unclaimed } => {
                    if self.taking.len() < TAKES {
                        self.take(shard, epoch, unclaimed, map.version());
                    }
                }
                Step::Release { shard, to } => {
                    // What nobody waits for is in nobody's way.
                    if to.is_none() || self.own.busy.len() + self.on_their_way() < RELEASES {
                        self.release(shard, to);
                    }
                }
                Step::Acknowledge { shard, map: version } => {
                    self.acknowledge(shard, map, version);
                }
            }
        }
    }

    /// Shards that were given back for somebody, who has not taken them yet.
    fn on_their_way(&self) -> usize {
        let now = clock();
        let waits = self.view.shards.values().filter(|it| it.it.released && it.it.wanted.is_some());
        waits.filter(|it| now.saturating_sub(it.since) < ON_ITS_WAY).count()
    }

    fn fence(&mut self, lease: Box<str>) {
        let Some(seen) = self.view.sessions.get(&lease) else { return };
        if !self.fencing.insert(lease.clone()) {
            return;
        }
        self.writes += 1;
        let mark = Mark { epoch: 0, number: self.writes };
        let fenced = self.session.writer.fenced(&lease, &seen.it, mark);
        tracing::warn!(
            session = seen.it.holder(),
            "A session has stood still; it is declared dead"
        );
        let door = self.door.clone();
        self.ops
            .push(Box::pin(async move { Done::Fenced { lease, answer: door.put(&fenced).await } }));
    }

    fn sweep(&mut self, lease: Box<str>) {
        let Some(seen) = self.view.sessions.get(&lease) else { return };
        let over = seen.it.record.clone();
        if !self.fencing.insert(lease.clone()) {
            return;
        }
        let door = self.door.clone();
        self.ops.push(Box::pin(async move {
            door.delete(&lease, &over).await;
            Done::Swept { lease }
        }));
    }

    fn mark(&mut self, shard: ShardId, epoch: i32) -> Mark {
        self.writes += 1;
        let mark = Mark { epoch, number: self.writes };
        self.pending.insert(shard, mark);
        self.own.busy.insert(shard);
        mark
    }

    fn take(&mut self, shard: ShardId, epoch: i32, unclaimed: bool, map: i64) {
        let over = self.view.shards.get(&shard).map(|it| it.it.record.clone());
        let mark = self.mark(shard, epoch);
        let vacancy = self.view.vacancy(shard);
        self.taking.insert(shard, vacancy);
        let (holder, sent) = (self.own.holder.clone(), clock());
        self.session.writer.since.remove(&shard);
        let lease = self.session.writer.held(shard, over.as_ref(), &holder, mark, map);
        let door = self.door.clone();
        self.ops.push(Box::pin(async move {
            let (claimed, read) = if unclaimed {
                is_claimed(&door, shard, &holder).await
            } else {
                (false, Vec::new())
            };
            let answer = if claimed { Answer::Refused } else { door.put(&lease).await };
            Done::Taken { shard, holder, sent, answer, read }
        }));
    }

    /// The Lease of a shard as our own last write made it.
    fn ours(&self, shard: ShardId) -> Option<Record> {
        let (held, seen) = (self.own.held.get(&shard)?, self.view.shards.get(&shard)?);
        (held.version == seen.it.record.resource_version).then(|| seen.it.record.clone())
    }

    fn release(&mut self, shard: ShardId, to: Option<Box<str>>) {
        let Some(over) = self.ours(shard) else { return };
        let Some(Holding { epoch, map, .. }) = self.own.held.get(&shard).cloned() else { return };
        let mark = self.mark(shard, epoch);
        self.opening.remove(&shard);
        let mut lease = self.session.writer.released(shard, &over, to.as_deref(), mark, map);
        let ending = self.own.draining.filter(|_| to.is_none()).map(|it| it + self.settings.drain);
        let (door, ownership) = (self.door.clone(), self.ownership.clone());
        self.ops.push(Box::pin(async move {
            let closed = match ending {
                // Nobody waits for it: what is under way may end.
                Some(until) => {
                    let patience = until.saturating_sub(clock() + LAST_WRITE);
                    ownership.close_once_ended(shard, patience).await
                }
                None => ownership.close_at_rest(shard, REST).await,
            };
            let since =
                || closed.map_or(Duration::ZERO, |it| clock().saturating_sub(it.since_start()));
            let ms = u64::try_from(since().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(%shard, to, closed_ms = ms, "Giving the shard back");
            ownership.close(shard).await;
            Writer::drained(&mut lease, since());
            let answer = put_surely(&door, &lease, mark).await;
            Done::Released { shard, to, answer }
        }));
    }

    fn acknowledge(&mut self, shard: ShardId, map: &Arc<Map>, version: i64) {
        // Whoever gains what this shard gives away goes by it alone, and must not begin before those who had it once.
        let waits = |(of, it, _): &(i64, Move, Shut)| it.to == shard && *of < version;
        if self.held_back.iter().any(waits) {
            return;
        }
        let Some(over) = self.ours(shard) else { return };
        let Some(epoch) = self.own.held.get(&shard).map(|it| it.epoch) else { return };
        let mark = self.mark(shard, epoch);
        let lease = self.session.writer.held(shard, Some(&over), &self.own.holder, mark, version);
        let (door, ownership) = (self.door.clone(), self.ownership.clone());
        // Not only what this version took: one before may not have been acknowledged.
        let map = map.clone();
        self.ops.push(Box::pin(async move {
            let _shut =
                ownership.close_parts(shard, move |place| map.shard_of(place) != Some(shard)).await;
            Done::Acknowledged { shard, answer: put_surely(&door, &lease, mark).await }
        }));
    }

    /// Work in a shard ends at once, because somebody else wrote its Lease or the session was lost.
    pub(super) fn lose(&mut self, shard: ShardId) {
        tracing::warn!(%shard, "Shard not owned any more; its work ends");
        self.ownership.lose(shard);
        self.opening.remove(&shard);
        self.unsaid.remove(&shard);
        if !self.own.busy.insert(shard) {
            return; // whatever is under way closes it too
        }
        let ownership = self.ownership.clone();
        self.ops.push(Box::pin(async move {
            ownership.close(shard).await;
            Done::Lost(shard)
        }));
    }

    pub(super) fn done(&mut self, done: Done) {
        let now = clock();
        match done {
            Done::Read(answer) => {
                let news = self.session.read(answer, now);
                self.heed(news);
            }
            Done::Renewed { mark, sent, answer } => {
                if let Answer::Accepted(lease) = &answer {
                    self.see(lease);
                }
                let news = self.session.wrote(mark, sent, answer, now);
                self.heed(news);
            }
            Done::Taken { shard, holder, sent, answer, read } => {
                for it in &read {
                    self.see(it);
                }
                self.taken(shard, (&holder, sent), answer);
            }
            Done::Seen { name, known, answer } => self.seen(&name, known.as_deref(), answer),
            Done::Lost(shard) => self.given_up(shard, true),
            Done::Released { shard, to, answer } => self.released(shard, to.as_deref(), answer),
            Done::Acknowledged { shard, answer } => self.acknowledged(shard, answer),
            Done::Fenced { lease, answer: Answer::Accepted(it) } => {
                self.fencing.remove(&lease);
                self.see(&it);
            }
            Done::Fenced { lease, .. } => self.look(lease.into()),
            Done::Swept { lease } => drop(self.fencing.remove(&lease)),
            Done::Told => {}
            Done::Founded { founder } => {
                self.own.founder |= founder;
            }
        }
    }

    /// The watch may be late, or may have been dropped silently: who is refused looks for himself.
    fn look(&mut self, name: String) {
        let (door, known) = (self.door.clone(), self.known(&name));
        self.ops.push(Box::pin(async move {
            let answer = door.get(&name).await;
            Done::Seen { name, known, answer }
        }));
    }

    fn seen(&mut self, name: &str, known: Option<&str>, answer: Answer<Option<Lease>>) {
        match answer {
            Answer::Accepted(Some(lease)) => self.see(&lease),
            // What was heard since may be newer.
            Answer::Accepted(None) if self.known(name).as_deref() == known => self.miss_named(name),
            Answer::Accepted(None) | Answer::Refused | Answer::Unknown(_) => {}
        }
        self.fencing.remove(name);
        if let Some(shard) = wire::shard_of(name) {
            self.own.busy.remove(&shard);
        }
    }

    fn taken(&mut self, shard: ShardId, (holder, sent): (&str, Duration), answer: Answer<Lease>) {
        let vacancy = self.taking.remove(&shard).flatten();
        self.pending.remove(&shard);
        let Answer::Accepted(lease) = answer else {
            self.look(wire::shard_name(shard)); // busy until then
            return;
        };
        self.own.busy.remove(&shard);
        self.see(&lease);
        // The watch may have been faster, and somebody else too.
        let last = self.view.shards.get(&shard).map(|it| &it.it.record.resource_version);
        let is_last = last == lease.metadata.resource_version.as_ref();
        if is_last && *holder == *self.own.holder && !self.mourning {
            let it = wire::shard(&lease);
            let (epoch, version) = (it.record.transitions, it.record.resource_version);
            self.own.lost.remove(&shard);
            self.own.held.insert(shard, Holding { epoch, version, map: it.map });
            let since = lease.spec.and_then(|it| it.acquire_time);
            self.session.writer.since.extend(since.map(|it| (shard, it)));
            self.opening.insert(shard, Opening { epoch, vacancy });
            self.unsaid.insert(shard, sent);
            // A renewal that was sent after it may have been answered before.
            self.confirm(self.renewed, clock());
            if let Some(map) = &self.map
                && map
                    .active()
                    .all(|it| self.own.held.contains_key(&it) || self.view.shards.contains_key(&it))
            {
                self.own.founder = false;
            }
        }
    }

    fn given_up(&mut self, shard: ShardId, lost: bool) {
        self.own.held.remove(&shard);
        self.own.busy.remove(&shard);
        self.pending.remove(&shard);
        self.opening.remove(&shard);
        self.unsaid.remove(&shard);
        if lost && !self.mourning {
            self.own.lost.insert(shard);
            self.own.heard(&self.view, shard);
        }
    }

    fn released(&mut self, shard: ShardId, to: Option<&str>, answer: Answer<Lease>) {
        match answer {
            Answer::Accepted(lease) => {
                tracing::info!(%shard, to, "Shard given back");
                self.given_up(shard, false);
                self.see(&lease);
            }
            // It may have been given back, and be somebody else's by now. If it still names us, it is ours to take.
            Answer::Refused | Answer::Unknown(_) => self.given_up(shard, false),
        }
    }

    fn acknowledged(&mut self, shard: ShardId, answer: Answer<Lease>) {
        self.own.busy.remove(&shard);
        self.pending.remove(&shard);
        match answer {
            Answer::Accepted(lease) => {
                let it = wire::shard(&lease);
                if let Some(held) = self.own.held.get_mut(&shard) {
                    held.version.clone_from(&it.record.resource_version);
                    held.map = it.map;
                }
                self.see(&lease);
                // It was lost while this was under way.
                let open = self.ownership.open_shards().contains_key(&shard);
                if !open && !self.opening.contains_key(&shard) {
                    self.lose(shard);
                }
            }
            Answer::Refused | Answer::Unknown(_) => self.lose(shard),
        }
    }
}
