//! Locks that every testbed of a user respects, and whom somebody waits for who does not get one.

use std::{fs, io::Write as _, path::Path};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};

/// Waits for, and takes, a lock that every testbed of this user respects. It is free again when the file is
/// dropped. Who waits is told which process holds it.
pub fn lock(path: &Path, waiting_for: &str) -> Result<fs::File> {
    let failed = |what: &str| format!("failed to {what} {}", path.display());
    // What is in it is its holder's.
    let mut options = fs::File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| failed("create"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if !waiting_for.is_empty() {
            eprintln!("testbed: waiting for {waiting_for}{}", holder(path));
        }
        flock(&file, FlockOperation::LockExclusive).with_context(|| failed("lock"))?;
    }
    file.set_len(0).with_context(|| failed("write"))?;
    write!(file, "{}", std::process::id()).with_context(|| failed("write"))?;
    Ok(file)
}

/// Which process holds a lock, and whether it is one that will not go on by itself. Empty where nobody said, and for one of
/// another PID namespace that has no number here.
fn holder(path: &Path) -> String {
    let pid = fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok().filter(|_| !pid.is_empty());
    let Some(stat) = stat else { return String::new() };
    // After the name, in parentheses that may hold anything.
    let state = stat.rsplit(')').next().and_then(|it| it.trim_start().chars().next());
    match state {
        Some('T' | 't') => format!(": process {pid}, which is suspended (kill -CONT {pid})"),
        _ => format!(": process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        process::{Command, Stdio},
    };

    use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("testbed-lock-{}-{name}", std::process::id()))
    }

    #[test]
    fn who_waits_is_told_which_process_holds_a_lock() {
        let path = file("held");
        assert_eq!(holder(&path), "", "nobody ever had it");
        let held = lock(&path, "a build").unwrap();
        assert_eq!(holder(&path), format!(": process {}", std::process::id()));
        assert!(
            flock(fs::File::open(&path).unwrap(), FlockOperation::NonBlockingLockExclusive)
                .is_err()
        );
        drop(held);
        let again = lock(&path, "a build").unwrap();
        assert_eq!(again.metadata().unwrap().len(), std::process::id().to_string().len() as u64);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn one_that_is_suspended_is_told_of_with_the_command_that_mends_it() {
        let path = file("suspended");
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        kill_process(pid, Signal::STOP).unwrap();
        waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
        fs::write(&path, child.id().to_string()).unwrap();
        let said = holder(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        let id = child.id();
        assert_eq!(said, format!(": process {id}, which is suspended (kill -CONT {id})"));
        assert_eq!(holder(&path), "", "it is gone");
        fs::remove_file(path).unwrap();
    }
}
