//! `make deploy` and `make install` are for any workstation, and a Mac's bash is 3.2: what they run has nothing that came later.

use std::{fs, path::PathBuf};

use crate::generated::top;

/// What bash has only since 4.0 or later.
const LATER: [&str; 11] = [
    "mapfile",
    "readarray",
    "declare -A",
    "local -A",
    "declare -n",
    "local -n",
    "coproc",
    "wait -n",
    "^}",
    ",,}",
    "&>>",
];

/// What of a script the older one does not read: also a pattern without its first bracket where a `case` is within `$(…)`.
fn too_new(script: &str) -> Vec<&str> {
    let lines = || script.lines().filter(|it| !it.trim_start().starts_with('#'));
    let later = LATER.into_iter().filter(|word| lines().any(|it| it.contains(word)));
    let cases = lines().flat_map(|it| it.split("$(case ").skip(1));
    let bare = cases.filter(|it| {
        let body = it.split("esac").next().and_then(|it| it.split_once(" in "));
        let mut patterns = body.map_or("", |it| it.1).split(";;").map(str::trim);
        patterns.any(|it| !it.is_empty() && !it.starts_with('('))
    });
    later.chain(bare).collect()
}

#[test]
fn what_deploys_is_read_by_an_older_bash() {
    let folder = fs::read_dir(top().join("deploy")).unwrap().map(|it| it.unwrap().path());
    let mut scripts: Vec<PathBuf> =
        folder.filter(|it| it.extension().is_some_and(|it| it == "sh")).collect();
    assert!(scripts.len() > 4, "{scripts:?}");
    // The first says what images are called, and the other finds out what this machine is as it does.
    scripts.extend(["build.sh", "dist.sh"].map(|it| top().join("deploy/images").join(it)));
    for script in scripts {
        let text = fs::read_to_string(&script).unwrap();
        let found = too_new(&text);
        assert!(found.is_empty(), "{}: {found:?}", script.display());
    }
}

#[test]
fn what_an_older_bash_does_not_read_is_found() {
    for (line, because) in [
        ("mapfile -t all < <(pins)", "no such command"),
        ("echo ${1^^}", "no such expansion"),
        ("x=$(case $y in a) echo b ;; esac)", "it ends at the bracket"),
        ("x=$(case $y in (a) echo b ;; c) echo d ;; esac)", "so does it here"),
    ] {
        assert_eq!(too_new(line).len(), 1, "{because}: {line}");
    }
    for line in
        ["x=$(case $y in (a) echo b ;; (*) c ;; esac)", "case $x in a) b ;; esac", "# mapfile"]
    {
        assert!(too_new(line).is_empty(), "{line}");
    }
}
