//! Memory for bodies that come in: a share of what this process may have, taken byte by byte as they arrive. A large body
//! that announces its length waits in line, before any of it is taken in, until there is room beside what the others
//! announced. Who finds the memory used up after all is turned away, but for the one that was here first: he waits for the
//! others, so that somebody always gets through.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// Bodies smaller than this, in bytes, wait for nobody, and an eighth of the memory is left to them.
const SMALL: usize = 1 << 20;
/// What reading one review may take at most, whatever memory there is.
const MOST_TO_READ: usize = 256 << 20;

/// What all bodies together may hold.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    state: Mutex<State>,
    freed: Notify,
    /// Of those whose reading takes much.
    turns: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// What large bodies that are being taken in have announced and not sent yet.
    promised: usize,
    next: u64,
    /// Bodies that are being taken in, and those in line before that.
    present: BTreeSet<u64>,
    waiting: BTreeSet<u64>,
}

/// One body's part; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    number: u64,
    held: usize,
    promised: usize,
    turn: Option<OwnedSemaphorePermit>,
}

/// A place in line; given up when dropped.
struct Place<'a> {
    budget: &'a Budget,
    number: u64,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(1));
        Arc::new(Self { limit, state: Mutex::default(), freed: Notify::new(), turns })
    }

    /// Half of what this process may have in memory.
    pub fn of_this_process() -> Arc<Self> {
        Self::new(memory_limit() / 2)
    }

    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Room that is left.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.state().used)
    }

    /// Most that reading one body may take: half, so that others get by beside it.
    pub fn most_to_read(&self) -> usize {
        MOST_TO_READ.min(self.limit / 2)
    }

    /// A part with nothing in it yet.
    pub fn share(self: &Arc<Self>) -> Share {
        let mut state = self.state();
        let number = state.number();
        state.present.insert(number);
        drop(state);
        Share { budget: Arc::clone(self), number, held: 0, promised: 0, turn: None }
    }

    /// The same for a body that announces so many bytes, once there is room for them beside what others announced; or, where
    /// that takes until then, if there is room beside what others hold. What is announced holds nothing: who never sends it
    /// makes others wait, and that is all.
    pub async fn share_for(self: &Arc<Self>, bytes: usize, until: Instant) -> Result<Share, Full> {
        if bytes < SMALL {
            return self.beside_what_is_held(bytes);
        }
        let place = self.place();
        loop {
            // Listening begins before looking, so that nothing that is freed in between goes unnoticed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if place.promise(bytes) {
                let mut share = self.share();
                share.promised = bytes;
                return Ok(share);
            }
            if timeout_at(until, freed).await.is_err() {
                return self.beside_what_is_held(bytes);
            }
        }
    }

    fn beside_what_is_held(self: &Arc<Self>, bytes: usize) -> Result<Share, Full> {
        if bytes > self.room() { Err(Full) } else { Ok(self.share()) }
    }

    fn place(&self) -> Place<'_> {
        let mut state = self.state();
        let number = state.number();
        state.waiting.insert(number);
        drop(state);
        Place { budget: self, number }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Place<'_> {
    /// Whether it is this one's turn, and there is room. One alone may be as large as all.
    fn promise(&self, bytes: usize) -> bool {
        let mut state = self.budget.state();
        let taken = state.used.saturating_add(state.promised);
        let limit = self.budget.limit - self.budget.limit / 8;
        let fits = taken == 0 || taken.saturating_add(bytes) <= limit;
        let goes = fits && state.waiting.first() == Some(&self.number);
        state.promised += if goes { bytes } else { 0 };
        goes
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.budget.state().waiting.remove(&self.number);
        self.budget.freed.notify_waiters(); // the next in line looks
    }
}

impl Share {
    /// Takes more; the first of those present waits for room, the others are told that there is none.
    pub async fn take(&mut self, bytes: usize) -> Result<(), Full> {
        loop {
            // Listening begins before looking, so that nothing that is freed in between goes unnoticed.
            let budget = Arc::clone(&self.budget);
            let freed = budget.freed.notified();
            let mut freed = std::pin::pin!(freed);
            freed.as_mut().enable();
            if self.grab(bytes)? {
                return Ok(());
            }
            freed.await;
        }
    }

    /// Takes what reading a body takes beside its bytes, several times as much as they are. Whose reading takes much goes one at
    /// a time.
    pub async fn take_to_read(&mut self, bytes: usize) -> Result<(), Full> {
        if bytes > self.budget.most_to_read() {
            return Err(Full);
        }
        if bytes > self.budget.most_to_read() / 8 {
            let turn = Arc::clone(&self.budget.turns).acquire_owned();
            self.turn = turn.await.ok();
        }
        self.take(bytes).await
    }

