//! Runs one program for a process that may be killed at any time: when its standard input ends, the program
//! is killed. Parent-death signals alone would not do, because tests start programs from threads that end
//! early.

use std::{
    io::{Read as _, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, ExitCode, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::process::{Identity, die_with_parent};

/// Starts the program, writes its pid as a line on standard output, and ends as it does. What the program
/// writes goes to standard error.
pub fn run(command: &[String]) -> Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else { bail!("guard: no command") };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(std::io::stderr()).process_group(0);
    die_with_parent(&mut command);
    let mut child = command.spawn().with_context(|| format!("failed to start {program}"))?;
    let identity = i32::try_from(child.id()).ok().and_then(Identity::of);
    let mut output = std::io::stdout();
    writeln!(output, "{}", child.id())
        .and_then(|()| output.flush())
        .context("failed to tell the pid")?;
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        if let Some(identity) = identity {
            identity.signal(Signal::KILL);
        }
    });
    Ok(exit_code(child.wait().with_context(|| format!("failed to wait for {program}"))?))
}

/// As a shell has it: 128 and the signal's number for a command that a signal ended.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|it| 128 + it));
    code.and_then(|it| u8::try_from(it).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
