//! The cgroup that a node's pods are in, one in every hierarchy. Removed with the testbed.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::run_folder::cgroup_hierarchies;

/// Makes it, able to hold pods.
pub fn create(name: &str) -> Result<()> {
    for hierarchy in cgroup_hierarchies() {
        let path = hierarchy.join(name);
        if hierarchy.join("cgroup.subtree_control").exists() {
            hand_down(&hierarchy);
        }
        fs::create_dir(&path)
            .with_context(|| format!("failed to make the cgroup {}", path.display()))?;
        if path.join("cgroup.subtree_control").exists() {
            hand_down(&path);
        }
        // Version 1: a new cpuset is empty, and nothing can run in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            copy(&hierarchy, &path, file)?;
        }
    }
    Ok(())
}

/// Version 2: children have the controllers that their parent hands down. One that can't be is the
/// kubelet's to miss.
fn hand_down(path: &Path) {
    let there = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
    for controller in there.split_ascii_whitespace() {
        let _ = fs::write(path.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn copy(from: &Path, to: &Path, file: &str) -> Result<()> {
    let (from, to) = (from.join(file), to.join(file));
    let Ok(value) = fs::read_to_string(&from) else { return Ok(()) };
    if value.trim().is_empty() || !to.exists() {
        return Ok(());
    }
    fs::write(&to, value).with_context(|| format!("failed to write {}", to.display()))
}
