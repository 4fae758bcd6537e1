//! What a scrape asks for: Polecats of our shards by phase, and the age of what waits. Nothing of it is held alive by that.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use crate::{
    cluster::{Cluster, meters::census::Counted},
    tasks::queue::Queue,
};

/// Lets the meters of a cluster ask.
pub(super) fn keep(cluster: &Cluster, queues: [(&'static str, &Arc<Queue>); 2]) {
    let (caches, ownership) = (Arc::downgrade(&cluster.caches), cluster.ownership.clone());
    let queues = queues.map(|(controller, queue)| (controller, Arc::downgrade(queue)));
    cluster.meters.census.by(move || {
        let mut polecats = BTreeMap::new();
        if let Some(caches) = caches.upgrade() {
            let mut ours = BTreeMap::new();
            caches.polecats.visit(|key, it| {
                let ours = *ours
                    .entry(key.namespace.clone())
                    .or_insert_with(|| ownership.owns(&key.namespace));
                if ours {
                    let place =
                        (key.namespace.clone(), Arc::from(&*it.rig), it.status.phase.as_str());
                    *polecats.entry(place).or_default() += 1;
                }
            });
        }
        let age = |queue: &Weak<Queue>| queue.upgrade().map(|it| it.oldest().as_secs_f64());
        let oldest = queues.iter().filter_map(|(name, it)| Some((*name, age(it)?))).collect();
        Counted { polecats, oldest }
    });
}
