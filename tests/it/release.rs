//! What a release is made of: a bundle whose images are named by digest, a chart, the plugin, and the jobs that make and sign all
//! of it.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use gastown_testbed::tools::Tool;
use serde_json::{Value, json};

use crate::{
    generated::top,
    images::Store,
    make::{make, words},
    pages::told,
    pipeline::{lines, pipeline},
    preconditions::skip,
    roads::tool,
    signing::{Registry, given},
};

/// Runs `manifests` where scripts run it by cargo, which would build it anew.
pub fn cargo(folder: &Path) -> String {
    let file = folder.join("cargo");
    let program = env!("CARGO_BIN_EXE_manifests");
    let text = format!(
        "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec {program} \"$@\"\n"
    );
    gastown_testbed::program::write(&file, text).unwrap();
    file.display().to_string()
}

/// Where people read the sources of a release and tell of faults.
const PROJECT: &str = "PROJECT_URL=https://example.com/gastown";

#[test]
fn a_bundle_of_a_release_names_digests_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |of: &str| format!("sha256:{}", of.repeat(64));
    let image =
        |name: &str, of: &str| format!("registry.example.com/town/gastown-{name}@{}", digest(of));
    let (operator, runner) = (image("operator", "a"), image("runner", "b"));
    let output = make(&["bundle", "EDITION=enterprise", "BUILDAH=none"])
        .args([format!("IMG={operator}"), format!("RUNNER_IMG={runner}")])
        .arg("BUNDLE_IMG=registry.example.com/town/gastown-operator-bundle:7")
        .arg(PROJECT)
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
    let csv: Value = serde_saphyr::from_str(&csv).unwrap();
    assert_eq!(csv["metadata"]["annotations"]["repository"], "https://example.com/gastown");
    for list in ["images-enterprise.txt", "imageset-enterprise.yaml"] {
        let text = fs::read_to_string(made.join("deploy/mirror").join(list)).unwrap();
        assert!(text.contains(&operator) && text.contains(&runner), "{list}: {text}");
    }
    let catalog = || {
        let set = made.join("deploy/mirror/imageset-enterprise.yaml");
        let set: Value = serde_saphyr::from_str(&fs::read_to_string(set).unwrap()).unwrap();
        set["mirror"]["operators"][0]["catalog"].as_str().unwrap().to_owned()
    };
    let listed = fs::read_to_string(made.join("deploy/mirror/images-enterprise.txt")).unwrap();
    let by_olm = format!("gastown-operator-catalog:v{}-enterprise", env!("CARGO_PKG_VERSION"));
    for image in ["gastown-operator-bundle:7", &by_olm] {
        let whole = format!("registry.example.com/town/{image}");
        assert!(listed.lines().any(|it| it == whole), "{whole}: {listed}");
    }
    // Where `make catalog` puts it, or where one is told to.
    let name = format!("gastown-operator-catalog:v{}-enterprise", env!("CARGO_PKG_VERSION"));
    assert_eq!(catalog(), format!("registry.example.com/town/{name}"));
    let elsewhere = "registry.example.com/catalogs/gastown:7";
    let output = make(&["bundle", "EDITION=enterprise", "BUILDAH=none"])
        .args([format!("CATALOG_IMG={elsewhere}"), format!("CARGO={}", cargo(folder.path()))])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(catalog(), elsewhere);
}

