//! Agents, repositories and bundles that attack the runner: refused by name, or harmless as data.

use std::{fs, os::unix::fs::symlink, path::Path};

use gastown::domain::{layout, verdict::reason};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    pod::{Pod, Process, git, skip},
    whole::COMMIT,
};

/// A path as the agent sees it.
fn seen(pod: &Pod, path: &str) -> String {
    pod.file(layout::CLAUDE, path).display().to_string()
}

#[test]
fn an_agent_that_takes_and_replaces_the_lock_gains_nothing() {
    let pod = Pod::new();
    let lock = seen(&pod, layout::LOCK_FILE);
    // In a pod the folder is read-only for it; here it may do its worst.
    let script = format!(
        "flock -n {lock} true && echo taken; rm -f {lock}; echo mine > {lock}; flock {lock} {COMMIT}"
    );
    let (agent, verdict) =
        pod.run(&script.replace(COMMIT, "true").replace("; flock", &format!("; {COMMIT}; flock")));
    assert_eq!(agent.succeeded().stdout, "", "the runner holds it");
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
}

#[test]
fn an_agent_that_removes_the_mark_and_is_killed_before_anybody_looked_has_ended() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let (folder, mark) = (seen(&pod, layout::HANDOVER.path), seen(&pod, layout::BEGUN));
    let script = format!(
        "{COMMIT}; rm -rf {folder}/*; until [ -e {mark} ]; do sleep 0.05; done; rm {mark}; until [ -e {mark} ]; do \
         sleep 0.05; done; rm -f {folder}/activity; echo pid $$ >&2; exec sleep 60"
    );
    let mut agent = pod.script(&["--checkpoint-seconds", "0"], &script);
    let line = agent.wait_for("pid ");
    agent.signal(Signal::KILL);
    let pid = line.trim_start_matches("pid ").parse().ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).unwrap(); // in a pod it dies with the container's first process
    pod.telemetry(&[]).end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed),
        (reason::HANDOVER_MISSING, false),
        "{verdict:?}"
    );
    assert!(verdict.message.contains("commits may be lost"), "{}", verdict.message);
}

#[test]
fn any_trace_of_a_runner_shows_that_it_began() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    pod.script(&[], COMMIT).end().succeeded();
    for name in ["begun", "ended.json", "activity"] {
        let _not_there = fs::remove_file(pod.volume(layout::HANDOVER).join(name));
    }
    pod.telemetry(&[]).end().succeeded();
    let verdict = pod.verdict();
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
}

#[test]
fn whatever_lies_in_the_handover_folder_is_cleared() {
    let pod = Pod::new();
    let folder = seen(&pod, layout::HANDOVER.path);
    let script = format!(
        "{COMMIT}; cd {folder}; rm -rf begun; mkdir -p work.bundle/a ended.json/b; mkfifo work.bundle.new; \
         ln -s /etc/passwd begun; ln -s /nowhere activity; printf x > \"$(printf 'a\\377b')\""
    );
    let (agent, verdict) = pod.run(&script);
    assert_eq!(
        (agent.code(), verdict.reason.as_str()),
        (0, reason::PUSHED),
        "{}\n{verdict:?}",
        agent.stderr
    );
    assert_eq!(verdict.agent.unwrap().exit_code, 0);
    let names =
        fs::read_dir(pod.volume(layout::HANDOVER)).unwrap().map(|it| it.unwrap().file_name());
    let mut names: Vec<_> = names.filter(|it| it != "activity").collect();
    names.sort();
    assert_eq!(names, ["begun", "ended.json", "work.bundle"]);
}

#[test]
fn a_forged_last_word_is_written_over() {
    let pod = Pod::new();
    let words = seen(&pod, layout::TERMINATION_LOG);
    let (agent, _) =
        pod.run(&format!("echo '{{\"v\":1,\"reason\":\"Forged\",\"message\":\"x\"}}' > {words}"));
    agent.succeeded();
    assert_eq!(pod.last_words(layout::CLAUDE), "");
}

#[test]
fn what_the_agent_leaves_running_changes_nothing_any_more() {
    let pod = Pod::new();
    let script = format!(
        "{COMMIT}; for i in 1 2 3; do setsid sh -c 'trap \"\" TERM HUP; for j in $(seq 300); do git commit -q \
         --allow-empty -m x; setsid sleep 60 & done' >/dev/null 2>&1 & done; sleep 0.5; trap '' TERM; \
         setsid sleep 60 & echo $! > {}",
        pod.path("left").display()
    );
    let (agent, verdict) = pod.run(&script);
    agent.succeeded();
    assert_eq!(verdict.reason, reason::PUSHED, "{verdict:?}");
    let work = git(&pod.volume(layout::WORKSPACE).join("repo"), &["rev-parse", "refs/heads/fix/x"]);
    assert_eq!(
        verdict.commit.as_deref(),
        Some(work.trim()),
        "nobody committed after the hand-over"
    );
    let left = fs::read_to_string(pod.path("left")).unwrap();
    assert!(!Path::new("/proc").join(left.trim()).exists(), "all are gone");
}

