//! Who should own which shard. Every replica computes the same from what it sees; where two see different things, a write
//! by compare-and-swap is lost, and nothing else.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{ShardId, bucket};

/// A replica that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: Box<str>,
    /// What it was started from, such as the hash of its pod template.
    pub build: Box<str>,
    pub zone: Box<str>,
    /// When it began, on any clock: the build whose first member began last is the newest.
    pub began: i64,
    /// It is about to go, and hands over what it has.
    pub draining: bool,
}

/// A shard, and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub shard: ShardId,
    pub weight: u32,
    /// Nobody, if no member that is alive holds it.
    pub holder: Option<Box<str>>,
}

/// Who should own each shard; nothing, if nobody is alive.
///
/// While one build is alive, shards are spread evenly, over zones too, with as few moves as that takes. While several are,
/// which is a rolling update, nothing is balanced: only what its holder gives up or has left goes on, to the newest build,
/// so that it moves once. If all are about to go, who has a shard keeps it.
pub fn plan(members: &[Member], loads: &[Load]) -> BTreeMap<ShardId, Box<str>> {
    let mut book = Book::new(members, loads);
    let targets = targets(members);
    let staying = members.iter().any(|it| !it.draining);
    let leaving = members.iter().filter(|it| it.draining && staying).map(|it| &*it.id).collect();
    book.place(&targets, &leaving);
    let builds: BTreeSet<_> = members.iter().map(|it| &it.build).collect();
    if staying && builds.len() == 1 {
        book.balance(&targets);
    }
    book.owners.into_iter().filter_map(|(shard, owner)| Some((shard, owner?.into()))).collect()
}

/// Who may gain: those of the newest build that stay; else of the newest build of which any do; else all, who go.
fn targets(members: &[Member]) -> Vec<&str> {
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for it in members {
        let began = first.entry(&it.build).or_insert(it.began);
        *began = it.began.min(*began);
    }
    let staying = || members.iter().filter(|it| !it.draining);
    let newest = staying().map(|it| &*it.build).max_by_key(|it| (first.get(it), *it));
    match newest {
        Some(newest) => staying().filter(|it| *it.build == *newest).map(|it| &*it.id).collect(),
        None => members.iter().map(|it| &*it.id).collect(),
    }
}

/// Who has what, while it is planned.
struct Book<'a> {
    owners: BTreeMap<ShardId, Option<&'a str>>,
    /// At least 1, so that shards that nothing is known of are spread by their number.
    weights: BTreeMap<ShardId, u64>,
    members: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Clone, Copy, Default)]
struct Entry<'a> {
    zone: &'a str,
    load: u64,
    heaviest: u64,
}

impl<'a> Book<'a> {
    fn new(members: &'a [Member], loads: &'a [Load]) -> Self {
        let entry = |it: &'a Member| (&*it.id, Entry { zone: &it.zone, ..Entry::default() });
        let members: BTreeMap<_, _> = members.iter().map(entry).collect();
        let alive = |it: &&str| members.contains_key(it);
        let owners =
            loads.iter().map(|it| (it.shard, it.holder.as_deref().filter(alive))).collect();
        let weights = loads.iter().map(|it| (it.shard, u64::from(it.weight.max(1)))).collect();
        let mut book = Self { owners, weights, members };
        book.count();
        book
    }

    fn count(&mut self) {
        for it in self.members.values_mut() {
            (it.load, it.heaviest) = (0, 0);
        }
        for (shard, owner) in &self.owners {
            let weight = self.weights.get(shard).copied().unwrap_or_default();
            if let Some(it) = owner.and_then(|it| self.members.get_mut(it)) {
                it.load += weight;
                it.heaviest = it.heaviest.max(weight);
            }
        }
    }

    fn give(&mut self, shard: ShardId, to: &'a str) {
        self.owners.insert(shard, Some(to));
        self.count();
    }

    fn weight(&self, shard: ShardId) -> u64 {
        self.weights.get(&shard).copied().unwrap_or_default()
    }

