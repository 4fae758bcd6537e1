//! Polecats that wait for room in a quota of their namespace: when one has more of it, the oldest of them is tried again.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    cluster::{Cluster, cache::Key},
    domain::{brake::Place, conditions::READY, polecat::Brief},
};

/// Who waits, by namespace.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Mutex<HashMap<Arc<str>, BTreeSet<Place>>>);

impl Cluster {
    /// Takes in whether a Polecat waits for room.
    pub(super) fn note_crowd(&self, key: &Key) {
        let brief = self.caches.polecats.get(key);
        let mut all = self.caches.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(brief) = brief.filter(|it| waits(it)) {
            all.entry(key.namespace.clone()).or_default().insert(brief.place());
        } else if let Some(line) = all.get_mut(&key.namespace) {
            line.retain(|(_, name)| **name != *key.name);
            if line.is_empty() {
                all.remove(&key.namespace);
            }
        }
    }

    pub(super) fn forget_crowd(&self, is: impl Fn(&str) -> bool) {
        let mut all = self.caches.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|namespace, _| !is(namespace));
    }

    /// There is room in a quota of this namespace: who is tried again.
    pub fn room_in(&self, namespace: &str) -> Option<Key> {
        let mut all = self.caches.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, name) = all.get_mut(namespace)?.pop_first()?;
        Some(Key::new(namespace, &name))
    }
}

fn waits(brief: &Brief) -> bool {
    let ready = brief.status.conditions.iter().find(|it| it.type_ == READY);
    ready.is_some_and(|it| it.reason == "QuotaExceeded")
}
