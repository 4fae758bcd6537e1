//! Does about caches and queues what the keeper of this replica's shards asks for, until it ends.

mod housekeeper;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};

pub use housekeeper::keep as keep_house;

use super::controllers::views::Views;
use crate::{
    cluster::{
        Cluster, log_level,
        shards::{Ends, Opened, Town, Wanted},
    },
    domain::shard::ShardId,
    telemetry,
};

/// How often the objects of each shard are counted, for the balance.
const COUNTED: Duration = Duration::from_secs(5);

/// Follows the keeper for as long as it lives.
pub async fn follow(
    views: Views,
    cluster: Cluster,
    ends: Ends,
    keeping: JoinHandle<()>,
) -> anyhow::Result<()> {
    let Ends { wanted, opened, warm, counts, town } = ends;
    let mut parts = JoinSet::new();
    parts.spawn(arrange(views.clone(), wanted.clone()));
    parts.spawn(wake(views.clone(), cluster.clone(), opened));
    parts.spawn(count(cluster, counts));
    parts.spawn(heed(town));
    parts.spawn(async move { views.report(wanted, warm).await });
    let ended = keeping.await;
    parts.shutdown().await;
    ended.context("the keeper of the shards ended")
}

/// Logs what the map asks for. Of a map that is not there, or can't be followed, nothing is known.
async fn heed(mut town: watch::Receiver<Town>) {
    loop {
        if let Some(map) = &town.borrow_and_update().object {
            telemetry::follow(log_level::wish(map));
        }
        if town.changed().await.is_err() {
            return;
        }
    }
}

/// Says how many Polecats each shard of ours has.
async fn count(cluster: Cluster, counts: watch::Sender<BTreeMap<ShardId, u32>>) {
    let mut period = tokio::time::interval(COUNTED);
    loop {
        period.tick().await;
        counts.send_replace(counted(&cluster));
    }
}

fn counted(cluster: &Cluster) -> BTreeMap<ShardId, u32> {
    let open = cluster.ownership.open_shards().into_keys();
    let mut counts: BTreeMap<_, u32> = open.map(|it| (it, 0)).collect();
    let Some(map) = cluster.ownership.map() else { return counts };
    cluster.caches.polecats.visit(|key, _| {
        let shard = map.shard_of(key.place());
        if let Some(it) = shard.and_then(|it| counts.get_mut(&it)) {
            *it += 1;
        }
    });
    counts
}

/// So many shards that begin together are taken in at once.
const AT_ONCE: usize = 1024;

/// Objects of a shard are looked at from now on.
async fn wake(views: Views, cluster: Cluster, mut opened: mpsc::UnboundedReceiver<Opened>) {
    let mut all = Vec::new();
    while opened.recv_many(&mut all, AT_ONCE).await > 0 {
        for it in &all {
            views.wake(it.shard);
        }
        let changes = all.drain(..).filter_map(|it| Some((it.shard, it.change?))).collect();
        cluster.tell_of_changes(&changes);
    }
}

/// Has the shards watched that are wanted, and no others.
async fn arrange(views: Views, mut wanted: watch::Receiver<Wanted>) {
    let (mut shards, mut pins) = (BTreeSet::new(), BTreeSet::new());
    let mut wide = None;
    while wanted.changed().await.is_ok() {
        let now = wanted.borrow_and_update().clone();
        let Some(map) = now.map else { continue };
        let buckets = |it: &ShardId| map.shards().get(it).cloned().unwrap_or_default();
        if now.wide {
            if wide != Some(true) {
                views.widen().await;
            }
        } else if wide == Some(false) {
            now.shards.iter().for_each(|it| views.warm(*it, &buckets(it)));
            for it in shards.difference(&now.shards) {
                views.cool(*it).await;
            }
        } else {
            let all: BTreeMap<_, _> = now.shards.iter().map(|it| (*it, buckets(it))).collect();
            views.narrow(&all).await;
        }
        let pinned = now.shards.iter().flat_map(|it| map.pinned(*it)).map(Box::<str>::from);
        let pinned: BTreeSet<_> = pinned.filter(|_| !now.wide).collect();
        pinned.difference(&pins).for_each(|it| views.pin(it));
        for it in pins.difference(&pinned) {
            views.unpin(it).await;
        }
        (shards, pins, wide) = (now.shards, pinned, Some(now.wide));
    }
}
