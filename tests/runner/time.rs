//! Agents that come late, stay too long, fall asleep or are told to go; what was committed is pushed in
//! every case.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    time::{Duration, SystemTime},
};

use gastown::domain::{
    layout::{self, env},
    verdict::reason,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    pod::{Pod, Process, has, skip},
    whole::COMMIT,
};

#[test]
fn an_agent_that_comes_late_is_waited_for() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let mut telemetry = pod.telemetry(&[]);
    telemetry.wait_for("Waiting for the agent to begin");
    pod.script(&[], COMMIT).end().succeeded();
    telemetry.wait_for("The agent has ended");
    telemetry.end().succeeded();
    assert!(pod.verdict().pushed);
}

/// Nobody would push what it commits.
#[test]
fn an_agent_does_not_begin_without_telemetry() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    pod.telemetry_comes();
    let mut agent = pod.script(&[], &format!("echo begun >&2; {COMMIT}"));
    agent.wait_for("Waiting for container telemetry");
    assert!(!pod.volume(layout::HANDOVER).join("begun").exists(), "it has not begun");
    let telemetry = pod.telemetry(&[]);
    agent.wait_for("begun");
    agent.end().succeeded();
    telemetry.end().succeeded();
    assert!(pod.verdict().pushed);
}

#[test]
fn an_agent_that_waits_for_telemetry_ends_when_it_is_told_and_says_that_it_did_not_run() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    pod.telemetry_comes();
    let mut agent = pod.script(&[], COMMIT);
    agent.wait_for("Waiting for container telemetry");
    agent.signal(Signal::TERM);
    assert_eq!(agent.end().code(), 143);
    let said = pod.failure(layout::CLAUDE);
    assert_eq!(said.reason, reason::TERMINATED);
    assert!(said.message.contains("did not run"), "{}", said.message);
    let mut telemetry = pod.telemetry(&[]); // its image came after all, as the pod was ending
    telemetry.wait_for("Waiting for the agent to begin");
    telemetry.signal(Signal::TERM);
    telemetry.end().succeeded();
    assert_eq!(pod.verdict().reason, reason::NOT_BEGUN);
}

#[test]
fn an_agent_that_was_over_before_anybody_looked() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    pod.script(&[], COMMIT).end().succeeded();
    pod.telemetry(&[]).end().succeeded();
    assert!(pod.verdict().pushed);
}

#[test]
fn an_agent_that_never_comes() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let mut telemetry = pod.telemetry(&[]);
    telemetry.wait_for("Waiting for the agent to begin");
    telemetry.signal(Signal::TERM);
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::NOT_BEGUN, false));
}

#[test]
fn at_the_deadline_the_agent_is_ended_and_its_commits_are_pushed() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let agent = pod.script(&["--deadline-seconds", "1"], &format!("{COMMIT}; sleep 60")).end();
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(
        (agent.code(), pod.failure(layout::CLAUDE).reason.as_str()),
        (143, reason::DEADLINE_EXCEEDED)
    );
    assert_eq!(
        (verdict.pushed, verdict.agent.unwrap().stopped.as_deref()),
        (true, Some("Deadline"))
    );
}

#[test]
fn an_agent_that_ignores_sigterm_is_killed() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let options = ["--deadline-seconds", "1", "--grace-seconds", "1"];
    let agent = pod.script(&options, &format!("trap '' TERM; {COMMIT}; sleep 60")).end();
    telemetry.end().succeeded();
    assert_eq!((agent.code(), pod.verdict().pushed), (137, true));
}

/// Runs an agent that has left the process group it was started in for that of a child, and so hears no signal that is
/// sent to its group; `heeds` says what it does about one that it hears.
fn ends_an_agent_that_left_its_group(test: &str, heeds: &str, code: i32) {
    if !has("perl") {
        return skip(test, "perl", "perl is not installed");
    }
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let away = format!(
        "{heeds} my $child = fork; if (!$child) {{ setpgrp(0, 0); sleep 120; exit; }} \
         select(undef, undef, undef, 0.01) until getpgrp($child) == $child; \
         setpgrp(0, $child) or die; sleep 120;"
    );
    let options = ["--deadline-seconds", "1", "--grace-seconds", "1"];
    let agent = pod.script(&options, &format!("{COMMIT}; exec perl -e '{away}'")).end();
    telemetry.end().succeeded();
    assert_eq!((agent.code(), pod.verdict().pushed), (code, true), "{}", agent.stderr);
    assert_eq!(pod.failure(layout::CLAUDE).reason, reason::DEADLINE_EXCEEDED);
}

