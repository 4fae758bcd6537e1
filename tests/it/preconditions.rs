//! What a test needs of the machine. A missing precondition skips the test by name, or fails it where
//! `GASTOWN_REQUIRE` asks for it.

use std::path::{Path, PathBuf};

/// The release binary, built by `make test`.
pub fn release_binary(test: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_gastown-operator")).ancestors().nth(2)?;
    let path = target.join("release/gastown-operator");
    if path.exists() {
        return Some(path);
    }
    skip(test, "release", "no release binary; `make test` builds it");
    None
}

/// The folder of an older version of ours that this variable names, with its programs in `built/`.
pub fn previous(test: &str, variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        skip(
            test,
            "previous",
            &format!("{variable} names nothing (make test-upgrade, make test-faults)"),
        );
    }
    folder
}

/// Says that a test is skipped, and why; a failure where the precondition is required.
pub fn skip(test: &str, precondition: &str, reason: &str) {
    gastown_testbed::preconditions::skip(test, precondition, reason).unwrap();
}
