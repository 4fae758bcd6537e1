//! The process that outlives a testbed and removes what is left of it, however the testbed ended. In a
//! session of its own, so that no signal to the testbed's terminal or group reaches it.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, ChildStdin, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::setsid;

use crate::{enclosure::ourselves, run_folder::RunFolder};

/// The testbed's grip on its janitor: when it is let go, by whatever end, the janitor begins.
pub struct Janitor {
    child: Child,
    grip: Option<ChildStdin>,
}

impl Janitor {
    pub fn start(folder: &RunFolder) -> Result<Self> {
        let mut command = ourselves("janitor", folder.path())?;
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().context("failed to start the janitor")?;
        let grip = child.stdin.take();
        Ok(Self { child, grip })
    }

    /// Lets it begin, and waits until all is removed.
    pub fn finish(mut self, folder: &RunFolder) -> Result<()> {
        self.grip = None;
        let status = self.child.wait().context("failed to wait for the janitor")?;
        if !status.success() {
            let report = fs::read_to_string(folder.join("janitor.log")).unwrap_or_default();
            bail!("failed to clean up after the testbed ({status}): {}", report.trim());
        }
        Ok(())
    }
}

/// The janitor's whole life.
pub fn run(folder: &Path) -> Result<ExitCode> {
    let folder = RunFolder::open(folder)?;
    setsid().context("failed to make a session")?;
    let Some(_lock) = folder.lock() else {
        bail!("{} is being removed already", folder.path().display())
    };
    // Ends when the last writer of the pipe does; what comes is of no interest.
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
    let removed = folder.remove();
    if let Err(error) = &removed {
        let _ = fs::write(folder.join("janitor.log"), format!("{error:#}\n"));
    }
    removed.map(|()| ExitCode::SUCCESS)
}
