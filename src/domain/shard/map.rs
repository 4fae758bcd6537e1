//! Which shard has which buckets. A map is whole by construction: every bucket is in exactly one shard, every pin names a
//! shard that is in use. A change gives the next version and says what it moved, so that who gains knows whom to wait for.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    ShardId,
    bucket::{self, BUCKETS},
};

/// Most namespaces that are pinned: each costs a watch of its own.
pub const PINS: usize = 50;

/// One version of the map.
#[derive(Clone, PartialEq, Eq)]
pub struct Map {
    version: i64,
    shards: BTreeMap<ShardId, BTreeSet<u16>>,
    pins: BTreeMap<Box<str>, ShardId>,
    moves: Vec<Move>,
    /// The shard of each bucket.
    table: Box<[ShardId]>,
}

/// What a version took from one shard and gave to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub what: Moved,
    pub from: ShardId,
    pub to: ShardId,
}

impl Move {
    /// Whether this namespace may be among what it took.
    pub fn takes(&self, namespace: &str) -> bool {
        match &self.what {
            Moved::Namespace(name) => **name == *namespace,
            Moved::Buckets(buckets) => buckets.contains(&bucket::of(namespace)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// All their namespaces but pinned ones.
    Buckets(BTreeSet<u16>),
    /// This namespace alone.
    Namespace(Box<str>),
}

impl Map {
    /// The first version: so many shards (at least 1, at most one for each bucket), with the same number of buckets or one
    /// more.
    pub fn first(count: u16) -> Self {
        let count = count.clamp(1, BUCKETS);
        let shard = |bucket: u16| {
            let it = u32::from(bucket) * u32::from(count) / u32::from(BUCKETS);
            ShardId(u16::try_from(it).unwrap_or_default()) // smaller than `count`
        };
        let mut shards: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for bucket in 0..BUCKETS {
            shards.entry(shard(bucket)).or_default().insert(bucket);
        }
        let table = (0..BUCKETS).map(shard).collect();
        Self { version: 1, shards, pins: BTreeMap::new(), moves: Vec::new(), table }
    }

    /// A map from what somebody wrote. An error says what is wrong with it and how to mend it.
    pub fn new(
        version: i64,
        shards: BTreeMap<ShardId, BTreeSet<u16>>,
        pins: BTreeMap<Box<str>, ShardId>,
        moves: Vec<Move>,
    ) -> Result<Self, String> {
        if version < 1 {
            return Err(format!(
                "version {version} is none: the first map has 1, each next one more"
            ));
        }
        let table = table(&shards)?;
        let map = Self { version, shards, pins, moves, table };
        map.check_pins()?;
        map.check_moves()?;
        Ok(map)
    }

    pub const fn version(&self) -> i64 {
        self.version
    }

    /// Every shard with its buckets; one without any is retired.
    pub const fn shards(&self) -> &BTreeMap<ShardId, BTreeSet<u16>> {
        &self.shards
    }

    /// Namespaces that are looked after by another shard than their bucket says.
    pub const fn pins(&self) -> &BTreeMap<Box<str>, ShardId> {
        &self.pins
    }

    /// What this version took from whom.
    pub fn moves(&self) -> &[Move] {
        &self.moves
    }

    /// The shards that somebody must own.
    pub fn active(&self) -> impl Iterator<Item = ShardId> {
        self.shards.iter().filter(|(_, buckets)| !buckets.is_empty()).map(|(shard, _)| *shard)
    }

    /// The shard of a namespace. There is one for every name.
    pub fn shard_of(&self, namespace: &str) -> Option<ShardId> {
        self.pins.get(namespace).copied().or_else(|| self.shard_of_bucket(bucket::of(namespace)))
    }

    /// The shard of a bucket: of all its namespaces that are not pinned.
    pub fn shard_of_bucket(&self, bucket: u16) -> Option<ShardId> {
        self.table.get(usize::from(bucket)).copied()
    }

    /// The namespaces that are pinned to a shard.
    pub fn pinned(&self, shard: ShardId) -> impl Iterator<Item = &str> {
        self.pins.iter().filter(move |(_, to)| **to == shard).map(|(it, _)| &**it)
    }

    /// The shards whose owners must have acknowledged this version before the next may be published, and before who gains
    /// from them may begin.
    pub fn givers(&self) -> BTreeSet<ShardId> {
        self.moves.iter().map(|it| it.from).collect()
    }

    /// Those of [`Self::givers`] from whom a shard gains in this version.
    pub fn givers_to(&self, shard: ShardId) -> BTreeSet<ShardId> {
        self.moves.iter().filter(|it| it.to == shard).map(|it| it.from).collect()
    }

    /// The next version, in which half the buckets of a shard are in another: a retired one, else one that is new. Pins
    /// stay.
    pub fn split(&self, shard: ShardId) -> Result<Self, String> {
        let buckets = self.in_use(shard)?;
        if buckets.len() < 2 {
            return Err(format!(
                "shard {shard} has one bucket, and a bucket can't be split: pin namespaces to other shards instead"
            ));
        }
        let retired = self.shards.iter().find(|(_, buckets)| buckets.is_empty());
        let fresh = || (0..BUCKETS).map(ShardId).find(|it| !self.shards.contains_key(it));
        let to =
            retired.map(|(it, _)| *it).or_else(fresh).ok_or("there is a shard for each bucket")?;
        let half: BTreeSet<_> = buckets.iter().skip(buckets.len().div_ceil(2)).copied().collect();
        self.next(|map| {
            map.shards.entry(shard).or_default().retain(|it| !half.contains(it));
            map.shards.insert(to, half);
        })
    }

    /// The next version, in which all that one shard has is in another, and it is retired.
    pub fn merge(&self, from: ShardId, into: ShardId) -> Result<Self, String> {
        let buckets = self.in_use(from)?.clone();
        self.in_use(into)?;
        if from == into {
            return Err(format!("shard {from} can't be merged into itself: name two shards"));
        }
        self.next(|map| {
            map.shards.entry(from).or_default().clear();
            map.shards.entry(into).or_default().extend(buckets);
            map.pins.values_mut().filter(|it| **it == from).for_each(|it| *it = into);
        })
    }

    /// The next version, in which a namespace is in this shard, whatever its bucket.
    pub fn pin(&self, namespace: &str, shard: ShardId) -> Result<Self, String> {
        self.in_use(shard)?;
        if self.pins.get(namespace) == Some(&shard) {
            return Err(format!("namespace {namespace} is pinned to shard {shard} already"));
        }
        self.next(|map| {
            map.pins.insert(namespace.into(), shard);
        })
    }

    /// The next version, in which a namespace is in the shard of its bucket again.
    pub fn unpin(&self, namespace: &str) -> Result<Self, String> {
        if !self.pins.contains_key(namespace) {
            return Err(format!("namespace {namespace} is not pinned"));
        }
        self.next(|map| {
            map.pins.remove(namespace);
        })
    }

    /// The next version, with these pins and no others.
    pub fn with_pins(&self, pins: BTreeMap<Box<str>, ShardId>) -> Result<Self, String> {
        self.next(|map| map.pins = pins)
    }

    /// Whether this is the version after another, and its moves say all that went, and nothing else.
    pub fn follows(&self, old: &Self) -> Result<(), String> {
        if old.version.checked_add(1) != Some(self.version) {
            return Err(format!(
                "version {} does not follow {}: add one",
                self.version, old.version
            ));
        }
        let (want, have) = (self.gained(old), flat(&self.moves));
        if want == have {
            return Ok(());
        }
        let told = match want.difference(&have).next() {
            Some((what, from, to)) => {
                format!("moves lacks that {what} went from shard {from} to {to}")
            }
            None => "moves has more than went from one shard to another".into(),
        };
        Err(format!(
            "{told}: name exactly what this version moves, or leave the change to kubectl gt shards"
        ))
    }

    /// The next version after a change of shards and pins. It must be as whole as this one.
    fn next(&self, change: impl FnOnce(&mut Self)) -> Result<Self, String> {
        let mut next = self.clone();
        change(&mut next);
        let version = self.version.checked_add(1).ok_or("there is no higher version")?;
        let mut next = Self::new(version, next.shards, next.pins, Vec::new())?;
        let mut buckets: BTreeMap<_, BTreeSet<u16>> = BTreeMap::new();
        for (what, from, to) in next.gained(self) {
            match what {
                One::Bucket(it) => {
                    buckets.entry((from, to)).or_default().insert(it);
                }
                One::Namespace(it) => {
                    next.moves.push(Move { what: Moved::Namespace(it), from, to });
                }
            }
        }
        let buckets =
            buckets.into_iter().map(|((from, to), it)| Move { what: Moved::Buckets(it), from, to });
        next.moves.splice(0..0, buckets);
        Ok(next)
    }

    /// Everything that is in another shard than in an older map: buckets, and namespaces that are or were pinned.
    fn gained(&self, old: &Self) -> BTreeSet<(One, ShardId, ShardId)> {
        let buckets = (0..BUCKETS).filter_map(|it| {
            Some((One::Bucket(it), old.shard_of_bucket(it)?, self.shard_of_bucket(it)?))
        });
        let pinned: BTreeSet<_> = self.pins.keys().chain(old.pins.keys()).collect();
        let namespaces = pinned.into_iter().filter_map(|it| {
            Some((One::Namespace(it.clone()), old.shard_of(it)?, self.shard_of(it)?))
        });
        buckets.chain(namespaces).filter(|(_, from, to)| from != to).collect()
    }

    /// Why this map must not stand in the place of one that somebody acts by: nobody who acts by that would know what it moves.
    pub fn displaces(&self, known: &Self) -> Option<String> {
        let what = match self.version.cmp(&known.version) {
            Ordering::Less => "an older one was put in its place",
            Ordering::Equal if self != known => "another of that version was put in its place",
            Ordering::Equal | Ordering::Greater => return None,
        };
        Some(format!(
            "the replicas act by version {} of the map, and {what}, {}: delete that, and they put theirs back",
            known.version, self.version
        ))
    }

    fn in_use(&self, shard: ShardId) -> Result<&BTreeSet<u16>, String> {
        let told = |why: &str| {
            let all = self.active().map(|it| it.to_string()).collect::<Vec<_>>().join(", ");
            format!("shard {shard} {why}: use one of {all}")
        };
        let buckets = self.shards.get(&shard).ok_or_else(|| told("is not in the map"))?;
        if buckets.is_empty() { Err(told("is retired")) } else { Ok(buckets) }
    }

    fn check_pins(&self) -> Result<(), String> {
        if self.pins.len() > PINS {
            let many = self.pins.len();
            return Err(format!(
                "{many} namespaces are pinned, and each costs a watch of its own: unpin some, {PINS} may be"
            ));
        }
        for (namespace, shard) in &self.pins {
            self.in_use(*shard)
                .map_err(|it| format!("namespace {namespace} is pinned, but {it}"))?;
        }
        Ok(())
    }

    fn check_moves(&self) -> Result<(), String> {
        for Move { what, from, to } in &self.moves {
            let moved = match what {
                Moved::Buckets(it) => it.iter().all(|it| self.shard_of_bucket(*it) == Some(*to)),
                Moved::Namespace(it) => self.shard_of(it) == Some(*to),
            };
            if !moved || from == to || !self.shards.contains_key(from) {
                return Err(format!(
                    "moves says that {what} went from shard {from} to {to}, which shards and pins do not: leave the map to \
                     kubectl gt shards, or write moves as they were"
                ));
            }
        }
        Ok(())
    }
}

/// One thing that is in a shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum One {
    Bucket(u16),
    Namespace(Box<str>),
}

impl fmt::Display for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket(it) => write!(f, "bucket {it}"),
            Self::Namespace(it) => write!(f, "namespace {it}"),
        }
    }
}

