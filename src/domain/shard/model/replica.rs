//! One replica around the real `decide`, as `cluster::shards` does it: what it hears, sends, opens and closes. Its session is
//! in `session`, what comes of requests in `answers`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::storage::{Kept, Name, Op, key, shard_name};
use crate::domain::{
    lease::{Mark, Memory, Record, Times},
    shard::{
        Map, ShardId,
        protocol::{Decision, Facts, HeldBack, Own, Step, decide, let_go},
        seen::{Says, Session, Shard, View, said_too_late},
    },
};

pub const IDLE: Duration = Duration::from_secs(1);
pub const MARGIN: Duration = Duration::from_millis(250);

/// Mistakes that the model must be able to see; none is in the product.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not by itself")]
pub struct Bugs {
    /// Validity counts from the receipt of an answer, not from the sending.
    pub from_receipt: bool,
    /// A shard is given back before its passes have ended.
    pub early_release: bool,
    /// What a map gives is worked on as soon as the map is seen.
    pub on_sight: bool,
    /// A candidate waits for as long as its own times say, whatever others publish.
    pub own_wait: bool,
    /// A session does not say what it holds.
    pub unsaid: bool,
}

/// What an answer is for.
#[derive(Clone, Debug)]
pub enum For {
    Renewal { mark: Mark, sent: Duration },
    Read,
    Claims { shard: ShardId, holder: Name, sent: Duration, put: Op },
    Take { shard: ShardId, holder: Name, sent: Duration },
    Surely { shard: ShardId, mark: Mark, give: bool, tries: u32, put: Op, looks: bool },
    Fence { lease: Name },
    Look { name: Name, shard: Option<ShardId>, known: Option<String> },
    Sweep { lease: Name },
    Pass { shard: ShardId, namespace: usize },
    End,
}

/// What is done once the passes have ended.
#[derive(Clone, Debug)]
pub enum Closing {
    Lost { by_hand: bool },
    Put { mark: Mark, give: bool, put: Op },
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "as in the code that it stands for")]
pub struct Replica {
    /// `<pod>_<uid>_`, its number of process, and the name of its session Lease.
    pub pod: Name,
    pub process: u32,
    pub lease: Name,
    pub times: Times,
    pub bugs: Bugs,
    pub view: View,
    pub own: Own,
    pub memory: Memory,
    pub session: u32,
    pub writes: u64,
    pub said: Vec<(u64, Says)>,
    pub published: Says,
    pub renewing: bool,
    pub next: Duration,
    pub accepted: Option<Duration>,
    pub map: Option<Arc<Map>>,
    pub listed: bool,
    pub mourning: bool,
    pub until: Option<Duration>,
    pub open: BTreeMap<ShardId, i32>,
    pub opening: BTreeMap<ShardId, i32>,
    /// What nobody can read yet to be ours, and when its taking was sent.
    pub unsaid: BTreeMap<ShardId, Duration>,
    pub taking: BTreeSet<ShardId>,
    pub pending: BTreeMap<ShardId, Mark>,
    pub closing: BTreeMap<ShardId, Closing>,
    /// Passes under way, by shard and namespace.
    pub passes: Vec<(ShardId, usize)>,
    pub held_back: Vec<HeldBack<()>>,
    pub warm: BTreeSet<ShardId>,
    pub fencing: BTreeSet<Name>,
    /// What is to be sent.
    pub out: Vec<(Op, For)>,
    pub ended: bool,
    pub namespaces: Arc<Vec<String>>,
}

impl Replica {
    pub fn holder(&self) -> Name {
        format!("{}{}.{}", self.pod, self.process, self.session).into()
    }

    /// Decides once; returns when to look again.
    pub fn turn(&mut self, now: Duration) -> Duration {
        self.own.holder = self.holder();
        self.own.lease = self.lease.clone();
        let valid = self.memory.valid_until(&self.times).is_some_and(|it| it > now + MARGIN);
        self.confirm(None, now);
        self.settle();
        self.mourn();
        self.own.valid = valid && !self.mourning;
        self.own.former.extend(self.before());
        let mut again = self.renew(now).min(now + IDLE);
        let Some(map) = self.map.clone().filter(|_| self.listed) else { return again };
        let_go(&mut self.held_back, &self.view, &mut self.own);
        let (view, own, times) = (&self.view, &self.own, &self.times);
        let facts = Facts { view, map: &map, own, now, times };
        let decision = decide(facts);
        again = decision.again.map_or(again, |it| it.min(again));
        self.warm.clone_from(&decision.warm);
        self.carry_out(now, &map, decision);
        self.settle();
        self.open();
        self.end();
        again
    }

