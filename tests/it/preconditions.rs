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

/// Says that a test is skipped, and why; a failure where the precondition is required.
pub fn skip(test: &str, precondition: &str, reason: &str) {
    gastown_testbed::preconditions::skip(test, precondition, reason).unwrap();
}