/// Images first, then what names them by digest, and at last the signature over all of it.
#[test]
fn a_release_makes_all_that_people_install_by_and_signs_it_last() {
    let whole = pipeline();
    let chain = ["release:digests", "release:images", "release:packages", "release:sign"];
    for (before, job) in chain.iter().zip(&chain[1..]) {
        let job = &whole[*job];
        assert!(job["needs"].as_array().unwrap().contains(&json!(before)), "{before}: {job}");
        assert_eq!(job["rules"], json!([{"if": "$CI_COMMIT_TAG"}]), "for a tag alone");
        assert_eq!(job["parallel"], whole["release:images"]["parallel"], "of both editions");
    }
    let run: Vec<_> = chain.iter().flat_map(|it| lines(&whole[*it])).collect();
    let want = [
        "release-check",
        "docker-build",
        "scan-images",
        "docker-push",
        "bundle",
        "scan-bundle",
        "bundle-push",
        "catalog",
        "catalog-push",
        "chart",
        "plugin",
        "notices",
        "sbom",
        "sign",
        "verify-release",
    ];
    assert_eq!(run, want.map(|it| format!("make {it}")));
    // Under the names that catalogs and lists for mirrors have.
    let variables = &whole["release:packages"]["variables"];
    assert_eq!(variables["PUSHED"], "yes", "by digest");
    assert_eq!(variables["PROJECT_URL"], "${CI_PROJECT_URL}", "as bundle, chart and plugin say");
    let version = env!("CARGO_PKG_VERSION");
    for edition in ["community", "enterprise"] {
        let named = variables["BUNDLE_IMG"].as_str().unwrap();
        let named = named.replace("${CI_COMMIT_TAG}", version).replace("${EDITION}", edition);
        let template = top().join(format!("deploy/catalog/{edition}.yaml"));
        let own = named.rsplit('/').next().unwrap();
        assert!(fs::read_to_string(template).unwrap().contains(&format!("image: {own}\n")));
    }
    // What is signed is what the jobs before hand on.
    let handed = |job: &str| -> Vec<String> {
        let paths = whole[job]["artifacts"]["paths"].as_array().unwrap().iter();
        paths.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    for kept in [
        "pushed-",
        "gastown-operator-*.tgz",
        "kubectl-gt-",
        "krew-",
        "bundle/${EDITION}",
        "catalog/${EDITION}/configs",
        "deploy/mirror/",
    ] {
        for job in ["release:packages", "release:sign"] {
            assert!(handed(job).iter().any(|it| it.contains(kept)), "{job}: {kept}");
        }
    }
    assert!(handed("release:images").iter().any(|it| it.contains("pushed-")));
}

/// Tools that refuse what they are shown as broken and take all else, with the one warning that is explained; each notes what it is
/// asked.
const PLAYED: [(&str, &str); 3] = [
    (
        "operator-sdk",
        "echo 'CSV contains permissions to create CRD'; ! grep -q 'minKubeVersion: soon' \"$3\"/manifests/*version.yaml",
    ),
    (
        "operator-verify",
        "! grep -q 'maxUnavailable: 0' \"$3\"/*poddisruptionbudget.yaml || echo Error: no",
    ),
    ("opm", "[ $1 = validate ] || ! grep -q '^  version: one' \"$2\"/manifests/*version.yaml"),
];

#[test]
fn the_bundle_that_is_pushed_is_the_one_that_olms_tools_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (tool, judges) in PLAYED {
        let text = format!("#!/bin/bash\necho \"$*\" >> \"$0.asked\"\n{judges}\n");
        gastown_testbed::program::write(&at(tool), text).unwrap();
    }
    let bundle = at("bundle/enterprise");
    fs::create_dir(at("bundle")).unwrap();
    let ours = top().join("bundle/enterprise");
    assert!(Command::new("cp").arg("-r").arg(ours).arg(&bundle).status().unwrap().success());
    let scanned = || {
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let release = format!("RELEASE={}", folder.path().display());
        let mut scan = make(&["scan-bundle", "EDITION=enterprise", &release]);
        scan.env("PATH", path).output().unwrap()
    };
    let output = scanned();
    assert!(output.status.success(), "{}", words(&output));
    for (tool, _) in PLAYED {
        let asked = fs::read_to_string(at(&format!("{tool}.asked"))).unwrap();
        assert!(asked.contains(bundle.to_str().unwrap()), "{tool} was shown others: {asked}");
    }
    let csv = bundle.join("manifests/gastown-operator.clusterserviceversion.yaml");
    let broken =
        fs::read_to_string(&csv).unwrap().replace("minKubeVersion: ", "minKubeVersion: soon");
    fs::write(&csv, broken).unwrap();
    let output = scanned();
    let said = words(&output);
    assert!(!output.status.success() && said.contains("bundle-check: operator-sdk: "), "{said}");
}

/// Runs make, which has to go well, for a release in this folder.
fn makes(folder: &Path, arguments: &[String]) -> String {
    let mut command = make(&["--silent", "--assume-old=manifests"]);
    command.args(arguments).arg(format!("RELEASE={}", folder.display()));
    let output: Output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    words(&output)
}

