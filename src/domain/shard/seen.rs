//! What one replica sees of the Leases of all: the session of each replica, and who owns each shard. It is told in the order
//! of one watch; being late is safe, since every write is a compare-and-swap on what was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::ShardId;
use crate::domain::lease::{Record, Times};

/// What a replica tells the others with each renewal of its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Says {
    /// The hash of its pod template: of several builds, the youngest gets what moves.
    pub build: Box<str>,
    pub zone: Box<str>,
    /// It is about to end, and wants to be rid of its shards.
    pub draining: bool,
    /// The version of the map that it acts by.
    pub map: i64,
    /// Shards whose objects it has in its caches without owning them.
    pub warm: BTreeSet<ShardId>,
    /// Shards that it believes to own. Only what nobody claims here may be taken where a Lease was deleted or edited by hand.
    pub holds: BTreeSet<ShardId>,
}

/// The session Lease of one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// `holder` is the name of the session: new for each process, and after each loss.
    pub record: Record,
    /// The session that somebody declared dead by this Lease, after it had stood still.
    pub fenced: Option<Box<str>>,
    /// When the Lease was made, in seconds by the API server's clock: advice for the balance, nothing else.
    pub began: i64,
    pub says: Says,
    /// Polecats in each shard that it works in, as it counted them a while ago.
    pub objects: BTreeMap<ShardId, u32>,
}

/// The Lease of one shard, written only when something changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// `holder` is a session's name; `transitions` the epoch.
    pub record: Record,
    /// Name of the holder's session Lease.
    pub session: Box<str>,
    /// The version of the map that its owner has acknowledged: what that took from this shard is not worked on any more.
    pub map: i64,
    /// Its last owner gave it back by a write of his own, once all work in it had stopped; an edit by hand does not say so.
    pub released: bool,
    /// The session that gave it back, and how long that let no work begin in it before it said so.
    pub released_by: Option<Box<str>>,
    pub drained: Duration,
    /// For whom it was given back.
    pub wanted: Option<Box<str>>,
    /// Its holder is not the one whom its last writer of ours had named: somebody edited it by hand.
    pub edited: bool,
}

/// A Lease, and since when it has been seen as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<T> {
    pub it: T,
    pub since: Duration,
}

/// All Leases as one replica sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By the name of the Lease.
    pub sessions: BTreeMap<Box<str>, Seen<Session>>,
    /// Since when this replica has been in touch with the API server without a gap: silence from before says nothing about
    /// who was silent, since it may have been out of reach for all.
    pub clear: Duration,
    /// What the shards weigh in the balance; one that is not there, or all, as much as the mean.
    pub weights: BTreeMap<ShardId, u32>,
    /// Sessions that were declared dead, and since when that is known.
    dead: BTreeMap<Named, Duration>,
    /// Since when they had been silent before, as far as was seen.
    silent: BTreeMap<Named, Duration>,
    /// Sessions whose Lease went or changed hands otherwise, and since when that is known.
    gone: BTreeMap<Named, Duration>,
    /// How long sessions had others wait, and when one that did was seen last.
    waits: BTreeMap<Duration, Duration>,
    pub shards: BTreeMap<ShardId, Seen<Shard>>,
    /// Since when the Lease of a shard has been seen missing.
    missing: BTreeMap<ShardId, Duration>,
    /// The highest epoch that was ever seen of a shard, also where its Lease was deleted.
    highest: BTreeMap<ShardId, i32>,
    /// The highest version of the map that an owner of a shard was ever seen to have acknowledged.
    acknowledged: BTreeMap<ShardId, i64>,
}

/// A session, by the name of its Lease and its own. One without the other is not enough: a Lease that was edited by hand to
/// name somebody else's session says nothing about that.
type Named = (Box<str>, Box<str>);

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Alive,
    /// It has not renewed itself for as long as a candidate has to wait: it may be declared dead.
    Still,
    /// Declared dead: its owner can't renew it, and stopped before anybody could declare that.
    Dead {
        since: Duration,
    },
    /// Its Lease is gone, or somebody else's, since then: it can't be renewed any more, but may be valid for a while.
    Gone {
        since: Duration,
    },
}

