//! A real Kubernetes control plane and node on one machine, for tests, benches and the demo. It leaves nothing
//! behind, however it ends, and never talks to anything but this machine.
//!
//! # From a shell
//!
//! ```text
//! testbed up   [--node none|kwok|real] [--replicas N] [--audit FILE] [--fsync] [--operator PATH] [-- FLAGS]
//! testbed exec [the same] [--operator-flag FLAG]... -- COMMAND
//! testbed tools
//! ```
//!
//! `up` stays in the foreground. When everything is ready it writes one JSON line, a [`Ready`], to standard output.
//! It ends with SIGINT, SIGTERM, SIGHUP, or the end of its standard input; until then a line `stop PROGRAM` there kills
//! one of its programs (`stop kube-apiserver`), `start PROGRAM` brings it back, `freeze` and `thaw PROGRAM` stop it where it
//! is and let it go on, each answered by a JSON line. `exec` runs a command against a fresh
//! testbed, with `KUBECONFIG`, `PATH` (kubectl is in it) and `GASTOWN_TESTBED` (the JSON line) set, and passes its
//! exit code on. `tools` finds or builds every program and says where each is.
//!
//! # From a test
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! use gastown_testbed::{Operator, OperatorOptions, Testbed};
//!
//! let testbed = Testbed::shared().await?; // one for all tests of this process
//! testbed.make_namespace("mine", &[]).await?;
//! let client = testbed.client("loadgen").await?; // the audit log knows it by this name
//! let options = OperatorOptions { name: "operator-a".into(), namespace: "mine".into(), ..Default::default() };
//! let operator = Operator::start(testbed, options).await?;
//! operator.wait_ready().await?;
//! // … make objects with `client` …
//! operator.kill9().await?;
//! let events = testbed.audit_events().await?;
//! let writes = events.iter().filter(|it| it.user == "operator-a" && it.is_write()).count();
//! # Ok(()) }
//! ```
//!
//! A test that needs a node asks [`preconditions::allow`] first; it says by name why a test was skipped, and fails
//! instead where `GASTOWN_REQUIRE` (such as `node,kwok`) lists what has to be here.
//!
//! # Nodes
//!
//! | `--node` | pods | needs |
//! | --- | --- | --- |
//! | `none` | stay Pending | nothing more |
//! | `kwok` | play a script, written as annotations on them or their Namespace: [`node::kwok`] | nothing more |
//! | `real` | run: containerd, kubelet, kube-proxy, images made here ([`node::images`]), a git server ([`Git`]) | root, Debian packages: [`preconditions::real`] |
//!
//! # Programs
//!
//! etcd, kube-apiserver and kubectl are taken from `KUBEBUILDER_ASSETS` where that is set and they are of the wanted
//! minor version (where not, it is said why); all else, and without it all, from the cache (`$XDG_CACHE_HOME/gastown-testbed`, else `~/.cache/gastown-testbed`), where what is missing is
//! built once from the Go modules pinned in `tests/tools`. `TESTBED_KUBERNETES=1.35.9` takes another version of
//! Kubernetes, in a cache of its own.
//!
//! # How it holds together
//!
//! ```text
//! testbed up ── owns the folder, the link to the namespaces, the operators      (host)
//!  ├─ janitor      in a session of its own; waits for the end of the above, then removes what is left
//!  ├─ operator-0…  processes on the host; webhooks behind one Service, led to the live ones only
//!  └─ enclose      left the host's PID, mount and network namespaces (root only; else `inner` at once)
//!      └─ init     first process of the new ones: when it ends, the kernel ends all that is in them
//!          └─ inner    starts etcd, API server, controller manager, scheduler, node; stays with them
//! ```
//!
//! Every arrow is a parent-death signal, so that killing `testbed up` kills all of it. A test does not start these
//! processes itself, because such a signal is bound to the thread that started the process: it starts `testbed up`
//! and holds the pipe that is its standard input. Folders of owners that died together with their janitor are swept
//! by the next start.

#![expect(
    clippy::disallowed_types,
    reason = "a testbed is outside the operator's layers and talks to the API server"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a testbed reads its own few environment variables where it needs them"
)]

pub mod ask;
pub mod audit;
mod build;
mod control_plane;
pub mod demo;
pub mod enclosure;
mod fleet;
mod git_server;
pub mod guard;
mod images;
pub mod inner;
pub mod janitor;
mod kubeconfig;
mod launch;
mod link;
mod lock;
pub mod manifests;
mod mounts;
mod net;
pub mod node;
pub mod olm;
mod operator;
pub mod outer;
mod pki;
mod plan;
pub mod preconditions;
mod process;
pub mod program;
mod replicas;
pub mod repository;
mod run_folder;
mod testbed;
pub mod tools;
pub mod watch;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