    fn entry(&self, member: &str) -> Entry<'a> {
        self.members.get(member).copied().unwrap_or_default()
    }

    fn zone(&self, zone: &str) -> u64 {
        self.members.values().filter(|it| it.zone == zone).map(|it| it.load).sum()
    }

    /// In the order of who has least, in the zone that has least.
    fn rank(&self, member: &'a str) -> (u64, u64, &'a str) {
        let entry = self.entry(member);
        (entry.load, self.zone(entry.zone), member)
    }

    /// The shards of a member, and what they weigh.
    fn shards(&self, member: &'a str) -> impl Iterator<Item = (ShardId, u64)> {
        let held = self.owners.iter().filter(move |(_, owner)| **owner == Some(member));
        held.map(|(shard, _)| (*shard, self.weight(*shard)))
    }

    /// Gives what nobody has, or somebody leaves, so that it lies as if whoever has least had got the next, the heaviest first.
    /// Where all weigh the same, which of them each gets does not depend on how many are where they should be by now: who warms
    /// a shard is to get it also when others have gone before. Of shards that weigh differently some may go elsewhere then.
    fn place(&mut self, targets: &[&'a str], leaving: &BTreeSet<&str>) {
        let mut free: BTreeMap<Reverse<u64>, Vec<ShardId>> = BTreeMap::new();
        for (shard, owner) in &mut self.owners {
            if owner.is_none_or(|it| leaving.contains(it)) {
                *owner = None;
                let weight = self.weights.get(shard).copied().unwrap_or_default();
                free.entry(Reverse(weight)).or_default().push(*shard);
            }
        }
        self.count();
        for (Reverse(weight), shards) in free {
            let mut room = self.room(targets, weight, shards.len());
            for shard in shards {
                let fits = room.iter_mut().filter(|(_, many)| **many > 0);
                let likes = |member: &str| bucket::of(&format!("{member} {shard}"));
                let best = fits.max_by_key(|(member, _)| (likes(member), **member));
                if let Some((to, many)) = best {
                    *many -= 1;
                    self.owners.insert(shard, Some(*to));
                }
            }
            self.count();
        }
    }

    /// How many of so many shards of this weight each gets, where whoever has least gets the next.
    fn room(&mut self, targets: &[&'a str], weight: u64, many: usize) -> BTreeMap<&'a str, usize> {
        let mut room = BTreeMap::new();
        for _ in 0..many {
            if let Some(to) = targets.iter().copied().min_by_key(|it| self.rank(it)) {
                *room.entry(to).or_default() += 1;
                if let Some(it) = self.members.get_mut(to) {
                    it.load += weight;
                }
            }
        }
        self.count();
        room
    }

    /// Until nobody has more than somebody else by more than its lightest shard: by more than one, where all weigh the same.
    /// Then zones, as far as that leaves a choice. Each step lowers a sum of squares, first that of members, then that of
    /// zones, so it ends.
    fn balance(&mut self, targets: &[&'a str]) {
        while let Some((shard, to)) = self.level(targets).or_else(|| self.level_zones(targets)) {
            self.give(shard, to);
        }
    }

    fn level(&self, targets: &[&'a str]) -> Option<(ShardId, &'a str)> {
        let least = targets.iter().copied().min_by_key(|it| self.rank(it))?;
        let more = |it: &str| self.entry(it).load - self.entry(least).load;
        // One that weighs less than the difference makes that smaller, wherever it comes to lie then.
        let spare = |it: &'a str| self.shards(it).filter(move |(_, weight)| *weight < more(it));
        let over = targets.iter().copied().filter(|it| spare(it).next().is_some());
        let most = over.max_by_key(|it| self.rank(it))?;
        let more = more(most);
        let half = |(shard, weight): &(ShardId, u64)| ((2 * weight).abs_diff(more), *shard);
        spare(most).min_by_key(half).map(|(shard, _)| (shard, least))
    }

    /// From a zone to one that has less, between members of whom the first keeps as much as the second had.
    fn level_zones(&self, targets: &[&'a str]) -> Option<(ShardId, &'a str)> {
        let pairs = targets.iter().flat_map(|from| targets.iter().map(move |to| (*from, *to)));
        let step = |(from, to): (&'a str, &'a str)| {
            let (giver, taker) = (self.entry(from), self.entry(to));
            let gap = self.zone(giver.zone).checked_sub(self.zone(taker.zone))?;
            let room = giver.load.checked_sub(taker.load)?;
            let fits = self.shards(from).filter(|(_, weight)| *weight <= room);
            let (shard, _) = fits.max_by_key(|(shard, weight)| (*weight, Reverse(*shard)))?;
            (gap >= 2 * giver.heaviest).then_some((gap, Reverse((from, to)), shard, to))
        };
        pairs.filter_map(step).max().map(|(_, _, shard, to)| (shard, to))
    }
}

#[cfg(test)]
mod tests;
