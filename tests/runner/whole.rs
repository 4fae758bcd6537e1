//! Whole runs: clone, agent, push, verdict.

use std::fs;

use gastown::domain::{
    layout::{self, env},
    verdict::{reason, words},
};

use crate::pod::{Pod, git};

pub const COMMIT: &str = "echo more >> README.md && git commit -q -a -m 'Do it'";
/// Commits something else: two equal commits of one second are one.
pub const OTHER: &str = "echo other >> README.md && git commit -q -a -m 'Do other'";

#[test]
fn what_the_agent_commits_is_pushed() {
    let mut pod = Pod::new();
    pod.set(env::REQUESTED_BY, "ada@example.com");
    pod.set(env::TRACE, "0af7651916cd43dd8448eb211c80319c");
    let base = pod.head("main").unwrap();
    let again = "git commit -q --amend --no-edit"; // adds no line twice
    let (agent, verdict) = pod.run(&format!("{COMMIT} && {again} && echo out && echo err >&2"));
    let agent = agent.succeeded();
    assert_eq!(agent.stdout, "out\n");
    assert!(agent.stderr.lines().any(|it| it == "err"), "{}", agent.stderr);
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    assert_eq!((verdict.branch.as_deref(), verdict.commits), (Some("fix/x"), 1));
    assert_eq!((verdict.commit, verdict.base.as_deref()), (pod.head("fix/x"), Some(base.as_str())));
    let ended = verdict.agent.unwrap();
    assert_eq!(
        (ended.exit_code, ended.stopped, ended.handover.as_deref()),
        (0, None, Some(words::BUNDLE))
    );
    assert_eq!(
        pod.log("fix/x", "%an <%ae>").lines().next(),
        Some("Gas Town Polecat <polecat@gastown.io>")
    );
    let message = git(&pod.remote(), &["log", "-1", "--format=%B", "fix/x"]);
    let trailers = "Polecat: furiosa\nPolecat-UID: 0a1b2c3d-1111-2222-3333-444455556666\nBead: gt-1\nRequested-By: ada@example.com\n\
                    Trace: 0af7651916cd43dd8448eb211c80319c";
    assert_eq!(message.trim_end(), format!("Do it\n\n{trailers}"));
    assert_eq!(pod.last_words(layout::CLAUDE), "", "a success has no last words");
    assert_eq!(git(&pod.remote(), &["fsck", "--strict", "--no-dangling"]), "");
    assert_eq!(pod.head("main").as_deref(), Some(base.as_str()), "no other branch moves");
}

#[test]
fn the_task_is_named_by_its_hash() {
    let mut pod = Pod::new();
    let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    pod.set(env::TASK_SHA256, hash);
    let (_, verdict) = pod.run("true");
    assert_eq!(verdict.task_sha256.as_deref(), Some(hash));
}

#[test]
fn no_commit_is_nothing_to_push() {
    let pod = Pod::new();
    let (agent, verdict) = pod.run("echo lost > new; echo lost >> README.md");
    assert!(agent.succeeded().stderr.contains("Leaving 2 uncommitted changes behind"));
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::NOTHING_TO_PUSH, false));
    assert_eq!((verdict.commit, verdict.branch, pod.head("fix/x")), (None, None, None));
}

#[test]
fn an_agent_that_fails_keeps_its_commits_and_its_exit_code() {
    let pod = Pod::new();
    // While it runs there are words already, for the case that its runner is cut off.
    let words = pod.file(layout::CLAUDE, layout::TERMINATION_LOG).display().to_string();
    let (agent, verdict) =
        pod.run(&format!("grep -q PodFailed {words} || exit 9; {COMMIT}; exit 7"));
    assert_eq!(agent.code(), 7);
    let said = pod.failure(layout::CLAUDE);
    assert_eq!(said.reason, reason::AGENT_FAILED);
    assert!(said.message.contains("code 7"), "{}", said.message);
    assert_eq!((verdict.reason.as_str(), verdict.agent.unwrap().exit_code), (reason::PUSHED, 7));
    assert_eq!(pod.head("fix/x"), verdict.commit);
}

#[test]
fn an_agent_killed_by_a_signal_exits_as_in_a_shell() {
    let pod = Pod::new();
    let (agent, verdict) = pod.run(&format!("{COMMIT}; kill -KILL $$"));
    assert_eq!((agent.code(), verdict.pushed), (137, true));
}

