//! Builds the pinned Go programs in the cache: one module for Kubernetes and etcd, one for kwok, one for Helm. Never
//! changes the pins, except in the copy for another Kubernetes version that was asked for.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::{die_with_parent, log_tail},
    tools::{Tool, cache, on_path},
};

const KUBERNETES_MOD: &str = include_str!("../../tools/go.mod");
const KUBERNETES_SUM: &str = include_str!("../../tools/go.sum");
const KUBERNETES_GO: &str = include_str!("../../tools/tools.go");
const KWOK_MOD: &str = include_str!("../../tools/kwok/go.mod");
const KWOK_SUM: &str = include_str!("../../tools/kwok/go.sum");
const KWOK_GO: &str = include_str!("../../tools/kwok/tools.go");
const HELM_MOD: &str = include_str!("../../tools/helm/go.mod");
const HELM_SUM: &str = include_str!("../../tools/helm/go.sum");
const HELM_GO: &str = include_str!("../../tools/helm/tools.go");

/// A Go module that pins programs, and where it is built.
pub struct Module {
    name: &'static str,
    /// Of the main thing in it, such as `1.36.3`.
    pub version: String,
    /// Another version than the pinned one was asked for.
    rewritten: bool,
    go_mod: &'static str,
    go_sum: &'static str,
    tools_go: &'static str,
}

/// Kubernetes as pinned, or as `TESTBED_KUBERNETES` says.
pub fn kubernetes() -> Result<Module> {
    let pinned = pinned_version(KUBERNETES_MOD, "k8s.io/kubernetes")?;
    let asked = std::env::var("TESTBED_KUBERNETES").ok().filter(|it| !it.is_empty());
    let version = asked.unwrap_or_else(|| pinned.to_owned());
    let version = version.strip_prefix('v').unwrap_or(&version).to_owned();
    minor(&version).with_context(|| {
        format!("TESTBED_KUBERNETES={version}: not a version of Kubernetes; write it like {pinned}")
    })?;
    Ok(Module {
        name: "k8s",
        rewritten: version != pinned,
        version,
        go_mod: KUBERNETES_MOD,
        go_sum: KUBERNETES_SUM,
        tools_go: KUBERNETES_GO,
    })
}

/// kwok as pinned.
pub fn kwok() -> Result<Module> {
    let version = pinned_version(KWOK_MOD, "sigs.k8s.io/kwok")?.to_owned();
    Ok(Module {
        name: "kwok",
        version,
        rewritten: false,
        go_mod: KWOK_MOD,
        go_sum: KWOK_SUM,
        tools_go: KWOK_GO,
    })
}

/// Helm as pinned.
pub fn helm() -> Result<Module> {
    let version = pinned_version(HELM_MOD, "helm.sh/helm/v4")?.to_owned();
    Ok(Module {
        name: "helm",
        version,
        rewritten: false,
        go_mod: HELM_MOD,
        go_sum: HELM_SUM,
        tools_go: HELM_GO,
    })
}

impl Module {
    /// `36` of 1.36.3; of Kubernetes alone, whose version was looked at when it was read.
    pub fn minor(&self) -> u32 {
        minor(&self.version).unwrap_or_default()
    }

    /// Its folder in the cache.
    pub fn folder(&self) -> Result<PathBuf> {
        let path = cache()?.join(format!("{}-{}", self.name, self.version));
        fs::create_dir_all(&path)
            .with_context(|| format!("failed to create {}", path.display()))?;
        Ok(path)
    }

    /// The version that a program of it says it has. Another Kubernetes may bring a newer etcd than the pinned one.
    pub fn version_of(&self, tool: Tool) -> Result<String> {
        if tool != Tool::Etcd {
            return Ok(self.version.clone());
        }
        let own =
            fs::read_to_string(self.folder()?.join("src/go.mod")).ok().filter(|_| self.rewritten);
        let text = own.as_deref().unwrap_or(self.go_mod);
        pinned_version(text, "go.etcd.io/etcd/server/v3").map(str::to_owned)
    }

    /// Changes whenever a pin does.
    fn pins(&self) -> String {
        let text = [self.version.as_str(), self.go_mod, self.go_sum, self.tools_go].join("\n");
        hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
    }