#[test]
fn an_agent_that_left_its_group_hears_sigterm() {
    let heeds = "$SIG{TERM} = sub { exit 9 };";
    ends_an_agent_that_left_its_group("an_agent_that_left_its_group_hears_sigterm", heeds, 9);
}

#[test]
fn an_agent_that_left_its_group_and_ignores_sigterm_is_killed() {
    const TEST: &str = "an_agent_that_left_its_group_and_ignores_sigterm_is_killed";
    ends_an_agent_that_left_its_group(TEST, "$SIG{TERM} = qq(IGNORE);", 137);
}

#[test]
fn an_agent_is_told_to_end_once() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let told = "trap 'n=$((n + 1)); echo told $n' TERM; n=0; while sleep 0.1; do [ $n = 0 ] || break; done; \
                sleep 0.5; exit 0";
    let agent = pod.script(&["--deadline-seconds", "1"], told).end();
    assert_eq!(agent.stdout, "told 1\n", "a second signal means to many programs: at once");
}

#[test]
fn an_agent_hears_signals_that_do_not_end_it_and_goes_on() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let heeds = format!(
        "ulimit -c 0; for it in HUP QUIT USR1 USR2; do trap \"echo heard $it >&2\" $it; done; \
         trap 'echo heard USR2 >&2; last=yes' USR2; echo listening >&2; \
         while [ -z \"$last\" ]; do sleep 0.05; done; {COMMIT}"
    );
    let mut agent = pod.script(&[], &heeds);
    agent.wait_for("listening");
    let all = [
        (Signal::HUP, "heard HUP"),
        (Signal::QUIT, "heard QUIT"),
        (Signal::USR1, "heard USR1"),
        (Signal::USR2, "heard USR2"),
    ];
    for (signal, said) in all {
        agent.signal(signal);
        agent.wait_for(said);
    }
    agent.end().succeeded();
    telemetry.end().succeeded();
    assert!(pod.verdict().pushed);
}

#[test]
fn an_agent_that_is_ended_and_says_that_all_is_well_has_not_succeeded() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let agent =
        pod.script(&["--deadline-seconds", "1"], "trap 'exit 0' TERM; sleep 60 & wait").end();
    assert_eq!(
        (agent.code(), pod.failure(layout::CLAUDE).reason.as_str()),
        (143, reason::DEADLINE_EXCEEDED)
    );
}

#[test]
fn an_idle_agent_is_ended_and_its_commits_are_pushed() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let agent = pod.script(&["--max-idle-seconds", "2"], &format!("{COMMIT}; sleep 60")).end();
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(
        (agent.code(), pod.failure(layout::CLAUDE).reason.as_str()),
        (143, reason::IDLE_TIMEOUT)
    );
    assert_eq!(
        (verdict.pushed, verdict.agent.unwrap().stopped.as_deref()),
        (true, Some("IdleTimeout"))
    );
}

#[test]
fn an_agent_that_fills_a_volume_is_ended_before_the_node_ends_the_pod() {
    for (mount, says) in [(layout::WORKSPACE, "/workspace held 7."), (layout::TMP, "/tmp held 7.")]
    {
        ends_an_agent_that_fills(mount, |_| vec!["--volume-limits".into(), limits(8 << 20)], says);
    }
}

#[test]
fn an_agent_that_fills_all_volumes_together_is_ended_before_the_node_ends_the_pod() {
    let whole = |pod: &Pod| {
        let runner = pod.file(layout::CLAUDE, layout::RUNNER);
        let tools = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(runner).unwrap()) * 512;
        let whole = (tools + 7_500_000) / 9 * 10; // what is held beside the agent's files counts too
        vec!["--volume-limits".into(), limits(1 << 30), "--storage-limit".into(), whole.to_string()]
    };
    ends_an_agent_that_fills(layout::TMP, whole, "its pod, with its log, held ");
}

