//! What a person gets from make: the original's targets, each of which works or ends naming the issue that brings it, and
//! a help that leaves none out.

mod again;
mod first;
mod kept;
mod left;
mod shell;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use gastown::{api::v1alpha1::Polecat, manifests::NAMESPACE};
use gastown_testbed::{Node, Options, Testbed, manifests};
use kube::{Api, api::PostParams};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    kubectl::Kubectl,
    roads::cert_manager,
    samples::pages,
    world::{install_crds, make_namespaces, own, phase_of, polecat, until},
};

/// What the original's Makefile offers, as far as people type it.
const ORIGINAL: [&str; 10] = [
    "generate",
    "manifests",
    "test",
    "docker-build",
    "docker-push",
    "deploy",
    "undeploy",
    "install",
    "uninstall",
    "run",
];

/// Runs make in the checkout's top folder. The one that runs these tests passes nothing on.
pub fn make(arguments: &[&str]) -> Command {
    let mut command = Command::new("make");
    command.args(["--no-print-directory", "-C", env!("CARGO_MANIFEST_DIR")]).args(arguments);
    command.stdin(Stdio::null());
    for variable in NOT_PASSED_ON {
        command.env_remove(variable);
    }
    command
}

/// Variables by which people tell our Makefile, and it its scripts, what to do.
const NOT_PASSED_ON: [&str; 39] = [
    "AGENT_BASE",
    "AGENT_IMG",
    "AGENT_NPM",
    "AGENT_PIP",
    "BINARIES",
    "BUILDAH",
    "BUILD_ARGS",
    "BUNDLE_IMG",
    "CATALOG_IMG",
    "CONFIRM",
    "COSIGN",
    "COSIGN_FLAGS",
    "COSIGN_KEY",
    "COSIGN_PUB",
    "DIST",
    "DPR_REGISTRY",
    "EDITION",
    "HELM",
    "IMG",
    "KUBECONFIG",
    "KUBECTL",
    "MAKEFLAGS",
    "MAKELEVEL",
    "MFLAGS",
    "NPM_REGISTRY",
    "OCI",
    "OCI_FLAGS",
    "OPM",
    "OPM_FLAGS",
    "PIP_INDEX",
    "PLATFORMS",
    "PLUGIN_URL",
    "PROJECT_URL",
    "PUSHED",
    "RELEASE",
    "RUNNER_IMG",
    "TARGETS",
    "TIMEOUT",
    "WEBHOOK_URL",
];

/// Runs a target against a testbed.
pub async fn make_on(bed: &Testbed, arguments: &[&str]) -> Output {
    let mut command = make(arguments);
    command.env("KUBECTL", &bed.kubectl).env("KUBECONFIG", &bed.kubeconfig);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned()
}

/// Targets that the help lists.
fn listed() -> BTreeSet<String> {
    let output = make(&["help"]).output().unwrap();
    // Targets are indented below the name of their group.
    let lines = words(&output);
    let targets = lines.lines().filter_map(|it| it.strip_prefix("  "));
    targets.filter_map(|it| it.split_whitespace().next()).map(ToOwned::to_owned).collect()
}

#[test]
fn help_leaves_no_target_out() {
    let text = fs::read_to_string("Makefile").unwrap();
    let named = text.lines().filter_map(|it| it.strip_prefix(".PHONY:"));
    let all: BTreeSet<_> = named.flat_map(str::split_whitespace).map(ToOwned::to_owned).collect();
    assert_eq!(listed(), all);
    let missing: Vec<_> = ORIGINAL.iter().filter(|it| !all.contains(**it)).collect();
    assert!(missing.is_empty(), "the original has these: {missing:?}");
}

/// In the pages for people, between backquotes or behind a prompt.
#[test]
fn every_target_that_the_pages_name_is_there() {
    let listed = listed();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let named = ["`make ", "$ make "].into_iter().flat_map(|it| text.split(it).skip(1));
        for words in named.filter_map(|it| it.split(['`', '\n', '#', '…']).next()) {
            let targets = words.split_whitespace().take_while(|it| !it.contains('='));
            let unknown: Vec<_> = targets.filter(|it| !listed.contains(*it)).collect();
            assert!(unknown.is_empty(), "{}: make {words}: {unknown:?}", page.display());
        }
    }
}

