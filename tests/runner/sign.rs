//! Commits that `telemetry` signs before it pushes them.

use std::{fs, process::Command};

use gastown::domain::{
    layout,
    verdict::{Verdict, reason},
};

use crate::{
    pod::{Pod, Process, git, has, skip},
    whole::COMMIT,
};

/// Gives the pod a key to sign with, and answers with its private half. Nothing where none can be made.
pub fn key(pod: &Pod, test: &str) -> Option<String> {
    if !has("ssh-keygen") {
        skip(test, "ssh-keygen", "openssh-client is not installed");
        return None;
    }
    let key = pod.path("key");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let private = fs::read_to_string(&key).unwrap();
    fs::write(pod.volume(layout::GIT_CREDS).join("ssh-signingkey"), &private).unwrap();
    Some(private)
}

/// Fails unless the commit is signed with that key.
fn must_be_signed(pod: &Pod, commit: &str) {
    let public = fs::read_to_string(pod.path("key.pub")).unwrap();
    fs::write(pod.path("signers"), format!("polecat@gastown.io {public}")).unwrap();
    let signers = format!("gpg.ssh.allowedSignersFile={}", pod.path("signers").display());
    git(&pod.remote(), &["-c", &signers, "verify-commit", commit]);
}

/// Somebody else's commits on `main` of the remote; the last of them.
pub fn theirs(pod: &Pod, number: usize) -> String {
    let seed = pod.path("seed");
    for _ in 0..number {
        git(&seed, &["commit", "--quiet", "--allow-empty", "-m", "theirs"]);
    }
    git(&seed, &["push", "--quiet", &pod.remote().to_string_lossy(), "main"]);
    pod.head("main").unwrap()
}

/// A run of an agent that meets what has become of `main`, which goes on after its end; with a git that answers so.
fn beside_others(pod: &Pod, script: &str, path: Option<&str>) -> (String, Verdict) {
    pod.git_init().succeeded();
    let met = theirs(pod, 2);
    pod.script(&[], script).end().succeeded();
    let mut telemetry = pod.command(layout::TELEMETRY, &["telemetry", "--metrics-port", "0"]);
    if let Some(path) = path {
        telemetry.env("PATH", path); // an old host, which knows where its branches stand
    } else {
        theirs(pod, 1);
    }
    Process::start(telemetry).end().succeeded();
    (met, pod.verdict())
}

#[test]
fn what_others_have_committed_keeps_its_name_and_is_not_signed() {
    const TEST: &str = "what_others_have_committed_keeps_its_name_and_is_not_signed";
    const MERGE: &str = "git fetch -q origin && git merge -q --no-edit origin/main";
    for compares in [true, false] {
        let pod = Pod::new();
        if key(&pod, TEST).is_none() {
            return;
        }
        let path = pod.git_that_fails("--negotiate-only", "exit 128");
        let path = Some(path.as_str()).filter(|_| !compares);
        let (met, verdict) = beside_others(&pod, &format!("{COMMIT} && {MERGE} && {COMMIT}"), path);
        assert_eq!(
            (verdict.reason.as_str(), verdict.pushed),
            (reason::PUSHED, true),
            "{verdict:?}"
        );
        let own = pod.log("main..fix/x", "%H");
        assert_eq!(own.lines().count(), 3, "one, the merge, another: {own}");
        own.lines().for_each(|it| must_be_signed(&pod, it));
        git(&pod.remote(), &["merge-base", "--is-ancestor", &met, "fix/x"]);
    }
    let pod = Pod::new();
    key(&pod, TEST);
    let (met, verdict) =
        beside_others(&pod, "git fetch -q origin && git merge -q --ff-only origin/main", None);
    assert_eq!(
        (verdict.reason.as_str(), verdict.commit.as_deref()),
        (reason::PUSHED, Some(met.as_str()))
    );
    assert_eq!(pod.head("fix/x"), Some(met), "nothing of it is the agent's");
}

#[test]
fn what_is_kept_is_signed_too() {
    let submodule = "git init -q lib && git -C lib -c user.name=a -c user.email=a@b commit -q --allow-empty -m lib && git \
                     add lib 2>&1 && git commit -q -m lib";
    let table = [
        ("git commit -q --amend -m rewritten", reason::HISTORY_REWRITTEN),
        (submodule, reason::SUBMODULES_UNSUPPORTED),
        (
            "git checkout -q -b mine && git commit -q --allow-empty -m x && git checkout -q fix/x",
            reason::COMMITTED_ELSEWHERE,
        ),
    ];
    for (script, why) in table {
        let pod = Pod::new();
        if key(&pod, "what_is_kept_is_signed_too").is_none() {
            return;
        }
        let (_, verdict) = pod.run(script);
        assert_eq!((verdict.reason.as_str(), verdict.pushed), (why, false), "{verdict:?}");
        assert_eq!(pod.head("fix/x-0a1b2c3d"), verdict.commit, "{why}");
        must_be_signed(&pod, "fix/x-0a1b2c3d");
    }
    let pod = Pod::new();
    key(&pod, "what_is_kept_is_signed_too");
    let (_, verdict) = pod.run(&format!(
        "git checkout -q -b mine && {COMMIT} && git commit -q --allow-empty -m more && git checkout -q fix/x && git merge -q \
         --ff-only mine~1 && git commit -q --allow-empty -m other"
    ));
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 2), "{verdict:?}");
    must_be_signed(&pod, "fix/x-0a1b2c3d-1-side-1");
    let shared =
        |branch: &str| pod.log(&format!("{branch}~1"), "%H").lines().next().unwrap().to_owned();
    assert_eq!(shared("fix/x"), shared("fix/x-0a1b2c3d-1-side-1"), "one commit stays one");
}

