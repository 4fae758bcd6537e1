//! What a release is made of: a bundle whose images are named by digest.

use std::fs;

use crate::{
    generated::top,
    make::{make, words},
};

/// Runs `manifests` where scripts run it by cargo, which would build it anew.
fn cargo(folder: &std::path::Path) -> String {
    let file = folder.join("cargo");
    let program = env!("CARGO_BIN_EXE_manifests");
    let text = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec {program} \"$@\"\n"
    );
    gastown_testbed::program::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn a_bundle_of_a_release_names_digests_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |of: &str| format!("sha256:{}", of.repeat(64));
    let image =
        |name: &str, of: &str| format!("registry.example.com/town/gastown-{name}@{}", digest(of));
    let (operator, runner) = (image("operator", "a"), image("runner", "b"));
    let output = make(&["bundle", "EDITION=enterprise", "BUILDAH=none"])
        .args([format!("IMG={operator}"), format!("RUNNER_IMG={runner}")])
        .arg(format!("CARGO={}", cargo(folder.path())))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let made = top().join("target/dist");
    let csv = made.join("bundle/enterprise/manifests/gastown-operator.clusterserviceversion.yaml");
    let csv = fs::read_to_string(csv).unwrap();
    for it in [&operator, &runner] {
        // In the Deployment and in `relatedImages`, at least.
        assert!(csv.matches(it.as_str()).count() >= 2, "{it}");
    }
    assert!(!csv.contains("gastown-operator:0") && !csv.contains("gastown-runner:0"), "by tag");
    assert!(csv.contains("features.operators.openshift.io/disconnected: \"true\""));
    for list in ["images-enterprise.txt", "imageset-enterprise.yaml"] {
        let text = fs::read_to_string(made.join("deploy/mirror").join(list)).unwrap();
        assert!(text.contains(&operator) && text.contains(&runner), "{list}: {text}");
    }
}
