//! What the agent commits on other branches than the work branch: kept and named, and never at that one's cost.

use gastown::domain::{
    layout,
    verdict::{reason, words},
};

use crate::{
    pod::{Pod, Process, git},
    whole::{COMMIT, OTHER},
};

#[test]
fn what_is_committed_beside_the_work_branch_is_kept_and_named() {
    let pod = Pod::new();
    let script = format!(
        "{COMMIT} && git checkout -q -b mine HEAD~1 && {OTHER} && git branch copy && \
         git worktree add -q --detach ../tree HEAD~1 && git tag mine HEAD~1 && cd ../tree && echo tree > tree && git add tree && \
         git commit -q -m tree && git worktree add -q -b further ../further fix/x && cd ../further && \
         echo further > further && git add further && git commit -q -m further"
    );
    let (agent, verdict) = pod.run(&script);
    agent.succeeded();
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 1), "{verdict:?}");
    assert_eq!((verdict.branch.as_deref(), pod.head("fix/x")), (Some("fix/x"), verdict.commit));
    let said = verdict.message;
    let mut subjects = Vec::new();
    for number in 1..=3 {
        let branch = format!("fix/x-0a1b2c3d-1-side-{number}");
        let subject = pod.log(&branch, "%s").lines().next().unwrap().to_owned();
        let name = match subject.as_str() {
            "tree" => "worktrees/tree/HEAD",
            "further" => "further",
            _ if said.contains("mine on") => "mine",
            _ => "copy",
        };
        assert!(said.contains(&format!("{name} on branch {branch}")), "{subject}: {said}");
        subjects.push(subject);
    }
    subjects.sort();
    assert_eq!(subjects, ["Do other", "further", "tree"], "each once");
    assert_eq!(pod.head("fix/x-0a1b2c3d-1-side-4"), None);
}

#[test]
fn commits_on_a_side_branch_alone_are_kept_and_never_called_nothing() {
    for leave in [
        "git checkout -q -b mine && COMMIT && git checkout -q fix/x",
        "git worktree add -q -b mine ../tree && cd ../tree && COMMIT",
    ] {
        let pod = Pod::new();
        let (agent, verdict) = pod.run(&leave.replace("COMMIT", COMMIT));
        agent.succeeded();
        assert_eq!(
            (verdict.reason.as_str(), verdict.pushed, verdict.branch.as_deref()),
            (reason::COMMITTED_ELSEWHERE, false, Some("fix/x-0a1b2c3d")),
            "{leave}: {verdict:?}"
        );
        assert!(verdict.message.contains("mine alone"), "{}", verdict.message);
        assert_eq!((pod.head("fix/x"), pod.head("fix/x-0a1b2c3d")), (None, verdict.commit));
    }
}

#[test]
fn branches_of_the_remote_that_the_agent_checked_out_are_not_its_own() {
    let pod = Pod::new();
    let seed = pod.path("seed");
    pod.git_init().succeeded();
    git(&seed, &["commit", "--quiet", "--allow-empty", "-m", "theirs"]);
    git(&seed, &["push", "--quiet", &pod.remote().to_string_lossy(), "main"]);
    let telemetry = pod.telemetry(&[]);
    let script = format!(
        "git fetch -q origin && git branch -q main origin/main && git checkout -q main && git checkout -q fix/x && \
         {COMMIT}"
    );
    pod.script(&[], &script).end().succeeded();
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(verdict.message, "pushed to branch fix/x; commits: 1");
}