/// The node keeps what it prints, and counts that too.
#[test]
fn an_agent_that_prints_too_much_for_its_limit_of_storage_is_ended() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let runner = pod.file(layout::CLAUDE, layout::RUNNER);
    let tools = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(runner).unwrap()) * 512;
    let whole = ((tools + 7_500_000) / 9 * 10).to_string();
    let (telemetry, limits) = (pod.telemetry(&[]), limits(1 << 30));
    let options = ["--volume-limits", &limits, "--storage-limit", &whole];
    let print = format!("{COMMIT}; head -c 8000000 /dev/zero | tr '\\0' a; sleep 60");
    let agent = pod.script(&options, &print).end();
    telemetry.end().succeeded();
    let failure = pod.failure(layout::CLAUDE);
    let said = (failure.reason.as_str(), pod.verdict().pushed);
    assert_eq!(said, (reason::STORAGE_EXCEEDED, true), "{}", agent.stderr);
    assert!(failure.message.contains("with its log, held"), "{}", failure.message);
}

/// Runs an agent that stays below a limit of 7.5 MB, and then does not, whatever it is told.
fn ends_an_agent_that_fills(
    mount: layout::Mount,
    limits: impl Fn(&Pod) -> Vec<String>,
    says: &str,
) {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let fill = format!(
        "trap '' TERM; {COMMIT}; cd {}; head -c 6000000 /dev/zero > a; sleep 2; echo still here; head -c 1000000 \
         /dev/zero > b; head -c 1000000 /dev/zero > c; sleep 60",
        pod.volume(mount).display()
    );
    let options = limits(&pod);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let agent = pod.script(&options, &fill).end();
    telemetry.end().succeeded();
    let (failure, verdict) = (pod.failure(layout::CLAUDE), pod.verdict());
    assert_eq!(
        (agent.code(), failure.reason.as_str()),
        (137, reason::STORAGE_EXCEEDED),
        "{}",
        agent.stderr
    );
    assert!(failure.message.contains(says), "{}", failure.message);
    assert_eq!(agent.stdout, "still here\n");
    let left = fs::metadata(pod.volume(mount).join("a"));
    assert!(left.is_err(), "the volume is emptied once all is handed over");
    assert_eq!(
        (verdict.pushed, verdict.agent.unwrap().stopped.as_deref()),
        (true, Some("StorageExceeded"))
    );
}

/// The same for every volume that is filled here.
fn limits(each: u64) -> String {
    format!("/workspace={each},/tmp={each},/home/nonroot={each}")
}

#[test]
fn an_agent_that_prints_or_writes_is_not_idle() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let stamp = pod.file(layout::CLAUDE, layout::ACTIVITY);
    let busy = "for i in $(seq 30); do echo $i; sleep 0.1; done; for i in $(seq 30); do echo $i > file; \
                sleep 0.1; done";
    let busy = format!("{busy}; [ -e {} ]", stamp.display());
    let agent = pod.script(&["--max-idle-seconds", "3"], &busy).end();
    assert_eq!(agent.code(), 0, "{}", agent.stderr);
}

#[test]
fn the_probe_reads_a_time_stamp_and_no_more() {
    let pod = Pod::new();
    let probe = |seconds: &str| {
        let arguments = ["probe", "--max-idle-seconds", seconds];
        Process::start(pod.command(layout::CLAUDE, &arguments)).end().code()
    };
    assert_eq!(probe("100"), 1, "nothing began");
    let stamp = fs::File::create(pod.volume(layout::HANDOVER).join("activity")).unwrap();
    assert_eq!(probe("100"), 0, "active just now");
    stamp.set_modified(SystemTime::now() - Duration::from_secs(200)).unwrap();
    assert_eq!((probe("100"), probe("0")), (1, 0), "idle, unless nobody asks");
}

#[test]
fn told_to_end_both_at_once_keeps_what_is_committed() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let mut telemetry = pod.telemetry(&[]);
    let mut agent = pod.script(&[], &format!("{COMMIT}; echo ready >&2; sleep 60"));
    agent.wait_for("ready");
    telemetry.wait_for("The agent is running");
    agent.signal(Signal::TERM);
    telemetry.signal(Signal::TERM);
    let agent = agent.end();
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(
        (agent.code(), pod.failure(layout::CLAUDE).reason.as_str()),
        (143, reason::TERMINATED)
    );
    assert_eq!(
        (verdict.pushed, verdict.agent.unwrap().stopped.as_deref()),
        (true, Some("Terminated"))
    );
    assert_eq!(pod.head("fix/x"), verdict.commit);
}

