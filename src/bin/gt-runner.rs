//! The program inside an agent pod. Does nothing but hand over to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    gastown::runner::run()
}
