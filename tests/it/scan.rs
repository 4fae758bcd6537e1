//! `make scan`: the database of advisories that is named is the one that judges, and a second library of cryptography is
//! refused.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{generated::top, make::words, preconditions::skip};

/// Rules by which no version of a crate that is linked in is good.
const ADVISORY: &str = "```toml\n[advisory]\nid = \"RUSTSEC-2000-9999\"\npackage = \"kube\"\ndate = \"2000-01-01\"\n\n\
                        [versions]\npatched = [\">= 999.0.0\"]\n```\n\n# Made up\n\nFor a test.\n";

fn scan(database: &Path) -> std::process::Output {
    Command::new(top().join("tests/tools/deny.sh")).env("ADVISORY_DB", database).output().unwrap()
}

/// cargo-deny, where it is there in the version that the script would build otherwise.
fn cargo_deny(test: &str) -> Option<PathBuf> {
    let script = top().join("tests/tools/deny.sh");
    let said = Command::new(script).arg("--cached").output().unwrap();
    let path = String::from_utf8(said.stdout).unwrap();
    if path.is_empty() {
        skip(test, "cargo-deny", "no cargo-deny: make scan builds it");
        return None;
    }
    Some(path.trim().into())
}

/// Libraries of cryptography beside the one provider.
const BANNED: [&str; 4] = ["ring", "openssl", "openssl-sys", "native-tls"];

#[test]
fn a_second_library_of_cryptography_is_banned() {
    let rules = fs::read_to_string(top().join(".deny.toml")).unwrap();
    for it in BANNED {
        assert!(
            rules.contains(&format!("{{ crate = \"{it}\", reason = ")),
            "{it} is allowed: {rules}"
        );
    }
    let Some(deny) = cargo_deny("a_second_library_of_cryptography_is_banned") else { return };
    for it in BANNED.into_iter().chain(["harmless"]) {
        let folder = tempfile::tempdir().unwrap();
        let crates = [
            ("linking", format!("[dependencies]\n{it} = {{ path = \"../{it}\" }}\n")),
            (it, String::new()),
        ];
        for (name, more) in crates {
            let at = folder.path().join(name);
            fs::create_dir_all(at.join("src")).unwrap();
            fs::write(at.join("src/lib.rs"), "").unwrap();
            let package = format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n{more}"
            );
            fs::write(at.join("Cargo.toml"), package).unwrap();
        }
        let mut judge = Command::new(&deny);
        judge.current_dir(folder.path().join("linking"));
        judge.arg("--config").arg(top().join(".deny.toml")).args(["--offline", "check", "bans"]);
        let judged = judge.output().unwrap();
        let said = words(&judged);
        assert_eq!(judged.status.success(), it == "harmless", "{it}: {said}");
        assert!(
            judged.status.success() || said.contains("banned"),
            "{it}, for another reason: {said}"
        );
    }
}

fn git(database: &Path, args: &[&str]) {
    let who = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.com"];
    let status = Command::new("git").args(who).arg("-C").arg(database).args(args).status().unwrap();
    assert!(status.success(), "git {args:?}");
}

#[test]
fn advisories_are_those_of_the_database_that_is_named() {
    if cargo_deny("advisories_are_those_of_the_database_that_is_named").is_none() {
        return;
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