/// A chart that is packaged again is the same file, and leads to the registry that its images were pushed to.
#[test]
fn a_packaged_chart_is_the_same_each_time_and_knows_its_registry() {
    const TEST: &str = "a_packaged_chart_is_the_same_each_time_and_knows_its_registry";
    let Some(helm) = tool(TEST, Tool::Helm) else { return };
    let folder = tempfile::tempdir().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let package = |name: &str| {
        let into = folder.path().join(name);
        let image = format!("IMG=registry.example.com:5000/town/gastown-operator:{version}");
        let helm = format!("HELM={}", helm.display());
        makes(&into, &["chart".to_owned(), image, helm, PROJECT.to_owned()]);
        into.join(format!("gastown-operator-{version}.tgz"))
    };
    let [one, other] = ["one", "other"].map(package);
    assert_eq!(fs::read(&one).unwrap(), fs::read(&other).unwrap());
    let mut command = Command::new(&helm);
    command.args(["template", "gastown-operator"]).arg(&one).stdin(Stdio::null());
    let rendered = command.env("HOME", folder.path()).output().unwrap();
    assert!(rendered.status.success(), "{}", words(&rendered));
    for image in ["operator", "runner"] {
        let whole = format!("registry.example.com:5000/town/gastown-{image}:{version}");
        assert!(words(&rendered).contains(&whole), "{whole}");
    }
    let mut shown = Command::new(&helm);
    let shown =
        shown.args(["show", "chart"]).arg(&one).env("HOME", folder.path()).output().unwrap();
    let shown: Value = serde_saphyr::from_str(&words(&shown)).unwrap();
    assert_eq!(shown["home"], "https://example.com/gastown", "as who released it says");
    let images = shown["annotations"]["artifacthub.io/images"].as_str().unwrap();
    let images: Vec<Value> = serde_saphyr::from_str(images).unwrap();
    let images: Vec<_> = images.iter().map(|it| it["image"].as_str().unwrap()).collect();
    let want = [("operator", ""), ("runner", ""), ("operator", "-ubi9"), ("runner", "-ubi9")];
    let want = want.map(|(name, suffix)| {
        format!("registry.example.com:5000/town/gastown-{name}:{version}{suffix}")
    });
    assert_eq!(images, want, "for who scans or mirrors what the chart says");
}

#[test]
fn a_chart_is_pushed_and_noted_for_who_signs() {
    const TEST: &str = "a_chart_is_pushed_and_noted_for_who_signs";
    let Some(crane) = given("GASTOWN_CRANE") else {
        return skip(TEST, "opm", "no crane; make test-bundle builds it");
    };
    let Some(helm) = tool(TEST, Tool::Helm) else { return };
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(&crane);
    let version = env!("CARGO_PKG_VERSION");
    let arguments = [
        "chart".to_owned(),
        format!("HELM={}", helm.display()),
        format!("OCI=oci://{}/charts", registry.host),
        "OCI_FLAGS=--plain-http".to_owned(),
    ];
    let pushed = |time: &str| {
        makes(folder.path(), &arguments);
        let notes = fs::read_to_string(folder.path().join("pushed-community.txt"));
        let notes = notes.unwrap_or_else(|why| panic!("{time}: {why}"));
        assert_eq!(notes.lines().count(), 1, "{time}: {notes}");
        notes
    };
    let notes = pushed("once");
    let (image, what) = notes.trim().rsplit_once(' ').unwrap();
    let (named, digest) = image.split_once('@').unwrap();
    assert_eq!(named, format!("{}/charts/gastown-operator:{version}", registry.host));
    assert_eq!(what, "chart");
    let mut asked = Command::new(&crane);
    let asked = asked.args(["digest", "--insecure", named]).output().unwrap();
    assert_eq!(words(&asked).trim(), digest, "as it lies in the registry");
    assert_eq!(pushed("again"), notes, "the same is pushed");
}