#[test]
fn a_repository_configured_against_us_runs_nothing() {
    let pod = Pod::new();
    let ran = pod.path("ran");
    let evil = pod.program("evil", &format!("#!/bin/sh\necho $0 $* >> {}\n", ran.display()));
    let evil = evil.display();
    let script = format!(
        "{COMMIT}; echo '* filter=evil diff=evil' > .gitattributes; echo x > untracked; for hook in \
         post-commit reference-transaction post-checkout pre-push post-index-change fsmonitor-watchman; \
         do ln -s {evil} .git/hooks/$hook; done; for name in core.fsmonitor core.sshCommand core.pager \
         core.askPass diff.external filter.evil.clean filter.evil.smudge filter.evil.process \
         diff.evil.textconv core.gitProxy core.alternateRefsCommand uploadpack.packObjectsHook \
         gpg.program credential.helper; do git config $name {evil}; done; git config alias.bundle \
         '!{evil}'; git config core.hooksPath {evil}s; rm -f {}",
        ran.display()
    );
    let (agent, verdict) = pod.run(&script);
    agent.succeeded();
    assert_eq!(verdict.reason, reason::PUSHED, "{verdict:?}");
    assert!(!ran.exists(), "{}", fs::read_to_string(ran).unwrap());
}

#[test]
fn replaced_objects_deceive_nobody() {
    let pod = Pod::new();
    // To whoever believes it, what was committed is no commit.
    let script = format!("{COMMIT}; {COMMIT}; git replace -f HEAD $(git hash-object -w README.md)");
    let (_, verdict) = pod.run(&script);
    assert_eq!((verdict.reason.as_str(), verdict.commits), (reason::PUSHED, 2), "{verdict:?}");
}

#[test]
fn a_repository_that_is_no_more() {
    for (script, because) in [
        ("rm -rf .git", "removed"),
        ("rm .git/HEAD; mkfifo .git/HEAD", "made to keep git waiting"),
        ("echo '[core' > .git/config", "no configuration"),
        ("cd ..; rm -rf repo; ln -s /etc repo", "leads elsewhere"),
    ] {
        let pod = Pod::new();
        let (agent, verdict) = pod.run(&format!("{COMMIT}; {script}"));
        agent.succeeded();
        assert_eq!(
            (verdict.reason.as_str(), verdict.pushed),
            (reason::HANDOVER_FAILED, false),
            "{because}: {verdict:?}"
        );
    }
}

#[test]
fn a_repository_made_anew_is_kept_on_a_branch_of_its_own() {
    let pod = Pod::new();
    let script = "rm -rf .git; git init -q -b fix/x; git add .; git -c user.name=a -c user.email=b@c \
                  commit -q -m anew";
    let (_, verdict) = pod.run(script);
    assert_eq!(
        (verdict.reason.as_str(), verdict.branch.as_deref()),
        (reason::HISTORY_REWRITTEN, Some("fix/x-0a1b2c3d"))
    );
    assert_eq!(pod.head("fix/x-0a1b2c3d"), verdict.commit);
}

#[test]
fn a_branch_set_back_is_nothing_to_push() {
    let pod = Pod::new();
    let remote = pod.remote().display().to_string();
    let script = format!("git fetch -q --unshallow {remote} main && git reset -q --hard HEAD~1");
    let (agent, verdict) = pod.run(&script);
    agent.succeeded();
    assert_eq!(verdict.reason, reason::NOTHING_TO_PUSH, "{verdict:?}");
}

#[test]
fn an_agent_that_fills_its_volumes_still_hands_over() {
    const TEST: &str = "an_agent_that_fills_its_volumes_still_hands_over";
    if !may_mount(TEST) {
        return;
    }
    let pod = Pod::new();
    pod.git_init().succeeded();
    let (workspace, handover) = (pod.volume(layout::WORKSPACE), pod.volume(layout::HANDOVER));
    let (workspace, handover) = (workspace.display(), handover.display());
    let fill =
        "cat /dev/zero > $volume/zero 2>/dev/null; cat /dev/zero >> $volume/zero2 2>/dev/null;";
    let script = format!("{COMMIT}; for volume in {workspace} {handover}; do {fill} done; true");
    let small = "mount -t tmpfs -o size=";
    let mounts = format!(
        "cp -a {workspace} {workspace}.copy && {small}1m none {workspace} && cp -a {workspace}.copy/. \
         {workspace} && {small}64k none {handover} && \"$@\"; code=$?; cp {handover}/* \
         {handover}.copy && exit $code"
    );
    std::fs::create_dir(format!("{handover}.copy")).unwrap();
    let runner = pod.own_runner();
    let by = ["unshare", "--mount", "sh", "-c", &mounts, "sh", &runner];
    let arguments = ["claude", "--", "sh", "-c", &script];
    let agent = Process::start(pod.command_by(&by, layout::CLAUDE, &arguments)).end().succeeded();
    assert!(agent.stderr.contains("Handed over commit"), "{}", agent.stderr);
    fs::remove_dir_all(pod.volume(layout::HANDOVER)).unwrap();
    fs::rename(format!("{handover}.copy"), pod.volume(layout::HANDOVER)).unwrap();
    pod.telemetry(&[]).end().succeeded();
    assert!(pod.verdict().pushed, "{:?}", pod.verdict());
}

