//! The repository that the agent stands in: what it changed there, the repository's own check, commits.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{files, say};

/// The working directory as a repository.
pub struct Repository {
    /// Changed since the last commit.
    changed: Vec<String>,
    /// The message of every commit.
    message: String,
}

impl Repository {
    pub fn here(task: &str) -> Result<Self> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the environment is how an agent is told its issue"
        )]
        let issue = env::var("GT_ISSUE").unwrap_or_default();
        let folder = env::current_dir().context("no working directory")?;
        say(&format!("Working in {}", folder.display()));
        Ok(Self { changed: Vec::new(), message: message(issue.trim(), task) })
    }

    /// Writes what a file is to hold.
    pub fn change(&mut self, file: &str, edit: impl FnOnce(&str) -> Result<String>) -> Result<()> {
        let before = files::read(file)?;
        let after = edit(&before)?;
        say(&format!("Changing {file}: {} to {} bytes", before.len(), after.len()));
        files::write(file, &after)?;
        self.changed.push(file.to_owned());
        Ok(())
    }

    pub fn delete(&mut self, file: &str) -> Result<()> {
        say(&format!("Deleting {file}"));
        files::delete(file)?;
        self.changed.push(file.to_owned());
        Ok(())
    }

    pub fn fill(&mut self, file: &str, megabytes: u64) -> Result<()> {
        say(&format!("Writing {megabytes} MB to {file}"));
        files::fill(file, megabytes)?;
        self.changed.push(file.to_owned());
        Ok(())
    }

    /// Checks and commits what was changed, if anything was.
    pub fn commit(&mut self) -> Result<()> {
        if self.changed.is_empty() {
            say("Nothing to commit");
            return Ok(());
        }
        check()?;
        git(&[
            &["add", "--all", "--"],
            self.changed.iter().map(String::as_str).collect::<Vec<_>>().as_slice(),
        ]
        .concat())?;
        self.changed.clear();
        if succeeds("git", &["diff", "--cached", "--quiet"]) {
            say("Nothing to commit: all is as it was");
            return Ok(());
        }
        let mut arguments = Vec::new();
        if !has_author() {
            arguments.extend([
                "-c",
                "user.name=Demo Agent",
                "-c",
                "user.email=demo-agent@localhost",
            ]);
        }
        arguments.extend(["commit", "--quiet", "--message", &self.message]);
        git(&arguments)?;
        say(&format!("Committed: {}", self.message.lines().next().unwrap_or_default()));
        Ok(())
    }
}

/// Subject and body: the first sentence, cut to what fits a subject, and the whole task.
fn message(issue: &str, task: &str) -> String {
    let first = task.lines().find(|it| !it.trim().is_empty()).unwrap_or_default().trim();
    let prefix = if issue.is_empty() { String::new() } else { format!("{issue}: ") };
    let subject: String = format!("{prefix}{first}").chars().take(72).collect();
    format!("{subject}\n\n{}\n", task.trim())
}

/// Runs the repository's own check, if it has one.
fn check() -> Result<()> {
    let (program, arguments): (_, &[&str]) = if Path::new("check.sh").is_file() {
        ("sh", &["./check.sh"])
    } else if has_target("check") {
        ("make", &["check"])
    } else {
        say("The repository has no check");
        return Ok(());
    };
    say(&format!("Checking: {program} {}", arguments.join(" ")));
    run(program, arguments).context("the repository's check failed")
}

fn has_target(name: &str) -> bool {
    let rule = format!("{name}:");
    let makefiles = ["GNUmakefile", "makefile", "Makefile"];
    makefiles
        .iter()
        .any(|it| files::read(it).is_ok_and(|it| it.lines().any(|line| line.starts_with(&rule))))
}

fn has_author() -> bool {
    env::var_os("GIT_AUTHOR_EMAIL").is_some() || succeeds("git", &["config", "user.email"])
}

fn git(arguments: &[&str]) -> Result<()> {
    run("git", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    let status = command.args(arguments).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("failed to run {program}"))?;
    if !status.success() {
        bail!("{program} {} ended with {status}", arguments.first().copied().unwrap_or_default());
    }
    Ok(())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_subject_that_fits_and_the_whole_task() {
        let long = format!("Append \"{}\" to f", "x".repeat(100));
        let text = message("gt-7", &long);
        assert!(text.starts_with("gt-7: Append \"xxx"));
        assert_eq!(text.lines().next().unwrap().chars().count(), 72);
        assert!(text.contains(&long));
        assert!(message("", "\n Exit 1\n").starts_with("Exit 1\n\nExit 1\n"));
    }
}