/// By the command of the page, as far as it goes without a cluster.
#[test]
fn a_chart_is_installed_from_the_registry_that_it_was_pushed_to() {
    const TEST: &str = "a_chart_is_installed_from_the_registry_that_it_was_pushed_to";
    let Some(crane) = given("GASTOWN_CRANE") else {
        return skip(TEST, "opm", "no crane; make test-bundle builds it");
    };
    let Some(helm) = tool(TEST, Tool::Helm) else { return };
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::start(&crane);
    let (host, version) = (&registry.host, env!("CARGO_PKG_VERSION"));
    let arguments = [
        "chart".to_owned(),
        format!("IMG={host}/town/gastown-operator:{version}"),
        format!("HELM={}", helm.display()),
        format!("OCI=oci://{host}/town/charts"),
        "OCI_FLAGS=--plain-http".to_owned(),
    ];
    makes(folder.path(), &arguments);
    let runs = |words: &[String]| {
        let mut command = Command::new(&helm);
        command.args(words).arg("--plain-http").current_dir(folder.path()).stdin(Stdio::null());
        let output = command.env_clear().env("HOME", folder.path()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", self::words(&output));
        self::words(&output)
    };
    let told = told("docs/install.md", "helm install gastown-operator oci://");
    let here = |it: &String| it.replace("registry.example.com/town", &format!("{host}/town"));
    let mut install: Vec<_> = told[1..].iter().map(here).collect();
    let chart = install.iter().find(|it| it.starts_with("oci://")).unwrap().clone();
    install.push("--dry-run=client".to_owned());
    let rendered = runs(&install);
    for image in ["operator", "runner"] {
        let whole = format!("{host}/town/gastown-{image}:{version}");
        assert!(rendered.contains(&whole), "{whole}: {rendered}");
    }
    assert!(rendered.contains("rollout status deployment/"), "the next command: {rendered}");

    let into = "pulled".to_owned();
    fs::create_dir(folder.path().join(&into)).unwrap();
    let pull = ["pull", &chart, "--version", version, "--destination", &into];
    runs(&pull.map(ToOwned::to_owned));
    let file = format!("gastown-operator-{version}.tgz");
    let read = |at: &str| fs::read(folder.path().join(at).join(&file)).unwrap();
    assert_eq!(read("pulled"), read("."), "as it was packaged");
}

#[test]
fn the_plugin_is_the_program_of_the_runners_image_and_krew_finds_it() {
    const TEST: &str = "the_plugin_is_the_program_of_the_runners_image_and_krew_finds_it";
    let Some(store) = Store::new(TEST) else { return };
    let image = "localhost/gastown-runner:dev";
    let program = env!("CARGO_BIN_EXE_kubectl-gt");
    let container = store.run(&["from", "scratch"]);
    store.run(&["copy", "--quiet", &container, program, "/usr/bin/gather"]);
    let licence = top().join("LICENSE").display().to_string();
    store.run(&["copy", "--quiet", &container, &licence, "/licenses/LICENSE"]);
    store.run(&["commit", "--quiet", "--rm", &container, image]);
    let folder = store.folder.path().join("release");
    let arguments = [
        "plugin".to_owned(),
        format!("BUILDAH={}", store.program()),
        format!("RUNNER_IMG={image}"),
        "PLUGIN_URL=https://example.com/gastown/0.5.0".to_owned(),
        PROJECT.to_owned(),
    ];
    makes(&folder, &arguments);
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("kubectl-gt-{version}-linux-{architecture}-community.tar.gz");
    let archive = fs::read(folder.join(&name)).unwrap();

    let unpacked = store.folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(folder.join(&name)).arg("-C").arg(&unpacked);
    assert!(tar.status().unwrap().success());
    let said = Command::new(unpacked.join("kubectl-gt")).arg("--version").output().unwrap();
    assert!(words(&said).contains(version), "{}", words(&said));
    assert!(unpacked.join("LICENSE").is_file());

    let read = || -> Value {
        let text = fs::read_to_string(folder.join("krew-community.yaml")).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    };
    let manifest = read();
    let platform = &manifest["spec"]["platforms"][0];
    assert_eq!(manifest["metadata"]["name"], "gt", "as kubectl calls it");
    assert_eq!(manifest["spec"]["version"], format!("v{version}"));
    assert_eq!(platform["selector"]["matchLabels"], json!({"os": "linux", "arch": architecture}));
    assert_eq!(platform["uri"], format!("https://example.com/gastown/0.5.0/{name}"));
    let sums = Command::new("sha256sum").arg(folder.join(&name)).output().unwrap();
    assert!(words(&sums).starts_with(platform["sha256"].as_str().unwrap()), "{platform}");
    assert_eq!(manifest["spec"]["homepage"], "https://example.com/gastown");
    makes(&folder, &arguments[..4]);
    assert_eq!(fs::read(folder.join(&name)).unwrap(), archive, "the same image, the same file");
    assert_eq!(read()["spec"].get("homepage"), None, "nobody said where");
}
