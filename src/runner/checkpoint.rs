//! Hands over what the agent has committed so far, again and again while it runs: a container that is
//! killed at once, as for want of memory, has no end at which it could. Done by a child process, so that
//! it delays nothing.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use super::{
    FAILED,
    args::{self, Claude},
    handover::Handover,
    log, others,
    paths::Paths,
    tools::Start,
};
use crate::domain::layout;

/// Watches the agent's branches.
pub struct Checkpoints {
    root: String,
    /// The agent's `.git`.
    directory: String,
    watched: Vec<String>,
    every: Duration,
    max_bundle: u64,
    seen: Option<(i64, i64)>,
    last: Instant,
}

impl Checkpoints {
    /// `checkpoint_seconds` is the least time between two; zero: never.
    pub fn new(paths: &Paths, start: &Start, arguments: &Claude) -> Self {
        let every = Duration::from_secs(arguments.checkpoint_seconds);
        let directory = format!("{}/.git", paths.at(layout::REPOSITORY));
        let file = |name: &str| format!("{directory}/{name}");
        let work = format!("refs/heads/{}", start.branch);
        let watched = ["HEAD", "logs/HEAD", "packed-refs", &work].map(file).to_vec();
        let (root, max_bundle) = (paths.at("/"), arguments.max_bundle_bytes);
        let (seen, last) = (None, Instant::now());
        let mut it = Self { root, directory, watched, every, max_bundle, seen, last };
        it.seen = it.changed();
        it
    }

    /// Starts a checkpoint where branches have moved and the last one is long enough ago. Whoever reaps
    /// this process's children reaps it too.
    pub fn look(&mut self) {
        if self.every.is_zero() || self.last.elapsed() < self.every {
            return;
        }
        self.last = Instant::now();
        let changed = self.changed();
        if changed == self.seen {
            return;
        }
        self.seen = changed;
        if let Err(error) = self.begin() {
            log::say(&format!("Failed to start a checkpoint: {error}"));
        }
    }

    fn begin(&self) -> std::io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        let max_bundle = self.max_bundle.to_string();
        let words = ["--root", &self.root, "checkpoint", "--max-bundle-bytes", &max_bundle];
        command.args(words).process_group(0);
        command.env_clear().envs(std::env::var_os("PATH").map(|it| ("PATH", it)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().map(drop)
    }

    /// The latest change of a file that moves when a branch does, or a HEAD of a further work tree.
    fn changed(&self) -> Option<(i64, i64)> {
        let trees = others::work_trees(&self.directory).into_iter();
        let logs = trees.map(|it| format!("{}/worktrees/{it}/logs/HEAD", self.directory));
        let files = self.watched.iter().cloned().chain(logs);
        let times = files.filter_map(|it| fs::symlink_metadata(it).ok());
        times.map(|it| (it.ctime(), it.ctime_nsec())).max()
    }
}

/// Makes one.
pub async fn main(paths: &Paths, arguments: &args::Checkpoint) -> ExitCode {
    let bundled = match Start::read(paths) {
        Ok(start) => Handover::new(paths, &start, arguments.max_bundle_bytes).bundle().await,
        Err(problem) => Err(problem),
    };
    match bundled {
        Ok(Some(bundled)) => log::say(&format!("Checkpoint: handed over {}", bundled.said())),
        Ok(None) => {}
        Err(problem) => {
            log::say(&format!("Failed to make a checkpoint: {problem}"));
            return ExitCode::from(FAILED);
        }
    }
    ExitCode::SUCCESS
}
