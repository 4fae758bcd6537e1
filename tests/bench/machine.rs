//! What everything was measured on, as it was found: nothing here is said that was not looked up.

use std::path::Path;

use anyhow::{Context as _, Result};
use gastown_testbed::Testbed;

/// A program of a testbed, as it runs.
#[derive(Clone, Debug)]
pub struct Program {
    pub pid: u32,
    /// Of its file.
    pub name: String,
    pub arguments: Vec<String>,
    /// Frozen by a signal.
    pub stopped: bool,
}

/// The machine and the control plane, in words.
pub async fn describe(testbed: &Testbed) -> Result<String> {
    let version = testbed.client("observer").await?.apiserver_version().await;
    let version = version.context("failed to ask for the API server's version")?.git_version;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|it| it.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = value(&cpu, "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().context("failed to count the cores")?;
    let kib: u64 = value(&memory, "MemTotal")
        .and_then(|it| it.split_ascii_whitespace().next()?.parse().ok())
        .context("/proc/meminfo has no MemTotal")?;
    let plane = plane(&programs(&testbed.dir)?);
    Ok(format!(
        "machine: {model}, {cores} cores, {} MiB, Linux {}\n\
         control plane: Kubernetes {version}, {plane}, node: {};\n\
         a fresh one for every run; the machine is shared by operator, load, player and control plane",
        kib / 1024,
        read("/proc/sys/kernel/osrelease").trim(),
        testbed.node.name(),
    ))
}

/// What a control plane is made of, by its programs' own command lines.
pub fn plane(programs: &[Program]) -> String {
    let all = |name: &'static str| programs.iter().filter(move |it| it.name == name);
    let has =
        |it: &Program, flag: &str| it.arguments.iter().any(|it| it.split('=').next() == Some(flag));
    let count = |name: &'static str, words: &str| format!("{} {words}", all(name).count());
    let durable = !all("etcd").any(|it| has(it, "--unsafe-no-fsync"));
    let audited = all("kube-apiserver").all(|it| has(it, "--audit-log-path"));
    let scheduler =
        match (all("kube-scheduler").count(), all("kube-scheduler").all(|it| it.stopped)) {
            (0, _) => "no scheduler",
            (_, true) => "scheduler frozen",
            (_, false) => "scheduler at work",
        };
    format!(
        "{}, {} {} fsync, audit log {}, {scheduler}",
        count("kube-apiserver", "API server"),
        count("etcd", "etcd"),
        if durable { "with" } else { "WITHOUT" },
        if audited { "on" } else { "off" },
    )
}

/// Every program that was told of a testbed's folder.
pub fn programs(folder: &Path) -> Result<Vec<Program>> {
    let folder = folder.to_string_lossy();
    let all = std::fs::read_dir("/proc").context("failed to read /proc")?.flatten();
    let pids = all.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    let told = pids.filter_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut words =
            line.split(|it| *it == 0).map(|it| String::from_utf8_lossy(it).into_owned());
        let name = words.next()?.rsplit('/').next()?.to_owned();
        let arguments: Vec<String> = words.filter(|it| !it.is_empty()).collect();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let stopped = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
        let ours = arguments.iter().any(|it| it.contains(&*folder));
        ours.then_some(Program { pid, name, arguments, stopped })
    });
    Ok(told.collect())
}
