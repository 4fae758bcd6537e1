//! Memory for bodies that come in: a share of what this process may have, taken byte by byte as they arrive. Who finds
//! it used up is turned away, but for the one that was here first: he waits for the others, so that somebody always
//! gets through.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// What all bodies together may hold.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    next: u64,
    present: BTreeSet<u64>,
}

/// One body's part; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    number: u64,
    held: usize,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default(), freed: Notify::new() })
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

    /// A part with nothing in it yet.
    pub fn share(self: &Arc<Self>) -> Share {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.present.insert(number);
        drop(state);
        Share { budget: Arc::clone(self), number, held: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn grab(&mut self, bytes: usize) -> Result<bool, Full> {
        let mut state = self.budget.state();
        let fits = state.used.saturating_add(bytes) <= self.budget.limit;
        if fits {
            state.used += bytes;
            drop(state);
            self.held += bytes;
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
