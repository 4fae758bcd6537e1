//! What keeps `git-init` from cloning, each by its word and with what to do.

use std::fs;

use gastown::domain::{
    layout::{self, env},
    verdict::reason,
};

use rustix::process::Signal;

use crate::{
    hostile::commit_of_tree,
    pod::{Pod, Process, git},
    whole::COMMIT,
};

type Secret<'a> = &'a [(&'a str, &'a str)];
/// Variable and value, keys of the Secret, the word, what the sentence says.
type Row<'a> = (&'a str, &'a str, Secret<'a>, &'a str, &'a str);

/// The word and the sentence that a clone with these settings ends with.
fn refused(settings: &[(&str, &str)], secret: &[(&str, &str)]) -> (String, String) {
    let mut pod = Pod::new();
    for (name, value) in settings {
        let value = value.replace("REMOTE", &pod.remote().display().to_string());
        pod.set(name, &value);
    }
    for (key, value) in secret {
        fs::write(pod.volume(layout::GIT_CREDS).join(key), value).unwrap();
    }
    let ended = pod.git_init();
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let failure = pod.failure(layout::GIT_INIT);
    assert!(ended.stderr.contains(&failure.reason), "the log says it too: {}", ended.stderr);
    assert!(!pod.volume(layout::INIT_HOME).join(".gastown").exists(), "no key stays behind");
    (failure.reason, failure.message)
}

#[test]
fn every_refusal_names_what_to_mend() {
    let long = "b".repeat(300);
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    let (repository, branch, work) = (env::GIT_REPOSITORY, env::GIT_BRANCH, env::WORK_BRANCH);
    let (ssh, https) = ("git@h.invalid:x", "https://h.invalid/x");
    let token: Secret<'_> = &[("token", "t-secret")];
    let other: Secret<'_> = &[("token", "t-secret"), ("host", "other")];
    let no_option = "gitRepository) must not begin with '-'";
    let table: [Row<'_>; 19] = [
        (branch, "nope", &[], reason::BRANCH_NOT_FOUND, "spec.kubernetes.gitBranch"),
        (branch, "--upload-pack=x", &[], reason::BRANCH_INVALID, "must not begin with '-'"),
        (branch, "../main", &[], reason::BRANCH_INVALID, "spec.kubernetes.gitBranch"),
        (work, "-d", &[], reason::BRANCH_INVALID, "spec.kubernetes.workBranch"),
        (work, "a\nb", &[], reason::BRANCH_INVALID, "spec.kubernetes.workBranch"),
        (work, &long, &[], reason::BRANCH_INVALID, "at most 200 bytes"),
        (work, "main/x", &[], reason::BRANCH_CONFLICT, "the branch main"),
        (work, "", &[], reason::SETTING_INVALID, "GT_WORK_BRANCH is not set"),
        (repository, "--upload-pack=touch x", &[], reason::REPOSITORY_INVALID, no_option),
        (
            repository,
            "ext::sh%20-c",
            &[],
            reason::REPOSITORY_INVALID,
            "must use ssh, https or http",
        ),
        (repository, "file:///etc", &[], reason::REPOSITORY_INVALID, "must use ssh, https or http"),
        (
            repository,
            "https://u:p@h/x",
            &[],
            reason::REPOSITORY_INVALID,
            "put them into the git Secret",
        ),
        (repository, "REMOTE/nope", &[], reason::REPOSITORY_NOT_FOUND, "check the path"),
        (repository, "http://127.0.0.1:1/x", &[], reason::HOST_NOT_REACHABLE, "nothing answers"),
        (repository, ssh, &[], reason::CREDENTIALS_MISSING, "ssh-privatekey, id_rsa or id_ed25519"),
        (repository, ssh, &[("id_rsa", "x")], reason::CREDENTIALS_MALFORMED, "-----BEGIN"),
        (repository, https, &[("id_rsa", key)], reason::CREDENTIALS_MISSING, "password or token"),
        (repository, https, token, reason::CREDENTIALS_MISSING, "h.invalid"),
        (repository, https, other, reason::CREDENTIALS_FOR_ANOTHER_HOST, "other"),
    ];
    for (name, value, secret, word, says) in table {
        let (reason, message) = refused(&[(name, value)], secret);
        assert_eq!(reason, word, "{name}={value}: {message}");
        assert!(message.contains(says), "{name}={value}: {message}");
        assert!(!message.contains("t-secret") && !message.contains("AAAA"), "{message}");
    }
}

#[test]
fn submodules_are_refused_by_name() {
    let pod = Pod::new();
    let seed = pod.path("seed");
    // What makes a submodule is its entry in the tree; a file `.gitmodules` is not even needed.
    fs::create_dir_all(seed.join("deep/er/lib")).unwrap();
    let head = git(&seed, &["rev-parse", "HEAD"]);
    let entry = format!("160000,{},deep/er/lib", head.trim());
    git(&seed, &["update-index", "--add", "--cacheinfo", &entry]);
    push(&pod);
    let said = pod.git_init();
    let failure = pod.failure(layout::GIT_INIT);
    assert_eq!((said.code(), failure.reason.as_str()), (1, reason::SUBMODULES_UNSUPPORTED));
    assert!(failure.message.contains("deep/er/lib"), "{}", failure.message);
    fs::remove_dir_all(seed.join("deep")).unwrap();
    fs::write(seed.join(".gitmodules"), "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib\n")
        .unwrap();
    push(&pod);
    pod.git_init().succeeded(); // what is left of a submodule that was removed
}

