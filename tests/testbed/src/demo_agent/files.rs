//! Files of the working directory, and no others: a path that leaves it, follows a symbolic link or enters
//! `.git` is refused by the kernel or before.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Component, Path},
};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, open, openat2, unlinkat};

/// What a file holds; nothing, when it is not there.
pub fn read(path: &str) -> Result<String> {
    check(path)?;
    let file = match open_beneath(path, OFlags::RDONLY) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(String::new()),
        Err(error) => return Err(error).with_context(|| format!("failed to open {path}")),
    };
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).with_context(|| format!("failed to read {path}"))?;
    Ok(text)
}

/// Writes a file whole, making the folders above it.
pub fn write(path: &str, text: &str) -> Result<()> {
    let mut file = create(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("failed to write {path}"))
}

/// Writes so many megabytes of zeros, or as many as there is room for.
pub fn fill(path: &str, megabytes: u64) -> Result<()> {
    let mut file = create(path)?;
    let block = vec![0; 1 << 20];
    for number in 0..megabytes {
        file.write_all(&block)
            .with_context(|| format!("failed to write {path} after {number} MB"))?;
    }
    Ok(())
}

pub fn delete(path: &str) -> Result<()> {
    check(path)?;
    drop(open_beneath(path, OFlags::RDONLY).with_context(|| format!("failed to find {path}"))?);
    unlinkat(CWD, path, AtFlags::empty()).with_context(|| format!("failed to delete {path}"))
}

fn create(path: &str) -> Result<File> {
    check(path)?;
    let above: Vec<_> =
        Path::new(path).ancestors().skip(1).filter(|it| !it.as_os_str().is_empty()).collect();
    for folder in above.into_iter().rev() {
        match mkdirat(CWD, folder, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("failed to make {}", folder.display()));
            }
        }
        // One that is there may be a link to somewhere else.
        open_beneath(&folder.to_string_lossy(), OFlags::DIRECTORY)
            .with_context(|| format!("{} is no folder of this repository", folder.display()))?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    open_beneath(path, flags).map(File::from).with_context(|| format!("failed to create {path}"))
}

fn open_beneath(path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let here = open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mode =
        if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o644) } else { Mode::empty() };
    openat2(
        &here,
        path,
        flags | OFlags::CLOEXEC,
        mode,
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
}

/// A plain way down, and not into git's own folder.
fn check(path: &str) -> Result<()> {
    let parts = || Path::new(path).components();
    let plain = parts().all(|it| matches!(it, Component::Normal(_)));
    let own = parts().any(|it| it.as_os_str().eq_ignore_ascii_case(".git"));
    if path.is_empty() || !plain || own {
        bail!("{path:?} is no file of this repository");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_repository_are_touched() {
        for path in ["", "/etc/passwd", "../x", "a/../../x", ".git/config", "a/.GIT/hooks/x", "."] {
            assert!(check(path).is_err(), "{path:?}");
        }
        for path in ["a", "docs/a.md", ".github/x", "a b"] {
            assert!(check(path).is_ok(), "{path:?}");
        }
    }
}