#[test]
fn more_branches_than_are_handed_over_are_said() {
    let pod = Pod::new();
    let script = format!(
        "{COMMIT}; for i in $(seq 10); do git checkout -q -b mine$i fix/x && git commit -q --allow-empty -m $i; \
         done; git checkout -q fix/x"
    );
    let (agent, verdict) = pod.run(&script);
    assert!(
        agent.succeeded().stderr.contains(": these are too many branches"),
        "by name, in the log"
    );
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    assert!(verdict.message.contains("could be handed over (mine"), "{}", verdict.message);
    assert!(verdict.message.contains("commits on them may be lost"), "{}", verdict.message);
    assert!(pod.head("fix/x-0a1b2c3d-1-side-8").is_some());
    assert_eq!(verdict.agent.unwrap().handover.as_deref(), Some(words::PARTLY));
    let pod = Pod::new();
    let (_, verdict) = pod.run(&script.replace(COMMIT, "true"));
    assert_eq!(verdict.reason, reason::COMMITTED_ELSEWHERE, "{verdict:?}");
    assert!(verdict.message.contains("commits on them may be lost"), "{}", verdict.message);
}

#[test]
fn a_side_branch_that_is_too_large_does_not_keep_the_work_back() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let large = "git checkout -q -b mine && head -c 3000000 /dev/urandom > large && git add large && git commit -q -m large && \
                 git checkout -q -b fine fix/x && git commit -q --allow-empty -m fine && git checkout -q fix/x";
    let options = ["--max-bundle-bytes", "1000000", "--checkpoint-seconds", "0"];
    pod.script(&options, &format!("{COMMIT} && {large}")).end().succeeded();
    pod.telemetry(&[]).end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 1), "{verdict:?}");
    assert!(verdict.message.contains("(mine): see"), "{}", verdict.message);
    assert!(verdict.message.contains("fine on branch"), "{}", verdict.message);
}

/// Somebody else's repository beside the agent's, of more commits than an agent's branch may have.
const UPSTREAM: &str = "git init -q ../up && for i in $(seq 1001); do printf 'commit refs/heads/main\ncommitter A <a@b> \
                        %d +0000\ndata 1\nx\n' $i; done | git -C ../up fast-import --quiet";

#[test]
fn a_side_branch_that_can_not_be_taken_costs_nothing_else() {
    let table = [
        (
            "git fetch -q --unshallow REMOTE main && git checkout -q -b side fix/x~2",
            "what was there before the agent's base",
        ),
        (
            "git fetch -q --depth=1 file://$PWD/../up main && git checkout -q -b side FETCH_HEAD",
            "its history is cut off",
        ),
        (
            "git remote add upstream $PWD/../up && git fetch -q upstream && git checkout -q -b side upstream/main",
            "more than 1000 commits",
        ),
    ];
    let mine = format!("git checkout -q -b mine fix/x~1 && {OTHER}");
    for (script, why) in table {
        let pod = Pod::new();
        let side = script.replace("REMOTE", &pod.remote().display().to_string());
        let script = format!(
            "{COMMIT} && {mine} && {UPSTREAM} && {side} && echo side > side && git add side && git commit -q -m side && \
             git checkout -q fix/x"
        );
        let (agent, verdict) = pod.run(&script);
        let told = (verdict.reason.as_str(), verdict.pushed, verdict.commits);
        assert_eq!(told, (reason::PUSHED, true, 1), "{why}: {verdict:?}");
        assert_eq!(pod.head("fix/x"), verdict.commit, "{why}");
        let said = verdict.message;
        assert!(said.contains("(side): see") && said.contains("may be lost"), "{why}: {said}");
        let log = agent.succeeded().stderr;
        assert!(log.contains("refs/heads/side: ") && log.contains(why), "{why}: {log}");
        assert!(said.contains("mine on branch fix/x-0a1b2c3d-1-side-1"), "{why}: {said}");
        assert_eq!(pod.log("fix/x-0a1b2c3d-1-side-1", "%s").lines().next(), Some("Do other"));
    }
}

#[test]
fn a_side_branch_that_is_all_there_is_and_can_not_be_taken_is_named() {
    let pod = Pod::new();
    let remote = pod.remote().display().to_string();
    let (_, verdict) = pod.run(&format!(
        "git fetch -q --unshallow {remote} main && git checkout -q -b side fix/x~1 && {OTHER} && git checkout -q fix/x"
    ));
    assert_eq!(verdict.reason, reason::HANDOVER_FAILED, "{verdict:?}");
    assert!(verdict.message.contains("over (side); see its log"), "{}", verdict.message);
}