/// Moves, one thing after another.
fn flat(moves: &[Move]) -> BTreeSet<(One, ShardId, ShardId)> {
    let all = moves.iter().flat_map(|Move { what, from, to }| {
        let things: Vec<_> = match what {
            Moved::Buckets(it) => it.iter().copied().map(One::Bucket).collect(),
            Moved::Namespace(it) => vec![One::Namespace(it.clone())],
        };
        things.into_iter().map(|it| (it, *from, *to))
    });
    all.collect()
}

/// The shard of each bucket, if every bucket has one.
fn table(shards: &BTreeMap<ShardId, BTreeSet<u16>>) -> Result<Box<[ShardId]>, String> {
    let mut owners = BTreeMap::new();
    for (shard, buckets) in shards {
        if shard.0 >= BUCKETS {
            return Err(format!(
                "shard {shard} has too high a number: {} is the highest",
                BUCKETS - 1
            ));
        }
        for bucket in buckets {
            if *bucket >= BUCKETS {
                return Err(format!(
                    "bucket {bucket} of shard {shard} is none: {} is the last",
                    BUCKETS - 1
                ));
            }
            if let Some(other) = owners.insert(*bucket, *shard) {
                return Err(format!(
                    "bucket {bucket} is in shards {other} and {shard}: leave it in one"
                ));
            }
        }
    }
    let missing: BTreeSet<_> = (0..BUCKETS).filter(|it| !owners.contains_key(it)).collect();
    if !missing.is_empty() {
        let told = bucket::ranges(&missing).join(", ");
        return Err(format!("no shard has buckets {told}: give each to one shard"));
    }
    Ok(owners.into_values().collect())
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buckets(it) => write!(f, "buckets {}", bucket::ranges(it).join(", ")),
            Self::Namespace(it) => write!(f, "namespace {it}"),
        }
    }
}

/// Buckets as ranges, and without the table, which says the same once more.
impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = |it: &BTreeSet<u16>| bucket::ranges(it).join(", ");
        let shards: BTreeMap<_, _> =
            self.shards.iter().map(|(id, it)| (id.0, ranges(it))).collect();
        f.debug_struct("Map")
            .field("version", &self.version)
            .field("shards", &shards)
            .field("pins", &self.pins)
            .field("moves", &self.moves)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