#[test]
fn an_agent_that_hands_over_too_late() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let mut telemetry = pod.telemetry(&["--handover-seconds", "1"]);
    let mut agent = pod.script(&[], &format!("{COMMIT}; echo ready >&2; sleep 60"));
    agent.wait_for("ready");
    telemetry.wait_for("The agent is running");
    telemetry.signal(Signal::TERM);
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::HANDOVER_LATE, false));
    assert!(verdict.message.contains("commits may be lost"), "{}", verdict.message);
    agent.signal(Signal::TERM);
    agent.end();
}

#[test]
fn an_agent_that_hands_over_too_late_loses_no_checkpoint() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let mut telemetry = pod.telemetry(&["--handover-seconds", "1"]);
    let words = pod.file(layout::CLAUDE, layout::ENDED);
    // A report that the agent wrote itself says nothing of its end: it has not come.
    let forged = r#"{"exitCode":0,"seconds":1,"handover":"Bundle"}"#;
    let script = format!("{COMMIT}; echo '{forged}' > {}; sleep 60", words.display());
    let mut agent = pod.script(&["--checkpoint-seconds", "1"], &script);
    agent.wait_for("Checkpoint: handed over commit");
    telemetry.wait_for("The agent is running");
    telemetry.signal(Signal::TERM);
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    assert_eq!((pod.head("fix/x"), verdict.agent), (verdict.commit, None));
    assert!(
        verdict.message.contains("within 1 s")
            && verdict.message.contains("after its last checkpoint may be lost"),
        "{}",
        verdict.message
    );
    agent.signal(Signal::TERM);
    agent.end();
}

#[test]
fn a_push_that_takes_too_long_still_gives_a_verdict() {
    let pod = Pod::new();
    pod.remote_hook("pre-receive", "sleep 5");
    pod.git_init().succeeded();
    pod.script(&[], COMMIT).end().succeeded();
    pod.telemetry(&["--push-seconds", "1"]).end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSH_TIMED_OUT, false));
    assert!(verdict.commit.is_some() && verdict.push_seconds >= 1.0, "{verdict:?}");
}

/// The verdict of a pod whose first push fails with these words, and the log of its `telemetry`.
fn after_a_push_that_failed(said: &str) -> (Pod, String) {
    let pod = Pod::new();
    pod.git_init().succeeded();
    pod.script(&[], COMMIT).end().succeeded();
    let failed = pod.path("failed");
    let once =
        format!("[ -e {0} ] || {{ touch {0}; echo '{said}' >&2; exit 128; }}", failed.display());
    let path = pod.git_that_fails("push", &once);
    let mut telemetry = pod.command(layout::TELEMETRY, &["telemetry", "--metrics-port", "0"]);
    telemetry.env("PATH", path);
    let log = Process::start(telemetry).end().succeeded().stderr;
    assert!(failed.exists(), "the first push failed: {log}");
    (pod, log)
}

#[test]
fn a_push_that_is_cut_off_is_tried_again() {
    let words = [
        "fatal: the remote end hung up unexpectedly",
        "send-pack: unexpected disconnect while reading sideband packet",
        "fatal: unable to access https://h/: The requested URL returned error: 429",
        "fatal: something that nobody has read before",
    ];
    for said in words {
        let (pod, log) = after_a_push_that_failed(said);
        let verdict = pod.verdict();
        assert_eq!(
            (verdict.reason.as_str(), verdict.pushed),
            (reason::PUSHED, true),
            "{said}: {verdict:?}"
        );
        assert!(log.contains("Trying again in 500 ms"), "{log}");
    }
}

#[test]
fn a_push_that_a_person_must_mend_is_not_tried_again() {
    let (pod, log) = after_a_push_that_failed("fatal: Authentication failed for https://h/x/");
    let verdict = pod.verdict();
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed),
        (reason::CREDENTIALS_REFUSED, false),
        "{verdict:?}"
    );
    assert!(!log.contains("Trying again"), "{log}");
}

#[test]
fn a_container_that_is_killed_at_once_loses_no_checkpoint() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let script = format!("{COMMIT}; echo pid $$ >&2; exec sleep 60");
    let mut agent = pod.script(&["--checkpoint-seconds", "1"], &script);
    let line = agent.wait_for("pid ");
    agent.wait_for("Checkpoint: handed over commit");
    agent.signal(Signal::KILL);
    // In a pod it dies with the container's first process.
    let pid = line.trim_start_matches("pid ").parse().ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(
        (verdict.reason.as_str(), verdict.agent),
        (reason::PUSHED, None),
        "{}",
        verdict.message
    );
    assert_eq!(pod.head("fix/x"), verdict.commit);
}

