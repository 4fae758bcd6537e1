//! Commits that `telemetry` signs before it pushes them.

use std::{fs, process::Command};

use gastown::domain::{layout, verdict::reason};

use crate::{
    pod::{Pod, git, has, skip},
    whole::COMMIT,
};

#[test]
fn every_pushed_commit_is_signed_by_a_key_that_the_agent_never_sees() {
    if !has("ssh-keygen") {
        return skip(
            "every_pushed_commit_is_signed_by_a_key_that_the_agent_never_sees",
            "ssh-keygen",
            "openssh-client is not installed",
        );
    }
    let pod = Pod::new();
    let key = pod.path("key");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let private = fs::read_to_string(&key).unwrap();
    fs::write(pod.volume(layout::GIT_CREDS).join("ssh-signingkey"), &private).unwrap();
    let side = "git checkout -q -b side && git commit -q --allow-empty -m 'größe' && git checkout -q fix/x";
    let merge = "git merge -q --no-ff --no-edit side";
    let (agent, verdict) = pod.run(&format!("{COMMIT} && {side} && {merge} && git rev-parse HEAD"));
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 3), "{verdict:?}");
    assert_eq!(verdict.commit, pod.head("fix/x"));
    let handed_over = agent.stdout.trim().to_owned();
    assert_ne!(verdict.commit.as_deref(), Some(handed_over.as_str()));
    let public = fs::read_to_string(pod.path("key.pub")).unwrap();
    fs::write(pod.path("signers"), format!("polecat@gastown.io {public}")).unwrap();
    let signers = format!("gpg.ssh.allowedSignersFile={}", pod.path("signers").display());
    for commit in pod.log("main..fix/x", "%H").lines() {
        git(&pod.remote(), &["-c", &signers, "verify-commit", commit]);
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
}
