//! The lock that says whether the agent runs: held by the runner in `claude`, released by the kernel
//! however that one dies, looked at by `telemetry` through one descriptor that it opened before the agent
//! began.

use std::{fs::File, io};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{paths::Paths, problem::Problem};
use crate::domain::layout;

/// The lock file, open for reading: nobody beside the agent can write it, and `flock` asks for no more.
pub struct Lock(File);

/// What the lock and the begun-mark say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Free, and there was never a sign of a runner: its image may still be on its way.
    NotBegun,
    /// Held.
    Running,
    /// Free, after it was held.
    Ended,
}

/// Remembers what was seen.
#[derive(Debug, Default)]
pub struct Watch {
    seen_held: bool,
}

impl Watch {
    /// One look. The mark is written while the lock is held, so that a mark beside a free lock means an
    /// end; a free lock without a mark never does, unless it was seen held: the agent may remove the
    /// mark.
    const fn look(&mut self, held: bool, mark: bool) -> State {
        self.seen_held |= held;
        match (held, mark || self.seen_held) {
            (true, _) => State::Running,
            (false, true) => State::Ended,
            (false, false) => State::NotBegun,
        }
    }
}

impl Lock {
    pub fn open(paths: &Paths) -> Result<Self, Problem> {
        let path = paths.at(layout::LOCK_FILE);
        File::open(&path).map(Self).map_err(|it| Problem::volume("open the lock", &path, &it))
    }

    /// Takes the lock for as long as this process lives, however short its look at it may keep
    /// `telemetry` in the way.
    pub fn hold(&self) -> io::Result<()> {
        Ok(flock(&self.0, FlockOperation::LockExclusive)?)
    }

    /// One look at both. The mark comes first: were it second, a runner that takes the lock and writes the
    /// mark in between would seem to have ended.
    pub fn look(&self, watch: &mut Watch, mark: impl FnOnce() -> bool) -> io::Result<State> {
        let mark = mark();
        Ok(watch.look(self.is_held()?, mark))
    }

    /// Whether somebody holds it.
    fn is_held(&self) -> io::Result<bool> {
        match flock(&self.0, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                flock(&self.0, FlockOperation::Unlock)?;
                Ok(false)
            }
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lock held, mark there; one after the other.
    type Looks = &'static [(bool, bool)];

    #[test]
    fn three_states() {
        use State::{Ended, NotBegun, Running};
        #[rustfmt::skip]
        let table: [(Looks, State, &str); 8] = [
            (&[(false, false)], NotBegun, "nothing yet"),
            (&[(false, false), (false, false)], NotBegun, "free without the mark is never an end"),
            (&[(true, false)], Running, "held, the mark comes next"),
            (&[(true, true)], Running, "the usual"),
            (&[(true, true), (false, true)], Ended, "the usual end"),
            (&[(true, true), (false, false)], Ended, "the agent removed the mark"),
            (&[(false, true)], Ended, "it was over before we looked"),
            (&[(true, false), (false, false)], Ended, "killed before it could write the mark"),
        ];
        for (looks, want, because) in table {
            let mut watch = Watch::default();
            let last = looks.iter().map(|(held, mark)| watch.look(*held, *mark)).last();
            assert_eq!(last, Some(want), "{because}");
        }
    }

    #[test]
    fn a_runner_that_begins_during_a_look_has_not_ended() {
        let root = root();
        let paths = Paths::new(&root.path().to_string_lossy());
        let (ours, theirs) = (Lock::open(&paths).unwrap(), Lock::open(&paths).unwrap());
        let begins = || {
            ours.hold().unwrap();
            true
        };
        assert_eq!(theirs.look(&mut Watch::default(), begins).unwrap(), State::Running);
    }

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("gastown/lock")).unwrap();
        std::fs::write(root.path().join("gastown/lock/agent"), "").unwrap();
        root
    }

    #[test]
    fn another_descriptor_sees_the_lock() {
        let root = root();
        let paths = Paths::new(&root.path().to_string_lossy());
        let (ours, theirs) = (Lock::open(&paths).unwrap(), Lock::open(&paths).unwrap());
        assert!(!theirs.is_held().unwrap());
        ours.hold().unwrap();
        assert!(theirs.is_held().unwrap());
        drop(ours);
        assert!(!theirs.is_held().unwrap(), "released with its holder");
    }
}
