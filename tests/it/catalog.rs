//! The catalog road as far as it goes without OpenShift: a release's bundle in a registry of the test's own, and of that, by opm,
//! a catalog that is valid and can be served. `GASTOWN_OPM` and `GASTOWN_CRANE` name the programs (`make test-bundle`).

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    generated::top,
    images::Store,
    make::{make, words},
    preconditions::skip,
    signing::{Registry, given},
};

fn opm(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "opm {arguments:?}: {}", words(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes the bundle with images by digest, and pushes it.
fn push(store: &Store, edition: &str, bundle: &str, registry: &Registry) {
    let settings = store.folder.path().join("registries.conf");
    let text = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host);
    fs::write(&settings, text).unwrap();
    let digest = format!("sha256:{}", "a".repeat(64));
    for target in ["bundle", "bundle-push"] {
        let mut command = make(&["--silent", target]);
        command.arg(format!(
            "BUILDAH={} --registries-conf {}",
            store.program(),
            settings.display()
        ));
        command.arg(format!("EDITION={edition}")).arg(format!("BUNDLE_IMG={bundle}"));
        command.arg(format!("IMG=registry.example.com/gastown-operator:7@{digest}"));
        command.arg(format!("RUNNER_IMG=registry.example.com/gastown-runner:7@{digest}"));
        command.arg(format!("RELEASE={}", store.folder.path().join("release").display()));
        let output = command.output().unwrap();
        assert!(output.status.success(), "make {target}: {}", words(&output));
    }
}

#[test]
fn a_catalog_is_made_of_a_bundle_in_a_registry_and_can_be_served() {
    let test = "a_catalog_is_made_of_a_bundle_in_a_registry_and_can_be_served";
    let (Some(program), Some(crane)) = (given("GASTOWN_OPM"), given("GASTOWN_CRANE")) else {
        return skip(test, "opm", "no opm and crane; make test-bundle builds them");
    };
    let Some(store) = Store::new(test) else { return };
    let registry = Registry::start(&crane);
    for edition in ["community", "enterprise"] {
        let bundle = format!("{}/town/gastown-operator-bundle:{edition}", registry.host);
        push(&store, edition, &bundle, &registry);
        let template = fs::read_to_string(top().join(format!("deploy/catalog/{edition}.yaml")));
        let shipped = format!("gastown-operator-bundle:v{}-{edition}", env!("CARGO_PKG_VERSION"));
        let template = template.unwrap().replace(&shipped, &bundle);
        assert!(template.contains(&bundle), "{template}");
        let file = store.folder.path().join("template.yaml");
        fs::write(&file, template).unwrap();

        let render = ["alpha", "render-template", "basic", "--use-http", "--output", "json"];
        let catalog = opm(&program, &[&render[..], &[file.to_str().unwrap()]].concat());
        let folder = store.folder.path().join(edition);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("catalog.json"), &catalog).unwrap();
        let folder = folder.to_str().unwrap();
        opm(&program, &["validate", folder]);
        let cache = format!("{folder}-cache");
        opm(&program, &["serve", folder, "--cache-dir", &cache, "--cache-only"]);

        let parts = serde_json::Deserializer::from_str(&catalog).into_iter::<Value>();
        let parts: Vec<_> = parts.map(Result::unwrap).collect();
        let of = |schema: &str| parts.iter().find(|it| it["schema"] == schema).unwrap();
        assert_eq!(of("olm.package")["defaultChannel"], of("olm.channel")["name"]);
        let entry = of("olm.bundle");
        assert_eq!(entry["name"], of("olm.channel")["entries"][0]["name"]);
        assert_eq!(entry["image"], bundle);
        let digests = entry["relatedImages"].as_array().unwrap().iter();
        let digests = digests.filter(|it| it["image"].as_str().unwrap().contains("@sha256:"));
        assert_eq!(digests.count(), 2, "operator and runner: {:#}", entry["relatedImages"]);
    }
}
