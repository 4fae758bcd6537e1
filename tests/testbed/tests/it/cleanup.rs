//! Nothing is left of a testbed, whatever way it ended.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use gastown_testbed::{Node, Options, Ready, Testbed};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::support::{
    allow, fixtures, processes_of, real, refuser, traces, traces_of, until, with_refusers,
};

fn send(testbed: &Testbed, signal: Signal) {
    let pid = i32::try_from(testbed.pid().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

async fn leaves_nothing(options: Options, signal: Signal) {
    let testbed = Testbed::start(options).await.unwrap();
    let ready = (*testbed).clone();
    assert!(
        processes_of(&ready).len() >= 5,
        "control plane, janitor and inner process have the folder's name"
    );
    send(&testbed, signal);
    until("everything of a killed testbed to be gone", || traces_of(&ready).is_empty()).await;
    for replica in &ready.replicas {
        let path = format!("/proc/{}", replica.pid);
        until("its operators to be gone", || !std::path::Path::new(&path).exists()).await;
    }
    let _ = testbed.stop().await; // reaps it; that it was killed is no news
}

#[tokio::test]
async fn kill_9_leaves_nothing() {
    leaves_nothing(with_refusers(1, false), Signal::KILL).await;
}

#[tokio::test]
async fn kill_9_without_namespaces_leaves_nothing() {
    leaves_nothing(with_refusers(1, true), Signal::KILL).await;
}

/// With a pod running: shims, mounts of its volumes, cgroups.
#[tokio::test]
async fn kill_9_of_a_real_node_leaves_nothing() {
    if !allow("kill_9_of_a_real_node_leaves_nothing", Node::Real) {
        return;
    }
    let testbed = Testbed::start(real()).await.unwrap();
    let pods = crate::real::run_endless_pod(&testbed).await;
    drop(pods);
    let ready = (*testbed).clone();
    send(&testbed, Signal::KILL);
    until("everything of a killed node to be gone", || traces_of(&ready).is_empty()).await;
    let _ = testbed.stop().await;
}

/// The folder of the testbed that this process owns, once it has it.
fn folder_of(pid: u32) -> Option<PathBuf> {
    let owner = format!("\"pid\":{pid},");
    let folders = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|it| it.path());
    let ours = |it: &PathBuf| {
        std::fs::read_to_string(it.join("owner")).is_ok_and(|it| it.contains(&owner))
    };
    folders.filter(|it| it.to_string_lossy().contains("gastown-testbed-")).find(ours)
}

#[tokio::test]
async fn kill_9_at_any_step_of_the_start_leaves_nothing() {
    for step in
        ["owner", "processes", "pki/ca.crt", "log/kube-apiserver.log", "log/kube-scheduler.log"]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
        command
            .args(["up", "--replicas=0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.env_remove("XDG_RUNTIME_DIR");
        let mut testbed = command.spawn().unwrap();
        let mut folder = None;
        until(&format!("the start to get to {step}"), || {
            folder = folder_of(testbed.id());
            folder.as_ref().is_some_and(|it| it.join(step).exists())
        })
        .await;
        testbed.kill().unwrap();
        testbed.wait().unwrap();
        let folder = folder.unwrap();
        until(&format!("everything to be gone after {step}"), || traces(&folder).is_empty()).await;
    }
}

#[tokio::test]
async fn sigterm_leaves_nothing() {
    leaves_nothing(with_refusers(1, false), Signal::TERM).await;
}

/// A terminal sends the signal to everything that was started from it.
#[tokio::test]
async fn ctrl_c_leaves_nothing_and_is_no_failure() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.args(["up", "--replicas=1", "--operator"]).arg(refuser());
    command.arg("--manifests").arg(fixtures()).process_group(0);
    let mut testbed = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(testbed.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let ready: Ready = serde_json::from_str(&line).unwrap();
    assert_eq!(ready.replicas.len(), 1, "{line}");
    kill_process_group(Pid::from_child(&testbed), Signal::INT).unwrap();
    let ended = tokio::task::spawn_blocking(move || testbed.wait().unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    let status = ended.expect("SIGINT does not end it").unwrap();
    assert!(status.success(), "it was asked to end, and did: {status}");
    assert_eq!(traces_of(&ready), Vec::<String>::new(), "it ends when nothing is left");
    let operator = format!("/proc/{}", ready.replicas[0].pid);
    assert!(!std::path::Path::new(&operator).exists(), "its operator lives on");
}

#[tokio::test]
async fn stop_leaves_nothing_and_says_so() {
    let testbed = Testbed::start(Options::default()).await.unwrap();
    let ready = (*testbed).clone();
    testbed.stop().await.unwrap();
    assert_eq!(traces_of(&ready), Vec::<String>::new());
}

#[tokio::test]
async fn the_next_start_sweeps_what_a_killed_janitor_left() {
    let testbed = Testbed::start(Options::default()).await.unwrap();
    let ready = (*testbed).clone();
    let janitor = processes_of(&ready).into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|it| *it == 0).any(|it| it == b"janitor")
    });
    kill_process(Pid::from_raw(janitor.unwrap()).unwrap(), Signal::KILL).unwrap();
    send(&testbed, Signal::KILL);
    until("its processes to end", || processes_of(&ready).is_empty()).await;
    let _ = testbed.stop().await;
    assert!(ready.dir.exists(), "nobody was left to remove it");
    let next = Testbed::start(Options::default()).await.unwrap();
    assert_eq!(traces_of(&ready), Vec::<String>::new());
    next.stop().await.unwrap();
}

#[tokio::test]
async fn two_at_once_do_not_meet() {
    let start = || Testbed::start(Options::default());
    let (one, other) = tokio::join!(start(), start());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_ne!(one.dir, other.dir);
    assert_ne!(one.server().unwrap(), other.server().unwrap());
    for testbed in [&one, &other] {
        let client = testbed.client("visitor").await.unwrap();
        client.apiserver_version().await.unwrap();
    }
    one.stop().await.unwrap();
    other.client("visitor").await.unwrap().apiserver_version().await.unwrap();
    other.stop().await.unwrap();
}

#[test]
fn exec_passes_the_exit_code_on() {
    let testbed = env!("CARGO_BIN_EXE_testbed");
    let script = "kubectl get namespace default -o name && test -n \"$GASTOWN_TESTBED\" && exit 7";
    let done = Command::new(testbed)
        .args(["exec", "--replicas", "0", "--", "sh", "-c", script])
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(7), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "namespace/default");
}
