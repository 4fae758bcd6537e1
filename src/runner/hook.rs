//! The commit-msg hook of the agent's clone: adds the lines that say for whom a commit was made. The
//! lines lie beside the runner, where the agent can't write; it may still commit without hooks, so
//! nothing else relies on them.

use std::{
    ffi::OsString,
    fs,
    process::{Command, ExitCode, Stdio},
};

use super::{log, settings::Settings};

/// The name by which git calls us.
pub const NAME: &str = "commit-msg";

/// The lines, each `Name: value`.
pub fn trailers(settings: &Settings) -> String {
    let Settings { polecat, uid, issue, requested_by, trace, .. } = settings;
    let lines = [
        ("Polecat", polecat),
        ("Polecat-UID", uid),
        ("Bead", issue),
        ("Requested-By", requested_by),
        ("Trace", trace),
    ];
    let told = lines.iter().filter(|(_, value)| !value.is_empty());
    told.flat_map(|(name, value)| [name, ": ", value, "\n"]).collect()
}

/// Adds the lines to the message in the file that git names. A commit is never refused for want of them.
pub fn run(words: &[OsString]) -> ExitCode {
    if let Some(file) = words.first()
        && let Err(error) = add(file)
    {
        log::say(&format!("Failed to add trailers to the commit's message: {error}"));
    }
    ExitCode::SUCCESS
}

fn add(file: &OsString) -> std::io::Result<()> {
    let program = fs::canonicalize(std::env::current_exe()?)?;
    let lines = fs::read_to_string(program.with_file_name("trailers"))?;
    let message = fs::read(file)?;
    if lines.is_empty() || is_empty(&message) {
        return Ok(()); // git is about to give this commit up, and our lines must not save it
    }
    let mut command = Command::new("git");
    command.args(["interpret-trailers", "--in-place", "--if-exists", "addIfDifferent"]);
    for line in lines.lines() {
        command.arg("--trailer").arg(line);
    }
    let status = command.arg("--").arg(file).stdin(Stdio::null()).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("git interpret-trailers: {status}")))
    }
}

/// A message of white space and comments.
fn is_empty(message: &[u8]) -> bool {
    message.split(|it| *it == b'\n').all(|it| it.trim_ascii().is_empty() || it.starts_with(b"#"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_comments_is_empty() {
        assert!(is_empty(b"\n  \n# On branch main\n"));
        assert!(!is_empty(b"\nfix\n# On branch main\n"));
    }
}
