//! What everything was measured on.

use anyhow::{Context as _, Result};
use gastown_testbed::Testbed;

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
    Ok(format!(
        "machine: {model}, {cores} cores, {} MiB, Linux {}\n\
         control plane: Kubernetes {version}, one API server and one etcd with fsync, audit log on, no scheduler, no node; a\n\
         fresh one at rest for every run; the machine is shared by operator, load, player and control plane",
        kib / 1024,
        read("/proc/sys/kernel/osrelease").trim(),
    ))
}
