//! Whether the agent does anything: it prints, or files of its workspace and home change. Watched in the
//! background at a bounded cost, and left as one file's time for the readiness probe. A forged time gains
//! an agent nothing but its deadline. What has not been looked at is not idle: in a tree so large that a round takes
//! longer than the limit, an agent is ended later, and never while it works.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{FAILED, args::Probe, files, paths::Paths};
use crate::domain::layout;

/// Files looked at in one step of the walk.
const STEP: usize = 2000;
/// Folders remembered at most: an agent that makes more is watched less closely.
const MAX_WAITING: usize = 20_000;
/// Time between steps: a step takes a few milliseconds, so this is well below one hundredth of a processor.
const PAUSE: Duration = Duration::from_secs(1);

/// What a node writes before every line: a time, a stream, a mark.
const PREFIX: usize = 46;
/// What a node keeps of one container's log by default: five files of 10 MiB.
const MAX_LOG: u64 = 50 << 20;

/// When something last happened; shared by those who notice and the one who judges.
#[derive(Clone, Debug)]
pub struct Activity {
    since: Instant,
    /// When something last happened, in milliseconds after `since`.
    last: Arc<AtomicU64>,
    /// Until when all is known that happened: when the last whole round through the files began.
    looked: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    /// Bytes that its output has in the node's log.
    logged: Arc<AtomicU64>,
}

impl Activity {
    pub fn begin() -> Self {
        Self {
            since: Instant::now(),
            last: Arc::default(),
            looked: Arc::default(),
            over: Arc::default(),
            logged: Arc::default(),
        }
    }

    /// Something happened now.
    pub fn note(&self) {
        self.last.fetch_max(self.now(), Ordering::Relaxed);
    }

    /// It printed this.
    pub fn note_output(&self, chunk: &[u8]) {
        self.note();
        let lines = chunk.split(|it| *it == b'\n').skip(1).count();
        let bytes = u64::try_from(chunk.len() + lines * PREFIX).unwrap_or(u64::MAX);
        self.logged.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that its output takes on the node's disk, at most.
    pub fn logged(&self) -> u64 {
        self.logged.load(Ordering::Relaxed).min(MAX_LOG)
    }

    /// For how long nothing happened, as far as every file was looked at since.
    pub fn idle(&self) -> Duration {
        let [looked, last] = [&self.looked, &self.last].map(|it| it.load(Ordering::Relaxed));
        Duration::from_millis(looked.saturating_sub(last))
    }

    /// Nobody watches any more.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Watches until the end, in a thread of its own: a file system that hangs must not keep the deadline
    /// from coming.
    pub fn watch(&self, paths: &Paths) {
        let activity = self.clone();
        let stamp = paths.at(layout::ACTIVITY);
        let roots = vec![paths.at(layout::WORKSPACE.path).into(), paths.home().into()];
        let mut watch = Watch::new(activity.clone(), Walk::new(roots, SystemTime::now()));
        thread::spawn(move || {
            while !activity.over.load(Ordering::Relaxed) {
                watch.step(STEP);
                // Left out where the volume is full or the agent is in the way: tried again soon.
                let _again = touch(&stamp, activity.idle());
                thread::sleep(PAUSE);
            }
        });
    }
}

/// Notes what a walk sees, and how far it has seen all.
struct Watch {
    activity: Activity,
    walk: Walk,
    /// When the round began that is under way.
    begun: Option<u64>,
}

impl Watch {
    fn new(activity: Activity, walk: Walk) -> Self {
        Self { activity, walk, begun: None }
    }

    fn step(&mut self, budget: usize) {
        let begun = *self.begun.get_or_insert(self.activity.now());
        let seen = self.walk.step(budget);
        if seen.changed {
            self.activity.note();
        }
        if seen.round_over {
            self.activity.looked.fetch_max(begun, Ordering::Relaxed);
            self.begun = None;
        }
    }
}

/// Sets the stamp's time, creating it where the agent removed it. Nothing is written through a link.
fn touch(path: &str, idle: Duration) -> bool {
    files::open_to_touch(path).and_then(|it| it.set_modified(SystemTime::now() - idle)).is_ok()
}

/// What one step of a walk has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    /// Something changed after the last change that was known.
    changed: bool,
    /// Everything was looked at; the next step begins anew.
    round_over: bool,
}

/// A walk through folders that goes round and round, a few files at a time, and notices changes that it
/// has not seen.
struct Walk {
    roots: Vec<PathBuf>,
    open: Option<fs::ReadDir>,
    waiting: Vec<PathBuf>,
    /// The latest change that is known, in seconds and nanoseconds.
    known: (i64, i64),
}