    fn grab(&mut self, bytes: usize) -> Result<bool, Full> {
        let mut state = self.budget.state();
        let fits = state.used.saturating_add(bytes) <= self.budget.limit;
        if fits {
            let kept = bytes.min(self.promised);
            state.used += bytes;
            state.promised = state.promised.saturating_sub(kept);
            drop(state);
            self.held += bytes;
            self.promised -= kept;
            return Ok(true);
        }
        let first = state.present.first() == Some(&self.number);
        let hopeless = self.held.saturating_add(bytes) > self.budget.limit;
        if first && !hopeless { Ok(false) } else { Err(Full) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.used = state.used.saturating_sub(self.held);
        state.promised = state.promised.saturating_sub(self.promised);
        state.present.remove(&self.number);
        drop(state);
        self.budget.freed.notify_waiters();
    }
}

/// Bytes of memory that this process may use: of its control group, else of the machine.
pub fn memory_limit() -> usize {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups = read("/proc/self/cgroup");
    let of_group = group_files(&groups).iter().filter_map(|it| read(it).trim().parse().ok()).min();
    let of_machine = machine(&read("/proc/meminfo"));
    of_group.into_iter().chain(of_machine).min().unwrap_or(512 << 20)
}

/// Where the limits of a process are, by its `/proc/…/cgroup`: of its group, and of the mount's root, which is its
/// group when it sees no other.
fn group_files(groups: &str) -> Vec<String> {
    let mut files = vec![
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers.is_empty() {
            files.push(format!("/sys/fs/cgroup{path}/memory.max"));
        } else if controllers.split(',').any(|it| it == "memory") {
            files.push(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"));
        }
    }
    files
}

fn machine(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|it| it.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(100);

    #[tokio::test]
    async fn the_first_waits_and_later_ones_are_turned_away() {
        let budget = Budget::new(100);
        let (mut first, mut second) = (budget.share(), budget.share());
        first.take(40).await.unwrap();
        second.take(50).await.unwrap();
        assert_eq!(budget.room(), 10);
        assert_eq!(second.take(20).await, Err(Full), "somebody was here before");
        assert_eq!(first.take(61).await, Err(Full), "more than there is at all");
        let (took, ()) = tokio::join!(first.take(60), async {
            tokio::task::yield_now().await;
            drop(second);
        });
        assert_eq!((took, budget.room()), (Ok(()), 0), "it waited for the other to go");
        drop(first);
        assert_eq!(budget.room(), 100);
    }

    #[tokio::test]
    async fn whose_reading_takes_much_goes_one_at_a_time_and_leaves_half_to_others() {
        let budget = Budget::new(64 << 20);
        let most = budget.most_to_read();
        let (mut first, mut second) = (budget.share(), budget.share());
        assert_eq!(first.take_to_read(most + 1).await, Err(Full), "more than anybody may take");
        first.take_to_read(most).await.unwrap();
        let mut small = budget.share();
        small.take_to_read(most / 8).await.unwrap();
        let (took, ()) = tokio::join!(second.take_to_read(most), async {
            tokio::task::yield_now().await;
            assert_eq!(budget.room(), most - most / 8, "the second has nothing yet");
            drop(first);
        });
        assert_eq!((took, budget.room()), (Ok(()), most - most / 8), "once the first is gone");
        drop((second, small));
        assert_eq!(budget.room(), budget.limit(), "everything was given back");
    }

    #[tokio::test]
    async fn large_bodies_wait_in_line_for_room_beside_what_others_announced() {
        let budget = Budget::new(16 * SMALL);
        let soon = || Instant::now() + PATIENCE;
        let late = || Instant::now() + 100 * PATIENCE;
        let mut first = budget.share_for(10 * SMALL, soon()).await.unwrap();
        first.take(10 * SMALL).await.unwrap();
        assert_eq!(budget.room(), 6 * SMALL, "it holds what came, and nothing twice");
        assert!(budget.share_for(SMALL / 2, soon()).await.is_ok(), "a small one waits for nobody");
        let (second, third, ()) = tokio::join!(
            budget.share_for(10 * SMALL, late()),
            budget.share_for(4 * SMALL, late()),
            async {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(
                    budget.state().promised,
                    0,
                    "what would fit comes after who came before"
                );
                drop(first);
            }
        );
        let (mut second, third) = (second.unwrap(), third.unwrap());
        assert_eq!((budget.room(), budget.state().promised), (16 * SMALL, 14 * SMALL));
        second.take(10 * SMALL).await.unwrap();
        let began = Instant::now();
        assert_eq!(budget.share_for(10 * SMALL, soon()).await.err(), Some(Full), "they stay");
        assert!(began.elapsed() >= PATIENCE, "it was waited for room");
        // The third never sends what it announced.
        assert!(budget.share_for(6 * SMALL, soon()).await.is_ok(), "there is room in fact");
        let gone = tokio::time::timeout_at(soon(), budget.share_for(6 * SMALL, late()));
        assert!(gone.await.is_err(), "who goes away");
        drop((second, third));
        let all = budget.share_for(16 * SMALL, soon()).await.unwrap();
        assert_eq!((budget.room(), all.promised), (16 * SMALL, 16 * SMALL), "leaves the line");
        drop(all);
        assert_eq!(budget.state().promised, 0, "everything was given back");
    }

    #[test]
    fn limits_are_looked_for_where_they_are() {
        let old = group_files("5:cpu:/x\n4:memory,hugetlb:/pod/c\n");
        assert_eq!(old.last().unwrap(), "/sys/fs/cgroup/memory/pod/c/memory.limit_in_bytes");
        let new = group_files("0::/pod\n");
        assert_eq!(new.last().unwrap(), "/sys/fs/cgroup/pod/memory.max");
        assert_eq!(machine("MemTotal:  2 kB\n"), Some(2048));
        assert!(memory_limit() > 0);
    }
}
