//! Programs that a test writes and starts.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

/// Writes an executable file.
///
/// A process of its own writes it. Were it this one, a child that another thread forks in the meantime would hold the
/// file open for writing until it has become its own program, and whoever starts the file just then would read
/// `Text file busy`.
///
/// # Errors
///
/// `sh` can't be started, or can't write there; its own words are on standard error.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut writer = Command::new("sh")
        .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .context("start sh")?;
    let sent = writer.stdin.take().context("no pipe to sh")?.write_all(content.as_ref());
    let status = writer.wait().context("wait for sh")?;
    sent.with_context(|| format!("write {}", path.display()))?;
    ensure!(status.success(), "can't write {}: {status}", path.display());
    Ok(())
}

/// Copies an executable file, by a process of its own for the reason that [`write`] gives.
///
/// # Errors
///
/// `cp` can't be started, or can't copy; its own words are on standard error.
pub fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let status = Command::new("cp").arg("--").args([from, to]).status().context("start cp")?;
    ensure!(status.success(), "can't copy {} to {}: {status}", from.display(), to.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn what_is_written_can_be_started_while_others_fork() {
        let folder = std::env::temp_dir().join(format!("testbed-program-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Counted, so that a failure beside it ends the test and does not hold it.
                for _ in 0..20_000 {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    assert!(Command::new("true").status().unwrap().success());
                }
            });
            for round in 0..50 {
                let (first, second) = (folder.join("first"), folder.join("second"));
                write(&first, format!("#!/bin/sh\nexit {round}\n")).unwrap();
                copy(&first, &second).unwrap();
                for program in [first, second] {
                    assert_eq!(Command::new(program).status().unwrap().code(), Some(round));
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        std::fs::remove_dir_all(folder).unwrap();
    }
}
