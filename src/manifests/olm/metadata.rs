//! What stands beside a CSV: annotations, tests, and the template of a catalog.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{CHANNEL, PACKAGE, bundle_image, csv, graph};
use crate::manifests::{document, operator::Edition};

/// `metadata/annotations.yaml`.
pub fn annotations() -> anyhow::Result<String> {
    document(&json!({"annotations": {
        "com.redhat.openshift.versions": csv::OPENSHIFT,
        "operators.operatorframework.io.bundle.channel.default.v1": CHANNEL,
        "operators.operatorframework.io.bundle.channels.v1": CHANNEL,
        "operators.operatorframework.io.bundle.manifests.v1": "manifests/",
        "operators.operatorframework.io.bundle.mediatype.v1": "registry+v1",
        "operators.operatorframework.io.bundle.metadata.v1": "metadata/",
        "operators.operatorframework.io.bundle.package.v1": PACKAGE,
        "operators.operatorframework.io.test.config.v1": "tests/scorecard/",
        "operators.operatorframework.io.test.mediatype.v1": "scorecard+v1",
    }}))
}

/// The image of the tests in there, which the cluster pulls under this very name.
pub const SCORECARD: &str = "quay.io/operator-framework/scorecard-test:v1.42.3";

/// `tests/scorecard/config.yaml`: what `operator-sdk scorecard` runs on a cluster.
pub fn scorecard() -> anyhow::Result<String> {
    let test = |name: &str, suite: &str| json!({"entrypoint": ["scorecard-test", name], "image": SCORECARD, "labels": {"suite": suite, "test": format!("{name}-test")}});
    let olm = [
        "olm-bundle-validation",
        "olm-crds-have-validation",
        "olm-crds-have-resources",
        "olm-spec-descriptors",
        "olm-status-descriptors",
    ];
    let tests: Vec<_> = [test("basic-check-spec", "basic")]
        .into_iter()
        .chain(olm.map(|it| test(it, "olm")))
        .collect();
    document(&json!({
        "apiVersion": "scorecard.operatorframework.io/v1alpha3",
        "kind": "Configuration",
        "metadata": {"name": "config"},
        "stages": [{"parallel": true, "tests": tests}],
    }))
}

/// The template of a catalog with every release, for `opm alpha render-template basic`; `make catalog` puts the registry before
/// the images of the bundles.
pub fn catalog(edition: Edition, releases: &[&str]) -> anyhow::Result<(String, String)> {
    let mut parts = vec![
        json!({
            "schema": "olm.package", "name": PACKAGE, "defaultChannel": CHANNEL,
            "icon": {"base64data": BASE64_STANDARD.encode(csv::ICON), "mediatype": "image/svg+xml"},
        }),
        json!({
            "schema": "olm.channel", "package": PACKAGE, "name": CHANNEL,
            "entries": graph::entries(releases),
        }),
    ];
    let bundle = |it: &&str| json!({"schema": "olm.bundle", "image": bundle_image(it, edition)});
    parts.extend(releases.iter().map(bundle));
    let template = json!({"schema": "olm.template.basic", "entries": parts});
    Ok((format!("deploy/catalog/{}.yaml", edition.name()), document(&template)?))
}