#[test]
fn what_is_built_is_looked_for_where_it_is_built() {
    let mut asked = make(&["--eval=where: ; @echo $$CARGO_TARGET_DIR", "where"]);
    let said = words(&asked.env("CARGO_TARGET_DIR", "/elsewhere").output().unwrap());
    assert_eq!(said.trim(), format!("{}/target", env!("CARGO_MANIFEST_DIR")));
}

/// A bench lies where a release does, and the testbed does not.
#[test]
fn every_bench_that_builds_a_testbed_is_told_where_it_is() {
    let benches: Vec<_> = listed().into_iter().filter(|it| it.starts_with("bench")).collect();
    let mut told = 0;
    for target in &benches {
        let planned = words(&make(&["--dry-run", target]).output().unwrap());
        if planned.contains("build --locked --workspace --bins") {
            let here = format!("TESTBED_BIN={}/target/debug/testbed", env!("CARGO_MANIFEST_DIR"));
            assert!(planned.contains(&here), "{target}: {planned}");
            told += 1;
        }
    }
    assert!(told >= 3, "of {benches:?}");
}

#[test]
fn no_target_pretends() {
    let mut later = 0;
    for target in ORIGINAL {
        let planned = make(&["--dry-run", target]).output().unwrap();
        assert!(planned.status.success(), "{target}: {}", words(&planned));
        if words(&planned).contains("exit 1") && words(&planned).contains("comes with issue") {
            let output = make(&[target]).output().unwrap();
            assert!(!output.status.success(), "{target} does nothing, and says that all went well");
            assert!(words(&output).contains(&format!("make {target} comes with issue 9")));
            later += 1;
        }
    }
    assert_eq!(later, 0, "all of the original's targets work");
}

/// A process and all that it started; they end with the test.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// A kubeconfig whose current context leads nowhere, and the name of the one that it was.
fn led_astray(kubeconfig: &Path) -> String {
    let text = fs::read_to_string(kubeconfig).unwrap();
    let mut whole: Value = serde_saphyr::from_str(&text).unwrap();
    let right = whole["current-context"].as_str().unwrap().to_owned();
    let mut add = |list: &str, it: Value| whole[list].as_array_mut().unwrap().push(it);
    add("clusters", json!({"name": "none", "cluster": {"server": "https://127.0.0.1:1"}}));
    add("users", json!({"name": "nobody", "user": {}}));
    add("contexts", json!({"name": "none", "context": {"cluster": "none", "user": "nobody"}}));
    whole["current-context"] = json!("none");
    fs::write(kubeconfig, whole.to_string()).unwrap();
    right
}

