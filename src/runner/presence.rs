//! The sign that `telemetry` is there: a lock that it shares for as long as it lives, released by the kernel however it dies.
//! No agent begins without it, since nobody would push what it commits: an image that can't be pulled costs no work.

use std::{fs::File, io, time::Duration};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::time::interval;

use super::{log, paths::Paths, problem::Problem, supervise::Told};
use crate::domain::{layout, verdict::reason};

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// The file, open for reading: neither side can write it, and `flock` asks for no more.
pub struct Presence(File);

impl Presence {
    pub fn open(paths: &Paths) -> Result<Self, Problem> {
        let path = paths.at(layout::TELEMETRY_LOCK);
        File::open(&path).map(Self).map_err(|it| Problem::volume("open the lock", &path, &it))
    }

    /// Says that this process is there, until it ends.
    pub fn declare(&self) -> io::Result<()> {
        Ok(flock(&self.0, FlockOperation::LockShared)?)
    }

    /// Waits for somebody who says so.
    pub async fn wait(&self, told: &mut Told) -> Result<(), Problem> {
        let mut tick = interval(LOOK);
        let mut said = false;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = told.wait() => return Err(told_to_end()),
            }
            let seen = self.is_declared();
            if seen.map_err(|it| Problem::volume("look at the lock of", "telemetry", &it))? {
                return Ok(());
            }
            if !said {
                log::say("Waiting for container telemetry: without it nobody would push");
                said = true;
            }
        }
    }

    fn is_declared(&self) -> io::Result<bool> {
        match flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                flock(&self.0, FlockOperation::Unlock)?;
                Ok(false)
            }
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn told_to_end() -> Problem {
    let message = "the pod was told to end before its container telemetry had begun; the agent waited for that and did \
                   not run, so there is nothing to lose";
    Problem::new(reason::TERMINATED, message)
}
