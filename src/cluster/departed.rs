//! Pods as they were when they went. The watch tells of a deletion with the object's last state, and what its containers
//! said in it is said nowhere else; and a pod that was there is never made again. What a watch calls gone may only have lost
//! its label: before a run counts as lost, the API server is asked for the pod itself. A pod of the same owner and name that
//! comes after one that went is late: whoever asked for it was away meanwhile, and its attempt is over. That holds as long as this
//! replica has had the shard since: another owner may make a pod again that never ran.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use crate::{
    cluster::cache::Key,
    domain::{pod_brief::PodBrief, shard::ShardId},
};

/// A shard, and the epoch under which this replica holds it; none where it does not.
pub type Under = Option<(ShardId, i32)>;

/// Pods with something to say that are kept. Each is read within the next pass over its Polecat.
const TOLD: usize = 1024;
/// Pods that are remembered to have been there. Of an older one, the status or its Events tell.
const SEEN: usize = 4096;

/// The last of them.
#[derive(Debug, Default)]
pub struct Departed(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    told: Recent<PodBrief>,
    seen: Recent<Gone>,
}

/// The latest pod of a name; where its owner had more than one, the first.
#[derive(Debug)]
struct Gone {
    owner: Box<str>,
    /// Its uid; empty where only one that came after it was seen.
    pod: Box<str>,
    /// The original's, which numbers no attempts: our first one has a pod of the very name.
    by_original: bool,
    /// Whose it was when it went.
    under: Under,
}

impl Departed {
    /// Takes in a pod that is gone. One that no Polecat owned says nothing of a run, whatever uid it names as its owner's.
    pub fn note(&self, key: &Key, pod: &PodBrief, under: Under) {
        let Some(owner) = pod.owner.as_ref().filter(|it| it.is_polecat()) else { return };
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.is_late(key, &owner.uid, pod, under) {
            return; // it says nothing of the run
        }
        let (owner, by_original) = (owner.uid.clone(), pod.by_original);
        let gone = Gone { owner, pod: pod.uid.clone(), by_original, under };
        inner.seen.put(key, gone, SEEN);
        if pod.claude.ended() || pod.telemetry.ended() || pod.disruption.is_some() {
            inner.told.put(key, pod.clone(), TOLD);
        }
    }

    /// The latest of that name, where one of its containers had ended, or somebody said why it was to go.
    pub fn of(&self, key: &Key) -> Option<PodBrief> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).told.latest.get(key).cloned()
    }

    /// Whether this replica saw such a pod of this owner, and saw it go.
    pub fn saw(&self, key: &Key, owner: &str) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.seen.latest.get(key).is_some_and(|it| *it.owner == *owner)
    }

    /// Takes in that a pod which is there came late: of its name there was one before, which nobody here saw. So it stays one
    /// that came late, also once its containers have ended and have something to say.
    pub fn came_late(&self, key: &Key, owner: &str, under: Under) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = Gone { owner: owner.into(), pod: Box::default(), by_original: false, under };
        inner.seen.put(key, gone, SEEN);
    }

    /// Forgets a pod of this name, since an attempt that has not begun has one of it yet to come.
    pub fn begin(&self, key: &Key) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.told.remove(key);
        inner.seen.remove(key);
    }

    /// Forgets what was seen in places that are somebody else's from now on: whoever looks after them may make a pod again that
    /// never ran, and if they come back, that one is no late one.
    pub fn forget(&self, is: impl Fn(&Key) -> bool) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.told.forget(&is);
        inner.seen.forget(&is);
    }

    /// Whether this pod of this owner's came after another one of its name had gone.
    pub fn is_late(&self, key: &Key, owner: &str, pod: &PodBrief, under: Under) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_late(key, owner, pod, under)
    }
}

