//! The deterministic agent, in a repository on this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A repository that goes away with the test.
struct Repository(PathBuf);

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Repository {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("testbed-agent-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        let repository = Self(path);
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        fs::write(repository.0.join("README.md"), "hello\n").unwrap();
        repository.git(&["add", "."]);
        repository.git(&[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@localhost",
            "commit",
            "--quiet",
            "-m",
            "first",
        ]);
        repository
    }

    fn git(&self, arguments: &[&str]) -> String {
        let answer =
            clean(Command::new("git").arg("-C").arg(&self.0).args(arguments)).output().unwrap();
        assert!(
            answer.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&answer.stderr)
        );
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    }

    fn ask(&self, task: &str) -> Output {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_demo-agent"));
        let told =
            agent.current_dir(&self.0).env("GT_TASK_DESCRIPTION", task).env("GT_ISSUE", "gt-7");
        clean(told).output().unwrap()
    }

    fn commits(&self) -> usize {
        self.git(&["rev-list", "--count", "HEAD"]).parse().unwrap()
    }
}

/// Without this user's own git settings.
fn clean(command: &mut Command) -> &mut Command {
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env_remove("GIT_AUTHOR_EMAIL")
}

fn words(answer: &Output) -> String {
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

#[test]
fn it_edits_checks_and_commits() {
    let repository = Repository::new("edits");
    fs::write(repository.0.join("check.sh"), "grep -q checked README.md\n").unwrap();
    let answer = repository
        .ask("Append \"checked\" to README.md\nReplace \"hello\" with \"bye\" in README.md");
    assert!(answer.status.success(), "{}", words(&answer));
    assert_eq!(repository.git(&["show", "HEAD:README.md"]), "bye\nchecked");
    assert!(repository.git(&["log", "-1", "--format=%s"]).starts_with("gt-7: Append"));
    assert_eq!(repository.commits(), 2);
}

#[test]
fn a_failing_check_stops_it_before_the_commit() {
    let repository = Repository::new("check");
    fs::write(repository.0.join("check.sh"), "echo no good; exit 1\n").unwrap();
    let answer = repository.ask("Append \"x\" to README.md");
    assert_eq!(answer.status.code(), Some(1));
    assert!(words(&answer).contains("the repository's check failed"), "{}", words(&answer));
    assert_eq!(repository.commits(), 1);
}

#[test]
fn it_does_nothing_of_a_task_that_it_does_not_understand() {
    let repository = Repository::new("unknown");
    let answer = repository.ask("Append \"x\" to README.md; Refactor everything");
    assert_eq!(answer.status.code(), Some(1));
    assert!(
        words(&answer).contains("I don't understand \"Refactor everything\""),
        "{}",
        words(&answer)
    );
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn what_was_committed_stays_when_it_ends_otherwise() {
    let repository = Repository::new("exit");
    let answer =
        repository.ask("Create a/b/c.txt with \"x\"; Commit; Append \"lost\" to README.md; Exit 9");
    assert_eq!(answer.status.code(), Some(9));
    assert_eq!(repository.commits(), 2);
    assert_eq!(repository.git(&["show", "HEAD:a/b/c.txt"]), "x");
}

#[test]
fn no_link_leads_out_of_the_repository() {
    let repository = Repository::new("links");
    let outside = repository.0.with_extension("outside");
    fs::create_dir_all(&outside).unwrap();
    let _outside = Repository(outside.clone());
    std::os::unix::fs::symlink(&outside, repository.0.join("way")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", repository.0.join("file")).unwrap();
    for task in [
        "Append \"x\" to way/out",
        "Append \"x\" to file",
        "Create way/a/b with \"x\"",
        "Append \"x\" to ../x",
    ] {
        let answer = repository.ask(task);
        assert_eq!(answer.status.code(), Some(1), "{task}: {}", words(&answer));
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn it_can_ignore_sigterm_and_leave_processes_behind() {
    let repository = Repository::new("signals");
    let answer = repository.ask("Ignore SIGTERM; Print \"still here\"; Write 2 MB to big.bin");
    assert!(words(&answer).contains("still here"));
    assert_eq!(fs::metadata(Path::new(&repository.0).join("big.bin")).unwrap().len(), 2 << 20);
}
