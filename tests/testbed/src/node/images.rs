//! The images of the real node, made from programs of this machine: a pause container, the runner, and an
//! agent.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    images::{Defaults, Tree, is_static, write_archive},
    plan::Programs,
    tools::on_path,
};

/// Keeps a pod's namespaces.
pub const PAUSE: &str = "localhost/pause:1";
/// Runs `git-init` and `telemetry`: git, ssh and the runner; no shell.
pub const RUNNER: &str = "localhost/gt-runner:dev";
/// Runs `claude`: a shell's tools, git, and the deterministic agent under the name of the real one; no
/// runner.
pub const AGENT: &str = "localhost/agent:dev";

const NONROOT: &str = "65532:65532";
const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";

/// Writes all of them as archives into a folder.
pub fn write_all(programs: &Programs, folder: &Path) -> Result<Vec<PathBuf>> {
    let write = |name: &str, image: &str, tree: &Tree, defaults: &Defaults<'_>| {
        let path = folder.join(format!("{name}.tar"));
        write_archive(tree, image, defaults, &path)?;
        Ok::<_, anyhow::Error>(path)
    };
    let entrypoint = &["/bin/busybox", "sleep", "infinity"];
    let pause = Defaults { user: "65535:65535", entrypoint, command: &[], folder: "/" };
    let agent =
        Defaults { user: NONROOT, entrypoint: &[], command: &["/bin/sh"], folder: "/home/nonroot" };
    Ok(vec![
        write("pause", PAUSE, &pause_tree()?, &pause)?,
        write("runner", RUNNER, &runner_tree(runner(programs)?)?, &RUNNERS)?,
        write("agent", AGENT, &agent_tree(programs)?, &agent)?,
    ])
}

const RUNNERS: Defaults<'_> = Defaults {
    user: NONROOT,
    entrypoint: &["/usr/local/bin/gt-runner"],
    command: &[],
    folder: "/home/nonroot",
};

/// The runner's image with another program as its runner, as an archive.
pub fn write_runner(runner: &Path, image: &str, path: &Path) -> Result<()> {
    write_archive(&runner_tree(runner)?, image, &RUNNERS, path)
}

/// An image of the operator as an archive: its program, and what every image has.
pub fn write_operator(program: &Path, image: &str, path: &Path) -> Result<()> {
    let mut tree = Tree::default();
    base(&mut tree)?;
    tree.program("usr/local/bin/gastown-operator", program)?;
    let entrypoint = &["/usr/local/bin/gastown-operator"];
    let defaults = Defaults { user: NONROOT, entrypoint, command: &[], folder: "/" };
    write_archive(&tree, image, &defaults, path)
}

/// An image for agents that is made of programs of this machine, as an archive: these, git, and a shell's tools.
pub fn write_agent(programs: &[(&str, PathBuf)], image: &str, path: &Path) -> Result<()> {
    let mut tree = Tree::default();
    base(&mut tree)?;
    git(&mut tree)?;
    shell(&mut tree)?;
    for (name, program) in programs {
        tree.program(&format!("usr/local/bin/{name}"), program)?;
    }
    let defaults =
        Defaults { user: NONROOT, entrypoint: &[], command: &["/bin/sh"], folder: "/home/nonroot" };
    write_archive(&tree, image, &defaults, path)
}

fn find(name: &str, package: &str) -> Result<PathBuf> {
    on_path(name).with_context(|| {
        format!("there is no program {name}: install the Debian package {package}")
    })
}

/// A base for images that are built elsewhere, as an archive: what they would install, a shell's tools, and the libraries that
/// these programs need.
pub fn write_base(programs: &[PathBuf], image: &str, path: &Path) -> Result<()> {
    let mut tree = Tree::default();
    base(&mut tree)?;
    git(&mut tree)?;
    shell(&mut tree)?;
    tree.program("usr/bin/ssh", &find("ssh", "openssh-client")?)?;
    for program in programs {
        tree.libraries(program)?;
    }
    let defaults = Defaults { user: "0:0", entrypoint: &[], command: &["/bin/sh"], folder: "/" };
    write_archive(&tree, image, &defaults, path)
}

/// Static, because an image with nothing else in it has no loader.
pub fn busybox() -> Result<PathBuf> {
    let path = find("busybox", "busybox-static")?;
    if !is_static(&path)? {
        bail!("{} is not static: install the Debian package busybox-static", path.display());
    }
    Ok(path)
}

