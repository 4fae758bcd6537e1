//! What became of every Polecat of a run, by this process's own monotonic clock.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::sync::watch;

/// Namespace and name of a Polecat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

/// The course of one Polecat.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// The create was about to be sent.
    pub sent: Option<Instant>,
    /// It was answered.
    pub answered: Option<Instant>,
    /// The first pod of it was seen.
    pub pod: Option<Instant>,
    /// Uids of all pods of it that were seen: more than one is a Polecat that ran twice.
    pub pods: HashSet<String>,
    /// The patch that ends its pod was about to be sent.
    pub ended: Option<Instant>,
    /// Phase Done was seen.
    pub done: Option<Instant>,
}

/// Written by the load, the watches and the player; read when a run is over.
#[derive(Debug)]
pub struct Ledger {
    courses: Mutex<HashMap<Key, Course>>,
    /// How many were sent, and how many are Done: known without a walk over all.
    sent: AtomicUsize,
    over: AtomicUsize,
    /// Changes with every entry; holds the first fault of the bench itself.
    news: watch::Sender<Option<String>>,
}

impl Ledger {
    pub fn new() -> Self {
        let (sent, over) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { courses: Mutex::default(), sent, over, news: watch::Sender::new(None) }
    }

    pub fn sent(&self, key: &Key) {
        if self.note(key, |it| it.sent.replace(Instant::now())).is_none() {
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn answered(&self, key: &Key) {
        self.note(key, |it| it.answered = Some(Instant::now()));
    }

    pub fn ended(&self, key: &Key) {
        self.note(key, |it| it.ended = Some(Instant::now()));
    }

    /// Says whether this pod was not seen before.
    pub fn pod(&self, key: &Key, uid: &str, at: Instant) -> bool {
        self.note(key, |it| {
            it.pod.get_or_insert(at);
            it.pods.insert(uid.to_owned())
        })
    }

    pub fn done(&self, key: &Key, at: Instant) {
        let first = self.note(key, |it| {
            let first = it.done.is_none();
            it.done.get_or_insert(at);
            first
        });
        self.over.fetch_add(usize::from(first), Ordering::Relaxed);
    }

    /// Polecats that were sent, and how many of them are Done.
    #[allow(dead_code, reason = "shared with another bench")]
    pub fn counts(&self) -> [usize; 2] {
        [&self.sent, &self.over].map(|it| it.load(Ordering::Relaxed))
    }

    /// Something went wrong in the bench: the run means nothing.
    pub fn fault(&self, what: String) {
        self.news.send_modify(|first| {
            first.get_or_insert(what);
        });
    }

    /// The courses of some namespaces.
    pub fn courses(&self, wanted: impl Fn(&Key) -> bool) -> Vec<Course> {
        self.lock().iter().filter(|(key, _)| wanted(key)).map(|(_, it)| it.clone()).collect()
    }

    /// Waits until something is so of the courses, looking whenever one changes. `true`: it is; `false`: nothing has
    /// changed for as long as `patience`. A fault of the bench is an error.
    pub async fn until(
        &self,
        patience: Duration,
        so: impl Fn(&HashMap<Key, Course>) -> bool,
    ) -> Result<bool> {
        let mut news = self.news.subscribe();
        loop {
            if let Some(fault) = &*news.borrow_and_update() {
                bail!("the bench itself failed: {fault}");
            }
            if so(&self.lock()) {
                return Ok(true);
            }
            if tokio::time::timeout(patience, news.changed()).await.is_err() {
                return Ok(false);
            }
            // Looking costs a walk over all courses, so a crowd of changes is taken in at once.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn note<T>(&self, key: &Key, change: impl FnOnce(&mut Course) -> T) -> T {
        let mut courses = self.lock();
        let answer = change(courses.entry(key.clone()).or_default());
        drop(courses);
        self.news.send_modify(|_| ());
        answer
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Course>> {
        self.courses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
