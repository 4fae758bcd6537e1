//! What a test needs of the machine. A missing precondition skips the test by name, or fails it where
//! `GASTOWN_REQUIRE` asks for it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

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

/// The Go original, where `GO_ORIGINAL` names it.
pub struct Original {
    pub program: PathBuf,
    /// Its checkout.
    pub source: Option<PathBuf>,
    /// The folder with its definitions.
    pub definitions: Option<PathBuf>,
}

/// `GO_ORIGINAL` is its program, with a checkout in `GO_ORIGINAL_SOURCE` and definitions in `GO_ORIGINAL_CRDS`; or that checkout,
/// of which the program is built.
pub fn original(test: &str) -> Option<Original> {
    let named = |it| std::env::var_os(it).map(PathBuf::from);
    let Some(given) = named("GO_ORIGINAL") else {
        skip(test, "go-original", "GO_ORIGINAL names neither a program nor a checkout");
        return None;
    };
    let (program, source) = if given.is_dir() {
        (built(&given), Some(given))
    } else {
        (given, named("GO_ORIGINAL_SOURCE"))
    };
    let in_source = source.as_ref().map(|it| it.join("config/crd/bases"));
    Some(Original { program, source, definitions: named("GO_ORIGINAL_CRDS").or(in_source) })
}

/// The program of a checkout, built once in a process.
fn built(checkout: &Path) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let test = Path::new(env!("CARGO_BIN_EXE_gastown-operator"));
        let program = test.ancestors().nth(2).unwrap().join("go-original");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&program).arg("./cmd").current_dir(checkout);
        let done = go.output().expect("Go builds what GO_ORIGINAL names");
        assert!(done.status.success(), "go build: {}", String::from_utf8_lossy(&done.stderr));
        program
    };
    BUILT.get_or_init(build).clone()
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
