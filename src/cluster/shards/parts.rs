//! What a keeper is made from, and the ends that `tasks` holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};

use crate::{
    api::v1beta1::ShardMap,
    domain::{
        lease::{Identity, Times},
        shard::{Map, ShardId, seen::Vacancy},
    },
};

/// Who takes part, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    pub me: Identity,
    pub times: Times,
    pub build: String,
    pub zone: String,
    /// Shards of the first map.
    pub shards: u16,
    /// The Lease that stands free in a namespace where nobody ever was.
    pub lease_name: String,
    /// How long work under way may take at the end.
    pub drain: Duration,
}

/// What the caches should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub map: Option<Arc<Map>>,
    /// Owned, about to be, or to be warm.
    pub shards: BTreeSet<ShardId>,
    /// More than half of all, or was so when it began to give them up: one watch for everything costs less.
    pub wide: bool,
}

/// A shard that was taken and is not worked in yet.
#[derive(Clone, Debug)]
pub struct Opening {
    pub epoch: i32,
    /// What was before.
    pub vacancy: Option<Vacancy>,
}

/// What the housekeeper goes by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Town {
    pub map: Option<Arc<Map>>,
    /// The map as it was read.
    pub object: Option<Arc<ShardMap>>,
    /// All have acknowledged it from whom it took something.
    pub acknowledged: bool,
    /// Polecats in each shard, as their owners count them.
    pub objects: BTreeMap<ShardId, u64>,
    /// Shards that have had no owner for long; `None`: it is not known.
    pub unowned: Option<BTreeSet<ShardId>>,
}

/// A shard whose work may begin from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub shard: ShardId,
    /// How it came here, where it was somebody else's; `None` also for what the map added to one that is open.
    pub change: Option<Change>,
}

/// A shard that changed hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The replica that had it, where that is known.
    pub from: Option<String>,
    /// `handed-over`, `stopped` or `lost`.
    pub left: &'static str,
    pub epoch: i32,
    /// How long nobody worked in it.
    pub gap: Duration,
}

/// The ends that `tasks` holds.
pub struct Ends {
    pub wanted: watch::Receiver<Wanted>,
    pub opened: mpsc::UnboundedReceiver<Opened>,
    /// Shards whose objects are in the caches.
    pub warm: watch::Sender<BTreeSet<ShardId>>,
    /// Polecats in each shard of ours.
    pub counts: watch::Sender<BTreeMap<ShardId, u32>>,
    pub town: watch::Receiver<Town>,
}
