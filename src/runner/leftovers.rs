//! Ends whatever the agent left running, so that nothing can change what is handed over. As the first
//! process of the container that is everything else there; elsewhere it is what descends from this
//! process, and never more.

use std::{collections::BTreeMap, fs, thread::sleep, time::Duration};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper, wait,
};

/// Rounds of killing before we give up: a process in the kernel's hands can't be killed.
const ROUNDS: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

/// Makes orphans ours, so that none gets away by leaving its parent.
pub fn adopt_orphans() -> rustix::io::Result<()> {
    set_child_subreaper(Some(getpid()))
}

/// Kills all of them and takes their ends. False where some are still there.
pub fn end() -> bool {
    for _ in 0..ROUNDS {
        kill();
        if !reap() {
            return true;
        }
        sleep(PAUSE);
    }
    false
}

/// Kills all of them that one look finds; they may be replaced meanwhile.
pub fn kill() {
    // A process that is gone already is what we want.
    if getpid() == Pid::INIT {
        let _gone = kill_process_group(Pid::INIT, Signal::KILL); // kill(-1): all but the first process
        return;
    }
    for pid in descendants(getpid()) {
        let _gone = kill_process(pid, Signal::KILL);
    }
}

/// Takes the ends of those that ended. True while there are children.
fn reap() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false, // no children
        }
    }
}

/// All processes below `root`, from one look at `/proc`.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, parent) in fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|it| {
        let pid: i32 = it.file_name().to_str()?.parse().ok()?;
        Some((pid, parent(&fs::read_to_string(it.path().join("stat")).ok()?)?))
    }) {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut next = vec![root.as_raw_nonzero().get()];
    while let Some(pid) = next.pop() {
        let below = children.remove(&pid).unwrap_or_default(); // each is visited once, so this ends
        found.extend(below.iter().copied());
        next.extend(below);
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// The parent's id in `/proc/<pid>/stat`: the second field after the name, which may itself hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_hides_no_parent() {
        assert_eq!(parent("12 (a) S 99 (b) R 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (sleep) S 3 12"), Some(3));
        assert_eq!(parent("nonsense"), None);
    }

    #[test]
    fn a_child_is_found() {
        let mut child = std::process::Command::new("sleep").arg("3600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(descendants(getpid()).iter().any(|it| it.as_raw_nonzero().get() == pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
