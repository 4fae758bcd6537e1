//! Does about caches and queues what the keeper of this replica's shards asks for, until it ends.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};

use super::controllers::views::Views;
use crate::{
    cluster::shards::{Ends, Wanted},
    domain::shard::ShardId,
};

/// Follows the keeper for as long as it lives.
pub async fn follow(views: Views, ends: Ends, keeping: JoinHandle<()>) -> anyhow::Result<()> {
    let Ends { wanted, opened, warm } = ends;
    let mut parts = JoinSet::new();
    parts.spawn(arrange(views.clone(), wanted.clone()));
    parts.spawn(wake(views.clone(), opened));
    parts.spawn(async move { views.report(wanted, warm).await });
    let ended = keeping.await;
    parts.shutdown().await;
    ended.context("the keeper of the shards ended")
}

/// Objects of a shard are looked at from now on.
async fn wake(views: Views, mut opened: mpsc::UnboundedReceiver<ShardId>) {
    while let Some(shard) = opened.recv().await {
        views.wake(shard);
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
