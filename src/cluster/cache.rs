//! Compact copies of what is watched, one cache a kind. An older version never replaces a newer one, so the answer to
//! our own write and the watch event that follows it can come in any order.

use std::{
    collections::{BTreeSet, HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{
    api::text::{Text, Texts},
    cluster::wire::Compact,
};

/// Objects that left and are remembered, so that a late answer does not bring one back.
const TOMBSTONES: usize = 4096;
/// How often it is tried to tell that an object is gone, when those who are told panic.
const TRIES: u32 = 3;

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

    /// By which its shard is found: its namespace, or its name where it has none.
    pub fn place(&self) -> &Arc<str> {
        if self.namespace.is_empty() { &self.name } else { &self.namespace }
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
    /// What thousands have in common, their namespaces before all.
    texts: Texts,
    tombstones: Tombstones,
    /// Objects that are gone, until that was told.
    leaving: VecDeque<Leaving<C>>,
}

#[derive(Debug)]
struct Leaving<C> {
    key: Key,
    last: Arc<C>,
    /// How often it was tried to tell.
    tries: u32,
}

impl<C> Default for Cache<C> {
    fn default() -> Self {
        let inner = Inner {
            objects: HashMap::new(),
            texts: Texts::default(),
            tombstones: Tombstones::default(),
            leaving: VecDeque::new(),
        };
        Self { inner: Mutex::new(inner), ready: watch::Sender::new(BTreeSet::new()) }
    }
}

impl<C: Compact> Cache<C> {
    /// The copy of an object.
    pub fn get(&self, key: &Key) -> Option<Arc<C>> {
        self.lock().objects.get(key).cloned()
    }

    /// Takes an object in, unless a newer one is there or it has left since. Says whether it is news.
    pub fn put(&self, mut object: C) -> bool {
        let key = key(&object);
        let mut inner = self.lock();
        if inner.tombstones.bury(object.uid(), object.resource_version()) {
            return false;
        }
        let news = inner
            .objects
            .get(&key)
            .is_none_or(|old| newer(object.resource_version(), old.resource_version()));
        if news {
            let mut namespace = Text::from(key.namespace);
            inner.texts.share(&mut namespace);
            object.share(&mut inner.texts);
            let (key, uid) = (Key { namespace: namespace.into(), ..key }, object.uid().to_owned());
            let old = inner.objects.insert(key.clone(), Arc::new(object));
            // Another object of that name: the one before went unseen.
            if let Some(last) = old.filter(|it| it.uid() != uid) {
                inner.leaving.push_back(Leaving { key, last, tries: 0 });
            }
        }
        news
    }

    /// Forgets an object that a watch says has left, as of this version: it was deleted, or is no longer what that watch
    /// selects. Then another watch may have brought it back already, under the same version, and it stays. Its last state,
    /// where it could be read, leaves.
    pub fn remove(&self, key: &Key, uid: &str, version: &str, last: Option<C>) {
        let mut inner = self.lock();
        inner.tombstones.add(uid, version);
        let old = match inner.objects.entry(key.clone()) {
            Entry::Occupied(it) if it.get().uid() == uid => {
                if !newer(version, it.get().resource_version()) {
                    return;
                }
                Some(it.remove())
            }
            Entry::Occupied(it) => Some(it.get().clone()),
            Entry::Vacant(_) => None,
        };
        if let Some(last) = last.map(Arc::new).or(old) {
            inner.leaving.push_back(Leaving { key: key.clone(), last, tries: 0 });
        }
    }

    /// Forgets every object that a complete list should have and does not; they leave.
    pub fn retain(&self, stays: impl Fn(&Key, &C) -> bool) {
        let mut inner = self.lock();
        let gone = inner.objects.extract_if(|key, object| !stays(key, object));
        let gone: Vec<_> = gone.map(|(key, last)| Leaving { key, last, tries: 0 }).collect();
        inner.leaving.extend(gone);
    }

    /// Forgets objects that are somebody else's from now on. Nobody is told: they are still there.
    pub fn forget(&self, is: impl Fn(&Key, &C) -> bool) {
        let mut inner = self.lock();
        inner.objects.retain(|key, object| !is(key, object));
        inner.leaving.retain(|it| !is(&it.key, &it.last));
    }

    /// Tells of every object that left. What was told is forgotten only then: who panics while he is told is told again by
    /// the watch that is begun anew, but not for ever.
    pub fn tell_leaving(&self, news: impl Fn(&C, Key)) {
        while let Some((key, last)) = self.next_leaving() {
            news(&last, key);
            let mut inner = self.lock();
            if inner.leaving.front().is_some_and(|it| Arc::ptr_eq(&it.last, &last)) {
                inner.leaving.pop_front();
            }
        }
    }

    fn next_leaving(&self) -> Option<(Key, Arc<C>)> {
        let mut inner = self.lock();
        while inner.leaving.front().is_some_and(|it| it.tries >= TRIES) {
            inner.leaving.pop_front();
        }
        let next = inner.leaving.front_mut()?;
        next.tries += 1;
        Some((next.key.clone(), next.last.clone()))
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

    /// Shows every object. The cache is locked for as long as that takes.
    pub fn visit(&self, mut each: impl FnMut(&Key, &C)) {
        self.lock().objects.iter().for_each(|(key, object)| each(key, object));
    }

    /// The keys of all objects that are so.
    pub fn find(&self, is: impl Fn(&Key, &C) -> bool) -> Vec<Key> {
        let inner = self.lock();
        let found = inner.objects.iter().filter(|(key, object)| is(key, object));
        found.map(|(key, _)| key.clone()).collect()
    }

    /// Says that a complete list of one selection was taken in. A watch that is begun anew says so again.
    pub fn listed(&self, selection: &str) {
        self.ready.send_if_modified(|it| it.insert(selection.to_owned()));
    }

    /// Says that a selection is watched no more.
    pub fn dropped(&self, selection: &str) {
        self.ready.send_if_modified(|it| it.remove(selection));
    }

    /// Ends once this selection was listed.
    pub async fn has_listed(&self, selection: &str) {
        let mut ready = self.ready.subscribe();
        let _ = ready.wait_for(|it| it.contains(selection)).await;
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

/// The objects that left last: uid, and the version as of which each had left.
#[derive(Debug, Default)]
struct Tombstones {
    known: HashMap<Arc<str>, Box<str>>,
    order: VecDeque<Arc<str>>,
}

impl Tombstones {
    /// Whether this version of an object is from before it left. One of the very version as of which it left one watch is
    /// what it became, told by another: nothing that was deleted ever had the version of its deletion.
    fn bury(&self, uid: &str, version: &str) -> bool {
        self.known.get(uid).is_some_and(|left| newer(left, version))
    }

    fn add(&mut self, uid: &str, version: &str) {
        if let Some(left) = self.known.get_mut(uid) {
            if newer(version, left) {
                *left = version.into();
            }
            return;
        }
        let uid: Arc<str> = uid.into();
        self.known.insert(uid.clone(), version.into());
        self.order.push_back(uid);
        if self.order.len() > TOMBSTONES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// Where an object stands.
pub fn key<C: Compact>(object: &C) -> Key {
    let (namespace, name) = object.place();
    Key::new(namespace, name)
}

/// Whether one resource version comes after another. Kubernetes promises that they are numbers that can be compared
/// (KEP-5504); anything else counts as newer, so that nothing is missed.
pub(super) fn newer(version: &str, than: &str) -> bool {
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

    fn named(name: &str) -> Brief {
        Brief { name: name.into(), ..brief(name, "10") }
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
    fn objects_of_a_namespace_share_its_name_and_it_goes_with_them() {
        let cache = Cache::default();
        let within =
            |namespace: &str, name: &str| Brief { namespace: namespace.into(), ..named(name) };
        for number in 0..200 {
            cache.put(within("town", &number.to_string()));
        }
        let keys = cache.find(|_, _| true);
        assert!(keys.iter().all(|it| Arc::ptr_eq(&it.namespace, &keys[0].namespace)));
        for number in 0..1000 {
            let namespace = format!("town-{number}");
            cache.put(within(&namespace, "max"));
            cache.remove(&Key::new(&namespace, "max"), "max", "99", None);
            told(&cache);
        }
        let kept = cache.lock().texts.len();
        assert!(kept < 10, "{kept} of a thousand that are gone");
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
        cache.remove(&Key::new("", "max"), "1", "13", None);
        assert!(!cache.put(brief("1", "12")), "an answer from before its deletion");
        assert!(cache.put(brief("2", "14")), "its successor comes");
        cache.remove(&Key::new("", "max"), "1", "13", None);
        assert_eq!(cache.len(), 1, "a late deletion leaves the successor alone");
    }

    #[test]
    fn what_left_one_watch_comes_back_by_another_in_whatever_order_they_tell() {
        let (cache, key) = (Cache::default(), Key::new("", "max"));
        cache.put(brief("1", "10"));
        cache.remove(&key, "1", "11", Some(brief("1", "11")));
        assert!(cache.is_empty(), "its label was taken away");
        assert!(!cache.put(brief("1", "10")), "as it was before");
        assert!(
            cache.put(brief("1", "11")),
            "as it became: the watch of those without a label tells"
        );
        assert_eq!(told(&cache), ["1"]);
        assert!(cache.put(brief("1", "12")), "the answer to the write that corrects it");
        cache.remove(&key, "1", "12", Some(brief("1", "12")));
        assert_eq!(cache.len(), 1, "it left the watch of those without a label, as of that write");
        assert_eq!(told(&cache), [""; 0], "and did not go");
        cache.remove(&key, "1", "13", Some(brief("1", "13")));
        assert!(cache.is_empty() && !cache.put(brief("1", "12")), "now it was deleted");
    }

    #[test]
    fn what_was_handed_over_is_forgotten_in_silence_and_may_come_back() {
        let cache = Cache::default();
        cache.put(brief("1", "10"));
        cache.remove(&Key::new("", "old"), "2", "9", Some(brief("2", "9")));
        cache.forget(|_, it| matches!(&*it.uid, "1" | "2"));
        assert!(cache.is_empty());
        assert_eq!(told(&cache), [""; 0], "neither of them has gone because of that");
        assert!(cache.put(brief("1", "10")), "the very same version");
    }

    #[test]
    fn as_many_of_those_that_left_are_remembered_and_no_more() {
        let mut stones = Tombstones::default();
        for number in 0..=TOMBSTONES {
            stones.add(&number.to_string(), "5");
            stones.add(&number.to_string(), "4"); // told twice, counted once, and the later one stands
        }
        assert!(!stones.bury("0", "4"), "the oldest is forgotten");
        assert!(stones.bury("1", "4") && stones.bury(&TOMBSTONES.to_string(), "4"));
        assert_eq!((stones.known.len(), stones.order.len()), (TOMBSTONES, TOMBSTONES));
    }

    fn told(cache: &Cache<Brief>) -> Vec<String> {
        let told = Mutex::new(Vec::new());
        cache.tell_leaving(|it, _| told.lock().unwrap().push(it.uid.to_string()));
        told.into_inner().unwrap()
    }

    #[test]
    fn what_left_is_told_once_unless_the_telling_panics() {
        let (cache, key) = (Cache::default(), Key::new("", "max"));
        let stumbling = |cache: &Cache<Brief>| {
            let telling = std::panic::AssertUnwindSafe(|| {
                cache.tell_leaving(|it, _| assert_ne!(&*it.uid, "1", "it stumbles"));
            });
            std::panic::catch_unwind(telling).is_err()
        };
        cache.remove(&key, "1", "10", Some(brief("1", "10")));
        cache.remove(&key, "2", "11", Some(brief("2", "11")));
        assert!(stumbling(&cache));
        assert_eq!(told(&cache), ["1", "2"], "also what had not been told when it stumbled");
        assert_eq!(told(&cache), [""; 0], "once");
        cache.put(brief("3", "12"));
        cache.retain(|_, _| false);
        assert_eq!(told(&cache), ["3"], "what a list does not have has left");
        cache.remove(&key, "1", "10", Some(brief("1", "10")));
        cache.remove(&key, "4", "13", Some(brief("4", "13")));
        assert!((0..TRIES).all(|_| stumbling(&cache)));
        assert_eq!(told(&cache), ["4"], "one that can't be told stops nobody else");
    }
}
