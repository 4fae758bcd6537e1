//! Which shards this replica may work in, and the one question before every write: may this pass still act? A pass begins
//! in the shard of its object's namespace, under the epoch and the map of that moment. Its guard refuses once the session
//! has lapsed, the shard is held under another epoch, is being given away or is not held at all, or the map gives the namespace
//! to another shard.

mod closing;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio::sync::watch;

pub use self::closing::Shut;
pub(super) use self::closing::Writing;
use self::closing::{Closing, Part};
use crate::{
    cluster::{
        cache::Key,
        clock::Moment,
        guard::{Besides, Guard, Lapsed, MARGIN, Stamp, user_agent},
    },
    domain::shard::{Map, ShardId},
};

/// What this replica owns. Every clone is the same book.
#[derive(Clone, Debug)]
pub struct Ownership(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    replica: Box<str>,
    state: Mutex<State>,
    /// Leave to write may have come.
    news: watch::Sender<()>,
    /// A pass, or the write of one, has ended.
    left: watch::Sender<()>,
    /// For tests of a process that dies between two writes.
    fuse: Option<AtomicU64>,
}

#[derive(Default)]
struct State {
    /// Until when the session is valid.
    until: Option<Moment>,
    besides: Besides,
    map: Option<Arc<Map>>,
    shards: BTreeMap<ShardId, Held>,
    /// Namespaces of open shards in which no pass may begin.
    shut: HashMap<u64, (ShardId, Part)>,
    /// Passes under way.
    passes: HashMap<u64, Arc<Pass>>,
    /// Writes of passes that were sent, or are about to be, and have not been answered.
    writes: HashMap<u64, Arc<Pass>>,
    /// Numbers given to passes, to writes and to what is shut.
    numbers: u64,
    /// How often this replica has begun to take part.
    parts: u32,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: i32,
    closing: Closing,
}

/// What a pass began under.
#[derive(Debug)]
pub(super) struct Pass {
    number: u64,
    place: Arc<str>,
    shard: ShardId,
    epoch: i32,
    version: i64,
    /// It corrects the label of what may be in somebody else's shard, and says whose label that was.
    corrects: bool,
}

/// A pass that may be under way. Dropping it ends the pass.
#[derive(Debug)]
pub struct Entered {
    ownership: Ownership,
    pass: Arc<Pass>,
}

impl Held {
    /// Whether passes begin in it.
    fn lets_in(&self) -> bool {
        matches!(self.closing, Closing::No | Closing::AtRest)
    }

    /// Whether those under way may write.
    fn lets_write(&self) -> bool {
        !matches!(self.closing, Closing::Now { .. })
    }
}

impl Pass {
    /// The shard, and its owner's epoch.
    pub(super) fn place(&self) -> (String, i32) {
        (self.shard.to_string(), self.epoch)
    }
}

impl Ownership {
    /// Owns nothing, under no map.
    pub fn new(replica: &str) -> Self {
        Self::with_fuse(replica, None)
    }

    /// The same for a process that dies before the write of this number, from 1: only ever asked for by a test.
    pub fn with_fuse(replica: &str, fuse: Option<u64>) -> Self {
        Self(Arc::new(Inner {
            replica: replica.into(),
            state: Mutex::default(),
            news: watch::Sender::default(),
            left: watch::Sender::default(),
            fuse: fuse.map(AtomicU64::new),
        }))
    }

