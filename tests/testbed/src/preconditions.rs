//! What a kind of node needs of the machine, so that a test can say by name why it was skipped.

use std::{io::Write as _, path::Path};

use anyhow::{Result, bail};

use crate::{
    Node, build, enclosure, link,
    node::{cgroups, images, kwok, real},
    tools::{Tool, Tools, on_path},
};

/// Whether a kind of node can be had here; else everything that is missing.
pub fn of(node: Node) -> std::result::Result<(), Vec<String>> {
    let mut missing = programs(wanted(node));
    missing.extend(of_machine(node).err().unwrap_or_default());
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// The same, but for the programs that are built where they are missing.
pub(crate) fn of_machine(node: Node) -> std::result::Result<(), Vec<String>> {
    let mut missing = Vec::new();
    if node.is_real() {
        if !enclosure::is_possible() {
            missing
                .push("root with CAP_SYS_ADMIN and CAP_NET_ADMIN, to make namespaces".to_owned());
        }
        let groups = Path::new("/sys/fs/cgroup");
        if is_writable(groups) {
            missing.extend(cgroups::lacking(groups));
        } else {
            missing.push("a writable /sys/fs/cgroup".to_owned());
        }
        missing.extend(packages());
    }
    if node == Node::Kwok {
        missing.extend(build::kubernetes().ok().and_then(|it| kwok::lacking(it.minor())));
    }
    if enclosure::is_possible() && !link::is_possible() {
        missing.push("the program ip (Debian package iproute2)".to_owned());
    }
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// A control plane and pods that are played.
pub fn kwok() -> std::result::Result<(), Vec<String>> {
    of(Node::Kwok)
}

/// A control plane, a kubelet and a runtime.
pub fn real() -> std::result::Result<(), Vec<String>> {
    of(Node::Real)
}

/// The programs that a control plane with this kind of node is made of.
pub(crate) fn wanted(node: Node) -> Vec<Tool> {
    let mut wanted = Tool::CONTROL_PLANE.to_vec();
    match node {
        Node::None => {}
        Node::Kwok => wanted.push(Tool::Kwok),
        Node::Real => wanted.extend([Tool::Kubelet, Tool::KubeProxy]),
    }
    wanted
}

/// Whether a test can run. If not, says so by the test's name, as `SKIP name: reason`; where
/// `GASTOWN_REQUIRE` (a list such as `node,kwok`) has this kind of node, that is an error instead.
pub fn allow(test: &str, node: Node) -> Result<bool> {
    let Err(missing) = of(node) else { return Ok(true) };
    skip(test, word(node), &missing.join("; "))?;
    Ok(false)
}

/// The word for a kind of node.
fn word(node: Node) -> &'static str {
    if node.is_real() { "node" } else { node.name() }
}

/// Whether something may do without a kind of node that is missing here.
///
/// # Errors
///
/// As [`skip`].
pub(crate) fn may_be_missing(who: &str, node: Node, missing: &[String]) -> Result<()> {
    allowed(&required(), who, word(node), &missing.join("; "))
}

fn required() -> String {
    std::env::var("GASTOWN_REQUIRE").unwrap_or_default()
}

/// What `GASTOWN_REQUIRE` may have: what the absence of makes a test, or a part of a script, skip itself.
const WORDS: &[&str] = &[
    "advisories",
    "buildah",
    "built",
    "cargo-deny",
    "cgroup",
    "check-jsonschema",
    "cosign",
    "curl",
    "faults",
    "fips",
    "git",
    "git-http",
    "glibc",
    "go",
    "go-original",
    "go-original-source",
    "helm",
    "jaeger",
    "jq",
    "kube-router",
    "kubectl",
    "kwok",
    "mount",
    "mount-namespace",
    "namespaces",
    "node",
    "nodejs",
    "none",
    "nss_wrapper",
    "olm",
    "openssl",
    "operator-sdk",
    "operator-verify",
    "opm",
    "perl",
    "previous",
    "prlimit",
    "promql",
    "pyspdxtools",
    "release",
    "root",
    "scc",
    "ssh-keygen",
    "sshd",
    "time-namespace",
];

/// Says that a test is skipped, and why.
///
/// # Errors
///
/// `GASTOWN_REQUIRE` has the word for what is missing, or one that nothing knows.
pub fn skip(test: &str, word: &str, reason: &str) -> Result<()> {
    allowed(&required(), test, word, reason)?;
    // Past the harness, which keeps what a passing test prints; in one piece, since lines are counted.
    let _ = std::io::stderr().write_all(format!("SKIP {test}: {reason}\n").as_bytes());
    Ok(())
}

/// Whether a test may be skipped for want of this.
fn allowed(required: &str, test: &str, word: &str, reason: &str) -> Result<()> {
    let all = || required.split(',').map(str::trim).filter(|it| !it.is_empty());
    if let Some(it) = all().chain([word]).find(|it| !WORDS.contains(it)) {
        bail!("{test}: GASTOWN_REQUIRE knows no {it:?}; it may have {}", WORDS.join(", "));
    }
    if all().any(|it| it == word) {
        bail!(
            "{test} needs what GASTOWN_REQUIRE={required} says is here, but it is missing: {reason}"
        );
    }
    Ok(())
}

/// Programs that a real node needs, each with its Debian package.
pub const PROGRAMS: [(&str, &str); 10] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("git", "git"),
    ("ldd", "libc-bin"),
];