/// As `git branch refs/heads/fix/x` makes it.
#[test]
fn a_branch_that_is_called_as_the_reference_of_another_takes_nothing_from_it() {
    let pod = Pod::new();
    let script = format!(
        "{COMMIT} && git checkout -q -b mine HEAD~1 && {OTHER} && git checkout -q fix/x && git branch -q refs/heads/fix/x \
         mine~1 && git branch -q refs/heads/mine mine~1"
    );
    let (_, verdict) = pod.run(&script);
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 1), "{verdict:?}");
    assert_eq!(pod.log("fix/x", "%s").lines().next(), Some("Do it"));
    assert_eq!(pod.log("fix/x-0a1b2c3d-1-side-1", "%s").lines().next(), Some("Do other"));
    assert_eq!(verdict.agent.unwrap().handover.as_deref(), Some(words::BUNDLE));
}

#[test]
fn a_push_that_fails_leaves_no_other_branch_unsaid() {
    let refused = "echo \"fatal: Authentication failed for 'x'\" >&2; exit 128";
    for (which, says) in [
        ("*:refs/heads/fix/x", "are kept: mine on branch fix/x-0a1b2c3d-1-side-1"),
        ("*", "these are lost with the pod: mine"),
    ] {
        let pod = Pod::new();
        pod.git_init().succeeded();
        let script =
            format!("git checkout -q -b mine && {OTHER} && git checkout -q fix/x && {COMMIT}");
        pod.script(&[], &script).end().succeeded();
        let path = pod.git_that_fails("push", &format!("case \"$*\" in {which}) {refused};; esac"));
        let mut telemetry = pod.command(layout::TELEMETRY, &["telemetry", "--metrics-port", "0"]);
        telemetry.env("PATH", path);
        Process::start(telemetry).end().succeeded();
        let verdict = pod.verdict();
        let told = (verdict.reason.as_str(), verdict.pushed);
        assert_eq!(told, (reason::CREDENTIALS_REFUSED, false), "{which}: {verdict:?}");
        assert!(verdict.message.contains(says), "{which}: {}", verdict.message);
    }
}

/// A message is cut at its end.
#[test]
fn what_is_lost_is_said_before_what_is_kept() {
    let pod = Pod::new();
    pod.remote_hook("update", "case $1 in *side-2) exit 1;; esac");
    let side = "git checkout -q -b SIDE fix/x && git commit -q --allow-empty -m SIDE";
    let sides = ["a", "b", "c"].map(|it| side.replace("SIDE", it)).join(" && ");
    let (_, verdict) = pod.run(&format!("{COMMIT} && {sides} && git checkout -q fix/x"));
    let said = verdict.message;
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("no {text} in {said}"));
    assert!(at("these are lost with the pod: ") < at("are kept: "), "{said}");
    assert!(said.contains("side-1") && said.contains("side-3"), "{said}");
}

#[test]
fn time_that_is_over_while_other_branches_are_kept_leaves_the_push_true() {
    let pod = Pod::new();
    let begun = pod.path("side-begun");
    pod.remote_hook(
        "update",
        &format!("case $1 in *side*) touch {}; sleep 60;; esac", begun.display()),
    );
    pod.git_init().succeeded();
    let script = format!("git checkout -q -b mine && {OTHER} && git checkout -q fix/x && {COMMIT}");
    pod.script(&[], &script).end().succeeded();
    let mut telemetry = pod.telemetry(&["--end-seconds", "0"]);
    telemetry.wait_for("side-1 of");
    telemetry.signal(rustix::process::Signal::TERM);
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    assert!(verdict.message.contains("these are lost with the pod: mine"), "{}", verdict.message);
}