impl Walk {
    /// Changes up to `since` are none.
    fn new(roots: Vec<PathBuf>, since: SystemTime) -> Self {
        let age = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let known =
            (i64::try_from(age.as_secs()).unwrap_or(i64::MAX), i64::from(age.subsec_nanos()));
        Self { waiting: roots.clone(), roots, open: None, known }
    }

    /// Looks at up to `budget` files.
    fn step(&mut self, budget: usize) -> Step {
        let before = self.known;
        let mut round_over = false;
        for _ in 0..budget {
            match self.open.as_mut().and_then(Iterator::next) {
                Some(Ok(entry)) => self.look(&entry),
                Some(Err(_)) => {} // gone meanwhile
                None => {
                    let Some(folder) = self.waiting.pop() else {
                        self.waiting.clone_from(&self.roots);
                        round_over = true;
                        break;
                    };
                    self.open = fs::read_dir(folder).ok();
                }
            }
        }
        Step { changed: self.known > before, round_over }
    }

    fn look(&mut self, entry: &fs::DirEntry) {
        let Ok(metadata) = entry.metadata() else { return }; // gone meanwhile; links are not followed
        // The time of the inode's change: unlike the other, nobody can set it back or ahead.
        self.known = self.known.max((metadata.ctime(), metadata.ctime_nsec()));
        let objects = entry.file_name() == "objects"
            && entry.path().parent().is_some_and(|it| it.ends_with(".git"));
        if metadata.is_dir() && !objects && self.waiting.len() < MAX_WAITING {
            self.waiting.push(entry.path());
        }
    }
}

/// `gt-runner probe`: ready while the stamp is young.
pub fn probe(paths: &Paths, arguments: &Probe) -> ExitCode {
    let limit = Duration::from_secs(arguments.max_idle_seconds);
    let stamp = fs::symlink_metadata(paths.at(layout::ACTIVITY)).and_then(|it| it.modified());
    let fresh = stamp.is_ok_and(|it| limit.is_zero() || it.elapsed().unwrap_or_default() <= limit);
    if fresh { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_in_small_steps_notices_every_change_once() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        for number in 0..50 {
            fs::write(deep.join(number.to_string()), "").unwrap();
        }
        fs::create_dir_all(root.path().join(".git/objects/aa")).unwrap();
        let mut walk = Walk::new(vec![root.path().to_owned()], UNIX_EPOCH);
        let round = |walk: &mut Walk| (0..40).filter(|_| walk.step(10).changed).count();
        assert!(round(&mut walk) > 0, "the first round sees all");
        assert_eq!(round(&mut walk), 0, "nothing changed");
        let before = walk.known;
        let changed = |_: &i32| {
            fs::write(deep.join("7"), "x").unwrap();
            let metadata = fs::metadata(deep.join("7")).unwrap();
            (metadata.ctime(), metadata.ctime_nsec()) > before
        };
        (0..1_000_000).find(changed).unwrap(); // the kernel's clock for files ticks every few milliseconds
        assert_eq!(round(&mut walk), 1, "one file deep inside");
        fs::write(root.path().join(".git/objects/aa/x"), "x").unwrap();
        assert_eq!(round(&mut walk), 0, "the object store is left out");
    }

    #[test]
    fn nothing_is_idle_that_was_not_looked_at() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..50 {
            fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        let while_ago = Duration::from_secs(10);
        let since = Instant::now().checked_sub(while_ago).unwrap();
        let activity = Activity { since, ..Activity::begin() };
        // What is there is no change, however the clocks of files and processes differ.
        let walk = Walk::new(vec![root.path().to_owned()], SystemTime::now() + while_ago);
        let mut watch = Watch::new(activity.clone(), walk);
        for _ in 0..5 {
            watch.step(10);
            assert_eq!(
                activity.idle(),
                Duration::ZERO,
                "the agent may work where nobody has looked"
            );
        }
        watch.step(10);
        assert!(activity.idle() >= while_ago, "all was looked at, and nothing happened");
        activity.note();
        assert_eq!(activity.idle(), Duration::ZERO, "it printed");
    }

    #[test]
    fn a_link_in_the_stamps_place_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let (stamp, victim) = (root.path().join("activity"), root.path().join("victim"));
        std::os::unix::fs::symlink(&victim, &stamp).unwrap();
        assert!(!touch(&stamp.to_string_lossy(), Duration::ZERO) && !victim.exists());
        fs::remove_file(&stamp).unwrap();
        assert!(touch(&stamp.to_string_lossy(), Duration::from_secs(100)));
        let age = fs::metadata(&stamp).unwrap().modified().unwrap().elapsed().unwrap();
        assert!(age >= Duration::from_secs(99) && age < Duration::from_secs(200));
    }
}
