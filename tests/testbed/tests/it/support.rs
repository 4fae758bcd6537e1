//! What the tests share: waiting for the end of things that nobody reports, and the stand-in for an operator.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gastown_testbed::{Node, Options, Ready, cgroup_hierarchies};

/// Waits until something is so; fails, naming it, after two minutes.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !so() {
        assert!(Instant::now() < deadline, "waited 120 s for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The example that stands in for an operator; Cargo builds it with the tests.
pub fn refuser() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("examples/refuser")
}

/// Where the stand-in's CRD and webhook are.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

pub fn with_refusers(replicas: u32, plain: bool) -> Options {
    Options {
        node: Node::None,
        replicas,
        operator: Some(refuser()),
        manifests: Some(fixtures()),
        plain,
        ..Options::default()
    }
}

/// The options of a real node; its runner's image gets a static program in the runner's place.
pub fn real() -> Options {
    Options { node: Node::Real, runner: Some("/bin/busybox".into()), ..Options::default() }
}

/// Whether a test of this kind of node can run here.
pub fn allow(test: &str, node: Node) -> bool {
    gastown_testbed::preconditions::allow(test, node).unwrap()
}

/// Pids of all processes that have a testbed's folder in their command line.
pub fn processes_of(ready: &Ready) -> Vec<i32> {
    processes(&ready.dir)
}

fn processes(folder: &Path) -> Vec<i32> {
    let folder = folder.to_string_lossy().into_owned();
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|it| it.file_name().to_str().and_then(|it| it.parse().ok()));
    pids.filter(|pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&folder)
    })
    .collect()
}

/// Everything outside its folder that a testbed makes on the host.
pub fn traces_of(ready: &Ready) -> Vec<String> {
    traces(&ready.dir)
}

/// The same by the folder.
pub fn traces(folder: &Path) -> Vec<String> {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let id = name.strip_prefix("gastown-testbed-").unwrap();
    let mut traces: Vec<String> =
        processes(folder).iter().map(|it| format!("process {it}")).collect();
    let link = format!("/sys/class/net/gtb{id}");
    traces.extend(Path::new(&link).exists().then_some(link));
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    traces.extend(mounts.lines().filter(|it| it.contains(name)).map(str::to_owned));
    for hierarchy in cgroup_hierarchies() {
        let group = hierarchy.join(name);
        traces.extend(group.exists().then(|| group.display().to_string()));
    }
    traces.extend(folder.exists().then(|| folder.display().to_string()));
    traces
}