#[test]
fn the_second_attempt_goes_on_where_the_first_stopped() {
    let first = Pod::new();
    let (_, one) = first.run(COMMIT);
    let mut second = Pod::beside(&first, "0a1b2c3d-1111-2222-3333-444455556666");
    second.set(env::ATTEMPT, "2");
    let (_, two) = second.run(&format!("git log --format=%H; {COMMIT}"));
    assert_eq!((two.reason.as_str(), two.base), (reason::PUSHED, one.commit));
    assert_eq!((first.head("fix/x"), two.commits), (two.commit, 1));
}

#[test]
fn of_two_on_one_bead_the_second_is_refused_and_kept() {
    let (first, second) = {
        let first = Pod::new();
        let second = Pod::beside(&first, "ffffeeee-1111-2222-3333-444455556666");
        (first, second)
    };
    second.git_init().succeeded();
    let (_, one) = first.run(COMMIT);
    let telemetry = second.telemetry(&[]);
    second.script(&[], OTHER).end().succeeded();
    telemetry.end().succeeded();
    let two = second.verdict();
    assert_eq!((two.reason.as_str(), two.pushed), (reason::PUSH_REJECTED, false), "{two:?}");
    assert_eq!(two.branch.as_deref(), Some("fix/x-ffffeeee"));
    assert!(
        two.message.contains("fix/x") && two.message.contains("fix/x-ffffeeee"),
        "{}",
        two.message
    );
    assert_eq!((first.head("fix/x"), first.head("fix/x-ffffeeee")), (one.commit, two.commit));
}

#[test]
fn a_kept_branch_is_never_pushed_over() {
    let first = Pod::new();
    git(&first.remote(), &["branch", "fix/x-ffffeeee", "main~1"]);
    git(&first.path("seed"), &["checkout", "--quiet", "--orphan", "other"]);
    git(&first.path("seed"), &["commit", "--quiet", "-m", "other"]);
    git(
        &first.path("seed"),
        &["push", "--quiet", "--force", &first.remote().to_string_lossy(), "other:fix/x-ffffeeee"],
    );
    let taken = first.head("fix/x-ffffeeee");
    let mut second = Pod::beside(&first, "ffffeeee-1111-2222-3333-444455556666");
    second.set(env::ATTEMPT, "2");
    second.git_init().succeeded();
    first.run(COMMIT);
    let telemetry = second.telemetry(&[]);
    second.script(&[], OTHER).end().succeeded();
    telemetry.end().succeeded();
    let verdict = second.verdict();
    assert_eq!(verdict.branch.as_deref(), Some("fix/x-ffffeeee-2"), "{verdict:?}");
    assert_eq!(
        (first.head("fix/x-ffffeeee"), first.head("fix/x-ffffeeee-2")),
        (taken, verdict.commit)
    );
}

#[test]
fn a_hook_of_the_remote_that_refuses_is_quoted() {
    let pod = Pod::new();
    pod.remote_hook(
        "pre-receive",
        "echo 'only on Fridays, token ghp_0123456789abcdefghij'; exit 1",
    );
    let (agent, verdict) = pod.run(COMMIT);
    agent.succeeded();
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed, verdict.branch),
        (reason::PUSH_REJECTED, false, None)
    );
    assert!(verdict.message.contains("only on Fridays, token [removed]"), "{}", verdict.message);
}

#[test]
fn a_rewritten_base_is_kept_and_leaves_the_work_branch_alone() {
    let pod = Pod::new();
    let (_, verdict) = pod.run("git commit -q --amend -m rewritten");
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed),
        (reason::HISTORY_REWRITTEN, false),
        "{verdict:?}"
    );
    assert_eq!(verdict.branch.as_deref(), Some("fix/x-0a1b2c3d"));
    assert_eq!((pod.head("fix/x"), pod.head("fix/x-0a1b2c3d")), (None, verdict.commit));
}

#[test]
fn a_repository_inside_the_repository_is_not_reported_pushed() {
    let pod = Pod::new();
    let inner = "mkdir -p deep/lib && cd deep/lib && git init -q && git config user.name a && git config \
                 user.email a@b && echo lost > file && git add file && git commit -q -m lost && cd ../..";
    let (agent, verdict) =
        pod.run(&format!("{inner} && git add deep 2>&1 && git commit -q -m outer"));
    agent.succeeded();
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed, verdict.branch.as_deref()),
        (reason::SUBMODULES_UNSUPPORTED, false, Some("fix/x-0a1b2c3d")),
        "{verdict:?}"
    );
    assert!(verdict.message.contains("deep/lib"), "{}", verdict.message);
    assert_eq!((pod.head("fix/x"), pod.head("fix/x-0a1b2c3d")), (None, verdict.commit));
}

