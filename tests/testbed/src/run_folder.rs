//! The folder of one testbed, who owns it, and how all that it left is removed: processes, network link,
//! cgroups, files. Never touches a folder whose owner lives.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{
    build::random_id,
    process::{Identity, Roll},
};

const PREFIX: &str = "gastown-testbed-";
/// Temporary files that are never in memory alone.
const ON_DISK: &str = "/var/tmp";
/// How long ended processes, their mounts and links may take to disappear.
const PATIENCE: Duration = Duration::from_secs(30);

/// One testbed's folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

/// Who made a folder. Of another boot: nobody that lives.
#[derive(Serialize, Deserialize)]
struct Owner {
    process: Identity,
    boot: String,
}

impl RunFolder {
    /// Makes a new one, owned by this process.
    pub fn create(on_disk: bool) -> Result<Self> {
        let path = root(on_disk).join(format!("{PREFIX}{}", random_id()?));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("failed to create {}", path.display()))?;
        let owner = Owner { process: Identity::own()?, boot: boot() };
        let file = path.join("owner");
        fs::write(&file, serde_json::to_vec(&owner)?)
            .with_context(|| format!("failed to write {}", file.display()))?;
        Ok(Self { path })
    }

    /// One that exists.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        let id = name.strip_prefix(PREFIX).unwrap_or_default();
        if id.len() != 8 || !id.bytes().all(|it| it.is_ascii_hexdigit()) {
            bail!(
                "{} is no folder of a testbed: its name must be {PREFIX} and 8 hex digits",
                path.display()
            );
        }
        Ok(Self { path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a folder inside.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("failed to create {}", path.display()))?;
        Ok(path)
    }

    fn id(&self) -> &str {
        let name = self.path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        name.strip_prefix(PREFIX).unwrap_or_default()
    }

    /// Name of the network link's end on the host; a link's name has at most 15 bytes.
    pub fn link(&self) -> String {
        format!("gtb{}", self.id())
    }

    /// Name of the cgroup of the node's pods, in every hierarchy.
    pub fn cgroup(&self) -> String {
        format!("{PREFIX}{}", self.id())
    }

    /// Held by whoever cleans up, so that two never do. `None`: someone else is at it, or the folder is gone.
    pub fn lock(&self) -> Option<fs::File> {
        let folder = fs::File::open(&self.path).ok()?;
        flock(&folder, FlockOperation::NonBlockingLockExclusive).ok().map(|()| folder)
    }

    /// A real folder of this user: what another one says in such a folder is no reason to end or remove anything.
    fn is_ours(&self) -> bool {
        let user = rustix::process::geteuid().as_raw();
        fs::symlink_metadata(&self.path).is_ok_and(|it| it.is_dir() && it.uid() == user)
    }

    fn owner_lives(&self) -> bool {
        let Ok(text) = fs::read(self.path.join("owner")) else { return self.is_young() };
        let Ok(owner) = serde_json::from_slice::<Owner>(&text) else { return self.is_young() };
        owner.boot == boot() && owner.process.is_alive()
    }

    /// One without an owner is being made right now, or was left by one that died making it.
    fn is_young(&self) -> bool {
        let age = fs::metadata(&self.path)
            .and_then(|it| it.modified())
            .map(|it| it.elapsed().unwrap_or_default());
        age.is_ok_and(|age| age < Duration::from_secs(60))
    }

    /// Ends and removes all that belongs to it. An error names what could not be removed.
    pub fn remove(&self) -> Result<()> {
        let left = Roll::of(&self.path).end_all(PATIENCE);
        if !left.is_empty() {
            let pids: Vec<_> = left.iter().map(|it| it.pid.to_string()).collect();
            bail!("processes {} of {} do not end", pids.join(", "), self.path.display());
        }
        self.remove_link()?;
        for hierarchy in cgroup_hierarchies() {
            remove_cgroup(&hierarchy.join(self.cgroup()))?;
        }
        retry(|| match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
        .with_context(|| format!("failed to remove {}", self.path.display()))
    }

    /// The link goes with its network namespace, a moment after the last process in it; what is left is
    /// deleted.
    fn remove_link(&self) -> Result<()> {
        let there = Path::new("/sys/class/net").join(self.link());
        retry(|| {
            if !there.exists() {
                return Ok(());
            }
            let mut delete = Command::new("ip");
            delete
                .args(["link", "delete", &self.link()])
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            let _ = delete.stderr(Stdio::null()).status()?;
            if there.exists() { Err(io::ErrorKind::ResourceBusy.into()) } else { Ok(()) }
        })
        .with_context(|| format!("failed to remove the network link {}", self.link()))
    }
}

