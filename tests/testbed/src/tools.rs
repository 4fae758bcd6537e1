//! Finds the programs of a control plane and a node, or builds them from source once. Never takes a program
//! of another version than the one asked for out of the cache, never leaves a half-written one there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    build::{self, Module},
    lock::lock,
};

/// A program that the testbed runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tool {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Kubectl,
    Kubelet,
    KubeProxy,
    Kwok,
    /// Installs charts; no testbed runs it.
    Helm,
}

impl Tool {
    /// All there are, in the order in which they are built: the slowest first.
    pub const ALL: [Self; 9] = [
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubectl,
        Self::Etcd,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Kwok,
        Self::Helm,
    ];

    /// What a control plane is made of.
    pub const CONTROL_PLANE: [Self; 5] =
        [Self::ApiServer, Self::ControllerManager, Self::Scheduler, Self::Kubectl, Self::Etcd];

    /// The program's file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kwok => "kwok",
            Self::Helm => "helm",
        }
    }

    /// The Go package of its `main`.
    pub fn package(self) -> String {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3".to_owned(),
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok".to_owned(),
            Self::Helm => "helm.sh/helm/v4/cmd/helm".to_owned(),
            other => format!("k8s.io/kubernetes/cmd/{}", other.name()),
        }
    }

    /// How it is asked for its version.
    fn version_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kubectl => &["version", "--client"],
            Self::Helm => &["version", "--short"],
            _ => &["--version"],
        }
    }

    /// Whether a folder of `KUBEBUILDER_ASSETS` holds it.
    fn is_asset(self) -> bool {
        matches!(self, Self::Etcd | Self::ApiServer | Self::Kubectl)
    }
}

/// Where each program lies.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tools {
    paths: BTreeMap<Tool, PathBuf>,
}

impl Tools {
    pub fn path(&self, tool: Tool) -> Result<&Path> {
        self.paths
            .get(&tool)
            .map(PathBuf::as_path)
            .with_context(|| format!("{} was not looked for", tool.name()))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Tool, &Path)> {
        self.paths.iter().map(|(tool, path)| (*tool, path.as_path()))
    }

    /// Finds these, building what is missing; says so on standard error. Blocks; spawns from the calling
    /// thread.
    pub fn find(wanted: &[Tool]) -> Result<Self> {
        let modules = Modules::read()?;
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let mut paths = BTreeMap::new();
        for &tool in wanted {
            let module = modules.of(tool);
            let given = match assets.as_deref().map(|it| asset(it, tool, module)) {
                Some(Asset::Fits(path)) => Some(path),
                Some(Asset::Unfit(why)) => {
                    eprintln!("testbed: {why}");
                    None
                }
                Some(Asset::Absent) | None => None,
            };
            let path = given.map_or_else(|| cached_or_built(module, tool), Ok)?;
            paths.insert(tool, path);
        }
        Ok(Self { paths })
    }

    /// Which of these would have to be built first.
    pub fn missing(mut wanted: Vec<Tool>) -> Result<Vec<Tool>> {
        let modules = Modules::read()?;
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let module = |tool| modules.of(tool);
        let there = |tool: Tool| {
            assets
                .as_deref()
                .is_some_and(|it| matches!(asset(it, tool, module(tool)), Asset::Fits(_)))
                || build::program(module(tool), tool).is_ok_and(|it| is_executable(&it))
        };
        wanted.retain(|it| !there(*it));
        Ok(wanted)
    }
}

/// The Go modules that pin the tools.
struct Modules {
    kubernetes: Module,
    kwok: Module,
    helm: Module,
}

impl Modules {
    fn read() -> Result<Self> {
        let (kubernetes, kwok, helm) = (build::kubernetes()?, build::kwok()?, build::helm()?);
        Ok(Self { kubernetes, kwok, helm })
    }

    const fn of(&self, tool: Tool) -> &Module {
        match tool {
            Tool::Kwok => &self.kwok,
            Tool::Helm => &self.helm,
            _ => &self.kubernetes,
        }
    }
}

/// The folder for what is built once and used by every checkout.
pub fn cache() -> Result<PathBuf> {
    let home = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let root = home("XDG_CACHE_HOME").or_else(|| home("HOME").map(|it| it.join(".cache")));
    let root =
        root.context("no folder for the cache of built programs: set HOME or XDG_CACHE_HOME")?;
    let path = root.join("gastown-testbed");
    fs::create_dir_all(&path).with_context(|| format!("failed to create {}", path.display()))?;
    Ok(path)
}

/// What a folder of `KUBEBUILDER_ASSETS` has of a program.
enum Asset {
    Absent,
    Fits(PathBuf),
    /// It is there, but not taken; and why.
    Unfit(String),
}

/// One of another minor version is not taken: beside it, controller manager and scheduler would be of the wanted one.
fn asset(folder: &Path, tool: Tool, module: &Module) -> Asset {
    let path = folder.join(tool.name());
    if !tool.is_asset() || !is_executable(&path) {
        return Asset::Absent;
    }
    let said = version_said(&path, tool).and_then(|it| Ok((it, module.version_of(tool)?)));
    match said {
        Ok((said, wanted)) if minor_of(&said) == minor_of(&wanted) => Asset::Fits(path),
        Ok((said, wanted)) => Asset::Unfit(unfit(&path, tool, &said, &wanted)),
        Err(error) => Asset::Unfit(format!("KUBEBUILDER_ASSETS: {error:#}; it is not used")),
    }
}

