//! What a replica does about sessions and shards, given what it sees: pure, so that every rule can be modelled.
//!
//! Why two replicas never act on one shard: an owner acts only while its session is valid, which is counted from the sending
//! of its last accepted renewal ([`Times::valid`]). Nobody takes its shard before the owner has given it back, or its session
//! was declared dead by a write over the very renewal that had been seen to stand still for [`Times::for_writer_of`], which is
//! longer.
//! Either is a compare-and-swap, so being late or wrong about what is seen costs a refused write and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    ShardId,
    map::{Map, Move},
    plan::{Load, Member, plan},
    seen::{Life, Session, View},
    weights,
};
use crate::domain::lease::Times;

/// How long whoever should take a free shard is waited for.
const GRACE: Duration = Duration::from_secs(1);
/// How long a replica that ends waits for others to be warm.
const PARTING: Duration = Duration::from_secs(5);
/// Sessions that nobody renews are swept after so many waits.
const SWEEP: u32 = 10;

/// This replica and what it owns by its own accepted writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// The name of its session, and of that session's Lease.
    pub holder: Box<str>,
    pub lease: Box<str>,
    pub build: Box<str>,
    pub zone: Box<str>,
    pub began: i64,
    /// Its session allows it to act.
    pub valid: bool,
    /// Since when it has wanted to end.
    pub draining: Option<Duration>,
    /// It set up the first map in an empty namespace, so that Leases which are missing were never there.
    pub founder: bool,
    pub held: BTreeMap<ShardId, Holding>,
    /// Shards that it owned last, and stopped working on because somebody edited or deleted their Lease by hand.
    pub lost: BTreeSet<ShardId>,
    /// Earlier sessions that are known to have stopped: of this process, or of one before it in the same pod.
    pub former: BTreeSet<Box<str>>,
    /// The version of the map that a shard has yet to acknowledge, because that or an earlier one took something from it: also
    /// where a later version came before that.
    pub unsaid: BTreeMap<ShardId, i64>,
    /// Shards about which a write is under way.
    pub busy: BTreeSet<ShardId>,
}

/// A shard that is owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    pub epoch: i32,
    /// The version of its Lease that our own write made.
    pub version: String,
    /// The version of the map that was acknowledged.
    pub map: i64,
}

/// One thing to do. Each is a write that is refused where what was seen is not so any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Declare the session of this Lease dead.
    Fence { lease: Box<str> },
    /// Write ourselves in as the owner of a shard, over the Lease as it was seen, or make the Lease where it is missing.
    /// `unclaimed`: before that, read all sessions anew, and leave it if any of them says that it owns the shard.
    Take { shard: ShardId, epoch: i32, unclaimed: bool },
    /// End all work in a shard, then give it back.
    Release { shard: ShardId, to: Option<Box<str>> },
    /// End all work on what the map took from a shard, then say so in its Lease.
    Acknowledge { shard: ShardId, map: i64 },
    /// Delete a session Lease that nobody renews.
    Sweep { lease: Box<str> },
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub steps: Vec<Step>,
    /// Shards whose objects should be in the caches although they are not owned.
    pub warm: BTreeSet<ShardId>,
    /// Look again at this moment, even if nothing is heard.
    pub again: Option<Duration>,
}

/// What there is to go by.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub view: &'a View,
    pub map: &'a Map,
    pub own: &'a Own,
    pub now: Duration,
    pub times: &'a Times,
}

/// From when on a shard may be taken, and how.
#[derive(Clone, Copy, Debug)]
struct Opening {
    at: Duration,
    /// Only if no session says that it owns it.
    unclaimed: bool,
    /// Whatever the balance says.
    ours: bool,
}

/// Decides.
pub fn decide(facts: Facts<'_>) -> Decision {
    let mut decision = Decision::default();
    facts.fence_and_sweep(&mut decision);
    if !facts.own.valid {
        return decision;
    }
    let targets = facts.targets(1);
    for shard in facts.map.shards().keys().copied().filter(|it| !facts.own.busy.contains(it)) {
        let target = targets.get(&shard).map(|it| &**it);
        match facts.own.held.get(&shard) {
            Some(holding) => facts.keep_or_give(shard, holding, target, &mut decision),
            None => facts.take_or_leave(shard, target, &mut decision),
        }
    }
    decision.warm = facts.warm(&targets);
    decision
}

/// What a version of the map gave to a shard and must not be worked on yet, and what is kept for as long.
pub type HeldBack<T> = (i64, Move, T);