/// What Cargo would build is what is tested here, so in its place stands one that starts that. It opens no ports: those
/// that are usual may be another's.
#[tokio::test]
async fn run_runs_the_operator_where_kubectl_leads() {
    let name = "made-to-run";
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    install_crds(bed).await;
    make_namespaces(bed, name, &[("testbed.gastown.io/run-for", "300ms")]).await;
    let client = bed.client("admin").await.unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifests::install(&client, project, &own(name)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cargo, log) = (folder.path().join("cargo"), folder.path().join("log"));
    let program = env!("CARGO_BIN_EXE_gastown-operator");
    let text = format!(
        "#!/bin/sh\n[ \"$1 $2 $3 $4 $5\" = 'run --locked --bin gastown-operator --' ] || exit 64\nshift 5\n\
         exec {program} \"$@\" --health-probe-bind-address=0 --metrics-bind-address=0\n"
    );
    gastown_testbed::program::write(&cargo, &text).unwrap();
    let mut run = make(&["run", &format!("CARGO={}", cargo.display())]);
    let kubeconfig = bed.kubeconfig_for("made-to-run", Some("system:masters")).unwrap();
    let context = led_astray(&kubeconfig);
    run.env("KUBECTL", format!("{} --context={context}", bed.kubectl.display()));
    let private = folder.path().join("private");
    fs::create_dir(&private).unwrap();
    run.env("KUBECONFIG", kubeconfig).env("TMPDIR", &private);
    run.env("GASTOWN_NAMESPACE", own(name)).env("WATCH_NAMESPACE", name);
    run.env("RELATED_IMAGE_RUNNER", "localhost/gt-runner:dev");
    run.env("RELATED_IMAGE_AGENT", "localhost/agent:dev");
    run.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).process_group(0);
    let mut run = tokio::process::Command::from(run).spawn().unwrap();
    let all = Group(Pid::from_raw(run.id().unwrap().cast_signed()).unwrap());
    let polecats: Api<Polecat> = Api::namespaced(client, name);
    let asked = serde_json::from_value(polecat("max")).unwrap();
    polecats.create(&PostParams::default(), &asked).await.unwrap();
    let done = until(&polecats, "max", "phase Done", |it: &Polecat| phase_of(it) == "Done");
    tokio::select! {
        _ = done => {}
        end = run.wait() => panic!("ended, {end:?}: {}", fs::read_to_string(&log).unwrap()),
    }
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("INFO") && !said.starts_with('{'), "for a person to read: {said}");
    let files = || -> Vec<_> { fs::read_dir(&private).unwrap().map(Result::unwrap).collect() };
    let [file] = &*files() else { panic!("one kubeconfig: {:?}", files()) };
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "nobody else's to read");
    // As Ctrl-C ends it: each of them is told.
    kill_process_group(all.0, Signal::INT).unwrap();
    run.wait().await.unwrap();
    assert!(files().is_empty(), "left behind: {:?}", files());
}

/// Also where a release is checked out, as on its tag.
#[test]
fn an_upgrade_is_tried_from_the_release_before_and_never_from_itself() {
    let folder = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args([
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@example.com",
            "-c",
            "commit.gpgsign=false",
        ]);
        let output = git.args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    };
    let commit = |tag: &str| {
        git(&["commit", "--quiet", "--allow-empty", "--message=x"]);
        if !tag.is_empty() {
            git(&["tag", tag]);
        }
    };
    let here = folder.path().to_str().unwrap();
    let ours = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string();
    let makefile = ours("Makefile");
    let previous = || {
        let asked = "--eval=where: ; @echo $(PREVIOUS) $(PREVIOUS_CHART)";
        let output = make(&["-C", here, "-f", &makefile, asked, "where"]).output().unwrap();
        words(&output).trim().to_owned()
    };
    git(&["init", "--quiet"]);
    commit("0.1.0");
    assert_eq!(previous(), "949e9b9 0b5f3c5", "before the first");
    commit("snapshot");
    commit("0.2.0");
    assert_eq!(previous(), "0.1.0 0.1.0", "of a release");
    commit("");
    assert_eq!(previous(), "0.2.0 0.2.0", "after one");

    let tools = folder.path().join("tests/tools");
    fs::create_dir_all(&tools).unwrap();
    let script = tools.join("previous.sh");
    fs::copy(ours("tests/tools/previous.sh"), &script).unwrap();
    let output = Command::new(script).arg("HEAD").output().unwrap();
    assert!(!output.status.success(), "an upgrade from itself shows nothing");
    assert!(words(&output).contains("is what is checked out"), "{}", words(&output));
}

/// A replica on this machine acts for the namespace that the manifests have, which is there, and has an image for its runner:
/// without either it would wait, and for the first without a word.
#[test]
fn run_has_what_a_replica_waits_for() {
    let planned = words(&make(&["--dry-run", "run"]).output().unwrap());
    let namespace = format!("GASTOWN_NAMESPACE:-{NAMESPACE}");
    for part in [&*namespace, "create namespace", "RELATED_IMAGE_RUNNER="] {
        assert!(planned.contains(part), "{part}: {planned}");
    }
    assert!(planned.contains("--disable-webhooks"), "{planned}");
    let planned =
        words(&make(&["--dry-run", "run", "WEBHOOK_URL=https://x:9443"]).output().unwrap());
    assert!(planned.contains("--webhook-url=https://x:9443"), "{planned}");
}

