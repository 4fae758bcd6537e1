//! What `prepare.sh` does on a machine, whose programs are played: it installs, names, leaves no daemon behind.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::symlink, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use gastown_testbed::tools::on_path;

use crate::prepared::{listed, top};

/// A machine with next to nothing on it, whose programs are played.
struct Machine(tempfile::TempDir);

/// Has what is installed ask whether its daemon may start, as packages of Debian do.
const APT_GET: &str = r#"echo "$*" >> "${0%/*}/asked"
[ "$1" != install ] || { "$POLICY_RC_D" ssh start; echo "policy $?" >> "${0%/*}/asked"; }"#;

impl Machine {
    fn new(user: u32) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for it in ["bash", "sort", "uname", "dirname", "rm", "chmod"] {
            symlink(on_path(it).unwrap(), machine.at(it)).unwrap();
        }
        machine
            .with("go", "echo go1.99.1")
            .with("cargo", "echo cargo 1.99.1")
            .with("id", &format!("echo {user}"))
            .with("apt-get", APT_GET)
    }

    fn with(self, program: &str, text: &str) -> Self {
        gastown_testbed::program::write(&self.at(program), format!("#!/bin/sh\n{text}\n")).unwrap();
        self
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What the script says, and what was asked of the machine's programs. Nobody of it is left then: whoever has the pipe is
    /// waited for.
    fn prepared(&self, arguments: &[&str]) -> (Output, String) {
        let mut prepare = Command::new(top().join("tests/tools/prepare.sh"));
        prepare.args(arguments).env_clear().env("PATH", self.0.path());
        let output = prepare.env("POLICY_RC_D", self.at("policy-rc.d")).output().unwrap();
        let asked = fs::read_to_string(self.at("asked")).unwrap_or_default();
        let _ = fs::remove_file(self.at("asked"));
        (output, asked)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_missing_is_installed_by_root_and_named_to_everybody_else() {
    // Administrators' programs are looked for in their own folders as well.
    let there = |it: &str| {
        it.starts_with('/')
            || ["/usr/sbin", "/sbin"].iter().any(|at| Path::new(at).join(it).exists())
    };
    let of_debian = listed().into_iter().filter(|(it, package)| package.name != "-" && !there(it));
    let missing: BTreeSet<_> =
        of_debian.map(|it| it.1.name).filter(|it| it != "bash" && it != "coreutils").collect();
    assert!(missing.len() > 5, "{missing:?}");
    let names_all = |text: &str| {
        let words: BTreeSet<_> = text.split([' ', ';', '\n']).collect();
        missing.iter().all(|it| words.contains(it.as_str()))
    };

    let (output, asked) = Machine::new(1000).prepared(&[]);
    let words = said(&output);
    assert!(output.status.success() && words.contains("is skipped by name"), "it goes on: {words}");
    assert!(words.contains("prepare: missing: ") && names_all(&words), "{words}");
    assert_eq!(asked, "", "who is not root installs nothing");

    let root = Machine::new(0);
    let (output, asked) = root.prepared(&[]);
    assert!(output.status.success() && !said(&output).contains("missing"), "{}", said(&output));
    assert!(asked.starts_with("update ") && asked.contains("\ninstall -y "), "{asked}");
    assert!(names_all(&asked), "{missing:?} in {asked}");
    let (_, asked) = root.prepared(&["--demo"]);
    for it in ["nodejs", "perl", "jq", "buildah", "python3"] {
        assert!(!asked.split(' ').any(|word| word == it), "a demo needs no {it}: {asked}");
    }

    let (output, _) = Machine::new(0).with("apt-get", "exit 100").prepared(&[]);
    let words = said(&output);
    assert!(words.contains("apt-get could not install") && words.contains("missing: "), "{words}");
}

/// Nobody who looks at a demo has asked for a server of ssh.
#[test]
fn what_is_installed_starts_no_daemon_and_the_machines_own_policy_stays() {
    let root = Machine::new(0);
    let (_, asked) = root.prepared(&[]);
    assert!(asked.contains("policy 101"), "{asked}");
    assert!(!root.at("policy-rc.d").exists(), "nothing is left of it");

    let killed =
        Machine::new(0).with("apt-get", &format!("{APT_GET}\n[ $1 = update ] || kill -9 $PPID"));
    let (output, asked) = killed.prepared(&[]);
    assert_eq!((output.status.signal(), asked.contains("policy 101")), (Some(9), true), "{asked}");
    assert!(!killed.at("policy-rc.d").exists(), "nothing is left of it, also by who was killed");

    let own = Machine::new(0).with("policy-rc.d", "exit 7");
    let (_, asked) = own.prepared(&[]);
    assert!(asked.contains("policy 7") && own.at("policy-rc.d").exists(), "{asked}");
}

#[test]
fn what_debian_does_not_have_is_named_where_it_is_missing_or_too_old() {
    let cargo = fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let rust = cargo.lines().find_map(|it| it.strip_prefix("rust-version = ")).unwrap();
    let modules = fs::read_to_string(top().join("tests/tools/go.mod")).unwrap();
    let go = modules.lines().find_map(|it| it.strip_prefix("go ")).unwrap();
    let rust = rust.trim_matches('"');
    let table = [
        (
            "cargo",
            "echo cargo 1.63.0".to_owned(),
            format!("cargo here is 1.63.0, and Cargo.toml needs {rust}"),
        ),
        (
            "cargo",
            "exit 1".to_owned(),
            "cargo here is of a version that it does not say".to_owned(),
        ),
        ("cargo", format!("echo 'cargo {rust}.0-nightly (abc)'"), String::new()),
        (
            "go",
            "echo go1.19.8".to_owned(),
            format!("go here is 1.19.8, and tests/tools/go.mod needs {go}"),
        ),
        ("go", format!("echo go{go}"), String::new()),
    ];
    for (program, text, want) in table {
        let (output, asked) = Machine::new(0).with(program, &text).prepared(&[]);
        let words = said(&output);
        assert_eq!(output.status.success(), want.is_empty(), "{program}: {text}: {words}");
        assert!(words.contains(&want), "{program}: {text}: {words}");
        assert_eq!(asked.is_empty(), !want.is_empty(), "what Debian does not have comes first");
    }
    for program in ["cargo", "go"] {
        let machine = Machine::new(0);
        fs::remove_file(machine.at(program)).unwrap();
        let (output, _) = machine.prepared(&[]);
        let words = said(&output);
        assert!(
            !output.status.success() && words.contains(&format!("{program} is not installed")),
            "{words}"
        );
    }
}

#[test]
fn rustfmt_and_clippy_are_added_where_they_are_missing_and_rustup_is_there() {
    let cargo = "[ $1 = --version ] && echo cargo 1.99.1 || { [ $1 = clippy ] && exit 0; exit 1; }";
    let bare = Machine::new(1000).with("cargo", cargo);
    let (output, _) = bare.prepared(&["--lint"]);
    assert!(
        !output.status.success() && said(&output).contains("install rustfmt"),
        "{}",
        said(&output)
    );
    let (output, _) = bare.prepared(&[]);
    assert!(output.status.success(), "nobody else needs it");
    let with = bare.with("rustup", "echo \"rustup $*\" >> \"${0%/*}/asked\"");
    let (output, asked) = with.prepared(&["--lint"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(asked, "rustup component add rustfmt\n", "clippy is there");
}
