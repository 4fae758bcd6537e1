//! `make scan`: the database of advisories that is named is the one that judges, and a second library of cryptography is
//! refused.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{generated::top, make::words, preconditions::skip};

/// Advisories by which no version of a crate that is linked in is good.
fn advisory(of: &str) -> String {
    format!(
        "```toml\n[advisory]\nid = \"RUSTSEC-2000-9999\"\npackage = \"{of}\"\ndate = \"2000-01-01\"\n\n[versions]\npatched = \
         [\">= 999.0.0\"]\n```\n\n# Made up\n\nFor a test.\n"
    )
}

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

/// A person's own cargo-deny is never exchanged for ours.
#[test]
fn a_cargo_deny_of_another_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("tests/tools")).unwrap();
    fs::create_dir(at("bin")).unwrap();
    let script = at("tests/tools/deny.sh");
    fs::copy(top().join("tests/tools/deny.sh"), &script).unwrap();
    let text = fs::read_to_string(&script).unwrap();
    let version = text.lines().find_map(|it| it.strip_prefix("version=")).unwrap();
    let program = |name: &str, text: &str| {
        gastown_testbed::program::write(&at(name), format!("#!/bin/sh\n{text}\n")).unwrap();
    };
    program("bin/cargo-deny", "echo cargo-deny 0.1.0; echo \"$*\" >> others");
    program("ours", &format!("echo cargo-deny {version}; echo \"$*\" >> judged"));
    let install = "[ $1 = install ] || exit 0\necho \"$*\" > built; mkdir -p target/tools/bin; cp ours target/tools/bin/cargo-deny";
    program("bin/cargo", install);
    let mut deny = Command::new(&script);
    deny.env_clear().env("PATH", format!("{}:/usr/bin:/bin", at("bin").display()));
    let said = words(&deny.output().unwrap());
    let read = |name: &str| fs::read_to_string(at(name)).unwrap_or_default();
    assert!(read("built").contains("--root target/tools cargo-deny@"), "{said}");
    assert!(read("judged").contains("licenses bans sources"), "{said}");
    assert_eq!(read("others").trim(), "--version", "it is asked which it is, and no more");
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

    // The module is linked into the Enterprise edition alone.
    for it in ["kube", "aws-lc-fips-sys"] {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("crates").join(it);
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("RUSTSEC-2000-9999.md"), advisory(it)).unwrap();
        for args in [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "-m", "one"]] {
            git(folder.path(), args);
        }
        let refused = scan(folder.path());
        let said = words(&refused);
        assert!(!refused.status.success() && said.contains("RUSTSEC-2000-9999"), "{it}: {said}");
    }
}

/// Whoever tests the FIPS edition without openssl would leave out the handshakes that nothing else can make.
#[test]
fn the_fips_edition_is_not_tested_without_what_makes_its_handshakes() {
    let folder = tempfile::tempdir().unwrap();
    for it in ["cmake", "go", "nm", "readelf", "strip", "dirname", "cargo"] {
        gastown_testbed::program::write(&folder.path().join(it), "#!/bin/sh\necho .\n").unwrap();
    }
    let mut script = Command::new("/bin/bash");
    script.arg(top().join("tests/tools/test-fips.sh")).env_clear().env("PATH", folder.path());
    script.current_dir(folder.path());
    let refused = script.output().unwrap();
    let said = words(&refused);
    assert!(!refused.status.success() && said.contains("openssl is not installed"), "{said}");
}