/// On a cluster of its own, since every kind is deleted at the end.
#[tokio::test]
async fn install_installs_and_uninstall_asks_first() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let run = async |arguments: &[&str]| make_on(&bed, arguments).await;
    let kinds = gastown::kinds::KINDS.len();
    let installed = async || {
        let said = kubectl.said(&["get", "crds", "--no-headers", "--ignore-not-found"]).await;
        said.lines().count()
    };
    // What it would generate is there: another test holds that.
    let output = run(&["install", "--assume-old=manifests"]).await;
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(installed().await, kinds);
    let output = run(&["uninstall"]).await;
    assert!(!output.status.success(), "every Polecat would go with it");
    assert!(words(&output).contains("CONFIRM=yes"), "{}", words(&output));
    assert_eq!(installed().await, kinds, "nothing is deleted before it is confirmed");
    // As the Go original leaves its objects, and as `make undeploy` leaves a cluster.
    let objects = "apiVersion: gastown.gastown.io/v1beta1\nkind: Rig\nmetadata: {name: rusty, finalizers: [gastown.io/rig-cleanup]}\n\
        spec: {repository: {url: \"https://git.example.com/a.git\"}, beadsPrefix: gt}\n---\n\
        apiVersion: gastown.gastown.io/v1beta1\nkind: BeadStore\n\
        metadata: {name: beads, namespace: default, finalizers: [gastown.io/beadstore-cleanup]}\n\
        spec: {rigRef: {name: rusty}, prefix: gt-}\n";
    let file = bed.kubeconfig.with_extension("objects.yaml");
    fs::write(&file, objects).unwrap();
    kubectl.said(&["create", "-f", &file.to_string_lossy()]).await;
    let wendy = make_wendy(&bed, &kubectl, "default").await;
    kubectl.said(&["apply", "-f", "deploy/policies/conversion.yaml"]).await;
    left::is_made(&bed, &kubectl).await;
    // From now on nothing of ours may be written, its finalizers neither.
    let write = ["annotate", "--overwrite", "--dry-run=server", "-f", &wendy, "gastown.io/a=b"];
    comes_true("the policy's refusals", async || !kubectl.run(&write).await.status.success()).await;
    for time in ["the first time", "where nothing is left"] {
        let output = run(&["uninstall", "CONFIRM=yes"]).await;
        assert!(output.status.success(), "{time}: {}", words(&output));
        let shown =
            words(&output).lines().any(|it| it.starts_with("default ") && it.contains("wendy"));
        assert_eq!(shown, time == "the first time", "what goes is shown: {}", words(&output));
        assert_eq!(installed().await, 0, "{time}");
        let policies = "validatingadmissionpolicies,validatingadmissionpolicybindings";
        let left = kubectl.said(&["get", policies, "-o", "name", "--ignore-not-found"]).await;
        assert!(!left.contains("gastown"), "{time}: {left}");
        left::is_gone(&kubectl).await;
    }
    bed.stop().await.unwrap();
}

/// An object that no webhook is asked about, in the version that is stored.
/// Gives the file that she is read from.
async fn make_wendy(bed: &Testbed, kubectl: &Kubectl, namespace: &str) -> String {
    let witness = "apiVersion: gastown.gastown.io/v1beta1\nkind: Witness\nmetadata: {name: wendy}\nspec: {rigRef: {name: a}}\n";
    let file = bed.kubeconfig.with_extension("witness.yaml");
    fs::write(&file, witness).unwrap();
    let file = file.to_string_lossy().into_owned();
    kubectl.said(&["-n", namespace, "create", "-f", &file]).await;
    file
}

/// One of another group of ours, whose objects are in namespaces as well.
async fn undeploy_leaves_a_client(bed: &Testbed, kubectl: &Kubectl) {
    let client =
        "apiVersion: gptme.ai/v1\nkind: ClientPod\nmetadata: {name: clive}\nspec: {clientId: c}\n";
    let file = bed.kubeconfig.with_extension("client.yaml");
    fs::write(&file, client).unwrap();
    kubectl.said(&["-n", NAMESPACE, "create", "-f", &file.to_string_lossy()]).await;
    let output = make_on(bed, &["undeploy"]).await;
    assert!(output.status.success(), "{}", words(&output));
    let left = kubectl.said(&["-n", NAMESPACE, "get", "clientpods", "-o", "name"]).await;
    assert_eq!(left.trim(), "clientpod.gptme.ai/clive", "{}", words(&output));
    kubectl.said(&["-n", NAMESPACE, "delete", "clientpods", "--all"]).await;
}

