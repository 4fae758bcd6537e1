//! From a release of ours back to one of the Go original's, by the commands of docs/upgrade.md, on a real API server. No node runs
//! the pods, and nothing lies in storage: how objects are written back is what `versions` and `real_upgrade` are about.

use std::process::Command;

use gastown::manifests::{NAMESPACE, chart::FOLDER, operator::DEPLOYMENT};
use gastown_testbed::{Options, Testbed, tools::Tool};

use super::{
    tool,
    upgrade::{Helm, UNINSTALL, does_what_a_node_would, originals_chart},
};
use crate::{kubectl::Kubectl, make::words};

const RIGS: &str = "rigs.gastown.gastown.io";

async fn migrates_back(bed: &Testbed) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(["storage", "migrate", "--storage-version=v1alpha1"]);
    command.env("KUBECONFIG", bed.kubeconfig_for("back", Some("system:masters")).unwrap());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", words(&output));
}

#[tokio::test]
async fn a_release_gives_way_to_one_of_the_original_again() {
    let test = "a_release_gives_way_to_one_of_the_original_again";
    let Some(program) = tool(test, Tool::Helm) else { return };
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let helm = Helm::on(&bed, program);
    let chart = originals_chart(&bed);
    let original = ["install", "gastown-operator", chart.to_str().unwrap(), "--create-namespace"];
    helm.said(&original).await;
    let image = "-o=jsonpath={.spec.replicas} {.spec.template.spec.containers[*].image}";
    let deployment = ["-n", NAMESPACE, "get", "deployment", DEPLOYMENT, image];
    let before = kubectl.said(&deployment).await;
    let over = ["--reset-values", "--take-ownership", "--force-conflicts"];
    helm.said(&[&["upgrade", "gastown-operator", FOLDER][..], &over].concat()).await;

    assert_ne!(kubectl.said(&deployment).await, before, "ours in its place");
    migrates_back(&bed).await;
    let policy = "validatingadmissionpolicybinding,validatingadmissionpolicy";
    kubectl.said(&["delete", policy, "gastown-operator-conversion"]).await;
    let definitions = chart.join("crds").display().to_string();
    kubectl.said(&["replace", "-f", &definitions]).await;
    let hook = does_what_a_node_would(&bed, &kubectl);
    tokio::join!(helm.said(&UNINSTALL), hook);
    helm.said(&original).await;

    let versions = "-o=jsonpath={.spec.versions[*].name} {.status.storedVersions[*]}";
    assert_eq!(kubectl.said(&["get", "crd", RIGS, versions]).await, "v1alpha1 v1alpha1");
    assert_eq!(kubectl.said(&deployment).await, before, "the original's again");
    kubectl.said(&["get", RIGS]).await;
    bed.stop().await.unwrap();
}
