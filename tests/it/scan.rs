//! `make scan`: the database of advisories that is named is the one that judges.

use std::{fs, path::Path, process::Command};

use crate::{generated::top, make::words, preconditions::skip};

/// Rules by which no version of a crate that is linked in is good.
const ADVISORY: &str = "```toml\n[advisory]\nid = \"RUSTSEC-2000-9999\"\npackage = \"kube\"\ndate = \"2000-01-01\"\n\n\
                        [versions]\npatched = [\">= 999.0.0\"]\n```\n\n# Made up\n\nFor a test.\n";

fn scan(database: &Path) -> std::process::Output {
    Command::new(top().join("tests/tools/deny.sh")).env("ADVISORY_DB", database).output().unwrap()
}

/// Whether cargo-deny is there in the version that the script would build otherwise.
fn is_built() -> bool {
    let script = fs::read_to_string(top().join("tests/tools/deny.sh")).unwrap();
    let version = script.lines().find_map(|it| it.strip_prefix("version=")).unwrap();
    let said = Command::new("cargo").args(["deny", "--version"]).output();
    said.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains(version))
}

fn git(database: &Path, args: &[&str]) {
    let who = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.com"];
    let status = Command::new("git").args(who).arg("-C").arg(database).args(args).status().unwrap();
    assert!(status.success(), "git {args:?}");
}

#[test]
fn advisories_are_those_of_the_database_that_is_named() {
    if !is_built() {
        let test = "advisories_are_those_of_the_database_that_is_named";
        return skip(test, "cargo-deny", "no cargo-deny: make scan builds it");
    }
    let folder = tempfile::tempdir().unwrap();
    let refused = scan(folder.path());
    let said = words(&refused);
    assert!(!refused.status.success() && said.contains(folder.path().to_str().unwrap()), "{said}");

    let crates = folder.path().join("crates/kube");
    fs::create_dir_all(&crates).unwrap();
    fs::write(crates.join("RUSTSEC-2000-9999.md"), ADVISORY).unwrap();
    for args in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "-m", "one"]] {
        git(folder.path(), args);
    }
    let refused = scan(folder.path());
    let said = words(&refused);
    assert!(!refused.status.success() && said.contains("RUSTSEC-2000-9999"), "{said}");
}