/// Removes what owners that died left behind. Never fails: what can't be removed is reported and left.
pub fn sweep() {
    for root in roots() {
        let Ok(entries) = fs::read_dir(&root) else { continue };
        for entry in entries.flatten() {
            let Ok(folder) = RunFolder::open(&entry.path()) else { continue };
            if !folder.is_ours() || folder.owner_lives() {
                continue;
            }
            let Some(_lock) = folder.lock() else { continue };
            if let Err(error) = folder.remove() {
                eprintln!("testbed: leftover of a testbed that was killed: {error:#}");
            }
        }
    }
}

/// Where folders are made: the user's own run folder, else the one for temporary files.
fn root(on_disk: bool) -> PathBuf {
    let temporary = std::env::temp_dir();
    match own_run_folder() {
        Some(own) if !on_disk => own,
        _ if on_disk && is_memory(&temporary) => PathBuf::from(ON_DISK),
        _ => temporary,
    }
}

fn roots() -> Vec<PathBuf> {
    own_run_folder().into_iter().chain([std::env::temp_dir(), PathBuf::from(ON_DISK)]).collect()
}

fn is_memory(path: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|it| it.f_type == TMPFS)
}

fn own_run_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|it| it.is_absolute() && it.is_dir())
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// The mounted cgroup trees: one (version 2), or one for each controller (version 1).
pub fn cgroup_hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root];
    }
    let entries = fs::read_dir(&root).into_iter().flatten().flatten();
    entries.map(|it| it.path()).filter(|it| it.join("cgroup.procs").exists()).collect()
}

/// A cgroup is a folder that only rmdir removes, and only when it has neither processes nor children.
fn remove_cgroup(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let entries =
        fs::read_dir(path).with_context(|| format!("failed to list {}", path.display()))?;
    for child in entries.flatten().filter(|it| it.file_type().is_ok_and(|it| it.is_dir())) {
        remove_cgroup(&child.path())?;
    }
    retry(|| fs::remove_dir(path))
        .with_context(|| format!("failed to remove the cgroup {}", path.display()))
}

/// The kernel gives up mounts, links and cgroups a moment after their last process, and tells nobody.
fn retry(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_folders_are_ever_opened() {
        let table = [
            ("/tmp/gastown-testbed-00ff00ff", true, "one of ours"),
            ("/tmp/gastown-testbed-", false, "no id"),
            ("/tmp/gastown-testbed-00ff00f", false, "a short id"),
            ("/tmp/gastown-testbed-00ff00fg", false, "no hex"),
            ("/tmp/other", false, "another's"),
            ("/", false, "no name at all"),
        ];
        for (path, ours, because) in table {
            assert_eq!(RunFolder::open(Path::new(path)).is_ok(), ours, "{because}");
        }
    }

    #[test]
    fn a_link_name_fits_the_kernel() {
        let folder = RunFolder::open(Path::new("/tmp/gastown-testbed-00ff00ff")).unwrap();
        assert!(folder.link().len() <= 15);
    }

    #[test]
    fn a_link_is_no_folder_of_ours() {
        let folder = RunFolder::create(true).unwrap();
        assert!(folder.is_ours());
        let link = root(true).join(format!("{PREFIX}{}", random_id().unwrap()));
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        let theirs = RunFolder::open(&link).unwrap().is_ours();
        fs::remove_file(&link).unwrap();
        fs::remove_dir_all(folder.path()).unwrap();
        assert!(!theirs);
    }

    #[test]
    fn a_folder_of_the_living_is_kept_and_one_of_the_dead_is_not() {
        let folder = RunFolder::create(true).unwrap();
        assert!(folder.owner_lives());
        sweep();
        assert!(folder.path().exists());
        let mut dead = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let process = Identity::of(i32::try_from(dead.id()).unwrap()).unwrap();
        dead.kill().unwrap();
        dead.wait().unwrap();
        let owner = Owner { process, boot: boot() };
        fs::write(folder.join("owner"), serde_json::to_vec(&owner).unwrap()).unwrap();
        sweep();
        assert!(!folder.path().exists());
    }
}
