//! From the Go original, in its pod as its own kustomize installs it, to ours by `make deploy`, and back by the documented commands
//! (`GO_ORIGINAL=program GO_ORIGINAL_SOURCE=checkout make test-upgrade`). Its agents and its git are played.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use gastown::{api::v1alpha1::Polecat, manifests::NAMESPACE};
use gastown_testbed::{Node, Options, Testbed, preconditions, tools::Tool};
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use super::{Load, Road, Roads, TOWN, Version};
use crate::{
    generated::top,
    kubectl::Kubectl,
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

/// The original's kustomize with the images of the testbed.
fn overlay(source: &Path, folder: &Path) -> PathBuf {
    let copied = Command::new("cp").arg("-r").arg(source.join("config")).arg(folder).status();
    assert!(copied.unwrap().success());
    let overlay = folder.join("overlay");
    fs::create_dir(&overlay).unwrap();
    let container = json!({"name": "manager", "image": IMAGE, "command": ["/usr/local/bin/gastown-operator"],
        "env": [{"name": "GASTOWN_GIT_IMAGE", "value": PLAYED}, {"name": "GASTOWN_TELEMETRY_IMAGE", "value": PLAYED}]});
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

/// Ours goes, and the definitions are the original's again.
async fn give_back(roads: &Roads<'_>, kubectl: &Kubectl, definitions: &Path) {
    let policy = "validatingadmissionpolicybinding,validatingadmissionpolicy";
    kubectl.said(&["delete", policy, "gastown-operator-conversion"]).await;
    let mut command = Command::new("deploy/undeploy.sh");
    command.env("KUBECTL", &roads.bed.kubectl);
    roads.succeeds(command, "undeploy").await;
    let definitions = definitions.to_str().unwrap();
    kubectl.said(&["apply", "--server-side", "--force-conflicts", "-f", definitions]).await;
}

#[tokio::test]
async fn make_deploy_takes_the_place_of_the_original_under_load_and_gives_it_back() {
    let test = "make_deploy_takes_the_place_of_the_original_under_load_and_gives_it_back";
    let named = |it| std::env::var_os(it).map(PathBuf::from);
    let (Some(original), Some(source)) = (named("GO_ORIGINAL"), named("GO_ORIGINAL_SOURCE")) else {
        let why = "GO_ORIGINAL and GO_ORIGINAL_SOURCE name no program and no checkout";
        return skip(test, "go-original-source", why);
    };
    if !preconditions::allow(test, Node::Real).unwrap() {
        return;
    }
    let (Some(program), Some(helm)) = (release_binary(test), tool(test, Tool::Helm)) else {
        return;
    };
    let bed = Testbed::start(Options { node: Node::Real, ..Options::default() }).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    make_images(&bed, &original).await;
    let runner = top().join("target/static/gt-runner");
    let new = Version::of(&bed, "new", top(), [&program, &runner]).await;
    let folder = tempfile::tempdir().unwrap();
    let overlay = overlay(&source, folder.path());
    let client = bed.client("user-upgraded").await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    make_references(&client, TOWN, bed.git.as_ref().unwrap()).await;

    install(&kubectl, &overlay).await;
    begin(&client, "across").await;
    let load = Load::begin(&client, "there");
    let roads = Roads { bed: &bed, helm: &helm };
    roads.take(Road::Make, &new).await;
    load.end("from the original").await;
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), TOWN);
    let done = until(&polecats, "across", "end", |it: &Polecat| phase_of(it) == "Done").await;
    assert_eq!(done.status.unwrap().attempt, Some(1), "run once");
    runs(&bed, &client, TOWN, "after").await;

    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(["storage", "migrate", "--storage-version=v1alpha1"]);
    roads.succeeds(command, "kubectl gt storage migrate").await;
    // From here on: before, the API server begins the caches of all kinds anew, and a webhook that reads one may be late.
    let load = Load::begin(&client, "back");
    give_back(&roads, &kubectl, &source.join("config/crd/bases")).await;
    install(&kubectl, &overlay).await;
    load.end("back to the original").await;
    begin(&client, "back").await;
    assert_eq!(phase_of(&polecats.get("after").await.unwrap()), "Done", "nothing is lost");
    // The original judges its own pods by their phase, and its telemetry ends with an error.
    assert_ne!(phase_of(&polecats.get("across").await.unwrap()), "Working", "nor run again");
    super::each_pod_once(&bed, &["across", "after", "back"]).await;
    bed.stop().await.unwrap();
}