pub use crate::{
    launch::{NAMESPACE, http_get},
    operator::{Operator, OperatorOptions},
    run_folder::cgroup_hierarchies,
    testbed::Testbed,
};

/// What plays the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    /// Nothing: pods stay Pending.
    #[default]
    None,
    /// kwok: pods play a script.
    Kwok,
    /// kubelet, containerd and kube-proxy.
    Real,
}

impl Node {
    pub fn is_real(self) -> bool {
        self == Self::Real
    }

    /// As the command line says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kwok => "kwok",
            Self::Real => "real",
        }
    }
}

impl std::str::FromStr for Node {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::None, Self::Kwok, Self::Real];
        all.into_iter()
            .find(|it| it.name() == text)
            .with_context(|| format!("node {text:?}: none, kwok or real"))
    }
}

/// What a testbed is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub node: Node,
    /// Operators to run; the command line's default is 1.
    pub replicas: u32,
    /// Where the audit log goes; unset: into the testbed's folder.
    pub audit: Option<PathBuf>,
    /// Durable writes, on disk: for whatever is measured.
    pub fsync: bool,
    /// The API server's own storage migration, which is off by default.
    pub storage_migration: bool,
    /// The operator's program; unset: `gastown-operator` beside this one.
    pub operator: Option<PathBuf>,
    /// Further flags for every operator.
    pub operator_flags: Vec<String>,
    /// Folder with `crds/` and `webhooks/`; unset: the working directory, or the checkout this was built
    /// from.
    pub manifests: Option<PathBuf>,
    /// The static program `gt-runner` for the runner's image; unset: beside this one, in `static/` first.
    pub runner: Option<PathBuf>,
    /// The program `demo-agent` for the agent's image; unset: the same.
    pub agent: Option<PathBuf>,
    /// The program `kube-router`, which enforces network policies on a real node; unset: nobody does.
    pub enforcer: Option<PathBuf>,
    /// No namespaces, as without root.
    pub plain: bool,
}

/// What a testbed says of itself when it is ready: the one JSON line on standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// Of the user `admin`, who may do anything.
    pub kubeconfig: PathBuf,
    /// The API server's audit log: JSON lines.
    pub audit: PathBuf,
    /// Its folder: `log/`, `pki/`, `kubeconfig/`. Gone when it ends.
    pub dir: PathBuf,
    /// Where a server on the host has to listen to be reached by the API server.
    pub host_address: IpAddr,
    /// Runs in namespaces of its own; otherwise on loopback, where Services have no endpoints.
    pub enclosed: bool,
    pub kubectl: PathBuf,
    pub node: Node,
    pub replicas: Vec<Replica>,
    /// The git server; only with the real node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Git>,
}

/// One operator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Replica {
    /// Also the user that the audit log shows.
    pub name: String,
    pub pid: u32,
    /// URL of its metrics.
    pub metrics: String,
    /// URL below which `/livez`, `/readyz` and `/healthz` are.
    pub health: String,
    /// URL of its webhooks.
    pub webhook: String,
    pub log: PathBuf,
}

/// A git server that pods reach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Git {
    /// What a repository's name is appended to, for ssh: `git@ADDRESS:`.
    pub ssh: String,
    /// The same as a URL with a port: `ssh://git@ADDRESS:PORT/~/`.
    pub ssh_url: String,
    /// The same for https: `https://ADDRESS:PORT/`.
    pub https: String,
    /// The same for https, but every request is redirected to `https`.
    pub https_moved: String,
    /// Folder of the bare repositories, `NAME.git`.
    pub repositories: PathBuf,
    /// A private key that may read and write.
    pub ssh_key: PathBuf,
    pub known_hosts: PathBuf,
    /// Certificate of the https server's authority.
    pub ca: PathBuf,
    pub user: String,
    pub token: String,
}

/// The program `testbed`: `TESTBED_BIN`, or this very process, or one that Cargo built beside it.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TESTBED_BIN").map(PathBuf::from) {
        tools::bail_unless_executable(&path, "TESTBED_BIN")?;
        return Ok(path);
    }
    let own = std::env::current_exe().context("failed to find this program's own file")?;
    if own.file_name().is_some_and(|it| it == "testbed") {
        return Ok(own);
    }
    sibling(&own, "testbed").context(
        "there is no program `testbed` beside this one: build it with `cargo build -p gastown-testbed --bins`, or set \
         TESTBED_BIN",
    )
}

/// A program in the folder of this one or the folder above it: Cargo puts tests one folder below programs.
pub(crate) fn sibling(own: &Path, name: &str) -> Option<PathBuf> {
    own.ancestors().skip(1).take(2).map(|it| it.join(name)).find(|it| tools::is_executable(it))
}

/// A path that means the same in another working directory.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        bail!("an empty path");
    }
    std::path::absolute(path).with_context(|| format!("failed to resolve {}", path.display()))
}
