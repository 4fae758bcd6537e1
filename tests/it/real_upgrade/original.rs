//! From the Go original, in its pod as its own kustomize or its chart installs it, to ours by `make deploy`, one file or Helm, and back
//! by the documented commands (`GO_ORIGINAL=program GO_ORIGINAL_SOURCE=checkout make test-upgrade`). Its agents and its git are played.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use gastown::{api::v1alpha1::Polecat, manifests::NAMESPACE};
use gastown_testbed::{Node, Options, Testbed, preconditions, tools::Tool};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use super::{Load, PATIENCE, Road, Roads, TOWN, Version};
use crate::{
    generated::top,
    kubectl::Kubectl,
    pages::told,
    preconditions::{release_binary, skip},
    real_deployed::runs,
    real_node::make_references,
    roads::tool,
    world::{phase_of, polecat, until},
};

const IMAGE: &str = "localhost/go-original:1";
/// With a shell, and programs that do nothing under the names that the original's pods run.
const PLAYED: &str = "localhost/played:1";
const GIT: &str = "#!/bin/sh\nfor last; do :; done\n[ \"$1\" != clone ] || mkdir -p \"$last\"\n";
/// Refuses every write without ours.
const NO_POLICY: [&str; 3] = [
    "delete",
    "validatingadmissionpolicybinding,validatingadmissionpolicy",
    "gastown-operator-conversion",
];
const AGENT: &str = "#!/bin/sh\n[ \"$1\" = --version ] || sleep 45\n";

async fn make_images(bed: &Testbed, program: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let mut programs = Vec::new();
    for (name, text) in [("git", GIT), ("claude", AGENT)] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        programs.push((name, path));
    }
    bed.make_agent_image(&programs, PLAYED).await.unwrap();
    bed.make_operator_image(program, IMAGE).await.unwrap();
}

/// The images that the original's pods are made of, in its environment.
fn played() -> Value {
    let names = ["GASTOWN_GIT_IMAGE", "GASTOWN_TELEMETRY_IMAGE"];
    names.map(|it| json!({"name": it, "value": PLAYED})).to_vec().into()
}

/// The original's kustomize with the images of the testbed.
fn overlay(source: &Path, folder: &Path) -> PathBuf {
    let copied = Command::new("cp").arg("-r").arg(source.join("config")).arg(folder).status();
    assert!(copied.unwrap().success());
    let overlay = folder.join("overlay");
    fs::create_dir(&overlay).unwrap();
    let container = json!({"name": "manager", "image": IMAGE, "command": ["/usr/local/bin/gastown-operator"],
        "env": played()});
    let patch = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "gastown-operator-controller-manager", "namespace": NAMESPACE},
        "spec": {"template": {"spec": {"containers": [container]}}}});
    let all =
        json!({"resources": ["../config/default"], "patches": [{"patch": patch.to_string()}]});
    fs::write(overlay.join("kustomization.yaml"), all.to_string()).unwrap();
    overlay
}

async fn install(kubectl: &Kubectl, overlay: &Path) {
    let folder = overlay.to_str().unwrap();
    kubectl.said(&["apply", "--server-side", "--force-conflicts", "-k", folder]).await;
    let wait = ["-n", NAMESPACE, "rollout", "status", "deployment", "--timeout=180s"];
    kubectl.said(&wait).await;
}

/// Begins a run of the original's that outlasts what comes next.
async fn begin(client: &Client, name: &str) {
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), TOWN);
    let mut asked = polecat(name);
    let it = &mut asked["spec"]["kubernetes"];
    it["gitRepository"] = json!("git@git.example.com:town/greeter.git");
    it["image"] = json!(PLAYED);
    it["sshKnownHostsConfigMapRef"] = json!({"name": "hosts"});
    it["resources"] = json!({"requests": {"cpu": "10m", "memory": "16Mi"}});
    it.as_object_mut().unwrap().remove("apiKeySecretRef");
    polecats.create(&PostParams::default(), &serde_json::from_value(asked).unwrap()).await.unwrap();
    let works = |it: &Polecat| it.status.as_ref().is_some_and(|it| it.pod_active == Some(true));
    until(&polecats, name, "running pod", works).await;
}

/// What storage has is written as the original reads it.
async fn migrate_back(roads: &Roads<'_>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(["storage", "migrate", "--storage-version=v1alpha1"]);
    roads.succeeds(command, "kubectl gt storage migrate").await;
}

/// The definitions are the original's again, and ours may go.
async fn give_back(kubectl: &Kubectl, source: &Path) {
    kubectl.said(&NO_POLICY).await;
    let definitions = source.join("config/crd/bases");
    kubectl.said(&["replace", "-f", definitions.to_str().unwrap()]).await;
}

async fn undeploy(roads: &Roads<'_>) {
    let mut command = Command::new("deploy/undeploy.sh");
    command.env("KUBECTL", &roads.bed.kubectl);
    roads.succeeds(command, "undeploy").await;
}

