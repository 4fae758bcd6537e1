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
    /// How many objects of each namespace are under way.
    busy: HashMap<Arc<str>, usize>,
    /// Passes that may be under way at a time; 0: any number, and nothing is kept free.
    workers: usize,
    closed: bool,
}

/// Longest wait that is kept.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Of what waits in one namespace, so many urgent ones are taken before one of the others.
const URGENT_IN_A_ROW: u8 = 3;

/// An object that waits.
#[derive(Debug)]
struct Waiting {
    key: Key,
    since: Instant,
    /// Nothing else of its namespace waited when it was queued, nor kept it from its turn.
    alone: bool,
}

/// What waits in one namespace.
#[derive(Debug)]
struct Line {
    /// Objects that somebody waits for to begin.
    urgent: VecDeque<Waiting>,
    /// All others.
    others: VecDeque<Waiting>,
    /// Urgent ones taken since the last of the others.
    in_a_row: u8,
    /// Since when the first of them is the first, and nothing but others is before it.
    first_since: Instant,
}

/// An object whose turn it is.
#[derive(Debug)]
pub struct Turn {
    pub key: Key,
    /// Since it was queued.
    pub waited: Duration,
    /// Since it was the first of its namespace, which had not its part of the workers: what the others cost it.
    pub behind_others: Duration,
    /// Whether nothing else of its namespace waited when it was queued, nor had that its part of the workers: then all of its
    /// wait is what the others cost it.
    pub alone: bool,
}

impl Queue {
    /// A queue for so many workers. A namespace that has its part of them takes more only while some stay idle: a pass lasts
    /// as long as the API server takes to answer, so where a crowd held every worker that others do not hold, the next object
    /// of those would wait for that.
    pub fn for_workers(workers: usize) -> Self {
        Self { state: Mutex::new(State { workers, ..State::default() }), ..Self::default() }
    }

    /// Queues an object, unless it waits already. One under way is looked at again afterwards.
    pub fn add(&self, key: Key) {
        self.enter(key, false);
    }

    /// The same for an object whose pod is still to be made: in a burst such ones go before those whose status is only
    /// to be brought up to date, three to one.
    pub fn add_urgent(&self, key: Key) {
        self.enter(key, true);
    }

    fn enter(&self, key: Key, urgent: bool) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.add(key, Instant::now(), urgent);
        drop(state);
        self.woken.notify_one();
    }

    /// Queues an object after some time; an earlier wish for it stands.
    pub fn add_after(&self, key: Key, delay: Duration) {
        // Longer than any process lives is as good as never.
        let at = Instant::now() + delay.min(LONGEST);
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
        let again = state.active.remove(key);
        if again.is_some() {
            state.leave(&key.namespace, Instant::now());
        }
        if again == Some(true) && !state.closed {
            state.add(key.clone(), Instant::now(), false);
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

    /// How long the one has waited that waits longest.
    pub fn oldest(&self) -> Duration {
        let state = self.lock();
        let first = state.waiting.values().flat_map(|it| [it.urgent.front(), it.others.front()]);
        let since = first.flatten().map(|it| it.since).min();
        since.map_or(Duration::ZERO, |it| Instant::now().saturating_duration_since(it))
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

impl Line {
    fn new(now: Instant) -> Self {
        Self { urgent: VecDeque::new(), others: VecDeque::new(), in_a_row: 0, first_since: now }
    }

    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.others.is_empty()
    }

    fn pop(&mut self) -> Option<Waiting> {
        let urgent_next = self.in_a_row < URGENT_IN_A_ROW || self.others.is_empty();
        if urgent_next && let Some(it) = self.urgent.pop_front() {
            self.in_a_row = self.in_a_row.saturating_add(1);
            return Some(it);
        }
        self.in_a_row = 0;
        self.others.pop_front()
    }
}

impl State {
    fn add(&mut self, key: Key, now: Instant, urgent: bool) {
        if let Some(again) = self.active.get_mut(&key) {
            *again = true;
            return;
        }
        if !self.queued.insert(key.clone()) {
            return;
        }
        let namespace = key.namespace.clone();
        let has_its_part = self.has_its_part(&namespace);
        let line = self.waiting.entry(namespace.clone()).or_insert_with(|| Line::new(now));
        let alone = line.is_empty() && !has_its_part;
        if line.is_empty() {
            self.turns.push_back(namespace);
        }
        let side = if urgent { &mut line.urgent } else { &mut line.others };
        side.push_back(Waiting { key, since: now, alone });
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
                self.add(key, now, false);
            }
        }
        None
    }

    /// Takes the next of the namespace whose turn it is, among those that may have one more worker.
    fn take(&mut self, now: Instant) -> Option<Turn> {
        let next = self.turns.iter().position(|it| self.may_take(it))?;
        let namespace = self.turns.remove(next)?;
        let line = self.waiting.get_mut(&namespace)?;
        let Waiting { key, since, alone } = line.pop()?;
        let behind_others = now.saturating_duration_since(line.first_since);
        line.first_since = now;
        if line.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace);
        }
        self.queued.remove(&key);
        self.active.insert(key.clone(), false);
        *self.busy.entry(key.namespace.clone()).or_default() += 1;
        Some(Turn { key, waited: now.saturating_duration_since(since), behind_others, alone })
    }

    /// Beyond its part a namespace takes only what leaves an eighth of the workers idle, for whoever comes next.
    fn may_take(&self, namespace: &str) -> bool {
        let idle = self.workers.saturating_sub(self.active.len());
        !self.has_its_part(namespace) || idle > self.kept_idle()
    }

    /// Whether a namespace has as many workers as each would have, were those that are not kept idle dealt out evenly among
    /// all that have something waiting, or all that have something under way where those are more; one at least.
    fn has_its_part(&self, namespace: &str) -> bool {
        let part = (self.workers - self.kept_idle()) / self.busy.len().max(self.turns.len()).max(1);
        self.workers > 1 && self.busy.get(namespace).is_some_and(|it| *it >= part.max(1))
    }

    const fn kept_idle(&self) -> usize {
        self.workers.div_ceil(8)
    }

    fn leave(&mut self, namespace: &str, now: Instant) {
        let had_its_part = self.has_its_part(namespace);
        if let Some(busy) = self.busy.get_mut(namespace) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(namespace);
            }
        }
        // What it waited for itself was not behind others.
        if had_its_part && let Some(line) = self.waiting.get_mut(namespace) {
            line.first_since = now;
        }
    }
}

#[cfg(test)]
mod tests;
