//! `claude` as the first process of a PID namespace, as it is in a container.

use std::{fs, process::Command};

use gastown::domain::{layout, verdict::reason};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    pod::{Pod, Process, git, has, may_change_user, skip},
    whole::COMMIT,
};

const UNSHARE: [&str; 5] = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

fn can_unshare(test: &str) -> bool {
    let can = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "true"])
        .output();
    let can = can.is_ok_and(|it| it.status.success());
    if !can {
        skip(test, "namespaces", "PID namespaces can't be made here");
    }
    can
}

fn first_process(pod: &Pod, script: &str) -> Process {
    let runner = pod.own_runner();
    let by: Vec<&str> = UNSHARE.iter().copied().chain([runner.as_str()]).collect();
    let arguments = ["claude", "--grace-seconds", "2", "--", "sh", "-c", script];
    Process::start(pod.command_by(&by, layout::CLAUDE, &arguments))
}

#[test]
fn the_first_process_ends_everything_else_before_it_hands_over() {
    if !can_unshare("the_first_process_ends_everything_else_before_it_hands_over") {
        return;
    }
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let script = format!(
        "[ $PPID = 1 ] || exit 9; {COMMIT}; for i in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP; for j in $(seq 300); \
         do git commit -q --allow-empty -m x; setsid sleep 60 & done' >/dev/null 2>&1 & done; sleep \
         0.5; kill -KILL 1; exit 0"
    );
    let agent = first_process(&pod, &script).end();
    assert_eq!(agent.code(), 0, "{}", agent.stderr);
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(verdict.reason, reason::PUSHED, "{verdict:?}");
    let work = git(&pod.volume(layout::WORKSPACE).join("repo"), &["rev-parse", "refs/heads/fix/x"]);
    assert_eq!(
        verdict.commit.as_deref(),
        Some(work.trim()),
        "nobody committed after the hand-over"
    );
}

/// As a node's limit of process ids of a pod does, a limit of the user's processes lets a fork fail.
#[test]
fn an_agent_that_forks_without_end_is_ended_and_its_commits_are_pushed() {
    const TEST: &str = "an_agent_that_forks_without_end_is_ended_and_its_commits_are_pushed";
    /// Of this test alone: processes are counted by user.
    const UID: &str = "1000650004";
    if !can_unshare(TEST) || !may_change_user(TEST) {
        return;
    }
    if !has("perl") || !has("prlimit") {
        return skip(TEST, "perl", "perl or prlimit is not installed");
    }
    let pod = Pod::new();
    let user = pod.owned_by(UID);
    let chown = Command::new("chown").args(["-R", UID]).arg(pod.remote()).status();
    assert!(chown.unwrap().success(), "git works on its user's repositories alone");
    let by = |before: &[&str], container: &str, arguments: &[&str]| {
        let limit = ["prlimit", "--nproc=60:60"];
        let words = user.iter().map(String::as_str);
        let words: Vec<&str> = before.iter().copied().chain(limit).chain(words).collect();
        Process::start(pod.command_by(&words, container, arguments))
    };
    by(&[], layout::GIT_INIT, &["git-init"]).end().succeeded();
    let mut telemetry = by(&[], layout::TELEMETRY, &["telemetry", "--metrics-port", "0"]);
    telemetry.wait_for("Waiting for the agent to begin");
    let forks = "$SIG{TERM} = qq(IGNORE); $SIG{CHLD} = qq(IGNORE); while (1) { defined(fork) or \
                 open(F, qq(>>), qq(full)) && select(undef, undef, undef, 0.05) }";
    let script = format!("{COMMIT}; exec perl -e '{forks}'");
    let limits =
        ["claude", "--deadline-seconds", "2", "--grace-seconds", "1", "--checkpoint-seconds", "1"];
    let arguments: Vec<&str> = limits.into_iter().chain(["--", "sh", "-c", &script]).collect();
    let agent = by(&UNSHARE, layout::CLAUDE, &arguments).end();
    assert_eq!(agent.code(), 137, "{}", agent.stderr);
    assert!(agent.stderr.contains("Handed over commit"), "{}", agent.stderr);
    let full = pod.volume(layout::WORKSPACE).join("repo/full");
    assert!(full.exists(), "there was no room for another process");
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    assert_eq!(pod.failure(layout::CLAUDE).reason, reason::DEADLINE_EXCEEDED);
}

#[test]
fn the_first_process_heeds_sigterm() {
    if !can_unshare("the_first_process_heeds_sigterm") {
        return;
    }
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let mut agent = first_process(&pod, &format!("{COMMIT}; echo ready >&2; sleep 60"));
    agent.wait_for("ready");
    let children = format!("/proc/{0}/task/{0}/children", agent.id());
    let child =
        fs::read_to_string(children).unwrap().trim().parse().ok().and_then(Pid::from_raw).unwrap();
    kill_process(child, Signal::TERM).unwrap();
    assert_eq!(agent.end().code(), 143);
    telemetry.end().succeeded();
    assert!(pod.verdict().pushed);
    assert_eq!(pod.failure(layout::CLAUDE).reason, reason::TERMINATED);
}
