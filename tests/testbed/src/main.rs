//! `testbed`: a real Kubernetes control plane and node on one machine, for as long as it runs in the
//! foreground.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run().unwrap_or_else(|error| {
        eprintln!("testbed: {error:#}");
        ExitCode::FAILURE
    })
}
