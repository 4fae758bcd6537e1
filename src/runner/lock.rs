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

/// What the lock and the traces of a runner say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Free, and there is no sign of a runner: its image may still be on its way.
    NotBegun,
    /// Held.
    Running,
    /// Free, after it was held.
    Ended,
}

/// Remembers what was seen.
#[derive(Debug, Default)]
pub struct Watch {
    seen: bool,
}

impl Watch {
    /// One look. A trace is left only by somebody who ran while the lock was held, so that one beside a free lock means an
    /// end; a free lock without any never does, unless it was seen held or traced: the agent may remove what it likes.
    const fn look(&mut self, held: bool, trace: bool) -> State {
        self.seen |= held || trace;
        match (held, self.seen) {
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

    /// One look at both. The traces come first: were they second, a runner that takes the lock and leaves its mark in
    /// between would seem to have ended.
    pub fn look(&self, watch: &mut Watch, trace: impl FnOnce() -> bool) -> io::Result<State> {
        let trace = trace();
        Ok(watch.look(self.is_held()?, trace))
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

    /// Lock held, a trace there; one after the other.
    type Looks = &'static [(bool, bool)];

    #[test]
    fn three_states() {
        use State::{Ended, NotBegun, Running};
        #[rustfmt::skip]
        let table: [(Looks, State, &str); 9] = [
            (&[(false, false)], NotBegun, "nothing yet"),
            (&[(false, false), (false, false)], NotBegun, "free without a trace is never an end"),
            (&[(true, false)], Running, "held, its mark comes next"),
            (&[(true, true)], Running, "the usual"),
            (&[(true, true), (false, true)], Ended, "the usual end"),
            (&[(true, true), (false, false)], Ended, "the agent removed the mark"),
            (&[(false, true)], Ended, "it was over before we looked"),
            (&[(false, true), (false, false)], Ended, "a trace that was removed afterwards"),
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
