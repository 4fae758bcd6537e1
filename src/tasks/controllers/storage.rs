//! Versions in storage: where objects may lie in an older one, that is said, and mended where it was asked for. One
//! definition at a time, by the replica that acts.

use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::Instrument as _;

use super::{Pauses, Running, UnderWay, views::Waker};
use crate::{
    cluster::{
        Class, Cluster,
        cache::Key,
        live,
        meters::{Stored, Task},
        storage::{self, Ending, Migration, Step},
    },
    domain::storage::{Definition, Standing},
    kinds,
    tasks::{queue::Queue, supervise},
};

/// What becomes of objects in an older version.
#[derive(Clone, Copy, Debug, Default)]
pub struct Upkeep {
    /// They are written anew; otherwise it is only said that there may be some.
    pub auto: bool,
    /// Most objects a second.
    pub rate: u32,
}

/// Everything that a look needs.
struct Look {
    cluster: Cluster,
    queue: Arc<Queue>,
    upkeep: Upkeep,
    pauses: Pauses,
    known: Known,
}

/// What queues definitions, such as those of a shard that was opened.
pub(super) fn waker(queue: Arc<Queue>) -> Waker {
    Box::new(move |cluster, is| {
        for key in cluster.caches.definitions.find(|key, _| is(key)) {
            queue.add(key);
        }
    })
}

impl Running {
    /// Looks at each definition whenever it changes.
    pub(super) fn keep_storage(&mut self, cluster: &Cluster, upkeep: Upkeep, queue: Arc<Queue>) {
        for name in kinds::convertible() {
            let task = Task { task: "watch", controller: "customresourcedefinitions" };
            let (meters, parts) = (cluster.meters.clone(), (cluster.clone(), queue.clone(), name));
            let begin = move || {
                let (cluster, woken, name) = parts.clone();
                async move { cluster.follow_definition(&name, |key| woken.add(key)).await }
            };
            self.watches.spawn(supervise::keep(task, meters, pending, begin));
        }
        let task = Task { task: "worker", controller: "customresourcedefinitions" };
        let (meters, closed) = (cluster.meters.clone(), queue.clone());
        let over = move || {
            let closed = closed.clone();
            async move { closed.until_closed().await }
        };
        let (cluster, pauses) = (cluster.clone(), self.pauses.clone());
        let look = Arc::new(Look { cluster, queue, upkeep, pauses, known: Known::default() });
        let begin = move || {
            let look = look.clone();
            async move {
                while let Some(turn) = look.queue.next().await {
                    let under_way = UnderWay { queue: &look.queue, key: &turn.key };
                    tokio::select! {
                        () = look.at(&turn.key) => {}
                        // It is kept how far it was, and whoever acts next goes on.
                        () = look.queue.until_closed() => return,
                    }
                    under_way.done();
                    look.queue.done(&turn.key);
                }
            }
        };
        self.workers.spawn(supervise::keep(task, meters, over, begin));
    }
}

impl Look {
    async fn at(&self, key: &Key) {
        let Some(found) = self.cluster.caches.definitions.get(key) else { return };
        let (resource, standing) = (&found.plural, found.standing());
        let gauge = Stored { resource: resource.clone() };
        let behind = i64::from(standing != Standing::Settled);
        self.cluster.meters.old_versions.get_or_create(&gauge).set(behind);
        let owed = matches!(standing, Standing::Behind(_)) && self.upkeep.auto;
        self.cluster.meters.migrating.get_or_create(&gauge).set(owed.into());
        drop(self.cluster.meters.migrated.get_or_create(&gauge));
        let news = self.known.turned(key, &standing);
        match standing {
            Standing::Settled if news => {
                let version = &found.storage;
                tracing::info!(resource, version, "Every object lies in the storage version");
            }
            Standing::Unconverted(old) if news => tracing::warn!(
                resource,
                ?old,
                "Objects may lie in an older version, and the conversion is switched off: nothing is migrated"
            ),
            Standing::Behind(_) if self.upkeep.auto && !self.known.gave_up(key, &found) => {
                if news {
                    // All definitions wait at the same time.
                    self.queue.add_after(key.clone(), storage::SETTLE);
                } else {
                    self.migrate(key, &found).await;
                }
            }
            Standing::Behind(old) if news => tracing::warn!(
                resource,
                ?old,
                storage = found.storage,
                "Objects may lie in an older version: kubectl gt storage migrate writes each of them anew"
            ),
            Standing::Settled | Standing::Unconverted(_) | Standing::Behind(_) => {}
        }
    }

    /// Counts what was written since `before`, and logs it.
    fn told(&self, resource: &str, before: &AtomicU64, step: &Step) {
        if let Step::GoesOn { written } | Step::Wrote { written, .. } = step {
            let more = written.saturating_sub(before.swap(*written, Ordering::Relaxed));
            if matches!(step, Step::Wrote { .. }) {
                let of = Stored { resource: resource.to_owned() };
                self.cluster.meters.migrated.get_or_create(&of).inc_by(more);
            }
        }
        tracing::info!(resource, %step, "Migrating");
    }

    async fn migrate(&self, key: &Key, found: &Definition) {
        // Nothing is read for what another replica migrates; what becomes ours is queued when its shard is opened.
        if !self.cluster.ownership.owns(&key.name) {
            return;
        }
        let resource = &found.plural;
        let before = AtomicU64::new(0);
        let tell = |step: &Step| self.told(resource, &before, step);
        let migration = Migration {
            cluster: &self.cluster,
            name: &key.name,
            rate: self.upkeep.rate,
            tell: &tell,
        };
        let span = live::live_span!(
            "migrate storage",
            gastown.resource = resource,
            gastown.storage.version = found.storage,
        );
        let span = live::begun(span, None);
        let ended = migration.run().instrument(span.clone()).await;
        if ended.is_err() {
            live::failed(&span, "MigrationFailed");
        }
        match ended {
            Ok(Ending::Migrated { storage, written }) => {
                self.pauses.forget(key);
                tracing::info!(
                    resource,
                    storage,
                    written,
                    "Migrated: no object lies in an older version"
                );
                return;
            }
            Ok(Ending::Refused { count, first }) => {
                self.known.give_up(key, found);
                tracing::warn!(
                    resource,
                    count,
                    ?first,
                    "Objects could not be written, so older versions stay; it is tried again by the next start"
                );
                return;
            }
            Ok(Ending::Restless) => {
                tracing::warn!(resource, "The definition changed again and again");
            }
            Ok(Ending::Missing | Ending::Nothing { .. } | Ending::Unconverted { .. }) => return,
            // Whoever holds the shard now goes on.
            Err(error) if error.class() == Class::Fenced => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(resource, error, "Migration failed; it is tried again");
            }
        }
        self.queue.add_after(key.clone(), self.pauses.retry(key));
    }
}

/// What was said of each definition, so that it is said once; and for which generation some objects were refused.
#[derive(Debug, Default)]
struct Known {
    said: Mutex<HashMap<Key, Standing>>,
    given_up: Mutex<HashMap<Key, i64>>,
}

impl Known {
    /// Whether it stands otherwise than when that was last asked. That all is well is no news at first.
    fn turned(&self, key: &Key, now: &Standing) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let before = said.insert(key.clone(), now.clone()).unwrap_or(Standing::Settled);
        before != *now
    }

    fn give_up(&self, key: &Key, of: &Definition) {
        let mut all = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.clone(), of.generation);
    }

    fn gave_up(&self, key: &Key, of: &Definition) -> bool {
        let all = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key) == Some(&of.generation)
    }
}