/// A shard that nobody works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vacancy {
    /// The session that did, if that is known.
    pub by: Option<Box<str>>,
    pub how: Left,
    pub since: Duration,
}

/// How a shard lost its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Left {
    /// Given back when all work in it had ended.
    HandedOver,
    /// Its owner renewed itself no more.
    Stopped,
    /// Its Lease was deleted, or edited by hand.
    Lost,
}

impl View {
    /// Takes note of a session Lease; `None`: it is gone.
    pub fn session(&mut self, lease: &str, session: Option<Session>, now: Duration) {
        let before = self.sessions.get(lease);
        if before.is_some_and(|it| Some(&it.it) == session.as_ref()) {
            return;
        }
        if let Some(before) = before {
            self.waits.insert(before.it.record.wait, now);
        }
        let old = before.map(|it| it.it.record.holder.clone().unwrap_or_default());
        if let Some(fenced) = session.as_ref().and_then(|it| it.fenced.clone()) {
            let since = before.filter(|it| *it.it.holder() == *fenced).map_or(now, |it| it.since);
            let fenced = (lease.into(), fenced);
            self.gone.remove(&fenced);
            self.silent.entry(fenced.clone()).or_insert(since);
            self.dead.entry(fenced).or_insert(now);
        }
        let new = session.as_ref().and_then(|it| it.record.holder.clone()).unwrap_or_default();
        if let Some(old) = old.filter(|it| !it.is_empty() && *it != new) {
            let old: Named = (lease.into(), old.into());
            if !self.dead.contains_key(&old) {
                self.gone.entry(old).or_insert(now);
            }
        }
        match session {
            Some(it) => self.sessions.insert(lease.into(), Seen { it, since: now }),
            None => self.sessions.remove(lease),
        };
    }

    /// Takes note of a shard's Lease; `None`: it is gone.
    pub fn shard(&mut self, id: ShardId, shard: Option<Shard>, now: Duration) {
        let Some(shard) = shard else {
            if self.shards.remove(&id).is_some() || !self.missing.contains_key(&id) {
                self.missing.insert(id, now);
            }
            return;
        };
        self.missing.remove(&id);
        let highest = self.highest.entry(id).or_default();
        *highest = shard.record.transitions.max(*highest);
        if !shard.edited && shard.record.transitions >= *highest {
            let map = self.acknowledged.entry(id).or_default();
            *map = shard.map.max(*map);
        }
        if self.shards.get(&id).is_none_or(|it| it.it != shard) {
            self.shards.insert(id, Seen { it: shard, since: now });
        }
    }

    /// Takes note that a complete list has no Lease for these shards.
    pub fn without(&mut self, ids: impl IntoIterator<Item = ShardId>, now: Duration) {
        for id in ids {
            if !self.shards.contains_key(&id) {
                self.missing.entry(id).or_insert(now);
            }
        }
    }

    /// The epoch of whoever takes a shard next: higher than every one before.
    pub fn next_epoch(&self, id: ShardId) -> i32 {
        self.highest.get(&id).copied().unwrap_or_default().saturating_add(1)
    }

    /// Whether the Lease of a shard was ever seen.
    pub fn has_seen(&self, id: ShardId) -> bool {
        self.highest.contains_key(&id)
    }

    /// Whether a shard's Lease is as one of us wrote it: nobody edited its holder, or put an older copy back.
    pub fn intact(&self, id: ShardId) -> bool {
        let highest = self.highest.get(&id).copied().unwrap_or_default();
        self.shards.get(&id).is_some_and(|it| !it.it.edited && it.it.record.transitions >= highest)
    }

    /// The highest version of the map that was acknowledged for a shard; also where its Lease was deleted since. Whoever took it
    /// then without having seen it began its epochs anew: that it is no old copy is said by his session.
    pub fn acknowledged(&self, id: ShardId) -> i64 {
        let known = self.acknowledged.get(&id).copied().unwrap_or_default();
        let by_owner =
            |it: &&Seen<Shard>| !it.it.edited && self.is_claimed_by_its_owner(id, &it.it);
        self.shards.get(&id).filter(by_owner).map_or(known, |it| it.it.map.max(known))
    }

