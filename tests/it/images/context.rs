//! What goes to who builds an image: what is committed, the programs of `make dist`, and not gigabytes that lie beside them.

use regex::Regex;

use super::text;

/// Whether a file of the checkout goes there: the last line of .dockerignore that is about it or a folder of its says so.
fn is_sent(file: &str) -> bool {
    let ignored = text(".dockerignore");
    let about = |line: &str| {
        let (keeps, pattern) = line.strip_prefix('!').map_or((false, line), |it| (true, it));
        let pattern = regex::escape(pattern.trim_start_matches('/')).replace(r"\*", "[^/]*");
        let matches = Regex::new(&format!("^{pattern}(/|$)")).unwrap().is_match(file);
        matches.then_some(keeps)
    };
    let lines = ignored.lines().filter(|it| !it.is_empty() && !it.starts_with('#'));
    lines.filter_map(about).next_back().unwrap_or(true)
}

#[test]
fn images_are_built_of_sources_and_programs_and_of_nothing_that_lies_beside_them() {
    for file in [
        "Cargo.lock",
        "src/main.rs",
        "target/dist/community/amd64/gastown-operator",
        "target/dist/enterprise/arm64/licenses/LICENSE",
        "target/dist/.tmp1/amd64/gt-runner",
    ] {
        assert!(is_sent(file), "{file} is left out");
    }
    let script = text("deploy/images/dist.sh");
    let folder = script.lines().find_map(|it| it.strip_prefix("export CARGO_TARGET_DIR=")).unwrap();
    for edition in ["community", "enterprise"] {
        let built = folder.replace("$edition", edition);
        assert!(!is_sent(&format!("{built}/release/deps/x")), "{built}: what dist.sh builds in");
    }
    for file in [
        ".git/config",
        "target/debug/testbed",
        "target/dist/bundle/community/manifests/x.yaml",
        "target/dist/catalog/community/cache/x",
        "target/dist/deploy/mirror/images-community.txt",
        "target/dist/gastown-operator-0.5.0.tgz",
        "target/dist/krew-community.yaml",
        "target/dist/kubectl-gt-0.5.0-linux-amd64-community.tar.gz",
        "target/dist/pushed-community.txt",
        "target/dist/sbom-community.spdx.json",
        "target/dist/SHA256SUMS-community",
        "target/dist/SHA256SUMS-community.sig",
        "target/dist/THIRD-PARTY-NOTICES",
    ] {
        assert!(!is_sent(file), "{file} goes to who builds");
    }
}