    /// Burns the fuse by one write of an object or a pod.
    pub(super) fn burn(&self) {
        let last = self.0.fuse.as_ref().is_some_and(|it| it.fetch_sub(1, Ordering::SeqCst) == 1);
        if last {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    }

    /// Until when the session is valid, which every shard needs; `None`: not at all.
    pub fn valid_until(&self, until: Option<Moment>) {
        self.lock().until = until;
        self.0.news.send_replace(());
    }

    /// Says until when somebody who is not among our replicas is known not to act; `None`: it may. From the first call on,
    /// every write needs this as well.
    pub fn besides(&self, until: Option<Moment>) {
        self.lock().besides = until.map_or(Besides::MayAct, |until| Besides::HasStopped { until });
        self.0.news.send_replace(());
    }

    /// The map that is current from now on. What it took from a shard of ours must have been drained before
    /// ([`Self::close_parts`]), what it gives to one is shut until its former owner has drained it ([`Self::shut`]).
    pub fn use_map(&self, map: Arc<Map>) {
        self.lock().map = Some(map);
    }

    /// The map that is current.
    pub fn map(&self) -> Option<Arc<Map>> {
        self.lock().map.clone()
    }

    /// From now on passes may begin in this shard.
    pub fn open(&self, shard: ShardId, epoch: i32) {
        self.lock().shards.insert(shard, Held { epoch, closing: Closing::No });
        self.0.news.send_replace(());
    }

    /// No pass begins in this shard any more, and none that is under way may write: it is held by nobody, or by somebody
    /// else.
    pub fn lose(&self, shard: ShardId) {
        self.lock().shards.remove(&shard);
        self.0.left.send_replace(());
    }

    /// The same for every shard.
    pub fn lose_all(&self) {
        self.lock().shards.clear();
        self.0.left.send_replace(());
    }

    /// Takes note that this replica begins to take part; returns how often it has before.
    pub(super) fn takes_part(&self) -> u32 {
        let mut state = self.lock();
        state.parts += 1;
        state.parts - 1
    }

    /// Begins a pass over an object, if its shard is open. `None`: it is not for us to act on.
    pub fn enter(&self, key: &Key) -> Option<Entered> {
        self.enter_by(key, false, Map::shard_of)
    }

    /// Begins a pass over an object whose label names a bucket of ours, although its namespace may be somebody else's.
    pub(super) fn enter_bucket(&self, key: &Key, bucket: u16) -> Option<Entered> {
        self.enter_by(key, true, |map, _| map.shard_of_bucket(bucket))
    }

    fn enter_by(
        &self,
        key: &Key,
        corrects: bool,
        shard: impl Fn(&Map, &str) -> Option<ShardId>,
    ) -> Option<Entered> {
        let place = key.place();
        let mut state = self.lock();
        let map = state.map.as_ref()?;
        let (shard, version) = (shard(map, place)?, map.version());
        let held = *state.shards.get(&shard).filter(|it| it.lets_in())?;
        if state.shuts(shard, place) {
            return None;
        }
        let number = state.number();
        let place = place.clone();
        let pass = Arc::new(Pass { number, place, shard, epoch: held.epoch, version, corrects });
        state.passes.insert(number, pass.clone());
        drop(state);
        Some(Entered { ownership: self.clone(), pass })
    }

    /// Whether this replica acts on what is in this namespace, or on the cluster-wide object of this name.
    pub fn owns(&self, place: &str) -> bool {
        let state = self.lock();
        let shard = state.map.as_ref().and_then(|it| it.shard_of(place));
        shard.and_then(|it| state.shards.get(&it)).is_some_and(Held::lets_in)
    }

    /// The shard of this namespace, and the epoch under which this replica holds it, also while it gives it away.
    pub fn under(&self, place: &str) -> Option<(ShardId, i32)> {
        let state = self.lock();
        let shard = state.map.as_ref()?.shard_of(place)?;
        Some((shard, state.shards.get(&shard)?.epoch))
    }

    /// Ends when the session is valid, and nobody besides may act.
    pub async fn allowed(&self) {
        let mut news = self.0.news.subscribe();
        while !self.is_valid() {
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the session is valid, and nobody besides may act.
    pub fn is_valid(&self) -> bool {
        self.lock().left(Moment::now()).is_ok()
    }

    /// The shards in which passes may begin, each with its epoch.
    pub fn open_shards(&self) -> BTreeMap<ShardId, i32> {
        let state = self.lock();
        let open = state.shards.iter().filter(|(_, it)| it.lets_in());
        open.map(|(shard, it)| (*shard, it.epoch)).collect()
    }

    /// Leave for one write of this pass, or not.
    pub(super) fn check(&self, pass: &Arc<Pass>, now: Moment) -> Result<Stamp, Lapsed> {
        let mut state = self.lock();
        let left = state.left(now)?;
        let map = state.map.as_ref().ok_or(Lapsed::Session)?;
        let there = map.version() == pass.version || map.shard_of(&pass.place) == Some(pass.shard);
        let version = map.version();
        if !there
            || !state.passes.contains_key(&pass.number)
            || state.shuts(pass.shard, &pass.place)
        {
            return Err(Lapsed::GivenAway);
        }
        let held = state.shards.get(&pass.shard).filter(|it| it.epoch == pass.epoch);
        let held = held.ok_or(Lapsed::Lost)?;
        if !held.lets_write() {
            return Err(Lapsed::GivenAway);
        }
        let number = state.number();
        state.writes.insert(number, pass.clone());
        drop(state);
        let writing = Writing { ownership: self.clone(), number };
        let Pass { shard, epoch, .. } = &**pass;
        // Whoever compares epochs compares those of one shard: this one is not that of the object's namespace.
        let of = if pass.corrects { "label-of-shard" } else { "shard" };
        let user_agent = self.agent(format_args!("{of}={shard}; epoch={epoch}; map={version}"));
        Ok(Stamp { user_agent, left, writing })
    }

    /// Under which name this replica writes.
    pub(super) fn agent(&self, scope: fmt::Arguments<'_>) -> HeaderValue {
        user_agent(&self.0.replica, scope)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether this is among namespaces of a shard that are shut.
    fn shuts(&self, shard: ShardId, place: &str) -> bool {
        self.shut.values().any(|(of, part)| *of == shard && part(place))
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// What is left of the leave to write, if that is enough for a write.
    fn left(&self, now: Moment) -> Result<Duration, Lapsed> {
        let mut left = self.until.ok_or(Lapsed::Session)?.left(now);
        match self.besides {
            Besides::Nobody => {}
            Besides::MayAct => return Err(Lapsed::Session),
            Besides::HasStopped { until } => left = left.min(until.left(now)),
        }
        if left < MARGIN { Err(Lapsed::Session) } else { Ok(left) }
    }
}

impl Entered {
    /// Leave for the writes of this pass.
    pub fn guard(&self) -> Guard {
        Guard::of(self.ownership.clone(), self.pass.clone())
    }

    pub fn shard(&self) -> ShardId {
        self.pass.shard
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.ownership.lock();
        state.passes.remove(&self.pass.number);
        state.rest(self.pass.shard);
        drop(state);
        self.ownership.0.left.send_replace(());
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.map.as_ref().map(|it| it.version());
        f.debug_struct("State")
            .field("until", &self.until)
            .field("besides", &self.besides)
            .field("map", &version)
            .field("shards", &self.shards)
            .field("shut", &self.shut.len())
            .field("passes", &self.passes)
            .field("writes", &self.writes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