fn unfit(path: &Path, tool: Tool, said: &str, wanted: &str) -> String {
    let name = tool.name();
    let way = match tool {
        Tool::Etcd => String::new(),
        _ => format!(", or set TESTBED_KUBERNETES={said} to test with that version"),
    };
    format!(
        "KUBEBUILDER_ASSETS: {} is {name} {said}, but {wanted} is wanted; it is not used. Point KUBEBUILDER_ASSETS at a \
         fitting folder{way}",
        path.display()
    )
}

/// The version that a program says it has.
fn version_said(path: &Path, tool: Tool) -> Result<String> {
    let text = said(path, tool)?;
    let found = words(&text).find(|it| it.split('.').filter(|it| !it.is_empty()).count() == 3);
    found.map(str::to_owned).with_context(|| format!("{} does not say its version", path.display()))
}

/// `1.36` of `1.36.3`.
fn minor_of(version: &str) -> Option<&str> {
    version.rsplit_once('.').map(|it| it.0)
}

fn cached_or_built(module: &Module, tool: Tool) -> Result<PathBuf> {
    let path = build::program(module, tool)?;
    if is_executable(&path) && build::is_current(module, tool)? {
        return Ok(path);
    }
    let folder = module.folder()?;
    // One for the whole cache: two builds at once take longer together than one after the other, and twice the memory.
    let _lock =
        lock(&folder.with_file_name("build.lock"), "another build of the testbed's programs")?;
    if is_executable(&path) && (build::is_current(module, tool)? || adopt(module, tool, &path)?) {
        return Ok(path); // built by whoever held the lock, or put there by hand
    }
    build::build(module, tool).with_context(|| how_to_supply(module, tool, &path))?;
    Ok(path)
}

/// Accepts a program that lies in the cache without a note of its pins, if it says that it is of the right
/// version.
fn adopt(module: &Module, tool: Tool, path: &Path) -> Result<bool> {
    if build::is_noted(module, tool)? {
        return Ok(false); // noted with other pins: it has to be built again
    }
    let Ok(text) = said(path, tool) else { return Ok(false) };
    let fits = says_version(&text, &module.version_of(tool)?);
    if fits {
        build::note(module, tool)?;
    }
    Ok(fits)
}

/// What a program answers to the question for its version.
fn said(path: &Path, tool: Tool) -> Result<String> {
    let mut ask = Command::new(path);
    let answer = ask.args(tool.version_arguments()).stdin(Stdio::null()).output();
    let answer = answer.with_context(|| format!("failed to run {}", path.display()))?;
    if !answer.status.success() {
        bail!("{} does not say its version ({})", path.display(), answer.status);
    }
    Ok(String::from_utf8_lossy(&answer.stdout).into_owned())
}

/// `1.2.3` stands in the text as a whole, not as a part of `1.2.34` or `11.2.3`.
fn says_version(text: &str, version: &str) -> bool {
    words(text).any(|word| word == version)
}

/// What in a text is made of digits and points.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let part_of_number = |it: char| it.is_ascii_digit() || it == '.';
    text.split(move |it: char| !part_of_number(it)).map(|word| word.trim_end_matches('.'))
}

fn how_to_supply(module: &Module, tool: Tool, path: &Path) -> String {
    let assets = if tool.is_asset() {
        "point KUBEBUILDER_ASSETS at a folder that holds it".to_owned()
    } else {
        format!(
            "KUBEBUILDER_ASSETS can't supply {} (it holds etcd, kube-apiserver, kubectl)",
            tool.name()
        )
    };
    format!(
        "{} {} is missing and could not be built. Three ways to supply it: {assets}; or put the program at {}; or let \
         `testbed tools` build it, which needs Go and its module proxy",
        tool.name(),
        module.version,
        path.display(),
    )
}

pub(crate) fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

pub fn bail_unless_executable(path: &Path, what: &str) -> Result<()> {
    if !is_executable(path) {
        bail!("{what}: {} is no program that can be run", path.display());
    }
    Ok(())
}

/// Looks a program up in `PATH` and in the folders of administrators' programs.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/go/bin", "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|it| it.join(name)).find(|it| is_executable(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_matched_as_a_whole() {
        let table = [
            ("Kubernetes v1.36.3\n", "1.36.3", true, "as kubelet says it"),
            ("Kubernetes v1.36.30\n", "1.36.3", false, "a longer number"),
            ("Kubernetes v11.36.3\n", "1.36.3", false, "a longer beginning"),
            (
                "etcd Version: 3.6.8\nGit SHA: Not provided\nGo Version: go1.26.8\n",
                "3.6.8",
                true,
                "etcd",
            ),
            ("kwok version v0.7.0 go1.26.8 (linux/amd64)", "0.7.0", true, "kwok"),
            ("v0.0.0-master+$Format:%H$", "1.36.3", false, "built without version flags"),
            ("", "1.36.3", false, "says nothing"),
        ];
        for (text, version, fits, because) in table {
            assert_eq!(says_version(text, version), fits, "{because}");
        }
    }

    #[test]
    fn every_tool_is_built_and_named_once() {
        let mut names = Tool::ALL.map(Tool::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|it| it[0] != it[1]));
        assert!(Tool::CONTROL_PLANE.iter().all(|it| Tool::ALL.contains(it)));
    }
}