/// No node runs the pods: what is applied and what is left is what is looked at.
#[tokio::test]
async fn deploy_applies_an_edition_and_undeploy_leaves_what_people_have() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let run =
        async |arguments: &[&str]| make_on(&bed, &[arguments, &["TIMEOUT=0s"]].concat()).await;
    let deploy =
        ["deploy", "--assume-old=manifests", "IMG=registry.example.com/a/gastown-operator:7"];
    let output = run(&[&deploy[..], &["EDITION=other"]].concat()).await;
    assert!(!output.status.success() && words(&output).contains("write community or enterprise"));
    let images = "-o=jsonpath={..containers[0].image} {..containers[0].env[?(@.name=='RELATED_IMAGE_RUNNER')].value}";
    let deployment = ["-n", NAMESPACE, "get", "deployments", images];
    let output = run(&["deploy", "--assume-old=manifests", "EDITION=enterprise"]).await;
    assert!(output.status.success(), "{}", words(&output));
    let said = kubectl.said(&deployment).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(said, format!("gastown-operator:{version}-ubi9 gastown-runner:{version}-ubi9"));
    let output = run(&deploy).await;
    assert!(output.status.success(), "over it: {}", words(&output));
    let said = kubectl.said(&deployment).await;
    let named = "registry.example.com/a/gastown-operator:7 registry.example.com/a/gastown-runner:7";
    assert_eq!(said, named, "the runner's image is named after the operator's");

    // Nobody serves the webhooks, so an object comes in while nothing asks them.
    kubectl
        .said(&["delete", "validatingwebhookconfigurations", gastown::manifests::VALIDATING])
        .await;
    make_wendy(&bed, &kubectl, NAMESPACE).await;
    kubectl.said(&["apply", "-f", "deploy/monitoring/access.yaml"]).await;
    cert_manager::is_asked(&bed, &kubectl).await;
    let output = run(&["undeploy"]).await;
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("stays, because of what is in it"), "{}", words(&output));
    // In the version that it is not stored in: nobody is asked to convert it.
    let older = ["-n", NAMESPACE, "get", "witnesses.v1alpha1.gastown.gastown.io", "-o", "name"];
    let left = kubectl.said(&older).await;
    assert_eq!(left.trim(), "witness.gastown.gastown.io/wendy");
    let all = "deployments,services,poddisruptionbudgets,networkpolicies,leases,rolebindings,roles";
    let left =
        kubectl.said(&["-n", NAMESPACE, "get", all, "-o", "name", "--ignore-not-found"]).await;
    assert_eq!(left, "", "nothing of the operator is left beside it");
    cert_manager::is_asked_no_more(&kubectl).await;
    let scraper = "serviceaccounts,clusterrolebindings";
    let ours = [
        "-n",
        NAMESPACE,
        "get",
        scraper,
        "-l",
        "app.kubernetes.io/name=gastown-operator",
        "-o",
        "name",
    ];
    assert_eq!(kubectl.said(&ours).await, "", "and nobody who reads its metrics");

    kubectl.said(&["-n", NAMESPACE, "delete", "witnesses", "--all"]).await;
    undeploy_leaves_a_client(&bed, &kubectl).await;
    kept::keeps_the_namespace(&bed, &kubectl).await;
    for time in ["now that nobody has anything there", "where nothing is left"] {
        let output = run(&["undeploy"]).await;
        assert!(output.status.success(), "{time}: {}", words(&output));
        let left = kubectl.said(&["get", "namespace", NAMESPACE, "--ignore-not-found"]).await;
        assert_eq!(left, "", "{time}");
    }
    again::installs_and_deploys_over_an_address(&bed, &kubectl).await;
    bed.stop().await.unwrap();
}