#[test]
fn a_check_that_fails_is_no_pass() {
    let pod = Pod::new();
    for (command, doing) in [("ls-tree", "look for submodules"), ("grep", "look for Git LFS")] {
        let path = pod.git_that_fails(command, "echo 'fatal: out of memory' >&2; exit 128");
        let mut clone = pod.command(layout::GIT_INIT, &["git-init", "--retry-seconds", "0"]);
        clone.env("PATH", path);
        assert_eq!(Process::start(clone).end().code(), 1, "{command}");
        let failure = pod.failure(layout::GIT_INIT);
        assert_eq!(failure.reason, reason::CLONE_REFUSED, "{failure:?}");
        assert!(
            failure.message.contains(doing) && failure.message.contains("out of memory"),
            "{failure:?}"
        );
    }
}

#[test]
fn lfs_is_refused_by_name() {
    let pod = Pod::new();
    let seed = pod.path("seed");
    fs::create_dir(seed.join("art")).unwrap();
    fs::write(
        seed.join("art/.gitattributes"),
        "# none filter=lfs\n*.png filter=lfs diff=lfs merge=lfs -text\n",
    )
    .unwrap();
    push(&pod);
    let said = pod.git_init();
    let failure = pod.failure(layout::GIT_INIT);
    assert_eq!((said.code(), failure.reason.as_str()), (1, reason::LFS_UNSUPPORTED));
    assert!(failure.message.contains("art/.gitattributes"), "{}", failure.message);
    fs::write(seed.join("art/.gitattributes"), "# none filter=lfs\n").unwrap();
    push(&pod);
    pod.git_init().succeeded();
}

fn push(pod: &Pod) {
    let seed = pod.path("seed");
    git(&seed, &["add", "."]);
    git(&seed, &["commit", "--quiet", "-m", "next"]);
    git(&seed, &["push", "--quiet", &pod.remote().to_string_lossy(), "main"]);
}

#[test]
fn a_repository_of_sha256_works() {
    let pod = Pod::new();
    let (seed, remote) = (pod.path("seed256"), pod.remote());
    fs::create_dir(&seed).unwrap();
    git(&seed, &["init", "--quiet", "--object-format=sha256", "--initial-branch=main"]);
    fs::write(seed.join("README.md"), "hello\n").unwrap();
    git(&seed, &["add", "."]);
    git(&seed, &["commit", "--quiet", "-m", "one"]);
    fs::remove_dir_all(&remote).unwrap();
    git(&seed, &["clone", "--quiet", "--bare", ".", &remote.to_string_lossy()]);
    let (agent, verdict) = pod.run(COMMIT);
    agent.succeeded();
    assert_eq!(
        (verdict.pushed, verdict.commit.map(|it| it.len())),
        (true, Some(64)),
        "{}",
        verdict.message
    );
}

#[test]
fn the_agents_clone_is_shallow_and_knows_its_origin() {
    let mut pod = Pod::new();
    pod.set(env::GIT_BRANCH, "main");
    let (agent, _) = pod.run(
        "git rev-list --count HEAD; git config remote.origin.url; git rev-parse origin/main HEAD",
    );
    let out = agent.succeeded().stdout;
    let lines: Vec<&str> = out.lines().collect();
    let head = pod.head("main").unwrap();
    assert_eq!(lines, ["1", &pod.remote().display().to_string(), &head, &head]);
    let config =
        fs::read_to_string(pod.volume(layout::WORKSPACE).join("repo/.git/config")).unwrap();
    assert!(!config.contains("worktree"), "{config}");
}

#[test]
fn a_host_that_is_not_there_yet_is_tried_again() {
    let mut pod = Pod::new();
    pod.set(env::GIT_REPOSITORY, "http://127.0.0.1:1/x");
    let mut clone = Process::start(pod.command(layout::GIT_INIT, &["git-init"]));
    clone.wait_for("Trying again in 500 ms: HostNotReachable");
    clone.wait_for("Trying again in 1000 ms: HostNotReachable");
    clone.signal(Signal::TERM);
    assert_eq!(pod_reason(&pod, clone), reason::TERMINATED);
}

fn pod_reason(pod: &Pod, clone: Process) -> String {
    assert_eq!(clone.end().code(), 1);
    pod.failure(layout::GIT_INIT).reason
}

#[test]
fn old_histories_with_harmless_oddities_are_cloned() {
    let pod = Pod::new();
    let commit = commit_of_tree(&pod.path("seed"), "0100644 README.md");
    git(&pod.path("seed"), &["update-ref", "refs/heads/main", &commit]);
    git(&pod.path("seed"), &["push", "--quiet", &pod.remote().to_string_lossy(), "main"]);
    let (agent, verdict) = pod.run("git commit -q --allow-empty -m x");
    agent.succeeded();
    assert!(verdict.pushed, "{verdict:?}");
}

#[test]
fn a_command_line_that_makes_no_sense_is_said() {
    let pod = Pod::new();
    for arguments in [
        &["claude", "--deadline-seconds", "-1"][..],
        &["push"],
        &["probe", "--max-idle-seconds", "x"],
    ] {
        let ended = Process::start(pod.command(layout::CLAUDE, arguments)).end();
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        assert!(ended.stderr.contains("Failed: SettingInvalid: error:"), "{}", ended.stderr);
    }
    let version = Process::start(pod.command(layout::CLAUDE, &["version"])).end().succeeded();
    assert_eq!(version.stdout, format!("gt-runner {}\n", env!("CARGO_PKG_VERSION")));
}
