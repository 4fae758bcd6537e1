//! Room in a `ResourceQuota` wakes the Polecat that has waited longest for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::Running;
use crate::{
    cluster::{Cluster, cache::Key, watching::Selection},
    domain::quota::Quota,
    tasks::queue::Queue,
};

impl Running {
    /// A quota that grows, that less is used of, or that is gone has room.
    pub(super) fn watch_quotas(
        &mut self,
        cluster: &Cluster,
        namespace: Option<String>,
        queue: Arc<Queue>,
    ) {
        let pauses = self.pauses.clone();
        let before = Mutex::new(HashMap::<Key, Quota>::new());
        let selection = Selection { namespace, ..Selection::default() };
        let news = move |cluster: &Cluster, _: &Quota, key: Key| {
            let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
            let room = match cluster.caches.quotas.get(&key).as_deref() {
                Some(now) => {
                    before.insert(key.clone(), now.clone()).is_some_and(|old| now.has_grown(&old))
                }
                None => before.remove(&key).is_some(),
            };
            if let Some(next) = room.then(|| cluster.room_in(&key.namespace)).flatten() {
                pauses.forget(&next);
                queue.add_urgent(next);
            }
        };
        self.watch(cluster, |it| &it.quotas, selection, news);
    }
}
