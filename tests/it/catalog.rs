//! The catalog road as far as it goes without OpenShift: which release replaces which; a release's bundle in a registry of the test's
//! own, and of that, by make and opm, a catalog that is valid, and whose image serves it. `GASTOWN_OPM` and `GASTOWN_CRANE` name the
//! programs (`make test-bundle`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use gastown::manifests::{
    olm::{catalog, graph::RELEASES},
    operator::Edition,
};
use gastown_testbed::tools::Tool;
use serde_json::{Value, json};

use crate::{
    generated::top,
    images::Store,
    make::{make, words},
    preconditions::skip,
    release::cargo,
    roads::tool,
    signing::{Registry, given},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(path: &str) -> Value {
    let text = fs::read_to_string(top().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"));
    serde_saphyr::from_str(&text).unwrap()
}

/// What of a template would leave somebody without updates, where these were released.
fn flaws(template: &Value, edition: &str, releases: &[&str]) -> Vec<String> {
    let all = template["entries"].as_array().unwrap();
    let of = |schema: &str| all.iter().filter(|it| it["schema"] == schema).collect::<Vec<_>>();
    let (packages, channels, bundles) = (of("olm.package"), of("olm.channel"), of("olm.bundle"));
    let [package] = &*packages else { return vec!["not one package".to_owned()] };
    let mut flaws = Vec::new();
    if !channels.iter().any(|it| it["name"] == package["defaultChannel"]) {
        flaws.push("the default channel is not there".to_owned());
    }
    let named = |version: &str| format!("gastown-operator.v{version}");
    for channel in &channels {
        let entries = channel["entries"].as_array().unwrap();
        // Down from this version, as OLM goes up: what is not come by is lost.
        let mut reached = Vec::new();
        let mut at = releases.last().map(|it| named(it));
        while let Some(name) = at.take() {
            let entry = entries.iter().find(|it| it["name"] == name);
            match entry {
                _ if reached.contains(&name) => flaws.push(format!("{name} replaces itself")),
                None => flaws.push(format!("{name} is not in the channel")),
                Some(entry) => at = entry["replaces"].as_str().map(ToOwned::to_owned),
            }
            reached.push(name);
        }
        for entry in entries {
            let name = entry["name"].as_str().unwrap();
            if !reached.iter().any(|it| it == name) {
                flaws.push(format!("{name} gets no update"));
            }
            if entry.get("skips").or(entry.get("skipRange")).is_some() {
                flaws.push(format!("{name} leads past a release"));
            }
        }
        let lost = releases.iter().filter(|it| !reached.contains(&named(it)));
        flaws.extend(lost.map(|it| format!("{it} is lost")));
    }
    let images: BTreeSet<_> = bundles.iter().filter_map(|it| it["image"].as_str()).collect();
    let bundle = |version: &str| format!("gastown-operator-bundle:v{version}-{edition}");
    let missing = releases.iter().filter(|it| !images.contains(&*bundle(it)));
    flaws.extend(missing.map(|it| format!("no bundle of {it}")));
    flaws
}

#[test]
fn every_release_leads_to_this_one_step_by_step() {
    assert_eq!(RELEASES.last(), Some(&VERSION), "a release begins with its row");
    for edition in ["community", "enterprise"] {
        let template = read(&format!("deploy/catalog/{edition}.yaml"));
        assert_eq!(template["schema"], "olm.template.basic");
        assert_eq!(flaws(&template, edition, RELEASES), Vec::<String>::new(), "{edition}");
        // OLM reads the bundle's own words where there is no catalog.
        let bundle = format!("bundle/{edition}/manifests/gastown-operator.clusterserviceversion");
        let csv = read(&format!("{bundle}.yaml"));
        assert_eq!(csv["metadata"]["name"], format!("gastown-operator.v{VERSION}"));
        let before = RELEASES.iter().rev().nth(1).map(|it| format!("gastown-operator.v{it}"));
        assert_eq!(csv["spec"]["replaces"].as_str(), before.as_deref(), "{edition}");
    }
    // A tag is a release; where there is no repository, nobody knows of one.
    let mut git = Command::new("git");
    let tags = git.args(["tag", "--list", "[0-9]*"]).current_dir(top()).output();
    let tags = tags.map(|it| String::from_utf8(it.stdout).unwrap()).unwrap_or_default();
    for tag in tags.lines() {
        assert!(RELEASES.contains(&tag), "{tag} was released, and is in no catalog");
    }
}

/// What is done to a catalog.
type Edit = fn(&mut Value);

#[test]
fn a_graph_that_loses_somebody_is_seen() {
    let releases = ["0.4.0", "0.5.0", "0.6.0"];
    let made = || -> Value {
        serde_saphyr::from_str(&catalog(Edition::Community, &releases).unwrap().1).unwrap()
    };
    assert_eq!(flaws(&made(), "community", &releases), Vec::<String>::new());
    let table: [(Edit, &str); 7] = [
        (|it| it["entries"][0]["defaultChannel"] = json!("stable"), "the default channel"),
        (|it| drop(it["entries"][1]["entries"][2]["replaces"].take()), "v0.5.0 gets no update"),
        (|it| drop(it["entries"][1]["entries"].as_array_mut().unwrap().remove(0)), "v0.4.0 is not"),
        (|it| drop(it["entries"][1]["entries"].as_array_mut().unwrap().pop()), "v0.6.0 is not"),
        (|it| drop(it["entries"].as_array_mut().unwrap().remove(2)), "no bundle of 0.4.0"),
        (
            |it| it["entries"][1]["entries"][0]["replaces"] = json!("gastown-operator.v0.6.0"),
            "replaces itself",
        ),
        (|it| it["entries"][1]["entries"][2]["skipRange"] = json!("<0.6.0"), "leads past"),
    ];
    for (edit, want) in table {
        let mut changed = made();
        edit(&mut changed);
        let found = flaws(&changed, "community", &releases);
        assert!(found.iter().any(|it| it.contains(want)), "{want}: {found:?}");
    }
}

/// A registry, and what is needed to push to it and to make catalogs of what is there.
struct Road {
    store: Store,
    registry: Registry,
    opm: PathBuf,
    /// Where the registry asks for them.
    credentials: Option<PathBuf>,
}

impl Road {
    fn start(test: &str) -> Option<Self> {
        let (Some(opm), Some(crane)) = (given("GASTOWN_OPM"), given("GASTOWN_CRANE")) else {
            skip(test, "opm", "no opm and crane; make test-bundle builds them");
            return None;
        };
        let store = Store::new(test)?;
        Some(Self { store, registry: Registry::start(&crane), opm, credentials: None })
    }

    fn folder(&self) -> PathBuf {
        self.store.folder.path().join("release")
    }

    fn image(&self, name: &str) -> String {
        format!("{}/town/{name}", self.registry.host)
    }

    /// Runs a target with images by digest, which has to go well.
    fn makes(&self, target: &str, edition: &str) {
        let output = self.make(&[target], edition);
        assert!(output.status.success(), "make {target}: {}", words(&output));
    }

    fn make(&self, what: &[&str], edition: &str) -> Output {
        let program = self.registry.buildah(&self.store);
        let bundle = self.image(&format!("gastown-operator-bundle:v{VERSION}-{edition}"));
        let mut command = make(&["--silent", "PUSHED=yes", "OPM_FLAGS=--use-http"]);
        command
            .args(what)
            .arg(format!("BUILDAH={program}"))
            .arg(format!("EDITION={edition}"))
            .arg(format!("BUNDLE_IMG={bundle}"))
            .arg(format!("OPM={}", self.opm.display()))
            .arg(format!("CARGO={}", cargo(self.store.folder.path())))
            .arg(format!("RELEASE={}", self.folder().display()))
            .arg(format!("OCI=oci://{}/town/charts", self.registry.host))
            .args(["OCI_FLAGS=--plain-http", "--assume-old=manifests"]);
        command.env("BUILD_ARGS", "--build-arg CATALOG_BASE=localhost/opm:dev");
        for variable in ["REGISTRY_AUTH_FILE", "HELM_REGISTRY_CONFIG", "DOCKER_CONFIG"] {
            command.env_remove(variable);
        }
        if let Some(file) = &self.credentials {
            command.env("REGISTRY_AUTH_FILE", file);
        }
        command.env("BUILDAH_ISOLATION", "chroot").output().unwrap()
    }

    /// What `docker-push` notes of images.
    fn note(&self, edition: &str) {
        let digest = format!("sha256:{}", "a".repeat(64));
        let line =
            |what: &str| format!("registry.example.com:5000/gastown-{what}:7@{digest} {what}\n");
        fs::create_dir_all(self.folder()).unwrap();
        let notes = self.folder().join(format!("pushed-{edition}.txt"));
        fs::write(notes, line("operator") + &line("runner")).unwrap();
    }

    /// An image with opm where catalogs look for it.
    fn write_base(&self) {
        let archive = self.store.folder.path().join("base.tar");
        gastown_testbed::node::images::write_base(
            std::slice::from_ref(&self.opm),
            "localhost/base:dev",
            &archive,
        )
        .unwrap();
        let from = format!("oci-archive:{}", archive.display());
        let id = self.store.run(&["pull", "--quiet", &from]);
        let container = self.store.run(&["from", &id]);
        self.store.run(&["copy", "--quiet", &container, self.opm.to_str().unwrap(), "/bin/opm"]);
        // Squashed: buildah builds on no image that has more layers than its history tells of, as that of the archive.
        self.store.run(&["commit", "--squash", "--quiet", "--rm", &container, "localhost/opm:dev"]);
    }

    fn opm(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.opm).args(arguments).output().unwrap();
        assert!(output.status.success(), "opm {arguments:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The parts of a catalog.
    fn parts(&self, folder: &Path) -> Vec<Value> {
        let catalog = self.opm(&["render", folder.to_str().unwrap(), "--output", "json"]);
        let parts = serde_json::Deserializer::from_str(&catalog).into_iter::<Value>();
        parts.map(Result::unwrap).collect()
    }
}

/// An opm that notes what it is asked.
const NOTES: &str = "#!/bin/sh\necho \"$@\" >> \"${0%/*}/asked\"\n";

/// OpenShift refuses the older form from 4.17 on, and no bundle of ours is for an older one.
#[test]
fn a_catalog_is_asked_for_in_the_form_that_openshift_takes() {
    let folder = tempfile::tempdir().unwrap();
    let opm = folder.path().join("opm");
    gastown_testbed::program::write(&opm, NOTES).unwrap();
    let output = make(&["--silent", "catalog", "BUILDAH=echo"])
        .arg("BUNDLE_IMG=registry.example.com/town/bundle:1")
        .args([format!("OPM={}", opm.display()), format!("RELEASE={}", folder.path().display())])
        .output()
        .unwrap();
    let asked = fs::read_to_string(folder.path().join("asked"));
    let asked = asked.unwrap_or_else(|why| panic!("{why}: {}", words(&output)));
    let render = asked.lines().find(|it| it.starts_with("alpha render-template ")).unwrap();
    assert!(render.contains("--migrate-level=bundle-object-to-csv-metadata"), "{asked}");
}

/// Serves until it has said so.
const SERVE: &str = "mkfifo /tmp/said; /bin/opm serve /configs --cache-dir=/tmp/cache --port 0 --pprof-addr=127.0.0.1:0 2>/tmp/said & \
    grep -m 1 'serving registry' /tmp/said; kill $!";

#[test]
fn a_catalog_is_made_of_a_bundle_in_a_registry_and_can_be_served() {
    let test = "a_catalog_is_made_of_a_bundle_in_a_registry_and_can_be_served";
    let Some(road) = Road::start(test) else { return };
    road.write_base();
    for edition in ["community", "enterprise"] {
        road.note(edition);
        for target in ["bundle", "bundle-push", "catalog", "catalog-push"] {
            road.makes(target, edition);
        }
        let notes = fs::read_to_string(road.folder().join(format!("pushed-{edition}.txt")));
        let notes = notes.unwrap();
        for what in ["bundle", "catalog"] {
            let named = road.image(&format!("gastown-operator-{what}:v{VERSION}-{edition}@"));
            let line = notes.lines().find(|it| it.starts_with(&named));
            assert!(line.is_some_and(|it| it.ends_with(what)), "{named}: {notes}");
        }
        let parts = road.parts(&road.folder().join("catalog").join(edition).join("configs"));
        let of = |schema: &str| parts.iter().find(|it| it["schema"] == schema).unwrap();
        assert_eq!(of("olm.package")["defaultChannel"], of("olm.channel")["name"]);
        let entry = of("olm.bundle");
        assert_eq!(entry["name"], of("olm.channel")["entries"][0]["name"]);
        let properties = entry["properties"].as_array().unwrap();
        let has = |sort: &str| properties.iter().any(|it| it["type"] == sort);
        assert!(!has("olm.bundle.object"), "{edition}: OpenShift takes it no more from 4.17 on");
        assert!(has("olm.csv.metadata"), "{edition}: what is shown of it: {properties:#?}");
        let bundle = entry["image"].as_str().unwrap();
        assert!(bundle.contains("gastown-operator-bundle@sha256:"), "by digest: {bundle}");
        let digests = entry["relatedImages"].as_array().unwrap().iter();
        let digests = digests.filter(|it| {
            it["image"].as_str().unwrap().starts_with("registry.example.com:5000/gastown-")
                && it["image"].as_str().unwrap().contains("r@sha256:")
        });
        assert_eq!(digests.count(), 2, "operator and runner: {:#}", entry["relatedImages"]);
        let catalog = road.image(&format!("gastown-operator-catalog:v{VERSION}-{edition}"));
        let said = road.store.said(&catalog, SERVE);
        assert!(said.contains("serving registry"), "{edition}: {said}");
    }
}

/// What pushes and reads by a door at which everybody is asked: buildah, opm and helm, with one variable for all of them.
#[test]
fn a_registry_that_asks_who_comes_is_reached_by_one_file_of_credentials() {
    let test = "a_registry_that_asks_who_comes_is_reached_by_one_file_of_credentials";
    let Some(mut road) = Road::start(test) else { return };
    let Some(helm) = tool(test, Tool::Helm) else { return };
    road.registry = road.registry.asking();
    road.write_base();
    road.note("community");
    road.makes("bundle", "community");
    let stranger = road.make(&["bundle-push"], "community");
    assert!(!stranger.status.success(), "a stranger pushes: {}", words(&stranger));
    road.credentials = Some(road.registry.credentials(road.store.folder.path()));
    for target in ["bundle-push", "catalog", "catalog-push"] {
        road.makes(target, "community");
    }
    let output = road.make(&["chart", &format!("HELM={}", helm.display())], "community");
    assert!(output.status.success(), "{}", words(&output));
    let notes = fs::read_to_string(road.folder().join("pushed-community.txt")).unwrap();
    let pushed = notes.lines().filter(|it| it.starts_with(&road.registry.host)).count();
    assert_eq!(pushed, 3, "bundle, catalog and chart: {notes}");
}

/// Two releases in one catalog, of which opm says whether their graph holds.
#[test]
fn a_catalog_of_two_releases_has_one_head_and_leads_to_it() {
    let test = "a_catalog_of_two_releases_has_one_head_and_leads_to_it";
    let Some(road) = Road::start(test) else { return };
    road.note("community");
    road.makes("bundle", "community");
    road.makes("bundle-push", "community");
    // The same as a release before.
    let older = road.image("gastown-operator-bundle:v0.4.9-community");
    let container = road.store.run(&["from", "scratch"]);
    let of_now = road.folder().join("bundle/community");
    let before = road.store.folder.path().join("before");
    let copied = Command::new("cp").arg("-r").arg(&of_now).arg(&before).status().unwrap();
    assert!(copied.success());
    let csv = before.join("manifests/gastown-operator.clusterserviceversion.yaml");
    let renumbered = fs::read_to_string(&csv).unwrap().replace(VERSION, "0.4.9");
    fs::write(&csv, renumbered).unwrap();
    for part in ["manifests", "metadata"] {
        let from = before.join(part).display().to_string();
        road.store.run(&["copy", "--quiet", &container, &from, &format!("/{part}")]);
    }
    let annotations = fs::read_to_string(before.join("metadata/annotations.yaml")).unwrap();
    for line in annotations.lines().filter_map(|it| it.strip_prefix("  operators.")) {
        let (key, value) = line.split_once(": ").unwrap();
        let label = format!("operators.{key}={}", value.trim_matches('"'));
        road.store.run(&["config", "--label", &label, &container]);
    }
    road.store.run(&["commit", "--quiet", "--rm", &container, &older]);
    road.store.run(&["push", "--quiet", "--tls-verify=false", &older]);

    let (_, template) = catalog(Edition::Community, &["0.4.9", VERSION]).unwrap();
    let bundles = "image: gastown-operator-bundle:";
    let template = template.replace(bundles, &format!("image: {}", road.image(&bundles[7..])));
    let folder = road.store.folder.path().join("two");
    fs::create_dir(&folder).unwrap();
    let file = road.store.folder.path().join("template.yaml");
    fs::write(&file, template).unwrap();
    let render = ["alpha", "render-template", "basic", "--use-http", "--output", "json"];
    let rendered = road.opm(&[&render[..], &[file.to_str().unwrap()]].concat());
    fs::write(folder.join("catalog.json"), &rendered).unwrap();
    road.opm(&["validate", folder.to_str().unwrap()]);
    let parts = road.parts(&folder);
    assert_eq!(parts.iter().filter(|it| it["schema"] == "olm.bundle").count(), 2);
    // It can refuse: without the edge there are two heads.
    let apart = rendered.replace("\"replaces\"", "\"replaced\"");
    assert_ne!(apart, rendered);
    fs::write(folder.join("catalog.json"), apart).unwrap();
    let refused = Command::new(&road.opm).arg("validate").arg(&folder).output().unwrap();
    assert!(words(&refused).contains("multiple channel heads"), "{}", words(&refused));
}