/// What of a real node's needs is not installed.
fn packages() -> Vec<String> {
    let absent = PROGRAMS.iter().filter(|(program, _)| on_path(program).is_none());
    let mut missing: Vec<_> = absent
        .map(|(program, package)| format!("the program {program} (Debian package {package})"))
        .collect();
    if real::plugins().is_none() {
        missing.push(
            "network plugins in /usr/lib/cni (Debian package containernetworking-plugins)"
                .to_owned(),
        );
    }
    if images::nss_wrapper().is_none() {
        missing.push("libnss_wrapper.so (Debian package libnss-wrapper)".to_owned());
    }
    // Without git the program is missing, which is said above.
    let transport = on_path("git").map(|_| images::transport().map(drop));
    let checked = [images::busybox().map(drop), images::certificates().map(drop)];
    missing.extend(
        checked.into_iter().chain(transport).filter_map(Result::err).map(|it| format!("{it:#}")),
    );
    missing
}

/// Programs that are neither there nor can be built.
fn programs(wanted: Vec<Tool>) -> Vec<String> {
    let missing = match Tools::missing(wanted) {
        Ok(missing) => missing,
        Err(error) => return vec![format!("{error:#}")],
    };
    if missing.is_empty() || on_path("go").is_some() {
        return Vec::new();
    }
    missing.iter().map(|it| format!("the program {}, or Go to build it", it.name())).collect()
}

fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok() && !is_read_only(path)
}

fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path)
        .is_ok_and(|it| it.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_is_not_skipped_and_no_word_is_ignored() {
        let table = [
            ("", "node", None, "nothing is required"),
            ("kwok,sshd", "node", None, "something else is"),
            (" node , kwok", "node", Some("needs"), "blanks do not matter"),
            ("node,kwok", "kwok", Some("needs"), "each word counts"),
            ("nodes", "kwok", Some("no \"nodes\""), "a slip of the pen would require nothing"),
            ("", "nodes", Some("no \"nodes\""), "nor can a test ask for what nobody can require"),
        ];
        for (required, word, want, because) in table {
            let said =
                allowed(required, "a_test", word, "it is not there").map_err(|it| it.to_string());
            match want {
                None => assert_eq!(said, Ok(()), "{because}"),
                Some(part) => assert!(said.is_err_and(|it| it.contains(part)), "{because}"),
            }
        }
    }
}