fn may_mount(test: &str) -> bool {
    let script = "mount -t tmpfs none /mnt";
    let tried =
        std::process::Command::new("unshare").args(["--mount", "sh", "-c", script]).output();
    let may = tried.is_ok_and(|it| it.status.success());
    if !may {
        skip(test, "mount", "nothing can be mounted here");
    }
    may
}

#[test]
fn a_bundle_that_would_be_larger_than_its_cap_is_not_even_made() {
    let pod = Pod::new();
    pod.git_init().succeeded();
    let large = "head -c 3000000 /dev/urandom > large && git add large && git commit -q -m large";
    let options = ["--max-bundle-bytes", "1000000", "--checkpoint-seconds", "0"];
    let agent = pod.script(&options, &format!("{COMMIT} && {large}")).end().succeeded();
    assert!(agent.stderr.contains("larger than 1000000 bytes"), "{}", agent.stderr);
    let volume = pod.volume(layout::HANDOVER);
    let left = fs::read_dir(&volume).unwrap().map(|it| it.unwrap().metadata().unwrap().len()).max();
    assert!(left.unwrap() < 1_000_000, "nothing of it is left in the volume");
    pod.telemetry(&[]).end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(
        (verdict.reason.as_str(), verdict.pushed),
        (reason::BUNDLE_TOO_LARGE, false),
        "{verdict:?}"
    );
}

#[test]
fn a_flood_of_output_passes_and_harms_nobody() {
    let pod = Pod::new();
    let (agent, verdict) =
        pod.run(&format!("head -c 20000000 /dev/zero; head -c 1000000 /dev/zero >&2; {COMMIT}"));
    assert_eq!(agent.succeeded().stdout.len(), 20_000_000);
    assert!(verdict.pushed);
}

/// A commit on HEAD whose tree has one file of a name, or of a mode and a name, that git itself would not
/// write.
pub fn commit_of_tree(repository: &Path, name: &str) -> String {
    let blob = git(repository, &["hash-object", "-w", "README.md"]);
    let entry = if name.contains(' ') { name.to_owned() } else { format!("100644 {name}") };
    let mut tree = format!("{entry}\0").into_bytes();
    let blob = blob.trim();
    tree.extend(
        (0..20).map(|it| u8::from_str_radix(blob.get(2 * it..2 * it + 2).unwrap(), 16).unwrap()),
    );
    let file = repository.with_file_name("tree");
    fs::write(&file, tree).unwrap();
    let file = file.display().to_string();
    let tree = git(repository, &["hash-object", "-t", "tree", "-w", "--literally", &file]);
    git(repository, &["commit-tree", "-p", "HEAD", "-m", "evil", tree.trim()]).trim().to_owned()
}

#[test]
fn a_repository_full_of_traps_is_data() {
    let pod = Pod::new();
    let seed = pod.path("seed");
    let ran = pod.path("ran");
    fs::create_dir_all(seed.join("hooks")).unwrap();
    fs::write(seed.join("hooks/post-checkout"), format!("#!/bin/sh\ntouch {}\n", ran.display()))
        .unwrap();
    fs::write(seed.join(".gitattributes"), "* filter=evil diff=evil merge=evil\n").unwrap();
    fs::write(seed.join(".gitconfig"), "[core]\n hooksPath = hooks\n").unwrap();
    fs::write(seed.join("--upload-pack=x"), "").unwrap();
    fs::write(seed.join("a\nb\u{1b}[31m"), "").unwrap();
    symlink("/etc/passwd", seed.join("passwd")).unwrap();
    symlink("../../..", seed.join("up")).unwrap();
    git(&seed, &["add", "."]);
    git(&seed, &["commit", "--quiet", "-m", "traps"]);
    git(&seed, &["push", "--quiet", &pod.remote().to_string_lossy(), "main"]);
    let (agent, verdict) = pod.run(COMMIT);
    agent.succeeded();
    assert!(verdict.pushed && !ran.exists(), "{verdict:?}");
    let link = fs::symlink_metadata(pod.volume(layout::WORKSPACE).join("repo/passwd")).unwrap();
    assert!(link.is_symlink());
}

#[test]
fn a_remote_whose_tree_writes_into_git_is_refused() {
    let pod = Pod::new();
    let commit = commit_of_tree(&pod.path("seed"), ".git");
    fs::remove_dir_all(pod.remote()).unwrap();
    git(&pod.path("seed"), &["update-ref", "refs/heads/main", &commit]);
    git(&pod.path("."), &["clone", "--quiet", "--bare", "seed", "remote.git"]);
    let ended = pod.git_init();
    assert_eq!(
        (ended.code(), pod.failure(layout::GIT_INIT).reason.as_str()),
        (1, reason::REPOSITORY_REFUSED)
    );
}