#[test]
fn a_repository_that_is_broken_at_the_end_loses_no_checkpoint() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let bundle = pod.file(layout::CLAUDE, layout::BUNDLE);
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", bundle.display());
    let script = format!("{COMMIT}; {wait}; rm -rf .git");
    pod.script(&["--checkpoint-seconds", "1"], &script).end().succeeded();
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(verdict.reason, reason::PUSHED, "{verdict:?}");
    assert!(verdict.message.contains("after its last checkpoint may be lost"), "{verdict:?}");
}

#[test]
fn a_commit_in_a_further_work_tree_is_handed_over_while_the_agent_runs() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let bundle = pod.file(layout::CLAUDE, layout::BUNDLE);
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", bundle.display());
    let script = format!(
        "git worktree add -q -b mine ../tree && cd ../tree && {COMMIT}; {wait}; kill -KILL $PPID"
    );
    pod.script(&["--checkpoint-seconds", "1"], &script).end();
    pod.telemetry(&[]).end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(verdict.reason, reason::COMMITTED_ELSEWHERE, "{verdict:?}");
    assert_eq!(pod.head("fix/x-0a1b2c3d"), verdict.commit);
}

/// As in a deep history that git has no time to walk.
#[test]
fn what_is_checked_out_is_not_lost_where_git_does_not_say_what_it_continues() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let path = pod.git_that_fails("merge-base", "exit 128");
    let script =
        format!("{COMMIT} && git checkout -q -b mine && git commit -q --allow-empty -m mine");
    let arguments = ["claude", "--", "sh", "-c", &script];
    let mut agent = pod.command(layout::CLAUDE, &arguments);
    agent.env("PATH", path);
    Process::start(agent).end().succeeded();
    pod.telemetry(&[]).end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 1), "{verdict:?}");
    assert!(verdict.message.contains("mine on branch fix/x-0a1b2c3d-1-side-1"), "{verdict:?}");
}

#[test]
fn an_agent_that_is_ended_is_told_what_became_of_its_commits() {
    let said = |script: &str| {
        let pod = Pod::new();
        pod.git_init().succeeded();
        let script = format!("{COMMIT}; {script}; echo committed >&2; sleep 60");
        let mut agent = pod.script(&["--checkpoint-seconds", "0"], &script);
        agent.wait_for("committed");
        agent.signal(Signal::TERM);
        agent.end();
        pod.failure(layout::CLAUDE).message
    };
    let fine = said("true");
    assert!(fine.contains("what it had committed is handed over"), "{fine}");
    let broken = said("rm -rf .git");
    assert!(broken.contains("could not be handed over and may be lost"), "{broken}");
    assert!(!broken.contains("is handed over"), "{broken}");
}

#[test]
fn an_agent_that_forges_its_activity_is_ended_all_the_same() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let stamp = pod.file(layout::CLAUDE, layout::ACTIVITY);
    let forge = format!("while :; do touch -d @4000000000 {}; sleep 0.1; done", stamp.display());
    pod.script(&["--max-idle-seconds", "2"], &forge).end();
    assert_eq!(pod.failure(layout::CLAUDE).reason, reason::IDLE_TIMEOUT);
}

#[test]
fn commits_that_are_taken_back_are_not_handed_over() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let bundle = pod.file(layout::CLAUDE, layout::BUNDLE);
    let wait = format!("until [ -e {} ]; do sleep 0.05; done", bundle.display());
    let script = format!("{COMMIT}; {wait}; git reset -q --hard HEAD~1");
    pod.script(&["--checkpoint-seconds", "1"], &script).end().succeeded();
    pod.telemetry(&[]).end().succeeded();
    assert_eq!(pod.verdict().reason, reason::NOTHING_TO_PUSH);
}

#[test]
fn a_clone_that_is_told_to_end_says_so() {
    let mut pod = Pod::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    pod.set(env::GIT_REPOSITORY, &format!("http://{}/repo", silent.local_addr().unwrap()));
    let clone = Process::start(pod.command(layout::GIT_INIT, &["git-init"]));
    let (mut connection, _) = silent.accept().unwrap();
    let _request = connection.read(&mut [0; 16]).unwrap();
    clone.signal(Signal::TERM);
    assert_eq!(
        (clone.end().code(), pod.failure(layout::GIT_INIT).reason.as_str()),
        (1, reason::TERMINATED)
    );
}
