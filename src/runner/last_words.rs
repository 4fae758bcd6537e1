//! The termination message: written once, at the end, over whatever stands there, since in `claude` the
//! agent could write it too.

use std::{
    fs::OpenOptions,
    io::{self, Write},
};

use super::{log, paths::Paths, problem::Problem};
use crate::domain::{
    layout,
    verdict::{Failure, Verdict, reason},
};

/// Leaves why this container failed. Says it in the log as well.
pub fn leave(paths: &Paths, problem: &Problem) {
    log::say(&format!("Failed: {problem}"));
    write(paths, problem.failure().to_json());
}

/// Leaves words for the case that this container is cut off. They also say that the image's loader took this program: one
/// that it refuses leaves none.
pub fn begin(paths: &Paths) {
    let text = "gt-runner in the agent's container was cut off before it could say why; see the log of container claude";
    write(paths, Failure::new(reason::AGENT_FAILED, text).to_json());
}

/// Leaves that the agent failed by itself, which its own log tells best.
pub fn failed(paths: &Paths, code: i32) {
    let text = format!("the agent exited with code {code}; see the log of container claude");
    write(paths, Failure::new(reason::AGENT_FAILED, text).to_json());
}

/// Leaves nothing: a success has no last words.
pub fn clear(paths: &Paths) {
    write(paths, Ok(String::new()));
}

/// Leaves the verdict; true when that worked.
pub fn verdict(paths: &Paths, verdict: &Verdict) -> bool {
    write(paths, verdict.to_json())
}

fn write(paths: &Paths, text: serde_json::Result<String>) -> bool {
    let path = paths.at(layout::TERMINATION_LOG);
    let open = || OpenOptions::new().write(true).truncate(true).open(&path); // the kubelet made it
    let written = text.map_err(io::Error::from).and_then(|it| open()?.write_all(it.as_bytes()));
    if let Err(error) = &written {
        log::say(&format!("Failed to write the termination message {path}: {error}"));
    }
    written.is_ok()
}
