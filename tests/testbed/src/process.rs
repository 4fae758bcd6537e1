//! Starts programs so that none outlives the thread that started it, and names processes so that a reused
//! pid is never mistaken for the one that was meant.

use std::{
    fs,
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, getpid, getppid, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

/// One process, for good: a pid alone may have been given to another one since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Start time, in clock ticks since boot.
    pub started: u64,
}

impl Identity {
    /// The process that has this pid now, if there is one that has not ended.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&stat).map(|started| Self { pid, started })
    }

    pub fn own() -> Result<Self> {
        let pid = getpid().as_raw_nonzero().get();
        Self::of(pid).with_context(|| format!("/proc/{pid}/stat can't be read: mount /proc"))
    }

    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// A descriptor of this very process; `None` when it has ended.
    fn open(self) -> Option<OwnedFd> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // The descriptor is of whoever had the pid just now: look once more that it is the one meant.
        self.is_alive().then_some(fd)
    }

    /// Sends a signal; one to a process that has ended is no error.
    pub fn signal(self, signal: Signal) {
        if let Some(fd) = self.open() {
            let _ = pidfd_send_signal(fd, signal);
        }
    }

    /// Waits until the process has ended; false when the deadline came first.
    pub fn wait_gone(self, deadline: Instant) -> bool {
        let Some(fd) = self.open() else { return true };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
            let mut fds = [PollFd::new(&fd, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return !self.is_alive(),
                Ok(_) => return true,
                Err(error) if error == rustix::io::Errno::INTR => {}
                Err(_) => return !self.is_alive(),
            }
        }
    }
}

/// Start time from the text of `/proc/PID/stat`; `None` for a zombie or a dead process. The program's name
/// stands in parentheses and may itself hold blanks and parentheses.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A program to start: no shell, no proxy, everything it says in one file.
pub struct Program {
    pub name: String,
    pub path: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub log: PathBuf,
    pub folder: PathBuf,
}

impl Program {
    /// Starts it in a process group of its own; the kernel kills it when the calling thread ends, so call
    /// this from the main thread only.
    pub fn start(&self) -> Result<tokio::process::Child> {
        // One that is started again goes on below what it said before.
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("failed to open {}", self.log.display()))?;
        let errors =
            log.try_clone().with_context(|| format!("failed to share {}", self.log.display()))?;
        let mut command = std::process::Command::new(&self.path);
        command.args(&self.arguments).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        without_proxies(&mut command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        die_with_parent(&mut command);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        command
            .spawn()
            .with_context(|| format!("failed to start {} ({})", self.name, self.path.display()))
    }
}

/// Test traffic stays on this machine: a proxy named by the environment must not see it.
pub fn without_proxies(command: &mut std::process::Command) {
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
}

/// The kernel kills the child when the thread that starts it ends, however that comes about.
#[expect(unsafe_code, reason = "code between fork and exec can only be had this way")]
pub fn die_with_parent(command: &mut std::process::Command) {
    let parent = getpid();
    let check = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the line above; as seen from a new PID namespace it has no pid
        // at all.
        match getppid() {
            Some(pid) if pid != parent => Err(io::Error::other("the parent has ended")),
            _ => Ok(()),
        }
    };
    // SAFETY: the closure makes two system calls and allocates only on the path that ends the child.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, check) };
}

/// The last lines of a log file, for an error message.
pub fn log_tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    let lines: Vec<&str> = lines.into_iter().rev().collect();
    format!("last lines of {}:\n{}", path.display(), lines.join("\n"))
}

/// Notes processes that have to be ended with the testbed, in a file that whoever cleans up reads.
pub struct Roll {
    path: PathBuf,
}

impl Roll {
    pub fn of(folder: &Path) -> Self {
        Self { path: folder.join("processes") }
    }

    pub fn add(&self, pid: u32) -> Result<()> {
        let Some(identity) = i32::try_from(pid).ok().and_then(Identity::of) else { return Ok(()) };
        let line = format!("{}\n", serde_json::to_string(&identity)?);
        let written = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        written.with_context(|| format!("failed to write {}", self.path.display()))
    }

    pub fn read(&self) -> Vec<Identity> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Kills all that are left and waits until they are gone; what is still there at the deadline is
    /// returned.
    pub fn end_all(&self, patience: Duration) -> Vec<Identity> {
        let deadline = Instant::now() + patience;
        let all = self.read();
        for it in &all {
            it.signal(Signal::KILL);
        }
        all.into_iter().filter(|it| !it.wait_gone(deadline)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_read_behind_any_name() {
        let fields = "1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let table = [
            (format!("7 (sh) S {fields}"), Some(4711), "an ordinary name"),
            (format!("7 (a) b (c)) R {fields}"), Some(4711), "a name with blanks and parentheses"),
            (format!("7 (sh) Z {fields}"), None, "a zombie has ended"),
            ("7 (sh) S 1".to_owned(), None, "cut short"),
            (String::new(), None, "nothing"),
        ];
        for (stat, started, because) in table {
            assert_eq!(parse_stat(&stat), started, "{because}");
        }
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let own = Identity::own().unwrap();
        assert!(own.is_alive());
        let other = Identity { started: own.started + 1, ..own };
        assert!(!other.is_alive());
        assert!(other.wait_gone(Instant::now()), "one that is not there is gone");
        other.signal(Signal::KILL); // must not hit this process
    }

    #[test]
    fn an_ended_process_is_seen_at_once() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(!identity.wait_gone(Instant::now()));
        identity.signal(Signal::KILL);
        assert!(identity.wait_gone(Instant::now() + Duration::from_secs(10)));
        child.wait().unwrap();
    }
}