    /// Lays the module's sources out, where it is built.
    fn sources(&self) -> Result<PathBuf> {
        let folder = self.folder()?.join("src");
        fs::create_dir_all(&folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        write(&folder.join("tools.go"), self.tools_go)?;
        if self.rewritten {
            self.rewrite(&folder)?;
        } else {
            write(&folder.join("go.mod"), self.go_mod)?;
            write(&folder.join("go.sum"), self.go_sum)?;
        }
        Ok(folder)
    }

    /// Makes go.mod for another Kubernetes version: its own staging modules, all else as Go finds it.
    fn rewrite(&self, folder: &Path) -> Result<()> {
        let noted = folder.join("pins");
        if fs::read_to_string(&noted).is_ok_and(|it| it == self.pins()) {
            return Ok(());
        }
        write(&folder.join("go.mod"), "module gastown/tests/tools\n")?;
        let _ = fs::remove_file(folder.join("go.sum"));
        let package = format!("k8s.io/kubernetes@v{}", self.version);
        let answer = run_for_output(folder, &["mod", "download", "-json", &package])?;
        let answer: serde_json::Value =
            serde_json::from_slice(&answer).context("answer of `go mod download`")?;
        let theirs = answer
            .get("GoMod")
            .and_then(serde_json::Value::as_str)
            .context("`go mod download`: no GoMod")?;
        let theirs =
            fs::read_to_string(theirs).with_context(|| format!("failed to read {theirs}"))?;
        let etcd = pinned_version(self.go_mod, "go.etcd.io/etcd/server/v3")?;
        write(&folder.join("go.mod"), &module_text(&theirs, &self.version, etcd)?)?;
        // Not `go mod tidy`: that would fetch what the tests of every dependency need, too.
        let packages = Tool::ALL
            .iter()
            .filter(|it| !matches!(it, Tool::Kwok | Tool::Helm))
            .map(|it| it.package());
        let mut arguments = ["list", "-mod=mod", "-deps"].map(str::to_owned).to_vec();
        arguments.extend(packages);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let what = format!("finding the modules of Kubernetes {}", self.version);
        run(folder, &arguments, &what, &self.folder()?.join("build.log"))?;
        write(&noted, &self.pins())
    }
}

/// Where a program lies, or will lie.
pub fn program(module: &Module, tool: Tool) -> Result<PathBuf> {
    Ok(module.folder()?.join("bin").join(tool.name()))
}

fn note_path(module: &Module, tool: Tool) -> Result<PathBuf> {
    Ok(module.folder()?.join("pins").join(tool.name()))
}

/// Whether the cached program is noted at all.
pub fn is_noted(module: &Module, tool: Tool) -> Result<bool> {
    Ok(note_path(module, tool)?.exists())
}

/// Whether the cached program was built from the present pins.
pub fn is_current(module: &Module, tool: Tool) -> Result<bool> {
    Ok(fs::read_to_string(note_path(module, tool)?).is_ok_and(|it| it == module.pins()))
}

/// Notes that the cached program is what the present pins say.
pub fn note(module: &Module, tool: Tool) -> Result<()> {
    write(&note_path(module, tool)?, &module.pins())
}

/// Builds one program and puts it in its place in one step.
pub fn build(module: &Module, tool: Tool) -> Result<()> {
    let sources = module.sources()?;
    let path = program(module, tool)?;
    let new = path.with_extension("new");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
    }
    let flags = linker_flags(module, tool);
    let output = new.to_string_lossy().into_owned();
    let package = tool.package();
    let arguments =
        ["build", "-trimpath", "-mod=readonly", "-ldflags", &flags, "-o", &output, &package];
    let what = format!("building {} {}", tool.name(), module.version_of(tool)?);
    run(&sources, &arguments, &what, &module.folder()?.join("build.log"))?;
    fs::rename(&new, &path).with_context(|| format!("failed to install {}", path.display()))?;
    note(module, tool)
}

/// Without these a Kubernetes server says that it is v0.0.0, and clients misjudge it.
fn linker_flags(module: &Module, tool: Tool) -> String {
    let version = &module.version;
    match tool {
        Tool::Helm => format!("-s -w -X helm.sh/helm/v4/internal/version.version=v{version}"),
        Tool::Etcd | Tool::Kwok => "-s -w".to_owned(), // these carry their version in their source
        _ => {
            let at = "-X k8s.io/component-base/version";
            let minor = minor(version).unwrap_or_default();
            format!(
                "-s -w {at}.gitVersion=v{version} {at}.gitMajor=1 {at}.gitMinor={minor} {at}.gitTreeState=clean"
            )
        }
    }
}

fn go(folder: &Path) -> Result<Command> {
    let go = on_path("go")
        .context("there is no `go` in PATH: install Go (apt package golang-go, or go.dev/dl)")?;
    let mut command = Command::new(go);
    command.current_dir(folder).env("CGO_ENABLED", "0").env("GOWORK", "off").env("GOFLAGS", "");
    command.stdin(Stdio::null());
    die_with_parent(&mut command);
    Ok(command)
}

