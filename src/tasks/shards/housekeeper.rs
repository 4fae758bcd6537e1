//! Keeps house for as long as this replica is the one who does: whenever something changes, and once in a while.

use tokio::sync::watch;

use crate::cluster::{
    Cluster,
    housekeeper::{Housekeeper, PERIOD, wishing},
    shards::Town,
};

#[derive(Clone, Copy)]
enum Next {
    Elect,
    Look,
    End,
}

/// Takes part in the election until it is dropped or `stop`. `scope`: empty, or the namespaces that are looked after.
pub async fn keep(
    mut housekeeper: Housekeeper,
    cluster: Cluster,
    scope: Vec<String>,
    mut town: watch::Receiver<Town>,
    mut stop: watch::Receiver<bool>,
) {
    let caches = cluster.caches.clone();
    // Before all are known, a wish that was not seen looks like one that was taken back.
    caches.namespaces.ready(scope.len().max(1)).await;
    let mut wished = caches.wished.subscribe();
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            _ = period.tick() => Next::Elect,
            it = town.changed() => it.map_or(Next::End, |()| Next::Look),
            it = wished.changed() => it.map_or(Next::End, |()| Next::Look),
            _ = stop.wait_for(|it| *it) => Next::End,
        };
        match next {
            Next::Elect => housekeeper.elect().await,
            Next::Look => {}
            Next::End => return housekeeper.resign().await,
        }
        if housekeeper.is_it() {
            let now = town.borrow_and_update().clone();
            wished.mark_unchanged();
            let looked_after = |it: &str| scope.is_empty() || scope.iter().any(|name| name == it);
            housekeeper.tidy_up(&now, &wishing(&caches.namespaces, looked_after)).await;
        }
    }
}
