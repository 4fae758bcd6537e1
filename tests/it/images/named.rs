//! Every image that anything names with its registry is one that a mirror has, or an example.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use regex::Regex;

use super::{locked, text};
use crate::generated::top;

/// What people and clusters read, and what builds it.
const PLACES: [&str; 14] = [
    ".ci",
    ".gitlab-ci.yml",
    "Dockerfile",
    "Dockerfile.ubi9",
    "Makefile",
    "README.md",
    "bundle",
    "charts",
    "crds",
    "deploy",
    "docs",
    "src",
    "tests/tools",
    "webhooks",
];
/// What files with words are called; some have no such end.
const WORDS: [&str; 8] = ["", "md", "rs", "sh", "txt", "ubi9", "yaml", "yml"];
/// Where nothing is pulled from: the domain is reserved for examples.
const EXAMPLES: &str = "registry.example.com";

/// References with a registry's host and a tag or digest.
fn references(text: &str) -> Vec<&str> {
    let host = r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?::[0-9]+)?";
    let version = r"(?::[A-Za-z0-9][A-Za-z0-9._-]*|@sha256:[0-9a-f]+)";
    let all = Regex::new(&format!(r"{host}(?:/[a-z0-9._-]+)+{version}")).unwrap();
    all.find_iter(text).map(|it| it.as_str()).collect()
}

/// The references below a path, each with a file that has it.
fn below(path: &Path, found: &mut BTreeMap<String, String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
            // What begins with a dot was made by a test or by `make deploy`, and may go meanwhile.
            if !entry.file_name().to_string_lossy().starts_with('.') {
                below(&entry.path(), found);
            }
        }
        return;
    }
    let end = path.extension().unwrap_or_default().to_string_lossy();
    if WORDS.contains(&&*end) {
        let bytes = fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let at = path.strip_prefix(top()).unwrap().display().to_string();
        found.extend(references(&text).into_iter().map(|it| (it.to_owned(), at.clone())));
    }
}

#[test]
fn every_image_of_another_registry_is_in_a_list_for_mirrors_or_an_example() {
    let mut mirrored: BTreeSet<_> = locked().into_iter().map(|[_, source, _]| source).collect();
    for edition in ["community", "enterprise"] {
        let list = text(&format!("deploy/mirror/images-{edition}.txt"));
        let images = list.lines().filter(|it| !it.starts_with('#'));
        mirrored.extend(images.map(ToOwned::to_owned));
    }
    let mut found = BTreeMap::new();
    for place in PLACES {
        below(&top().join(place), &mut found);
    }
    for known in ["quay.io/operator-framework/scorecard-test:", "registry.example.com/"] {
        assert!(found.keys().any(|it| it.starts_with(known)), "{known} is found: {found:?}");
    }
    let is_example =
        |it: &str| it.strip_prefix(EXAMPLES).is_some_and(|it| it.starts_with([':', '/']));
    let strangers: Vec<_> =
        found.iter().filter(|it| !mirrored.contains(it.0) && !is_example(it.0)).collect();
    assert!(strangers.is_empty(), "in no list for mirrors: {strangers:?}");
}

#[test]
fn an_image_of_another_registry_is_found() {
    let text = "FROM ghcr.io/a/b:1, \"quay.io/x@sha256:0a\" and registry.example.com:5000/town/c:2";
    let want = ["ghcr.io/a/b:1", "quay.io/x@sha256:0a", "registry.example.com:5000/town/c:2"];
    assert_eq!(references(text), want);
    for other in ["https://github.com/a/b", "docs.rs/kube", "gastown-operator:0.5.0", "a.b:1"] {
        assert!(references(other).is_empty(), "{other}");
    }
}