#[test]
fn every_pushed_commit_is_signed_by_a_key_that_the_agent_never_sees() {
    let pod = Pod::new();
    let Some(private) =
        key(&pod, "every_pushed_commit_is_signed_by_a_key_that_the_agent_never_sees")
    else {
        return;
    };
    let side = "git checkout -q -b side && git commit -q --allow-empty -m 'größe' && git checkout -q fix/x";
    let merge = "git merge -q --no-ff --no-edit side";
    let (agent, verdict) = pod.run(&format!("{COMMIT} && {side} && {merge} && git rev-parse HEAD"));
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 3), "{verdict:?}");
    assert_eq!(verdict.commit, pod.head("fix/x"));
    let handed_over = agent.stdout.trim().to_owned();
    assert_ne!(verdict.commit.as_deref(), Some(handed_over.as_str()));
    for commit in pod.log("main..fix/x", "%H").lines() {
        must_be_signed(&pod, commit);
    }
    let workspace = pod.volume(layout::WORKSPACE).join("repo");
    let (theirs, ours) = ([&handed_over, "--"], ["fix/x", "--"]);
    for format in ["%T %an %ae %at %cn %ce %ct %B", "%s"] {
        let log = |folder, revision: [&str; 2]| {
            let format = format!("--format={format}");
            git(folder, &["log", "--topo-order", "-3", &format, revision[0], revision[1]])
        };
        assert_eq!(
            log(&pod.remote(), ours),
            log(&workspace, theirs),
            "all but the signature is the same"
        );
    }
    let secret = private.lines().nth(2).unwrap();
    pod.agent_never_sees(secret.as_bytes());
}

#[test]
fn commits_that_can_not_be_signed_are_kept() {
    let pod = Pod::new();
    let broken = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    fs::write(pod.volume(layout::GIT_CREDS).join("ssh-signingkey"), broken).unwrap();
    let (_, verdict) = pod.run(COMMIT);
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed),
        (reason::SIGNING_FAILED, false),
        "{verdict:?}"
    );
    assert_eq!((pod.head("fix/x"), pod.head("fix/x-0a1b2c3d")), (None, verdict.commit));
    assert!(verdict.message.contains("ssh-signingkey"), "{}", verdict.message);
    let pod = Pod::new();
    fs::write(pod.volume(layout::GIT_CREDS).join("ssh-signingkey"), broken).unwrap();
    let (_, verdict) = pod.run("git commit -q --amend -m rewritten");
    assert_eq!(verdict.reason, reason::HISTORY_REWRITTEN, "{verdict:?}");
    assert!(verdict.message.contains("unsigned: "), "{}", verdict.message);
    assert_eq!(pod.head("fix/x-0a1b2c3d"), verdict.commit);
}

#[test]
fn a_side_branch_that_can_not_be_signed_is_kept_unsigned_and_costs_nothing_else() {
    let pod = Pod::new();
    if key(&pod, "a_side_branch_that_can_not_be_signed_is_kept_unsigned_and_costs_nothing_else")
        .is_none()
    {
        return;
    }
    let (_, verdict) = pod.run(&format!(
        "{COMMIT} && git checkout -q -b large HEAD~1 && head -c 1100000 /dev/zero | tr '\\0' m > ../message && \
         git commit -q --allow-empty -F ../message && git checkout -q -b mine fix/x && git commit -q --allow-empty -m mine && \
         git checkout -q fix/x"
    ));
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    must_be_signed(&pod, "fix/x");
    let said = verdict.message;
    let branch = |name: &str| {
        let from = said.find(&format!("{name} on branch ")).unwrap() + name.len() + 11;
        said[from..].split(',').next().unwrap().to_owned()
    };
    must_be_signed(&pod, &branch("mine"));
    assert!(said.contains(&format!("large on branch {}, unsigned", branch("large"))), "{said}");
    assert!(pod.head(&branch("large")).is_some());
}

#[test]
fn a_remote_that_does_not_say_what_it_has_takes_little_of_the_time() {
    let pod = Pod::new();
    if key(&pod, "a_remote_that_does_not_say_what_it_has_takes_little_of_the_time").is_none() {
        return;
    }
    let stall = "case \"$*\" in *--negotiate-only*|*ls-remote*) sleep 600;; esac";
    let path = pod.git_that_fails("--", stall);
    pod.git_init().succeeded();
    pod.script(&[], COMMIT).end().succeeded();
    let arguments = ["telemetry", "--metrics-port", "0", "--push-seconds", "16"];
    let mut telemetry = pod.command(layout::TELEMETRY, &arguments);
    telemetry.env("PATH", path);
    Process::start(telemetry).end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    must_be_signed(&pod, "fix/x");
}