#[test]
fn files_that_the_agent_gave_to_git_lfs_are_not_reported_pushed() {
    let pod = Pod::new();
    let (agent, verdict) = pod.run(
        "mkdir art && echo '*.png filter=lfs -text' > art/.gitattributes && printf 'version \
         https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n' > art/a.png && git add art && git commit \
         -q -m art",
    );
    agent.succeeded();
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed, verdict.branch.as_deref()),
        (reason::LFS_UNSUPPORTED, false, Some("fix/x-0a1b2c3d")),
        "{verdict:?}"
    );
    assert!(verdict.message.contains("art/.gitattributes"), "{}", verdict.message);
    assert_eq!((pod.head("fix/x"), pod.head("fix/x-0a1b2c3d")), (None, verdict.commit));
}

/// As `.git/info/attributes` and a filter make them: nothing in the tree speaks of Git LFS but the pointer itself.
#[test]
fn a_pointer_of_git_lfs_is_no_file() {
    const POINTER: &str = r"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n";
    let pod = Pod::new();
    let commit = "git add . && git commit -q -m art";
    let (agent, verdict) =
        pod.run(&format!("mkdir art && printf '{POINTER}' > art/a.png && {commit}"));
    agent.succeeded();
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed, verdict.branch.as_deref()),
        (reason::LFS_UNSUPPORTED, false, Some("fix/x-0a1b2c3d")),
        "{verdict:?}"
    );
    assert!(verdict.message.contains("art/a.png"), "{}", verdict.message);
    assert_eq!((pod.head("fix/x"), pod.head("fix/x-0a1b2c3d")), (None, verdict.commit));
    // In the place of a large file, as when that is handed to Git LFS.
    let pod = Pod::new();
    let seed = pod.path("seed");
    fs::write(seed.join("a.png"), vec![0; 100_000]).unwrap();
    git(&seed, &["add", "."]);
    git(&seed, &["commit", "--quiet", "-m", "art"]);
    git(&seed, &["push", "--quiet", &pod.remote().to_string_lossy(), "main"]);
    let (_, verdict) = pod.run(&format!("printf '{POINTER}' > a.png && {commit}"));
    assert_eq!(verdict.reason, reason::LFS_UNSUPPORTED, "{verdict:?}");
    // Who only writes about them is not meant.
    let pod = Pod::new();
    let (_, verdict) = pod.run(&format!("printf 'A pointer:\\n{POINTER}' > lfs.md && {commit}"));
    assert_eq!(verdict.reason, reason::PUSHED, "{verdict:?}");
}

#[test]
fn commits_that_can_not_be_checked_are_kept() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    pod.script(&[], COMMIT).end().succeeded();
    let path = pod.git_that_fails("ls-tree", "echo 'fatal: out of memory' >&2; exit 128");
    let mut telemetry = pod.command(layout::TELEMETRY, &["telemetry", "--metrics-port", "0"]);
    telemetry.env("PATH", path);
    crate::pod::Process::start(telemetry).end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed, verdict.branch.as_deref()),
        (reason::PUSH_FAILED, false, Some("fix/x-0a1b2c3d")),
        "{verdict:?}"
    );
    assert!(verdict.message.contains("look for submodules"), "{}", verdict.message);
}

#[test]
fn commits_on_another_branch_are_not_lost() {
    let pod = Pod::new();
    let (_, verdict) = pod.run(&format!("git checkout -q -b mine && {COMMIT}"));
    assert_eq!(
        (verdict.reason.as_str(), verdict.branch.as_deref()),
        (reason::PUSHED, Some("fix/x")),
        "{verdict:?}"
    );
    let pod = Pod::new();
    let (_, verdict) = pod.run(&format!("{COMMIT} && git checkout -q --detach && {COMMIT}"));
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 2), "{verdict:?}");
}

#[test]
fn a_merge_inside_the_run_is_pushed_whole() {
    let pod = Pod::new();
    let script = format!(
        "git checkout -q -b side && {COMMIT} && git checkout -q fix/x && echo n > new && git add new && \
         git commit -q -m n && git merge -q --no-edit side"
    );
    let (_, verdict) = pod.run(&script);
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 3), "{verdict:?}");
}