/// Takes out of what is held back whatever may be worked on: who had it has acknowledged that version, and owes it no more.
pub fn let_go<T>(held_back: &mut Vec<HeldBack<T>>, view: &View, own: &mut Own) -> Vec<HeldBack<T>> {
    let owed = std::mem::take(&mut own.unsaid).into_iter();
    own.unsaid = owed.filter(|(from, of)| !is_done(view, own, *from, *of)).collect();
    held_back.extract_if(.., |(of, it, _)| is_done(view, own, it.from, *of)).collect()
}

/// Whether a shard is done with what this version of the map, which may be an older one, took from it.
fn is_done(view: &View, own: &Own, from: ShardId, version: i64) -> bool {
    own.held.get(&from).map_or_else(|| view.acknowledged(from), |it| it.map) >= version
}

impl Own {
    /// Takes in what was heard of a shard. One that we lost by hand and that somebody else has had since is nobody's to take
    /// back at once, should its Lease be deleted as well.
    pub fn heard(&mut self, view: &View, shard: ShardId) {
        let holder = view.shards.get(&shard).map(|it| it.it.holder());
        if view.intact(shard) && holder.is_some_and(|it| *it != *self.holder) {
            self.lost.remove(&shard);
        }
    }
}

impl Facts<'_> {
    /// Whether the map gives a shard anything; one without is given back, and taken by nobody.
    fn active(&self, shard: ShardId) -> bool {
        self.map.shards().get(&shard).is_some_and(|it| !it.is_empty())
    }

    /// Whether somebody must own a shard: also one that the map retired, until what it gave away is acknowledged.
    fn needed(&self, shard: ShardId) -> bool {
        let gives = || self.map.moves().iter().any(|it| it.from == shard);
        let owes = || gives() || self.own.unsaid.contains_key(&shard);
        let is_done = || is_done(self.view, self.own, shard, self.map.version());
        self.active(shard) || (owes() && !is_done())
    }

    fn fence_and_sweep(&self, decision: &mut Decision) {
        for (lease, seen) in &self.view.sessions {
            let still = self.view.stillness(seen.since, self.now);
            let (since, wait) =
                (seen.since.max(self.view.clear), self.times.for_writer_of(&seen.it.record));
            if **lease == *self.own.lease {
                continue;
            }
            if still < wait {
                decision.look_at(since + wait);
            } else if !seen.it.holder().is_empty() || !seen.it.says.holds.is_empty() {
                if self.own.valid {
                    decision.steps.push(Step::Fence { lease: lease.clone() });
                }
            } else if still >= wait * SWEEP {
                decision.steps.push(Step::Sweep { lease: lease.clone() });
            } else {
                decision.look_at(since + wait * SWEEP);
            }
        }
    }

    /// Who should own each shard, if only sessions count that have renewed themselves within this part of their wait.
    fn targets(&self, part: u32) -> BTreeMap<ShardId, Box<str>> {
        let member = |session: &Session| Member {
            id: session.holder().into(),
            build: session.says.build.clone(),
            zone: session.says.zone.clone(),
            began: session.began,
            draining: session.says.draining,
        };
        let others = self.view.alive(self.now, self.times, part);
        let others = others.filter(|it| it.holder() != &*self.own.holder);
        let mut members: Vec<Member> = others.map(member).collect();
        members.push(Member {
            id: self.own.holder.clone(),
            build: self.own.build.clone(),
            zone: self.own.zone.clone(),
            began: self.own.began,
            draining: self.own.draining.is_some(),
        });
        let loads: Vec<Load> = (self.map.shards().keys().copied())
            .filter(|it| self.active(*it))
            .map(|shard| Load {
                shard,
                weight: self.weight(shard),
                holder: self.holder(shard, &members),
            })
            .collect();
        plan(&members, &loads)
    }

    fn weight(&self, shard: ShardId) -> u32 {
        let weights = &self.view.weights;
        let mean = if weights.is_empty() { 1 } else { weights::MEAN };
        weights.get(&shard).copied().unwrap_or(mean)
    }

    /// Whom the balance counts as the owner of a shard.
    fn holder(&self, shard: ShardId, members: &[Member]) -> Option<Box<str>> {
        let own = &self.own.holder;
        // What is being taken counts as taken, or more than the share would be.
        let taking = self.own.busy.contains(&shard);
        if taking || self.own.held.contains_key(&shard) || self.regains(shard) {
            return Some(own.clone());
        }
        let lease = &self.view.shards.get(&shard)?.it;
        let named = if lease.released { lease.wanted.as_deref()? } else { lease.holder() };
        if self.own.former.contains(named) {
            return Some(own.clone());
        }
        members.iter().find(|it| *it.id == *named).map(|it| it.id.clone())
    }

    /// Whether a shard that was lost is nobody else's.
    fn regains(&self, shard: ShardId) -> bool {
        self.own.lost.contains(&shard) && !self.view.intact(shard)
    }

    fn keep_or_give(
        &self,
        shard: ShardId,
        holding: &Holding,
        target: Option<&str>,
        decision: &mut Decision,
    ) {
        let lost_some = self.own.unsaid.contains_key(&shard)
            || self.map.moves().iter().any(|it| it.from == shard);
        if lost_some && holding.map < self.map.version() {
            // The heirs of a shard that was split off are made by its owner; only then the others may wait for them.
            if self.heirs(shard).all(|it| self.view.shards.contains_key(&it)) {
                decision.steps.push(Step::Acknowledge { shard, map: self.map.version() });
            }
            return;
        }
        let me = &*self.own.holder;
        if !self.active(shard) {
            decision.steps.push(Step::Release { shard, to: None });
            return;
        }
        let to = target.filter(|it| *it != me);
        let ready = to.is_some_and(|it| self.is_warm(it, shard));
        match (self.own.draining, to) {
            (_, Some(to)) if ready => {
                decision.steps.push(Step::Release { shard, to: Some(to.into()) });
            }
            (Some(since), to) if to.is_none() || self.now >= since + PARTING => {
                decision.steps.push(Step::Release { shard, to: to.map(Into::into) });
            }
            (Some(since), _) => decision.look_at(since + PARTING),
            (None, _) => {}
        }
    }

    /// Shards that the map made out of this one, and that are still to get their Leases.
    fn heirs(&self, shard: ShardId) -> impl Iterator<Item = ShardId> + '_ {
        self.map.moves().iter().filter(move |it| it.from == shard).map(|it| it.to)
    }

    fn is_warm(&self, holder: &str, shard: ShardId) -> bool {
        let mut all = self.view.alive(self.now, self.times, 1);
        all.any(|it| {
            it.holder() == holder
                && it.says.map >= self.map.version()
                && it.says.warm.contains(&shard)
        })
    }

    fn take_or_leave(&self, shard: ShardId, target: Option<&str>, decision: &mut Decision) {
        let ends = self.own.draining.is_some() && !self.splits_off(shard);
        if !self.needed(shard) || ends {
            return;
        }
        let Some(Opening { at, unclaimed, ours }) = self.opening(shard) else { return };
        // Who should take it may never come: then anybody does.
        let ours = ours || target == Some(&*self.own.holder);
        let at = if ours { at } else { at + GRACE };
        if self.now < at {
            decision.look_at(at);
        } else {
            let epoch = self.view.next_epoch(shard);
            decision.steps.push(Step::Take { shard, epoch, unclaimed });
        }
    }

    /// From when on a shard may be taken; `None`: not as things stand.
    fn opening(&self, shard: ShardId) -> Option<Opening> {
        let (own, view) = (self.own, self.view);
        // Whoever acts by an older map than an owner before would work on what was taken from this shard.
        if view.acknowledged(shard) > self.map.version() {
            return None;
        }
        let free = |at| Some(Opening { at, unclaimed: false, ours: false });
        // What we owned, and nobody could take from a valid session but by hand.
        if self.regains(shard) {
            return Some(Opening { at: self.now, unclaimed: true, ours: true });
        }
        let Some(seen) = view.shards.get(&shard) else {
            let at = view.missing_since(shard)?;
            let new = !view.has_seen(shard);
            let (founder, splits_off) = (new && own.founder, new && self.splits_off(shard));
            if founder || splits_off {
                return Some(Opening { at, unclaimed: !founder, ours: true });
            }
            return self.unclaimed(shard, at);
        };
        if !view.intact(shard) {
            return self.unclaimed(shard, seen.since);
        }
        // Who has our own name is nobody else, and no work of ours is left in what we do not hold.
        let holder = seen.it.holder();
        if *holder == *own.holder || own.former.contains(holder) {
            return free(seen.since);
        }
        if seen.it.released {
            // It may be an old copy, put back over what a late watch never told of: only who was waited for takes it unasked.
            let unclaimed = seen.it.wanted.as_deref() != Some(&*own.holder);
            return Some(Opening { at: seen.since, unclaimed, ours: false });
        }
        match view.owner(seen, self.now, self.times) {
            Life::Dead { since } => free(since.max(seen.since)),
            Life::Still => None,
            Life::Gone { since } => self.unclaimed(shard, since.max(seen.since)),
            // Its owner says that it owns it, or it is none.
            Life::Alive => self.unclaimed(shard, seen.since),
        }
    }

    /// A shard whose Lease was deleted or edited by hand counts as owned for a whole wait, and for as long as anybody says that
    /// he owns it: his watch may be late. Who acts by a newer map may know of parts that were taken from it.
    fn unclaimed(&self, shard: ShardId, since: Duration) -> Option<Opening> {
        let Self { view, own, now, times, .. } = self;
        let by = view.claimed(shard, &own.holder);
        let newer = view.alive(*now, times, 1).any(|it| it.says.map > self.map.version());
        let at = view.lapsed(shard, since, times);
        (!by && !newer).then_some(Opening { at, unclaimed: true, ours: false })
    }

    /// Whether the map made this shard out of one that is ours and that still has to acknowledge it.
    fn splits_off(&self, shard: ShardId) -> bool {
        let of_ours =
            |from: &ShardId| self.own.held.get(from).is_some_and(|it| it.map < self.map.version());
        self.map.moves().iter().any(|it| it.to == shard && of_ours(&it.from))
    }

    /// What is not owned but will be, as far as can be foreseen: also what those hold that have begun to stand still.
    fn warm(&self, targets: &BTreeMap<ShardId, Box<str>>) -> BTreeSet<ShardId> {
        if self.own.draining.is_some() {
            return BTreeSet::new();
        }
        let soon = self.targets(2);
        let ours = |all: &BTreeMap<ShardId, Box<str>>| {
            let mine = all.iter().filter(|(_, it)| **it == self.own.holder);
            mine.map(|(shard, _)| *shard).collect::<Vec<_>>()
        };
        let all = ours(targets).into_iter().chain(ours(&soon));
        all.filter(|it| !self.own.held.contains_key(it)).collect()
    }
}

