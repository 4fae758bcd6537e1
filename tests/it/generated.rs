//! Generated files are what the table of kinds says; and the lock file keeps its pin.

use std::{fs, path::Path};

use gastown::conversion::table::Version;

/// The checkout.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The versions of a crate that one of Cargo.lock is built with.
fn built_with(lock: &str, name: &str, crate_: &str) -> String {
    let package = format!("\nname = \"{name}\"\n");
    let found = lock.split("[[package]]").find(|it| it.starts_with(&package));
    let lines = found.unwrap_or_else(|| panic!("Cargo.lock has no {name}")).lines();
    lines.filter(|it| it.starts_with(&format!(" \"{crate_}"))).collect()
}

/// No test but the long `make test-fips` compiles these two, and a lock that was brought up to date in part has them not fit.
#[test]
fn what_helps_to_build_the_fips_module_has_one_version_of_syn() {
    let lock = fs::read_to_string(top().join("Cargo.lock")).unwrap();
    let of = |name| built_with(&lock, name, "syn");
    assert!(!of("bindgen").is_empty());
    assert_eq!(of("bindgen"), of("prettyplease"), "bindgen hands its syntax trees to prettyplease");
}

#[test]
fn generated_files_are_what_the_table_says() {
    for (path, want) in gastown::manifests::files().unwrap() {
        let have = fs::read_to_string(top().join(&path)).unwrap_or_default();
        assert!(have == want, "{path} is stale: run `make manifests` and commit");
    }
}

#[test]
fn another_storage_version_changes_that_alone() {
    let back = gastown::manifests::files_storing(Version::V1alpha1).unwrap();
    let mut changed = 0;
    for ((path, want), (_, other)) in gastown::manifests::files().unwrap().iter().zip(&back) {
        let lines = want.lines().zip(other.lines()).filter(|(one, other)| one != other);
        let lines: Vec<_> = lines.map(|(one, other)| (one.trim(), other.trim())).collect();
        if lines.is_empty() {
            assert_eq!(want, other, "{path}");
            continue;
        }
        let (yes, no) = ("storage: true", "storage: false");
        let swapped = lines.chunks(2).all(|it| it == [(yes, no), (no, yes)]);
        assert!(swapped, "{path}: v1beta1 comes first in it: {lines:?}");
        changed += usize::from(path.starts_with("crds/"));
    }
    assert_eq!(changed, gastown::kinds::convertible().count(), "of every kind with two versions");
}

#[test]
fn only_one_version_of_the_kubernetes_types_is_locked() {
    let lock = fs::read_to_string(top().join("Cargo.lock")).unwrap();
    let count = lock.matches("name = \"k8s-openapi\"\n").count();
    assert_eq!(
        count, 1,
        "run `cargo update -p k8s-openapi@0.29.0 --precise 0.28.0`: a bare `cargo update` undid the pin"
    );
}

#[test]
fn a_panic_unwinds_in_every_profile() {
    let manifest = fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let aborts =
        manifest.lines().any(|it| it.trim_start().starts_with("panic") && it.contains("abort"));
    assert!(!aborts, "one request's panic must not end the process");
}
