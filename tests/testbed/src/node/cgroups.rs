//! The cgroup that a node's pods are in, one in every hierarchy. Removed with the testbed.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::run_folder::cgroup_hierarchies;

/// What a kubelet holds pods to, and does not start without.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Why these controllers can't be given to children of this root, if so. Version 1 has a tree for each of them.
pub fn lacking(root: &Path) -> Option<String> {
    judge(root, |file| fs::read_to_string(root.join(file)).ok())
}

fn judge(root: &Path, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let controllers = read("cgroup.controllers")?;
    let without = |text: &str| {
        let has = |it: &str| text.split_ascii_whitespace().any(|word| word == it);
        CONTROLLERS.into_iter().filter(|it| !has(it)).collect::<Vec<_>>()
    };
    let absent = without(&controllers);
    let needed = without(&read("cgroup.subtree_control").unwrap_or_default());
    if !absent.is_empty() {
        return Some(format!(
            "the cgroup controllers {}: {} has none",
            absent.join(", "),
            root.display()
        ));
    }
    // The root of all cgroups alone gives controllers away while processes are in it; it is also the only one without a type.
    let inhabited = read("cgroup.procs").is_some_and(|it| !it.trim().is_empty());
    let holds = read("cgroup.type").is_some() && inhabited;
    (holds && !needed.is_empty()).then(|| {
        format!(
            "the cgroup controllers {} for pods: {} is a container's own root with processes in it, so the kernel gives them to \
             none below (run the container with the host's cgroup namespace, or move its processes into a cgroup below first)",
            needed.join(", "),
            root.display()
        )
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_that_no_pod_can_have_are_missed_before_anything_starts() {
        let all = "cpuset cpu io memory pids";
        // What it has, what it gives already, whether it is a container's, who is in it.
        #[rustfmt::skip]
        let table = [
            (all, "", false, "1\n", None, "a machine's own root gives, whoever is in it"),
            (all, all, true, "", None, "it gives already"),
            (all, "", true, "", None, "nobody is in it"),
            (all, "", true, "0\n1\n", Some("controllers cpu, memory, pids for pods"), "the container's processes are in it"),
            (all, "cpu pids", true, "1\n", Some("controllers memory for pods"), "some are given"),
            ("cpu pids", "cpu pids", true, "", Some("controllers memory: "), "it was given none itself"),
            ("", "", false, "1\n", None, "version 1 has trees instead"),
        ];
        for (has, gives, contained, inhabitants, want, because) in table {
            let read = |file: &str| match file {
                "cgroup.controllers" => Some(has).filter(|it| !it.is_empty()),
                "cgroup.subtree_control" => Some(gives),
                "cgroup.type" => contained.then_some("domain"),
                "cgroup.procs" => Some(inhabitants),
                _ => None,
            };
            let said = judge(Path::new("/sys/fs/cgroup"), |file| read(file).map(str::to_owned));
            match want {
                None => assert_eq!(said, None, "{because}"),
                Some(part) => {
                    assert!(
                        said.as_ref().is_some_and(|it| it.contains(part)),
                        "{because}: {said:?}"
                    );
                }
            }
        }
    }
}