impl Decision {
    fn look_at(&mut self, moment: Duration) {
        self.again = Some(self.again.map_or(moment, |it| it.min(moment)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{lease::Record, shard::seen::Shard};

    /// A session that nobody renews ends, if it does not go with its pod: first it is declared dead, much later its Lease goes.
    #[test]
    fn a_session_that_stands_still_is_fenced_and_an_empty_one_is_swept() {
        let (map, times, wait) = (Map::first(1), Times::DEFAULT, Times::DEFAULT.wait);
        let lease = || Box::<str>::from("session-b");
        let (fence, sweep) =
            (|| vec![Step::Fence { lease: lease() }], || vec![Step::Sweep { lease: lease() }]);
        let moment = Duration::from_millis(1);
        let table = [
            ("b", wait.saturating_sub(moment), vec![], "it may yet be renewed"),
            ("b", wait, fence(), "it is dead"),
            ("b", wait * 10, fence(), "it is never swept before it was declared dead"),
            ("", (wait * 10).saturating_sub(moment), vec![], "it may be begun anew"),
            ("", wait * 10, sweep(), "nobody wants it any more"),
        ];
        for (holder, now, want, because) in table {
            let mut view = View::default();
            let record = Record { holder: Some(holder.into()), ..Record::default() };
            let session = Session { record, ..Session::default() };
            view.session(&lease(), Some(session), Duration::ZERO);
            let own = Own {
                holder: "a".into(),
                lease: "session-a".into(),
                valid: true,
                ..Own::default()
            };
            let decided = decide(Facts { view: &view, map: &map, own: &own, now, times: &times });
            let about = |it: &Step| matches!(it, Step::Fence { .. } | Step::Sweep { .. });
            let steps: Vec<_> = decided.steps.into_iter().filter(about).collect();
            assert_eq!(steps, want, "{because}");
            let again = (want.is_empty()).then_some(now + moment);
            assert_eq!(
                decided.again.filter(|_| want.is_empty()),
                again,
                "{because}: it is looked at in time"
            );
        }
    }

    /// Of the shards of one who is gone each of two takes a half, however far its writes have come.
    #[test]
    fn what_is_being_taken_counts_for_who_takes_it() {
        let (map, now) = (Map::first(8), GRACE / 2);
        let mut view = View::default();
        let record = Record { holder: Some("b".into()), ..Record::default() };
        view.session("session-b", Some(Session { record, ..Session::default() }), now);
        for shard in map.active() {
            let free = Shard { released: true, ..Shard::default() };
            view.shard(shard, Some(free), Duration::ZERO);
        }
        let own = Own { holder: "a".into(), valid: true, ..Own::default() };
        let takes = |own: &Own| {
            let decided =
                decide(Facts { view: &view, map: &map, own, now, times: &Times::DEFAULT });
            let taken = |it: &Step| match it {
                Step::Take { shard, .. } => Some(*shard),
                _ => None,
            };
            decided.steps.iter().filter_map(taken).collect::<Vec<_>>()
        };
        let first = takes(&own);
        assert_eq!(first.len(), 4);
        for answered in 0..=4 {
            let (held, busy) = first.split_at(answered);
            let held = held.iter().map(|it| (*it, Holding::default())).collect();
            let busy = busy.iter().copied().collect();
            let more = takes(&Own { held, busy, ..own.clone() });
            assert_eq!(more, [], "{answered} of them are its own by now");
        }
    }
}