impl Inner {
    fn is_late(&self, key: &Key, owner: &str, pod: &PodBrief, under: Under) -> bool {
        let first = self.seen.latest.get(key).filter(|it| *it.owner == *owner && !it.by_original);
        let first = first.filter(|it| it.under.is_some() && it.under == under);
        first.is_some_and(|it| it.pod != pod.uid) && !pod.by_original
    }
}

/// A bounded map; the oldest names go first.
#[derive(Debug)]
struct Recent<V> {
    latest: HashMap<Key, V>,
    order: VecDeque<Key>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { latest: HashMap::new(), order: VecDeque::new() }
    }
}

impl<V> Recent<V> {
    fn put(&mut self, key: &Key, value: V, most: usize) {
        if self.latest.insert(key.clone(), value).is_none() {
            self.order.push_back(key.clone());
        }
        if self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.latest.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        if self.latest.remove(key).is_some() {
            self.order.retain(|it| it != key);
        }
    }

    fn forget(&mut self, is: impl Fn(&Key) -> bool) {
        self.latest.retain(|key, _| !is(key));
        self.order.retain(|key| !is(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pod_brief::{Container, Owner};

    const OURS: Under = Some((ShardId(3), 7));

    fn pod(uid: &str, claude: Container) -> PodBrief {
        PodBrief {
            namespace: "town".into(),
            name: "polecat-max".into(),
            uid: uid.into(),
            owner: Some(owner("p-1")),
            claude,
            ..PodBrief::default()
        }
    }

    fn owner(uid: &str) -> Owner {
        Owner { kind: "Polecat".into(), name: "max".into(), uid: uid.into() }
    }

    fn over(exit_code: i32) -> Container {
        Container::Ended { exit_code, reason: "".into(), message: "".into(), at: None }
    }

    #[test]
    fn the_latest_of_a_name_that_had_something_to_say_is_found() {
        let (departed, key) = (Departed::default(), Key::new("town", "polecat-max"));
        departed.note(&key, &pod("1", Container::Running), OURS);
        assert_eq!(departed.of(&key), None, "it had nothing to say");
        departed.note(&key, &pod("1", over(0)), OURS);
        let other = PodBrief { owner: Some(owner("p-2")), ..pod("2", over(1)) };
        departed.note(&key, &other, OURS);
        assert_eq!(departed.of(&key).map(|it| it.uid), Some("2".into()));
        assert_eq!(departed.of(&Key::new("other", "polecat-max")), None);
    }

    #[test]
    fn a_pod_is_remembered_by_its_owner() {
        let (departed, key) = (Departed::default(), Key::new("town", "polecat-max"));
        assert!(!departed.saw(&key, "p-1"));
        departed.note(&key, &pod("1", Container::Unseen), OURS);
        assert!(departed.saw(&key, "p-1"), "although it never ran");
        assert!(!departed.saw(&key, "p-2"), "one of the same name that came later");
    }

    /// A run would count as lost by it, and the words of the run's own pod would be gone.
    #[test]
    fn a_pod_that_names_the_uid_under_another_kind_was_never_the_polecats() {
        let (departed, key) = (Departed::default(), Key::new("town", "polecat-max"));
        let foo = Owner { kind: "Foo".into(), ..owner("p-1") };
        let foreign = PodBrief { owner: Some(foo), ..pod("2", over(0)) };
        departed.note(&key, &foreign, OURS);
        assert!(!departed.saw(&key, "p-1") && departed.of(&key).is_none());
        departed.note(&key, &pod("1", over(1)), OURS);
        for other in [foreign, PodBrief { owner: None, ..pod("3", over(0)) }] {
            departed.note(&key, &other, OURS);
            assert_eq!(departed.of(&key).map(|it| it.uid), Some("1".into()));
        }
    }

    #[test]
    fn a_second_pod_of_an_attempt_is_late_and_its_words_are_nobodys() {
        let (departed, key) = (Departed::default(), Key::new("town", "polecat-max"));
        let (first, second) = (pod("1", Container::Running), pod("2", Container::Running));
        assert!(!departed.is_late(&key, "p-1", &first, OURS));
        departed.note(&key, &first, OURS);
        assert!(
            !departed.is_late(&key, "p-1", &first, OURS),
            "it is back: it had only lost its label"
        );
        assert!(departed.is_late(&key, "p-1", &second, OURS));
        assert!(!departed.is_late(&key, "p-2", &second, OURS), "of a Polecat that was made again");
        let original = PodBrief { by_original: true, ..second.clone() };
        assert!(!departed.is_late(&key, "p-1", &original, OURS), "which numbers no attempts");
        departed.note(&key, &PodBrief { claude: over(143), ..second }, OURS);
        assert_eq!(departed.of(&key), None, "the first one had nothing to say");
        assert!(departed.is_late(&key, "p-1", &pod("3", Container::Running), OURS));
        assert!(!departed.is_late(&key, "p-1", &first, OURS), "the first stays the first");
    }

    #[test]
    fn one_that_came_late_stays_late_when_it_ends() {
        let (departed, key) = (Departed::default(), Key::new("town", "polecat-max"));
        let (late, ended) = (pod("2", Container::Running), pod("2", over(0)));
        departed.came_late(&key, "p-1", OURS);
        assert!(
            departed.is_late(&key, "p-1", &late, OURS)
                && departed.is_late(&key, "p-1", &ended, OURS)
        );
        departed.note(&key, &ended, OURS);
        assert_eq!(departed.of(&key), None, "it says nothing of the run");
        assert!(departed.saw(&key, "p-1"), "and the run is not begun again");
    }

    #[test]
    fn what_another_replica_makes_meanwhile_is_not_late() {
        let (departed, key) = (Departed::default(), Key::new("town", "polecat-max"));
        departed.note(&key, &pod("1", over(1)), OURS);
        departed.forget(|it| *it.namespace != *"town");
        assert!(departed.saw(&key, "p-1") && departed.of(&key).is_some(), "it is ours still");
        departed.forget(|it| *it.namespace == *"town");
        assert!(!departed.is_late(&key, "p-1", &pod("2", Container::Running), OURS));
        assert_eq!(departed.of(&key), None);
        departed.note(&key, &pod("2", Container::Running), OURS);
        assert!(departed.saw(&key, "p-1"));
        let kept = departed.0.lock().unwrap().seen.order.len();
        assert_eq!(kept, 1, "nothing is counted that was forgotten");
    }

    /// It may have given the shard away meanwhile, or never had it.
    #[test]
    fn what_went_under_another_epoch_makes_no_pod_late() {
        let (key, second) = (Key::new("town", "polecat-max"), pod("2", Container::Running));
        for (before, now) in [(OURS, Some((ShardId(3), 9))), (None, OURS), (None, None)] {
            let departed = Departed::default();
            departed.note(&key, &pod("1", Container::Unseen), before);
            assert!(!departed.is_late(&key, "p-1", &second, now), "{before:?}, {now:?}");
        }
    }

    #[test]
    fn the_first_pod_after_the_originals_is_not_late_and_heeds_none_of_its_words() {
        let (departed, key) = (Departed::default(), Key::new("town", "polecat-max"));
        let original = PodBrief { by_original: true, ..pod("1", over(1)) };
        departed.note(&key, &original, OURS);
        assert!(!departed.is_late(&key, "p-1", &pod("2", Container::Running), OURS));
        departed.begin(&key);
        assert!(departed.of(&key).is_none() && !departed.saw(&key, "p-1"));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (mut recent, key) =
            (Recent::default(), |number: u32| Key::new("", &number.to_string()));
        for number in [0, 1, 0, 2] {
            recent.put(&key(number), number, 2);
        }
        assert_eq!(recent.latest.len(), 2);
        assert!(recent.latest.contains_key(&key(2)) && !recent.latest.contains_key(&key(0)));
    }
}