    /// Sessions of processes before this one in the same pod.
    fn before(&self) -> Vec<Name> {
        let own = format!("{}{}.", self.pod, self.process);
        let all = self.view.shards.values().map(|it| it.it.holder());
        let all = all.filter(|it| it.starts_with(&*self.pod) && !it.starts_with(&own));
        all.map(Into::into).collect()
    }

    fn carry_out(&mut self, now: Duration, map: &Arc<Map>, decision: Decision) {
        for step in decision.steps {
            match step {
                Step::Fence { lease } => self.fence(lease),
                Step::Sweep { lease } => {
                    let over = Some(key(&self.view.sessions[&lease].it.record));
                    if self.fencing.insert(lease.clone()) {
                        self.out
                            .push((Op::Delete { name: lease.clone(), over }, For::Sweep { lease }));
                    }
                }
                Step::Take { shard, epoch, unclaimed } => {
                    self.take(now, shard, epoch, unclaimed, map);
                }
                Step::Release { shard, to } => self.give(shard, true, map, to),
                Step::Acknowledge { shard, .. } => self.give(shard, false, map, None),
            }
        }
    }

    fn fence(&mut self, lease: Name) {
        if !self.fencing.insert(lease.clone()) {
            return;
        }
        let seen = &self.view.sessions[&lease].it;
        let (holder, wait) = (Some(String::new()), self.times.wait);
        let record = Record { holder, mark: None, wait, ..seen.record.clone() };
        let fenced = Some(seen.holder().into());
        let kept = Kept::Session(Session { record, fenced, ..Session::default() });
        let over = Some(key(&seen.record));
        self.out.push((Op::Put { name: lease.clone(), over, kept }, For::Fence { lease }));
    }

    fn mark(&mut self, shard: ShardId, epoch: i32) -> Mark {
        self.writes += 1;
        let mark = Mark { epoch, number: self.writes };
        self.pending.insert(shard, mark);
        self.own.busy.insert(shard);
        mark
    }

    fn shard(&self, holder: &str, mark: Mark, map: i64) -> Shard {
        let record = Record {
            holder: Some(holder.into()),
            transitions: mark.epoch,
            mark: Some(mark),
            wait: self.times.wait,
            ..Record::default()
        };
        Shard { record, session: self.lease.clone(), map, ..Shard::default() }
    }

    fn take(&mut self, now: Duration, shard: ShardId, epoch: i32, unclaimed: bool, map: &Map) {
        let over = self.view.shards.get(&shard).map(|it| key(&it.it.record));
        let (mark, holder) = (self.mark(shard, epoch), self.holder());
        self.taking.insert(shard);
        let kept = Kept::Shard(shard, self.shard(&holder, mark, map.version()));
        let put = Op::Put { name: shard_name(shard), over, kept };
        self.out.push(if unclaimed {
            (Op::Sessions, For::Claims { shard, holder, sent: now, put })
        } else {
            (put, For::Take { shard, holder, sent: now })
        });
    }

    /// Gives a shard back, or acknowledges what the map took from it.
    fn give(&mut self, shard: ShardId, give: bool, map: &Map, to: Option<Name>) {
        let (Some(held), Some(seen)) = (self.own.held.get(&shard), self.view.shards.get(&shard))
        else {
            return;
        };
        if held.version != seen.it.record.resource_version {
            return;
        }
        let (epoch, old, over) = (held.epoch, held.map, Some(key(&seen.it.record)));
        let mark = self.mark(shard, epoch);
        let holder = if give { "".into() } else { self.holder() };
        let version = if give { old } else { map.version() };
        let it = Shard { released: give, wanted: to, ..self.shard(&holder, mark, version) };
        let put = Op::Put { name: shard_name(shard), over, kept: Kept::Shard(shard, it) };
        if give {
            self.opening.remove(&shard);
        }
        if give && self.bugs.early_release {
            self.surely(shard, mark, give, 0, put);
        } else {
            self.closing.insert(shard, Closing::Put { mark, give, put });
        }
    }