    fn is_claimed_by_its_owner(&self, id: ShardId, shard: &Shard) -> bool {
        let session = self.sessions.get(&shard.session).map(|it| &it.it);
        session.is_some_and(|it| it.holder() == shard.holder() && it.says.holds.contains(&id))
    }

    /// How long something has been seen as it is, counting only the time since which nothing was missed.
    pub fn stillness(&self, since: Duration, now: Duration) -> Duration {
        now.saturating_sub(since.max(self.clear))
    }

    /// Since when a shard's Lease has been missing.
    pub fn missing_since(&self, id: ShardId) -> Option<Duration> {
        self.missing.get(&id).copied()
    }

    /// What is known of the session that the Lease of a shard names.
    pub fn owner(&self, shard: &Seen<Shard>, now: Duration, times: &Times) -> Life {
        let holder = shard.it.holder();
        let session = self.sessions.get(&shard.it.session);
        if let Some(seen) = session.filter(|it| !holder.is_empty() && it.it.holder() == holder) {
            let wait = times.for_writer_of(&seen.it.record);
            let still = self.stillness(seen.since, now) >= wait;
            return if still { Life::Still } else { Life::Alive };
        }
        let named = (shard.it.session.clone(), holder.into());
        // One that was never seen is gone for at least as long as its name has been seen.
        let gone = || Life::Gone { since: self.gone.get(&named).copied().unwrap_or(shard.since) };
        self.dead.get(&named).map_or_else(gone, |it| Life::Dead { since: *it })
    }

    /// Whether whom the Lease of a shard names is alive.
    pub fn has_owner(&self, shard: ShardId, now: Duration, times: &Times) -> bool {
        self.shards.get(&shard).is_some_and(|it| self.owner(it, now, times) == Life::Alive)
    }

    /// Forgets sessions that no shard names any more.
    pub fn tidy(&mut self) {
        let named: BTreeSet<(&str, &str)> =
            self.shards.values().map(|it| (&*it.it.session, it.it.holder())).collect();
        self.dead.retain(|(lease, it), _| named.contains(&(lease, it)));
        self.silent.retain(|(lease, it), _| named.contains(&(lease, it)));
        self.gone.retain(|(lease, it), _| named.contains(&(lease, it)));
    }