/// Does what the page on upgrades says, by its command that begins so, with these words in the place of its own.
async fn does(roads: &Roads<'_>, begins: &str, places: &[(&str, &str)], besides: &str) {
    let mut command = told("docs/upgrade.md", begins).join(" ");
    let namespace = [
        ("--namespace NAMESPACE", format!("--namespace {NAMESPACE}")),
        ("NAMESPACE=NAMESPACE", format!("NAMESPACE={NAMESPACE}")),
    ];
    for (there, here) in &namespace {
        command = command.replace(there, here);
    }
    for (there, here) in places {
        assert!(command.contains(there), "{there}: {command}");
        command = command.replace(there, here);
    }
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", &format!("{command} {besides}")]);
    let programs = roads.bed.kubeconfig.with_extension("programs");
    fs::create_dir_all(&programs).unwrap();
    for (name, program) in [("kubectl", &*roads.bed.kubectl), ("helm", roads.helm)] {
        let at = programs.join(name);
        if !at.exists() {
            std::os::unix::fs::symlink(program, at).unwrap();
        }
    }
    let path = std::env::var("PATH").unwrap();
    shell.env("PATH", format!("{}:{path}", programs.display()));
    roads.succeeds(shell, &command).await;
}

/// Both at work, and what stands around them.
struct Stage {
    bed: Testbed,
    helm: PathBuf,
    source: PathBuf,
    new: Version,
    client: Client,
}

impl Stage {
    async fn of(test: &str) -> Option<Self> {
        let named = |it| std::env::var_os(it).map(PathBuf::from);
        let (Some(original), Some(source)) = (named("GO_ORIGINAL"), named("GO_ORIGINAL_SOURCE"))
        else {
            let why = "GO_ORIGINAL and GO_ORIGINAL_SOURCE name no program and no checkout";
            skip(test, "go-original-source", why);
            return None;
        };
        if !preconditions::allow(test, Node::Real).unwrap() {
            return None;
        }
        let (program, helm) = (release_binary(test)?, tool(test, Tool::Helm)?);
        let bed = Testbed::start(Options { node: Node::Real, ..Options::default() }).await.unwrap();
        make_images(&bed, &original).await;
        let runner = top().join("target/static/gt-runner");
        let new = Version::of(&bed, "new", top(), [&program, &runner]).await;
        let client = bed.client("user-upgraded").await.unwrap();
        bed.make_namespace(TOWN, &[]).await.unwrap();
        make_references(&client, TOWN, bed.git.as_ref().unwrap()).await;
        Some(Self { bed, helm, source, new, client })
    }

    fn roads(&self) -> Roads<'_> {
        Roads { bed: &self.bed, helm: &self.helm }
    }

    fn polecats(&self) -> Api<Polecat> {
        Api::namespaced(self.client.clone(), TOWN)
    }

    /// The original's run goes on under ours, which does one of its own.
    async fn goes_on_with_ours(&self) {
        let ended = |it: &Polecat| phase_of(it) == "Done";
        let done = until(&self.polecats(), "across", "end", ended).await;
        assert_eq!(done.status.unwrap().attempt, Some(1), "run once");
        runs(&self.bed, &self.client, TOWN, "after").await;
    }

    /// The original does a run again, and nothing that was done is done anew.
    async fn goes_on_with_the_original(&self) {
        begin(&self.client, "back").await;
        let polecats = self.polecats();
        assert_eq!(phase_of(&polecats.get("after").await.unwrap()), "Done", "nothing is lost");
        // The original judges its own pods by their phase, and its telemetry ends with an error.
        assert_ne!(phase_of(&polecats.get("across").await.unwrap()), "Working", "nor run again");
        super::each_pod_once(&self.bed, &["across", "after", "back"]).await;
    }
}

#[tokio::test]
async fn make_deploy_takes_the_place_of_the_original_under_load_and_gives_it_back() {
    let test = "make_deploy_takes_the_place_of_the_original_under_load_and_gives_it_back";
    let Some(stage) = Stage::of(test).await else { return };
    let (roads, kubectl) = (stage.roads(), Kubectl::admin(&stage.bed));
    let folder = tempfile::tempdir().unwrap();
    let overlay = overlay(&stage.source, folder.path());

    install(&kubectl, &overlay).await;
    begin(&stage.client, "across").await;
    let load = Load::begin(&stage.client, "there", TOWN);
    roads.take(Road::Make, &stage.new).await;
    load.end("from the original").await;
    stage.goes_on_with_ours().await;

    gives_way_to_what_kustomize_makes(&stage, &overlay).await;
    stage.bed.stop().await.unwrap();
}