    pub fn surely(&mut self, shard: ShardId, mark: Mark, give: bool, tries: u32, put: Op) {
        let what = For::Surely { shard, mark, give, tries, put: put.clone(), looks: false };
        self.out.push((put, what));
    }

    pub fn lose(&mut self, shard: ShardId, by_hand: bool) {
        self.open.remove(&shard);
        self.opening.remove(&shard);
        self.unsaid.remove(&shard);
        if self.own.busy.insert(shard) {
            self.closing.insert(shard, Closing::Lost { by_hand });
        }
    }

    /// Goes on with what was waiting for passes.
    fn settle(&mut self) {
        let shards: Vec<_> = self.closing.keys().copied().collect();
        for shard in shards {
            let all = !matches!(self.closing[&shard], Closing::Put { give: false, .. });
            let moved = |it: usize| {
                self.map
                    .as_ref()
                    .is_some_and(|map| map.shard_of(&self.namespaces[it]) != Some(shard))
            };
            if self.passes.iter().any(|(of, it)| *of == shard && (all || moved(*it))) {
                continue;
            }
            match self.closing.remove(&shard) {
                Some(Closing::Lost { by_hand }) => self.given_up(shard, by_hand),
                Some(Closing::Put { mark, give, put }) => {
                    if give {
                        self.open.remove(&shard);
                    }
                    self.surely(shard, mark, give, 0, put);
                }
                None => {}
            }
        }
    }

    pub fn given_up(&mut self, shard: ShardId, by_hand: bool) {
        self.own.held.remove(&shard);
        self.own.busy.remove(&shard);
        self.pending.remove(&shard);
        self.opening.remove(&shard);
        self.unsaid.remove(&shard);
        self.open.remove(&shard);
        if by_hand && !self.mourning {
            self.own.lost.insert(shard);
            self.own.heard(&self.view, shard);
        }
    }

    fn mourn(&mut self) {
        if !self.mourning {
            return;
        }
        let held: Vec<_> = self.own.held.keys().copied().collect();
        for shard in held {
            self.lose(shard, false);
        }
        self.settle();
        if self.own.held.is_empty() && self.own.busy.is_empty() {
            self.mourning = false;
            self.own.former.insert(self.holder());
            self.own.lost.clear();
            self.begin_anew();
            self.own.holder = self.holder();
        }
    }

    /// Gives up what our session did not say in time; `renewal`: when the one was sent that is accepted now.
    pub fn confirm(&mut self, renewal: Option<Duration>, now: Duration) {
        let (holds, valid) = (&self.published.holds, self.times.valid);
        let late = said_too_late(&mut self.unsaid, (renewal, holds), valid, now);
        late.into_iter().for_each(|it| self.lose(it, false));
    }

    fn open(&mut self) {
        if self.own.valid {
            self.open.append(&mut self.opening);
        }
    }

    fn end(&mut self) {
        let over =
            self.own.draining.is_some() && self.own.held.is_empty() && self.own.busy.is_empty();
        if over && !self.ended {
            self.ended = true;
            self.until = None;
            if let Some((record, _)) = &self.memory.seen {
                let over = Some(key(record));
                self.out.push((Op::Delete { name: self.lease.clone(), over }, For::End));
            }
        }
    }

    /// Begins to write an object in a namespace, if that is ours to do.
    pub fn work(&mut self, namespace: usize, version: u64, now: Duration) {
        let Some((shard, epoch)) = self.may_work(namespace, now + MARGIN) else { return };
        if matches!(self.closing.get(&shard), None | Some(Closing::Put { give: false, .. })) {
            self.passes.push((shard, namespace));
            let op = Op::Write { namespace, version, shard, epoch };
            self.out.push((op, For::Pass { shard, namespace }));
        }
    }

    /// Whether this replica believes that it may act in a namespace: in which shard, under which epoch.
    pub fn may_work(&self, namespace: usize, now: Duration) -> Option<(ShardId, i32)> {
        let name = &self.namespaces[namespace];
        let map = self.map.as_ref().filter(|_| self.until.is_some_and(|it| now < it))?;
        let shard = map.shard_of(name)?;
        let waits = self.held_back.iter().any(|(_, it, ())| it.to == shard && it.takes(name));
        let epoch = self.open.get(&shard).filter(|_| !waits)?;
        Some((shard, *epoch))
    }
}
