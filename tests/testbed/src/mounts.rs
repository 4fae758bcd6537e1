//! What the inner mount namespace sees in place of the host's folders, so that a runtime and a kubelet
//! leave nothing on the host: an empty /run, and copies on write of the folders with fixed names that they
//! write to.

use std::{
    ffi::CString,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::CWD,
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree},
};

/// Folders that are seen as they are, but whose changes stay inside.
const COPIED: [&str; 3] = ["/var/lib", "/var/log", "/opt"];
/// Folders of a kubelet or a runtime of the host: not seen at all.
const HIDDEN: [&str; 3] = ["/var/lib/kubelet", "/var/lib/cni", "/var/lib/containerd"];

/// Covers them; these folders stay the host's wherever they are.
pub fn cover(folder: &Path, shared: &[&Path]) -> Result<()> {
    let scratch = folder.join("scratch");
    fs::create_dir_all(&scratch)
        .with_context(|| format!("failed to create {}", scratch.display()))?;
    let kept: Vec<_> = shared.iter().map(|it| Kept::take(it)).collect::<Result<_>>()?;
    empty(&scratch)?;
    for path in COPIED.iter().map(Path::new).filter(|it| it.is_dir()) {
        copy_on_write(path, &scratch)?;
    }
    for path in HIDDEN.iter().map(Path::new) {
        fs::create_dir_all(path).with_context(|| format!("failed to create {}", path.display()))?;
        empty(path)?;
    }
    empty(Path::new("/run"))?;
    for path in ["/run/lock", "/run/sshd"] {
        fs::create_dir(path).with_context(|| format!("failed to create {path}"))?;
    }
    kept.iter().try_for_each(Kept::put_back)
}

fn empty(path: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", path, "tmpfs", flags, Some(c"mode=755"))
        .with_context(|| format!("failed to mount an empty {}", path.display()))
}

fn copy_on_write(path: &Path, scratch: &Path) -> Result<()> {
    let name = path.to_string_lossy().replace('/', "_");
    let [upper, work] = ["upper", "work"].map(|it| scratch.join(format!("{name}.{it}")));
    for folder in [&upper, &work] {
        fs::create_dir(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        path.display(),
        upper.display(),
        work.display()
    );
    let options = CString::new(options).context("a path with a zero byte")?;
    mount("overlay", path, "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .with_context(|| format!("failed to mount a copy of {}", path.display()))
}

/// A folder that is put back over whatever covers it.
struct Kept {
    tree: OwnedFd,
    path: PathBuf,
}

impl Kept {
    fn take(path: &Path) -> Result<Self> {
        let path =
            path.canonicalize().with_context(|| format!("failed to find {}", path.display()))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, &path, flags)
            .with_context(|| format!("failed to keep {}", path.display()))?;
        Ok(Self { tree, path })
    }

    fn put_back(&self) -> Result<()> {
        let covered =
            COPIED.iter().chain(&HIDDEN).chain(&["/run"]).any(|it| self.path.starts_with(it));
        if !covered {
            return Ok(());
        }
        fs::create_dir_all(&self.path)
            .with_context(|| format!("failed to create {}", self.path.display()))?;
        move_mount(&self.tree, "", CWD, &self.path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .with_context(|| format!("failed to keep {}", self.path.display()))
    }
}
