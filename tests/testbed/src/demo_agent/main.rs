//! A deterministic agent: a program, not a model. It does what a task in a small part of English says to
//! the repository it stands in, runs the repository's own check, and commits. It never changes a file
//! outside that repository.
//!
//! One sentence a line, or several joined by `;`:
//!
//! ```text
//! Append "text" to FILE          Replace "a" with "b" in FILE     Create FILE with "text"     Delete FILE
//! Commit                         (also done at the end, if something is left to commit)
//! Print "text"                   Sleep SECONDS                    Exit CODE
//! Look for "txet" backwards      (in everything it can reach; fails where it finds the text)
//! Ignore SIGTERM                 Write N MB to FILE               Fork N processes
//! ```
//!
//! The task is `GT_TASK_DESCRIPTION`, else the last argument; flags of the agent it stands for are accepted
//! and ignored.

mod files;
mod hunt;
mod repository;
mod task;

use std::{
    env,
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    repository::Repository,
    task::{Step, parse},
};

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!("Giving up: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u8> {
    let task =
        task().context("no task: set GT_TASK_DESCRIPTION, or give it as the last argument")?;
    let steps = parse(&task)?;
    say(&format!("I understand {} step(s)", steps.len()));
    let mut repository = Repository::here(&task)?;
    for step in steps {
        if let Some(code) = carry_out(step, &mut repository)? {
            return Ok(code);
        }
    }
    repository.commit()?;
    say("Done");
    Ok(0)
}

/// Does one step; an exit code if it is the last.
fn carry_out(step: Step, repository: &mut Repository) -> Result<Option<u8>> {
    match step {
        Step::Append { text, file } => repository.change(&file, |it| Ok(with_line(it, &text)))?,
        Step::Create { file, text } => repository.change(&file, |_| Ok(with_line("", &text)))?,
        Step::Replace { from, to, file } => repository.change(&file, |it| {
            it.contains(&from)
                .then(|| it.replace(&from, &to))
                .ok_or_else(|| anyhow!("{file} does not hold {from:?}"))
        })?,
        Step::Delete { file } => repository.delete(&file)?,
        Step::Fill { megabytes, file } => repository.fill(&file, megabytes)?,
        Step::Commit => repository.commit()?,
        Step::Hunt { text } => hunt(&text)?,
        Step::Print { text } => say(&text),
        Step::Sleep { seconds } => {
            say(&format!("Sleeping {seconds} s"));
            std::thread::sleep(Duration::from_secs(seconds));
        }
        Step::IgnoreTermination => ignore_termination()?,
        Step::Fork { count } => fork(count)?,
        Step::Exit { code } => {
            say(&format!("Ending with {code}"));
            return Ok(Some(code));
        }
    }
    Ok(None)
}

/// Fails where the text stands in anything that this process can reach.
fn hunt(text: &str) -> Result<()> {
    let found = hunt::everywhere(text);
    found.places.iter().for_each(|it| say(&format!("Found in {it}")));
    say(&format!("Looked into {} files: {} hold it", found.files, found.places.len()));
    if found.places.is_empty() { Ok(()) } else { Err(anyhow!("what I looked for is here")) }
}

/// A line more; a text always ends with one end of line.
fn with_line(before: &str, text: &str) -> String {
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    format!("{before}{gap}{text}\n")
}

#[expect(clippy::disallowed_methods, reason = "the environment is how an agent is told its task")]
fn task() -> Option<String> {
    let told = env::var("GT_TASK_DESCRIPTION").ok().filter(|it| !it.trim().is_empty());
    told.or_else(|| task::of_arguments(env::args().skip(1)))
}

/// Standard output may be closed; that is no reason to stop working.
pub(crate) fn say(text: &str) {
    let mut output = std::io::stdout();
    let _ = writeln!(output, "{text}").and_then(|()| output.flush());
}

/// A handler that does nothing; it stays when the runtime that installed it is gone.
fn ignore_termination() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("failed to start a runtime")?;
    let _guard = runtime.enter();
    let caught = signal(SignalKind::terminate());
    drop(caught.context("failed to catch SIGTERM")?);
    say("From now on I ignore SIGTERM");
    Ok(())
}

/// Processes that nobody waits for, each in a group of its own, as a careless agent leaves them.
fn fork(count: u32) -> Result<()> {
    let own = env::current_exe().context("failed to find my own program")?;
    for number in 0..count {
        let mut command = Command::new(&own);
        command
            .args(["-p", "Ignore SIGTERM; Sleep 3600"])
            .env_remove("GT_TASK_DESCRIPTION")
            .process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Err(error) = command.spawn() {
            say(&format!("Started {number} of {count} processes; then: {error}"));
            return Ok(());
        }
    }
    say(&format!("Started {count} processes"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_more_is_one_line_more() {
        assert_eq!(with_line("", "a"), "a\n");
        assert_eq!(with_line("a\n", "b"), "a\nb\n");
        assert_eq!(with_line("a", "b"), "a\nb\n", "a file without an end of line gets one");
    }
}