/// With writes beside it, but not while objects are written back: the API server begins the caches of all kinds anew then, and a
/// webhook that reads one may be late.
async fn gives_way_to_what_kustomize_makes(stage: &Stage, overlay: &Path) {
    let (roads, kubectl) = (stage.roads(), Kubectl::admin(&stage.bed));
    migrate_back(&roads).await;
    let load = Load::begin(&stage.client, "back", TOWN);
    give_back(&kubectl, &stage.source).await;
    undeploy(&roads).await;
    install(&kubectl, overlay).await;
    load.end("back to the original").await;
    stage.goes_on_with_the_original().await;
}

#[tokio::test]
async fn one_file_takes_the_place_of_the_original_under_load_and_gives_it_back() {
    let test = "one_file_takes_the_place_of_the_original_under_load_and_gives_it_back";
    let Some(stage) = Stage::of(test).await else { return };
    let (roads, kubectl) = (stage.roads(), Kubectl::admin(&stage.bed));
    let folder = tempfile::tempdir().unwrap();
    let overlay = overlay(&stage.source, folder.path());
    let file = folder.path().join("gastown.yaml").display().to_string();
    let (operator, runner) = (stage.new.operator(), stage.new.runner());

    install(&kubectl, &overlay).await;
    begin(&stage.client, "across").await;
    let load = Load::begin(&stage.client, "there", TOWN);
    let images = [
        (
            "gastown-operator:|image: registry.example.com/gastown-operator:|",
            &*format!("gastown-operator:.*|image: {operator}|"),
        ),
        (
            "gastown-runner:|value: registry.example.com/gastown-runner:|",
            &*format!("gastown-runner:.*|value: {runner}|"),
        ),
        ("gastown.yaml", &*file),
    ];
    does(&roads, "sed 's|image: gastown-operator:|", &images, "").await;
    let here = [("gastown.yaml", &*file)];
    does(&roads, "deploy/first.sh", &here, "").await;
    does(&roads, "kubectl apply --server-side --force-conflicts -f gastown", &here, "").await;
    roads.runs(&stage.new).await;
    load.end("from the original by one file").await;
    let agent = "RELATED_IMAGE_AGENT=localhost/agent:dev";
    kubectl.said(&["-n", NAMESPACE, "set", "env", "deployment", "--all", agent]).await;
    roads.runs(&stage.new).await;
    stage.goes_on_with_ours().await;

    gives_way_to_what_kustomize_makes(&stage, &overlay).await;
    stage.bed.stop().await.unwrap();
}

/// A release of the original's chart; with these flags besides.
async fn install_release(roads: &Roads<'_>, source: &Path, besides: &[&str]) {
    let mut it = Command::new(roads.helm);
    it.args(["install", "gastown-operator"]).arg(source.join("helm/gastown-operator"));
    it.args(["--namespace", NAMESPACE, "--create-namespace", "--wait", PATIENCE]).args(besides);
    let (repository, tag) = IMAGE.split_once(':').unwrap();
    for value in [format!("image.repository={repository}"), format!("image.tag={tag}")] {
        it.args(["--set", &value]);
    }
    it.args(["--set-json", &format!("extraEnv={}", played())]);
    roads.succeeds(it, "helm install of the original").await;
}

/// The commands of the page, with the images of the testbed.
async fn upgrade_release(roads: &Roads<'_>, new: &Version) {
    let images = [("registry.example.com/gastown-", "localhost/gastown-")];
    let tags = format!(
        "{PATIENCE} --set image.tag={0} --set runnerImage.tag={0} --set agentImage=localhost/agent:dev",
        new.name
    );
    let over = "helm upgrade gastown-operator charts/gastown-operator";
    does(roads, &format!("{over} --wait"), &images, &tags).await;
    does(roads, "helm template gastown-operator", &[], "").await;
    does(roads, &format!("{over} --namespace NAMESPACE"), &images, &format!("--wait {tags}")).await;
    roads.runs(new).await;
}

#[tokio::test]
async fn helm_upgrades_the_originals_own_release_under_load_and_gives_way_to_it_again() {
    let test = "helm_upgrades_the_originals_own_release_under_load_and_gives_way_to_it_again";
    let Some(stage) = Stage::of(test).await else { return };
    let (roads, kubectl) = (stage.roads(), Kubectl::admin(&stage.bed));

    install_release(&roads, &stage.source, &[]).await;
    begin(&stage.client, "across").await;
    let load = Load::begin(&stage.client, "there", TOWN);
    upgrade_release(&roads, &stage.new).await;
    load.end("from the original by Helm").await;
    stage.goes_on_with_ours().await;

    migrate_back(&roads).await;
    let load = Load::begin(&stage.client, "back", TOWN);
    give_back(&kubectl, &stage.source).await;
    let mut uninstall = Command::new(roads.helm);
    uninstall.args(["uninstall", "gastown-operator", "--namespace", NAMESPACE, PATIENCE]);
    roads.succeeds(uninstall, "helm uninstall").await;
    install_release(&roads, &stage.source, &["--skip-crds"]).await;
    load.end("back to the original by Helm").await;
    stage.goes_on_with_the_original().await;
    stage.bed.stop().await.unwrap();
}
