//! The program inside an agent pod: `git-init` clones, `claude` runs the agent and hands its commits
//! over, `telemetry` pushes them and says what became of the run. Reaches neither the API server nor, in
//! `telemetry`, the workspace.

mod access;
mod activity;
mod agent;
mod args;
mod askpass;
mod beside;
mod bundle;
mod bundling;
mod checkpoint;
mod clone;
mod contents;
mod credentials;
mod deliver;
mod diagnosis;
mod files;
mod git;
mod handover;
mod held;
mod hook;
mod intake;
mod last_words;
mod leftovers;
mod lock;
mod log;
mod metrics;
mod others;
mod paths;
mod pointers;
mod presence;
mod problem;
mod process;
mod push;
mod remote;
mod report;
mod settings;
mod sign;
mod ssh;
mod storage;
mod supervise;
mod telemetry;
mod telling;
mod times;
mod tokens;
mod tools;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::Parser;

use args::{Arguments, Command};
use problem::Problem;

use crate::domain::verdict::reason;

/// Exit code of a part that failed by itself.
const FAILED: u8 = 1;

/// Exit code of a command line that can't be understood.
const MISUSED: u8 = 2;

/// Runs what the command line, or the name under which git or ssh's caller finds us, asks for.
pub fn run() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let called = words.first().and_then(|it| Path::new(it).file_name()).and_then(|it| it.to_str());
    let rest = words.get(1..).unwrap_or_default();
    match called {
        Some(hook::NAME) => hook::run(rest),
        Some(ssh::NAME) => ssh::run(&words),
        Some(askpass::NAME) => askpass::run(rest),
        _ => match Arguments::try_parse_from(&words) {
            Ok(arguments) => part(arguments),
            Err(error) => misused(&error),
        },
    }
}

/// A command line or a variable that can't be understood. In a container the last words say so too.
fn misused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        log::print(&error.to_string()); // help and version are asked for
        return ExitCode::SUCCESS;
    }
    let message = format!("{error}; the operator writes the command line and these variables");
    let problem = Problem::new(reason::SETTING_INVALID, message);
    last_words::leave(&paths::Paths::new("/"), &problem);
    ExitCode::from(MISUSED)
}

fn part(arguments: Arguments) -> ExitCode {
    let paths = paths::Paths::new(&arguments.root);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(it) => it,
        Err(error) => {
            last_words::leave(&paths, &Problem::volume("start in", "this container", &error));
            return ExitCode::from(FAILED);
        }
    };
    match arguments.command {
        Command::GitInit(it) => runtime.block_on(clone::main(&paths, &it)),
        Command::Claude(it) => runtime.block_on(agent::main(&paths, it)),
        Command::Telemetry(it) => runtime.block_on(telemetry::main(&paths, &it)),
        Command::Checkpoint(it) => runtime.block_on(checkpoint::main(&paths, &it)),
        Command::Probe(it) => activity::probe(&paths, &it),
        Command::Version => {
            log::print(concat!("gt-runner ", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
    }
}