fn pause_tree() -> Result<Tree> {
    let mut tree = Tree::default();
    tree.program("bin/busybox", &busybox()?)?;
    Ok(tree)
}

fn runner(programs: &Programs) -> Result<&Path> {
    if !is_static(&programs.runner)? {
        bail!(
            "{} is not static, so it could not run in an agent's image: build it with `cargo rustc --bin gt-runner -- \
             -C target-feature=+crt-static`",
            programs.runner.display()
        );
    }
    Ok(&programs.runner)
}

fn runner_tree(runner: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    base(&mut tree)?;
    git(&mut tree)?;
    tree.program("usr/bin/ssh", &find("ssh", "openssh-client")?)?;
    tree.folder("etc/ssh", 0o755, (0, 0));
    let wrapper =
        nss_wrapper().context("no libnss_wrapper.so: install the Debian package libnss-wrapper")?;
    tree.program(wrapper.to_string_lossy().trim_start_matches('/'), &wrapper)?;
    tree.program("usr/local/bin/gt-runner", runner)?;
    Ok(tree)
}

fn agent_tree(programs: &Programs) -> Result<Tree> {
    let mut tree = Tree::default();
    base(&mut tree)?;
    git(&mut tree)?;
    shell(&mut tree)?;
    tree.program("usr/local/bin/demo-agent", &programs.agent)?;
    tree.link("usr/local/bin/claude", "demo-agent");
    Ok(tree)
}

/// A shell and its tools.
fn shell(tree: &mut Tree) -> Result<()> {
    let busybox = busybox()?;
    tree.program("bin/busybox", &busybox)?;
    let applets = Command::new(&busybox)
        .arg("--list")
        .output()
        .context("failed to list busybox's programs")?;
    for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|it| *it != "busybox") {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}

/// Lets ssh run as a user that the image does not know.
pub fn nss_wrapper() -> Option<PathBuf> {
    let usual = format!("/usr/lib/{}-linux-gnu/libnss_wrapper.so", std::env::consts::ARCH);
    [usual.as_str(), "/usr/lib64/libnss_wrapper.so", "/usr/lib/libnss_wrapper.so"]
        .map(PathBuf::from)
        .into_iter()
        .find(|it| it.is_file())
}

/// What every image has. The home can be written by group 0, as platforms that choose the user at random
/// need.
fn base(tree: &mut Tree) -> Result<()> {
    tree.folder("tmp", 0o1777, (0, 0));
    tree.folder("home/nonroot", 0o775, (65532, 0));
    for folder in ["proc", "sys", "dev", "workspace"] {
        tree.folder(folder, 0o755, (0, 0));
    }
    tree.text("etc/passwd", PASSWD);
    tree.text("etc/group", "root:x:0:\nnonroot:x:65532:\n");
    tree.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
    tree.file("etc/ssl/certs/ca-certificates.crt", &certificates()?);
    Ok(())
}

/// Whom this machine trusts, where its distribution keeps that: Debian and Arch, Fedora, openSUSE.
pub fn certificates() -> Result<PathBuf> {
    let usual = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
    ];
    usual.map(PathBuf::from).into_iter().find(|it| it.is_file()).with_context(|| {
        format!("{} is missing: install the Debian package ca-certificates", usual.join(" or "))
    })
}

/// git's transport over https, where this machine's git looks for it.
pub fn transport() -> Result<PathBuf> {
    let git = find("git", "git")?;
    let answer = Command::new(&git).arg("--exec-path").output();
    let answer = answer.with_context(|| format!("failed to run {}", git.display()))?;
    let folder = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    let path = Path::new(&folder).join("git-remote-http");
    if folder.is_empty() || !path.is_file() {
        bail!(
            "git's transport over https, {}, is missing: install the Debian package git",
            path.display()
        );
    }
    Ok(path)
}

/// git with its transport over https, which it looks for where this machine's does.
fn git(tree: &mut Tree) -> Result<()> {
    tree.program("usr/bin/git", &find("git", "git")?)?;
    let transport = transport()?;
    let inside = transport.to_string_lossy().trim_start_matches('/').to_owned();
    tree.program(&inside, &transport)?;
    tree.link(&format!("{inside}s"), "git-remote-http");
    tree.link(&inside.replace("git-remote-http", "git"), "/usr/bin/git");
    tree.folder("usr/share/git-core/templates", 0o755, (0, 0));
    Ok(())
}
