//! Compact copies of what is watched, one cache a kind. An older version never replaces a newer one, so the answer to
//! our own write and the watch event that follows it can come in any order.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::cluster::wire::Compact;

/// Uids of deleted objects that are remembered, so that a late answer does not bring one back.
const TOMBSTONES: usize = 4096;

/// Namespace (empty for cluster-wide kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// A compact copy of every object of one kind in one scope.
#[derive(Debug)]
pub struct Cache<C> {
    inner: Mutex<Inner<C>>,
    /// Selections that were listed.
    ready: watch::Sender<BTreeSet<String>>,
}

#[derive(Debug)]
struct Inner<C> {
    objects: HashMap<Key, Arc<C>>,
    tombstones: VecDeque<Box<str>>,
}

impl<C> Default for Cache<C> {
    fn default() -> Self {
        let inner = Inner { objects: HashMap::new(), tombstones: VecDeque::new() };
        Self { inner: Mutex::new(inner), ready: watch::Sender::new(BTreeSet::new()) }
    }
}

impl<C: Compact> Cache<C> {
    /// The copy of an object.
    pub fn get(&self, key: &Key) -> Option<Arc<C>> {
        self.lock().objects.get(key).cloned()
    }

    /// Takes an object in, unless a newer one is there or it is known to be gone. Says whether it is news.
    pub fn put(&self, object: C) -> bool {
        let key = key(&object);
        let mut inner = self.lock();
        if inner.tombstones.iter().any(|it| **it == *object.uid()) {
            return false;
        }
        let news = inner
            .objects
            .get(&key)
            .is_none_or(|old| newer(object.resource_version(), old.resource_version()));
        if news {
            inner.objects.insert(key, Arc::new(object));
        }
        news
    }

    /// Forgets an object that was deleted.
    pub fn remove(&self, key: &Key, uid: &str) {
        let mut inner = self.lock();
        if inner.tombstones.len() >= TOMBSTONES {
            inner.tombstones.pop_front();
        }
        inner.tombstones.push_back(uid.into());
        if inner.objects.get(key).is_some_and(|it| it.uid() == uid) {
            inner.objects.remove(key);
        }
    }

    /// Forgets every object that a complete list does not have; returns their keys.
    pub fn retain(&self, listed: &HashSet<Key>) -> Vec<Key> {
        let mut inner = self.lock();
        let gone: Vec<Key> =
            inner.objects.keys().filter(|it| !listed.contains(it)).cloned().collect();
        for key in &gone {
            inner.objects.remove(key);
        }
        gone
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.lock().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every object.
    pub fn all(&self) -> Vec<Arc<C>> {
        self.lock().objects.values().cloned().collect()
    }

    /// Says that a complete list of one selection was taken in. A watch that is begun anew says so again.
    pub fn listed(&self, selection: &str) {
        self.ready.send_if_modified(|it| it.insert(selection.to_owned()));
    }

    /// Ends once that many selections were listed.
    pub async fn ready(&self, selections: usize) {
        let mut ready = self.ready.subscribe();
        let _ = ready.wait_for(|it| it.len() >= selections).await;
    }

    /// Whether that many selections were listed.
    pub fn is_ready(&self, selections: usize) -> bool {
        self.ready.borrow().len() >= selections
    }

    fn lock(&self) -> MutexGuard<'_, Inner<C>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an object stands.
pub fn key<C: Compact>(object: &C) -> Key {
    let (namespace, name) = object.place();
    Key::new(namespace, name)
}

/// Whether one resource version comes after another. Kubernetes promises that they are numbers that can be compared
/// (KEP-5504); anything else counts as newer, so that nothing is missed.
fn newer(version: &str, than: &str) -> bool {
    match (version.parse::<u64>(), than.parse::<u64>()) {
        (Ok(version), Ok(than)) => version > than,
        _ => version != than,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::polecat::Brief;

    fn brief(uid: &str, version: &str) -> Brief {
        Brief {
            name: "max".into(),
            uid: uid.into(),
            resource_version: version.into(),
            ..Brief::default()
        }
    }

    #[test]
    fn an_older_version_never_comes_back() {
        let cache = Cache::default();
        assert!(cache.put(brief("1", "10")));
        assert!(!cache.put(brief("1", "9")), "an event that was under way");
        assert!(!cache.put(brief("1", "10")), "the event of our own write");
        assert!(cache.put(brief("1", "11")));
    }

    #[test]
    fn a_selection_counts_once_however_often_it_is_listed() {
        let cache = Cache::<Brief>::default();
        cache.listed("one");
        cache.listed("one");
        assert!(cache.is_ready(1) && !cache.is_ready(2), "its watch was begun anew");
        cache.listed("two");
        assert!(cache.is_ready(2));
    }

    #[test]
    fn a_deleted_object_does_not_come_back_with_a_late_answer() {
        let cache = Cache::default();
        cache.put(brief("1", "10"));
        cache.remove(&Key::new("", "max"), "1");
        assert!(!cache.put(brief("1", "12")));
        assert!(cache.put(brief("2", "13")), "its successor does");
        cache.remove(&Key::new("", "max"), "1");
        assert_eq!(cache.len(), 1, "a late deletion leaves the successor alone");
    }
}