#[test]
fn tokens_that_the_agent_reports_are_in_the_verdict() {
    let pod = Pod::new();
    let (_, verdict) =
        pod.run(r#"echo '{"type":"result","usage":{"input_tokens":10,"output_tokens":5}}'"#);
    assert_eq!(verdict.agent.unwrap().tokens, Some(15));
}

#[test]
fn an_agent_that_is_not_there() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let agent = pod.agent(&[], &["no-such-agent", "--x"]).end();
    assert_eq!(agent.code(), 127);
    let failure = pod.failure(layout::CLAUDE);
    assert_eq!(failure.reason, reason::AGENT_NOT_FOUND);
    assert!(
        failure.message.contains("no-such-agent")
            && failure.message.contains("spec.kubernetes.image")
    );
    let agent = pod.agent(&[], &["./README.md"]).end();
    assert_eq!(
        (agent.code(), pod.failure(layout::CLAUDE).reason.as_str()),
        (126, reason::AGENT_NOT_EXECUTABLE)
    );
    pod.telemetry(&[]).end().succeeded();
    assert_eq!(pod.verdict().reason, reason::NOTHING_TO_PUSH);
}

#[test]
fn without_a_command_the_agent_is_claude_with_the_task() {
    let mut pod = Pod::new();
    let folder = pod.path("bin");
    fs::create_dir(&folder).unwrap();
    pod.program(
        "claude",
        "#!/bin/sh\nprintf '<%s>' \"$@\"\ncat \"$HOME/.claude/.credentials.json\"\n",
    );
    fs::write(pod.volume(layout::CLAUDE_CREDS).join(".credentials.json"), "{subscription}")
        .unwrap();
    pod.set(env::TASK_DESCRIPTION, "Say \"hello\"; $(touch /x) `y`");
    pod.git_init().succeeded();
    let mut command = pod.command(layout::CLAUDE, &["claude", "--"]);
    let path = format!("{}:/usr/bin:/bin", folder.display());
    command.env("PATH", path);
    let agent = crate::pod::Process::start(command).end().succeeded();
    assert!(agent.stdout.starts_with(
        "<-p><--dangerously-skip-permissions><--><Issue: gt-1\n\nSay \"hello\"; $(touch /x) `y`\n"
    ));
    assert!(agent.stdout.ends_with("{subscription}"), "{}", agent.stdout);
    let copy = pod.volume(layout::HOME).join(".claude/.credentials.json");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(copy).unwrap()) & 0o777, 0o600);
}

#[test]
fn a_task_that_begins_with_a_dash_is_no_option() {
    let mut pod = Pod::new();
    let claude = pod.program("claude", "#!/bin/sh\nprintf '<%s>' \"$@\"\n");
    pod.set(env::ISSUE, "");
    pod.set(env::TASK_DESCRIPTION, "--version\n- and more");
    pod.git_init().succeeded();
    let said = |words: &[&str]| {
        let arguments: Vec<&str> = ["claude"].iter().chain(words).copied().collect();
        let mut command = pod.command(layout::CLAUDE, &arguments);
        command.env("PATH", format!("{}:/usr/bin:/bin", claude.parent().unwrap().display()));
        crate::pod::Process::start(command).end().succeeded().stdout
    };
    let mode = "<-p><--dangerously-skip-permissions>";
    let task = "<--><--version\n- and more\n\nCommit";
    let own = said(&["--default-agent", "--", "--tools", "a"]);
    assert!(own.starts_with(&format!("{mode}<--tools><a>{task}")), "{own}");
    let ended = said(&["--default-agent", "--", "--fast", "--"]);
    assert!(
        ended.starts_with(&format!("{mode}<--fast>{task}")),
        "the user's own end is enough: {ended}"
    );
    let users = said(&["--", "claude", "--fast"]);
    assert_eq!(users, "<--fast>", "a command of one's own gets what one says");
}

#[test]
fn an_author_of_ones_own() {
    let mut pod = Pod::new();
    pod.set(env::AUTHOR_NAME, "Ada L");
    pod.set(env::AUTHOR_EMAIL, "ada@example.com");
    pod.run(COMMIT);
    assert_eq!(pod.log("fix/x", "%an <%ae>").lines().next(), Some("Ada L <ada@example.com>"));
}

#[test]
fn the_metrics_of_the_pod_are_served_while_it_runs() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let mut telemetry = pod.telemetry(&[]);
    let line = telemetry.wait_for("Serving metrics on ");
    let port = line.rsplit(':').next().unwrap().to_owned();
    assert!(
        crate::pod::metrics(&port)
            .contains("polecat_agent_running{polecat=\"furiosa\",rig=\"rig\",bead=\"gt-1\"} 0\n")
    );
    let go = pod.path("go");
    let agent = pod.script(&[], &format!("until [ -e {} ]; do sleep 0.05; done", go.display()));
    telemetry.wait_for("The agent is running");
    assert!(
        crate::pod::metrics(&port)
            .contains("polecat_agent_running{polecat=\"furiosa\",rig=\"rig\",bead=\"gt-1\"} 1\n")
    );
    fs::write(go, "").unwrap();
    agent.end().succeeded();
    telemetry.end().succeeded();
}