    /// Sessions that have renewed themselves within this part of what is to be waited for them: all of it, a half…
    pub fn alive<'a>(
        &'a self,
        now: Duration,
        times: &'a Times,
        part: u32,
    ) -> impl Iterator<Item = &'a Session> + 'a {
        let renewed = move |it: &&Seen<Session>| {
            let limit = times.for_writer_of(&it.it.record) / part;
            !it.it.holder().is_empty() && self.stillness(it.since, now) < limit
        };
        self.sessions.values().filter(renewed).map(|it| &it.it)
    }

    /// When nobody acts in a shard any more whose Lease somebody deleted or edited by hand at the latest, unless he says that he
    /// owns it. Whoever was there then, or wrote that Lease, may act for as long as he has others wait; a session that
    /// went before has lapsed so long after that.
    pub fn lapsed(&self, id: ShardId, since: Duration, times: &Times) -> Duration {
        let there = self.sessions.values().map(|it| (it.it.record.wait, since));
        let gone = self.waits.iter().map(|(wait, last)| (*wait, since.min(*last)));
        let writer = self.shards.get(&id).map(|it| (it.it.record.wait, since));
        let all = there.chain(gone).chain(writer).map(|(wait, last)| last + wait);
        all.fold(since + times.wait, Duration::max)
    }

    /// Polecats in each shard, as their owners have counted them.
    pub fn objects(&self) -> BTreeMap<ShardId, u64> {
        let count = |(id, shard): (&ShardId, &Seen<Shard>)| {
            let owner = self.sessions.get(&shard.it.session);
            let owner = owner.filter(|it| it.it.holder() == shard.it.holder())?;
            Some((*id, owner.it.objects.get(id).copied()?.into()))
        };
        self.shards.iter().filter_map(count).collect()
    }

    /// Whose a shard was, and since when nobody has worked in it at the most; `None`: nobody's, as far as was seen.
    pub fn vacancy(&self, id: ShardId) -> Option<Vacancy> {
        let Some(seen) = self.shards.get(&id) else {
            let since = self.missing_since(id).filter(|_| self.has_seen(id))?;
            return Some(Vacancy { by: None, how: Left::Lost, since });
        };
        let by = Some(seen.it.holder()).filter(|it| !it.is_empty()).map(Into::into);
        if !self.intact(id) {
            return Some(Vacancy { by, how: Left::Lost, since: seen.since });
        }
        if seen.it.released {
            let (by, since) =
                (seen.it.released_by.clone(), seen.since.saturating_sub(seen.it.drained));
            return Some(Vacancy { by, how: Left::HandedOver, since });
        }
        let named: Named = (seen.it.session.clone(), seen.it.holder().into());
        let renewed = self.sessions.get(&named.0).filter(|it| *it.it.holder() == *named.1);
        let since = self.silent.get(&named).or_else(|| self.gone.get(&named)).copied();
        let since = since.or(renewed.map(|it| it.since)).unwrap_or(seen.since);
        Some(Vacancy { by, how: Left::Stopped, since })
    }

    /// Whether no shard has a Lease, and no session says that it owns one.
    pub fn untouched(&self) -> bool {
        let claims = |it: &Seen<Session>| !it.it.says.holds.is_empty();
        self.shards.is_empty() && !self.sessions.values().any(claims)
    }

    /// Whether a session that was not declared dead says that it owns the shard; `but` is not asked.
    pub fn claimed(&self, id: ShardId, but: &str) -> bool {
        self.sessions.values().any(|it| it.it.holder() != but && it.it.says.holds.contains(&id))
    }
}

impl Session {
    /// The session's name; empty: nobody's.
    pub fn holder(&self) -> &str {
        self.record.holder.as_deref().unwrap_or_default()
    }
}

impl Shard {
    /// The owner's session; empty: none.
    pub fn holder(&self) -> &str {
        self.record.holder.as_deref().unwrap_or_default()
    }
}

