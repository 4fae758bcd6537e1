//! Namespaces of their own for a control plane and a node: when their init ends, the kernel ends every
//! process, mount and link in them. Needs root; without it everything runs as plain processes on loopback.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    process::{WaitOptions, geteuid, wait},
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::{
    mounts,
    plan::Plan,
    process::{Roll, die_with_parent},
};

/// `CAP_NET_ADMIN` and `CAP_SYS_ADMIN`, as bits of `CapEff`.
const NEEDED: u64 = 1 << 12 | 1 << 21;

/// Whether this process may make namespaces, mounts and links.
pub fn is_possible() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    geteuid().is_root() && capabilities(&status) & NEEDED == NEEDED
}

fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0)
}

/// Leaves this process's namespaces and runs `init` as the first process of new ones; ends when that ends.
#[expect(
    unsafe_code,
    reason = "leaving namespaces is unsafe in general, because of shared descriptor tables"
)]
pub fn enclose(folder: &Path) -> Result<ExitCode> {
    // SAFETY: descriptor tables stay shared; only the namespaces below change, in a process with one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID | UnshareFlags::NEWNS | UnshareFlags::NEWNET) }
        .context("failed to make PID, mount and network namespaces")?;
    let mut init = ourselves("init", folder)?;
    die_with_parent(&mut init);
    let mut child = init.spawn().context("failed to start the init of the namespaces")?;
    Roll::of(folder).add(child.id())?;
    let status = child.wait().context("failed to wait for the init of the namespaces")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first process: prepares the mounts, runs `inner`, and reaps whatever is orphaned, until `inner` ends.
pub fn init(folder: &Path) -> Result<ExitCode> {
    let plan = Plan::read(folder)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("failed to make the mounts private")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None).context("failed to mount /proc")?;
    if plan.node.is_real() {
        let audit = plan.audit.parent().unwrap_or(Path::new("/"));
        mounts::cover(folder, &[folder, audit])?;
    }
    let mut inner = ourselves("inner", folder)?;
    die_with_parent(&mut inner);
    let child = inner.spawn().context("failed to start the inner process")?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((ended, status))) if ended.as_raw_nonzero().get() == pid => {
                let fine = status.exit_status() == Some(0);
                return Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!("failed to wait for children: {error}"),
        }
    }
}

/// This program again, in another role.
pub fn ourselves(role: &str, folder: &Path) -> Result<Command> {
    let mut command = Command::new(crate::program()?);
    command.arg(role).arg(folder);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_kernels_text() {
        let all = "Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n";
        assert_eq!(capabilities(all) & NEEDED, NEEDED);
        assert_eq!(
            capabilities("CapEff:\t00000000a80425fb\n") & NEEDED,
            0,
            "an ordinary container's root"
        );
        assert_eq!(capabilities(""), 0);
    }
}
