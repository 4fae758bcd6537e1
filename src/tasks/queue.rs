//! The work queue: fair per namespace, one pass at a time per object, nothing queued twice. Ten thousand objects of one
//! tenant make another's wait no longer than the passes under way.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::cluster::cache::Key;

/// A queue of objects to look at.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    woken: Notify,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What waits, by namespace.
    waiting: HashMap<Arc<str>, Line>,
    /// Namespaces with something waiting, in the order of their turn.
    turns: VecDeque<Arc<str>>,
    /// Everything in `waiting`.
    queued: HashSet<Key>,
    /// Objects under way; `true`: to be queued again when they are done.
    active: HashMap<Key, bool>,
    /// Objects to be queued at a later moment. An earlier wish replaces a later one.
    later: BinaryHeap<Reverse<(Instant, Key)>>,
    due: HashMap<Key, Instant>,
    closed: bool,
}

/// What waits in one namespace.
#[derive(Debug)]
struct Line {
    /// Objects, with the moment each was queued.
    objects: VecDeque<(Key, Instant)>,
    /// Since when the first of them is the first.
    first_since: Instant,
}

/// An object whose turn it is.
#[derive(Debug)]
pub struct Turn {
    pub key: Key,
    /// Since it was queued.
    pub waited: Duration,
    /// Since it was the first of its namespace: what the other namespaces cost it.
    pub behind_others: Duration,
}

impl Queue {
    /// Queues an object, unless it waits already. One under way is looked at again afterwards.
    pub fn add(&self, key: Key) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.add(key, Instant::now());
        drop(state);
        self.woken.notify_one();
    }

    /// Queues an object after some time; an earlier wish for it stands.
    pub fn add_after(&self, key: Key, delay: Duration) {
        let at = Instant::now() + delay;
        let mut state = self.lock();
        if state.closed || state.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        state.due.insert(key.clone(), at);
        state.later.push(Reverse((at, key)));
        drop(state);
        self.woken.notify_one();
    }

    /// The next object; `None` once the queue is closed.
    pub async fn next(&self) -> Option<Turn> {
        loop {
            let woken = self.woken.notified();
            let sleep = {
                let mut state = self.lock();
                if state.closed {
                    // Passed on, so that every worker hears of it.
                    self.woken.notify_one();
                    return None;
                }
                let now = Instant::now();
                let sleep = state.ripen(now);
                if let Some(turn) = state.take(now) {
                    let more = !state.turns.is_empty();
                    drop(state);
                    if more {
                        self.woken.notify_one();
                    }
                    return Some(turn);
                }
                sleep
            };
            match sleep {
                Some(sleep) => drop(tokio::time::timeout(sleep, woken).await),
                None => woken.await,
            }
        }
    }

    /// Says that the pass over an object has ended.
    pub fn done(&self, key: &Key) {
        let mut state = self.lock();
        if state.active.remove(key) == Some(true) && !state.closed {
            state.add(key.clone(), Instant::now());
        }
        drop(state);
        self.woken.notify_one();
    }

    /// Ends the intake; `next` gives `None` from now on.
    pub fn close(&self) {
        let mut state = self.lock();
        *state = State { closed: true, ..State::default() };
        drop(state);
        self.woken.notify_waiters();
        self.woken.notify_one();
        self.ended.notify_waiters();
    }

    /// Ends once the queue is closed.
    pub async fn until_closed(&self) {
        loop {
            let ended = self.ended.notified();
            if self.lock().closed {
                return;
            }
            ended.await;
        }
    }

    /// How many objects wait.
    pub fn len(&self) -> usize {
        self.lock().queued.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, key: Key, now: Instant) {
        if let Some(again) = self.active.get_mut(&key) {
            *again = true;
            return;
        }
        if !self.queued.insert(key.clone()) {
            return;
        }
        let namespace = key.namespace.clone();
        let empty = || Line { objects: VecDeque::new(), first_since: now };
        let line = self.waiting.entry(namespace.clone()).or_insert_with(empty);
        if line.objects.is_empty() {
            self.turns.push_back(namespace);
        }
        line.objects.push_back((key, now));
    }

    /// Moves what is due into the queue; returns how long until the next is.
    fn ripen(&mut self, now: Instant) -> Option<Duration> {
        while let Some(Reverse((at, key))) = self.later.peek().cloned() {
            if at > now {
                return Some(at - now);
            }
            self.later.pop();
            // A later wish that an earlier one replaced is not the one on record.
            if self.due.get(&key) == Some(&at) {
                self.due.remove(&key);
                self.add(key, now);
            }
        }
        None
    }

    /// Takes the next of the namespace whose turn it is.
    fn take(&mut self, now: Instant) -> Option<Turn> {
        let namespace = self.turns.pop_front()?;
        let line = self.waiting.get_mut(&namespace)?;
        let (key, since) = line.objects.pop_front()?;
        let behind_others = now.saturating_duration_since(line.first_since);
        line.first_since = now;
        if line.objects.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        self.queued.remove(&key);
        self.active.insert(key.clone(), false);
        Some(Turn { key, waited: now.saturating_duration_since(since), behind_others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(queue: &Queue) -> Key {
        queue.next().await.unwrap().key
    }

    #[tokio::test]
    async fn namespaces_take_turns() {
        let queue = Queue::default();
        for number in 0..10_000 {
            queue.add(Key::new("crowd", &format!("p{number}")));
        }
        queue.add(Key::new("quiet", "only"));
        assert_eq!(&*next(&queue).await.namespace, "crowd");
        assert_eq!(next(&queue).await, Key::new("quiet", "only"), "second, not last");
    }

    #[tokio::test]
    async fn an_object_is_queued_once_and_never_twice_under_way() {
        let queue = Queue::default();
        let key = Key::new("town", "max");
        queue.add(key.clone());
        queue.add(key.clone());
        assert_eq!(next(&queue).await, key);
        assert!(queue.is_empty());
        queue.add(key.clone());
        queue.add(key.clone());
        assert!(queue.is_empty(), "it is under way");
        queue.done(&key);
        assert_eq!(next(&queue).await, key, "looked at again, once");
        queue.done(&key);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn the_earlier_wish_stands() {
        let queue = Queue::default();
        let key = Key::new("town", "max");
        queue.add_after(key.clone(), Duration::from_secs(3600));
        queue.add_after(key.clone(), Duration::ZERO);
        assert_eq!(next(&queue).await, key);
    }

    #[tokio::test]
    async fn a_closed_queue_ends_its_workers() {
        let queue = Arc::new(Queue::default());
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        queue.close();
        assert!(worker.await.unwrap().is_none());
    }
}