/// Of shards that were taken (`unsaid`: when each taking was sent) takes out what our session says by now, by a `renewal` that was sent
/// after that and is accepted at `now`, with what it says to hold. Returns what was not said within `valid`, and may be somebody else's.
pub fn said_too_late(
    unsaid: &mut BTreeMap<ShardId, Duration>,
    (renewal, holds): (Option<Duration>, &BTreeSet<ShardId>),
    valid: Duration,
    now: Duration,
) -> Vec<ShardId> {
    let (late, in_time) = std::mem::take(unsaid).into_iter().partition(|it| now >= it.1 + valid);
    let late: BTreeMap<_, _> = late;
    *unsaid = in_time;
    unsaid.retain(|shard, taken| renewal < Some(*taken) || !holds.contains(shard));
    late.into_keys().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::Mark;

    const SECOND: Duration = Duration::from_secs(1);

    fn record(version: &str, holder: &str) -> Record {
        Record {
            uid: "u".into(),
            resource_version: version.into(),
            holder: Some(holder.into()),
            transitions: 1,
            mark: Some(Mark { epoch: 1, number: 1 }),
            ..Record::default()
        }
    }

    fn session(version: &str, holder: &str, fenced: Option<&str>) -> Session {
        let fenced = fenced.map(Into::into);
        Session { record: record(version, holder), fenced, ..Session::default() }
    }

    #[test]
    fn an_owner_who_began_epochs_anew_has_acknowledged_once_his_session_says_that_he_owns_it() {
        let (id, mut view) = (ShardId(3), View::default());
        let shard = |version, epoch, map| {
            let record = Record { transitions: epoch, ..record(version, "a") };
            Shard { record, session: "la".into(), map, ..Shard::default() }
        };
        view.shard(id, Some(shard("1", 4, 1)), SECOND);
        view.shard(id, None, SECOND * 2); // deleted by hand
        view.shard(id, Some(shard("2", 1, 2)), SECOND * 3);
        assert_eq!(view.acknowledged(id), 1, "it may be an old copy that was put back");
        let mut owner = session("3", "a", None);
        owner.says.holds.insert(id);
        view.session("la", Some(owner.clone()), SECOND * 4);
        assert_eq!(view.acknowledged(id), 2);
        view.shard(id, Some(Shard { edited: true, ..shard("4", 1, 9) }), SECOND * 5);
        assert_eq!(view.acknowledged(id), 1, "what somebody edits by hand acknowledges nothing");
    }

    #[test]
    fn whoever_publishes_a_longer_wait_is_waited_for_also_when_his_session_is_gone() {
        let (id, times, mut view) = (ShardId(3), Times::FAST, View::default());
        let long = |version| {
            let mut it = session(version, "a", None);
            it.record.wait = Times::DEFAULT.wait;
            it
        };
        view.session("la", Some(session("1", "a", None)), SECOND);
        assert_eq!(view.lapsed(id, SECOND * 20, &times), SECOND * 25, "our own wait");
        view.session("la", Some(long("2")), SECOND * 2);
        assert_eq!(view.lapsed(id, SECOND * 20, &times), SECOND * 30, "his, who is there");
        assert_eq!(view.alive(SECOND * 11, &times, 1).count(), 1, "he is not still so soon");
        assert_eq!(view.alive(SECOND * 11, &times, 2).count(), 0);
        let shard = Shard { record: record("9", "a"), session: "la".into(), ..Shard::default() };
        let shard = Seen { it: shard, since: SECOND * 3 };
        assert_eq!(view.owner(&shard, SECOND * 11, &times), Life::Alive);
        assert_eq!(view.owner(&shard, SECOND * 12, &times), Life::Still);
        view.session("la", None, SECOND * 18);
        assert_eq!(view.lapsed(id, SECOND * 19, &times), SECOND * 28, "he was there until lately");
        assert_eq!(view.lapsed(id, SECOND * 40, &times), SECOND * 45, "long ago");
        let mut written = Shard { record: record("9", "b"), edited: true, ..Shard::default() };
        written.record.wait = Times::DEFAULT.wait;
        view.shard(id, Some(written), SECOND * 40);
        assert_eq!(
            view.lapsed(id, SECOND * 40, &times),
            SECOND * 50,
            "who wrote it was never seen"
        );
    }

    #[test]
    fn a_gap_counts_from_the_last_sign_of_life() {
        let (id, mut view) = (ShardId(3), View::default());
        view.without([id], SECOND);
        assert_eq!(view.vacancy(id), None, "nobody ever worked in it");
        let held = Shard { record: record("2", "a"), session: "la".into(), ..Shard::default() };
        view.session("la", Some(session("1", "a", None)), SECOND);
        view.shard(id, Some(held.clone()), SECOND * 2);
        view.session("la", Some(session("3", "a", None)), SECOND * 3);
        let stopped = |since| Some(Vacancy { by: Some("a".into()), how: Left::Stopped, since });
        assert_eq!(view.vacancy(id), stopped(SECOND * 3), "its last renewal");
        view.session("la", Some(session("4", "", Some("a"))), SECOND * 13);
        view.tidy();
        assert_eq!(view.vacancy(id), stopped(SECOND * 3), "still, now that it was declared dead");

        let released = Shard {
            record: record("5", ""),
            released: true,
            released_by: Some("a".into()),
            drained: SECOND,
            ..held.clone()
        };
        view.shard(id, Some(released), SECOND * 20);
        let want = Vacancy { by: Some("a".into()), how: Left::HandedOver, since: SECOND * 19 };
        assert_eq!(view.vacancy(id), Some(want), "from when no work began any more");
        view.shard(id, Some(Shard { edited: true, ..held }), SECOND * 30);
        assert_eq!(view.vacancy(id).map(|it| (it.how, it.since)), Some((Left::Lost, SECOND * 30)));
        view.shard(id, None, SECOND * 40);
        let want = Vacancy { by: None, how: Left::Lost, since: SECOND * 40 };
        assert_eq!(view.vacancy(id), Some(want), "its Lease was deleted");
    }
}