fn run_for_output(folder: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let answer = go(folder)?.args(arguments).output().context("failed to run go")?;
    if !answer.status.success() {
        bail!("`go {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&answer.stderr));
    }
    Ok(answer.stdout)
}

/// Runs Go, telling every now and then that it still does.
fn run(folder: &Path, arguments: &[&str], what: &str, log: &Path) -> Result<()> {
    let output =
        fs::File::create(log).with_context(|| format!("failed to create {}", log.display()))?;
    let errors = output.try_clone().context("failed to share the build's log")?;
    eprintln!("testbed: {what}; later starts take it from the cache");
    let begun = Instant::now();
    let mut child = go(folder)?
        .args(arguments)
        .stdout(output)
        .stderr(errors)
        .spawn()
        .context("failed to start go")?;
    let mut told = 0;
    let status = loop {
        if let Some(status) = child.try_wait().context("failed to wait for go")? {
            break status;
        }
        let seconds = begun.elapsed().as_secs();
        if seconds / 20 > told {
            told = seconds / 20;
            eprintln!("testbed: still {what} ({seconds} s)");
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        bail!("`go {}` failed ({status}); {}", arguments.join(" "), log_tail(log));
    }
    eprintln!("testbed: {what}: done in {} s", begun.elapsed().as_secs());
    Ok(())
}

/// The version that a go.mod requires of a module, without its `v`.
fn pinned_version<'a>(go_mod: &'a str, module: &str) -> Result<&'a str> {
    let version = go_mod.lines().find_map(|line| {
        let line = line.trim().strip_prefix("require ").unwrap_or(line.trim());
        line.strip_prefix(module)?.trim().strip_prefix('v')?.split_ascii_whitespace().next()
    });
    version.with_context(|| format!("go.mod of the testbed does not pin {module}"))
}

/// The minor number of `1.36.3`.
fn minor(version: &str) -> Option<u32> {
    let mut parts = version.split('.');
    let (major, minor, patch) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    (major == "1" && patch.parse::<u32>().is_ok() && parts.next().is_none()).then_some(minor)
}

/// go.mod for a Kubernetes version: its module can't be depended on without replacing its staging modules,
/// which its own go.mod names.
fn module_text(kubernetes_mod: &str, version: &str, etcd: &str) -> Result<String> {
    let staging = version
        .strip_prefix("1.")
        .map(|it| format!("v0.{it}"))
        .context("not a version of Kubernetes")?;
    let mut text = format!(
        "module gastown/tests/tools\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v{etcd}\n\tk8s.io/kubernetes \
         v{version}\n)\n\nreplace (\n"
    );
    let mut any = false;
    for line in kubernetes_mod.lines() {
        if let Some((name, target)) = line.trim().trim_start_matches("replace ").split_once("=>")
            && target.trim().starts_with("./staging/")
        {
            any = true;
            writeln!(text, "\t{name} => {name} {staging}", name = name.trim())?;
        }
    }
    if !any {
        bail!(
            "go.mod of Kubernetes {version} names no staging modules: this version can't be built this way"
        );
    }
    text.push_str(")\n");
    Ok(text)
}

/// Writes a file in one step.
fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
    }
    let new = path.with_extension("part");
    fs::write(&new, text).with_context(|| format!("failed to write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("failed to write {}", path.display()))
}

/// Eight hex digits that nobody else has.
pub(crate) fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 4];
    aws_lc_rs::rand::fill(&mut bytes).context("failed to get random bytes")?;
    Ok(hex(&bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_from_go_mod() {
        let go_mod = "module m\n\nrequire sigs.k8s.io/kwok v0.7.0\nrequire (\n\tk8s.io/kubernetes v1.36.3\n)\n";
        assert_eq!(pinned_version(go_mod, "sigs.k8s.io/kwok").unwrap(), "0.7.0");
        assert_eq!(pinned_version(go_mod, "k8s.io/kubernetes").unwrap(), "1.36.3");
        assert!(
            pinned_version(go_mod, "k8s.io/kube").is_err(),
            "a name that begins like another is not it"
        );
    }

    #[test]
    fn only_versions_of_kubernetes_are_accepted() {
        for (version, want) in [
            ("1.36.3", Some(36)),
            ("1.36", None),
            ("2.0.0", None),
            ("1.36.3.1", None),
            ("1.x.3", None),
            ("../../etc", None),
            ("", None),
        ] {
            assert_eq!(minor(version), want, "{version}");
        }
    }

    #[test]
    fn another_versions_staging_modules_are_its_own() {
        let theirs = "module k8s.io/kubernetes\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\t\
             k8s.io/new => ./staging/src/k8s.io/new\n\tother.io/x => other.io/y v1.0.0\n)\n";
        let text = module_text(theirs, "1.37.2", "3.6.8").unwrap();
        assert!(text.contains("\tk8s.io/api => k8s.io/api v0.37.2\n"));
        assert!(text.contains("\tk8s.io/new => k8s.io/new v0.37.2\n"));
        assert!(text.contains("k8s.io/kubernetes v1.37.2"));
        assert!(!text.contains("other.io"));
        assert!(module_text("module x\n", "1.37.2", "3.6.8").is_err());
    }

    #[test]
    fn a_changed_pin_changes_the_note() {
        let one = kwok().unwrap();
        let other = Module { go_sum: "changed", ..kwok().unwrap() };
        assert_ne!(one.pins(), other.pins());
    }
}
