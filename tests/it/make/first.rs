//! The first deployment over definitions that nobody converts, and what a release after it finds: it owns all that it applies, so
//! that what it lacks is gone.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use gastown::manifests::{CERTIFICATES, NAMESPACE, VALIDATING};
use gastown_testbed::{Options, Testbed, tools::Tool};
use serde_json::{Value, json};

use super::words;
use crate::{generated::top, kubectl::Kubectl, roads::tool};

const ALL: &str = "crds,mutatingwebhookconfigurations,validatingwebhookconfigurations,services";

/// A checkout of its own, whose files may be changed.
fn checkout(at: &Path) {
    // What begins with a dot was made by other tests, and may go meanwhile.
    let copies = "mkdir \"$0/deploy\" && cp -r deploy/* \"$0/deploy\" && cp -r crds webhooks Cargo.toml \"$0\"";
    let output = Command::new("bash").args(["-c", copies]).arg(at).current_dir(top()).status();
    assert!(output.unwrap().success());
}

/// No node runs the replicas, so it is played that they are ready; and the command that has what `CUT` says fails.
async fn runs(bed: &Testbed, folder: &Path, mut command: Command) -> Output {
    let kubectl = folder.join("kubectl");
    let program = bed.kubectl.display();
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *' rollout status '*) exit 0 ;; *\"${{CUT:-no such word}}\"*) exit 1 ;; esac\nexec {program} \"$@\"\n"
    );
    gastown_testbed::program::write(&kubectl, text).unwrap();
    command.env("KUBECTL", &kubectl).env("KUBECONFIG", &bed.kubeconfig);
    for variable in ["EDITION", "IMG", "RUNNER_IMG", "AGENT_IMG", "TIMEOUT", "NAMESPACE"] {
        command.env_remove(variable);
    }
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Deploys from there.
async fn deploys(bed: &Testbed, from: &Path) {
    let output = runs(bed, from, Command::new(from.join("deploy/deploy.sh"))).await;
    assert!(output.status.success(), "{}", words(&output));
}

/// A cluster with the original's definitions, and whom the replicas' certificates are to be trusted by.
async fn with_the_originals(bed: &Testbed, kubectl: &Kubectl) -> Value {
    kubectl.said(&["create", "namespace", NAMESPACE]).await;
    kubectl.said(&["apply", "--server-side", "-f", "tests/it/original/crds"]).await;
    let authority = "-o=jsonpath={.clusters[0].cluster.certificate-authority-data}";
    let authority = kubectl.said(&["config", "view", "--raw", "--minify", authority]).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"ca.crt": authority},
        "metadata": {"name": CERTIFICATES, "namespace": NAMESPACE}});
    let file = bed.kubeconfig.with_extension("secret.json");
    fs::write(&file, secret.to_string()).unwrap();
    kubectl.said(&["create", "-f", &file.to_string_lossy()]).await;
    json!(authority)
}

/// All is told whom to trust, and of those who applied it this one is left.
fn is_owned_and_told(all: &[Value], by: &str, authority: &Value) {
    for it in all {
        let owners = it["metadata"]["managedFields"].to_string();
        assert!(owners.contains(&format!("\"{by}\"")), "{}: {owners}", it["metadata"]["name"]);
        for other in ["gastown-operator-first", "before-first-apply"] {
            assert!(!owners.contains(other), "{}: {owners}", it["metadata"]["name"]);
        }
    }
    let told = trusted(all);
    assert!(told.len() > 15, "webhooks and conversions are told whom to trust: {}", told.len());
    assert!(told.iter().all(|it| *it == authority), "and stay so: {told:?}");
}

/// What was applied, with who owns it.
async fn read(kubectl: &Kubectl) -> Vec<Value> {
    let get = ["-n", NAMESPACE, "get", ALL, "--show-managed-fields", "-o", "json"];
    let all: Value = serde_json::from_str(&kubectl.said(&get).await).unwrap();
    let all = all["items"].as_array().unwrap();
    let ours = all.iter().filter(|it| it["metadata"]["labels"]["control-plane"].is_string());
    ours.cloned().collect()
}

/// Whom webhooks and conversions are told to trust.
fn trusted(all: &[Value]) -> Vec<&Value> {
    let hooks = all.iter().filter_map(|it| it["webhooks"].as_array()).flatten();
    let conversions = all.iter().map(|it| &it["spec"]["conversion"]["webhook"]);
    let configs = hooks.chain(conversions).map(|it| &it["clientConfig"]);
    configs.filter(|it| it.is_object()).map(|it| &it["caBundle"]).collect()
}

#[tokio::test]
async fn a_later_release_takes_out_what_the_first_deployment_wrote() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let authority = with_the_originals(&bed, &kubectl).await;
    let release = tempfile::tempdir().unwrap();
    checkout(release.path());
    deploys(&bed, release.path()).await;
    let all = read(&kubectl).await;
    is_owned_and_told(&all, "kubectl", &authority);

    let webhooks = release.path().join("webhooks/validating.yaml");
    let text = fs::read_to_string(&webhooks).unwrap();
    let mut without: Value = serde_saphyr::from_str(&text).unwrap();
    let gone = without["webhooks"].as_array_mut().unwrap().remove(0);
    fs::write(&webhooks, without.to_string()).unwrap();
    deploys(&bed, release.path()).await;
    let all = read(&kubectl).await;
    let stored = all.iter().find(|it| it["metadata"]["name"] == VALIDATING).unwrap();
    let names = |it: &Value| -> Vec<Value> {
        it["webhooks"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect()
    };
    assert_eq!(names(stored), names(&without), "without {}", gone["name"]);
    assert!(trusted(&all).iter().all(|it| **it == authority), "the others still are");
    bed.stop().await.unwrap();
}

#[tokio::test]
async fn what_asks_the_replicas_of_a_release_is_there_before_helm_brings_it_and_then_its_own() {
    let test =
        "what_asks_the_replicas_of_a_release_is_there_before_helm_brings_it_and_then_its_own";
    let Some(helm) = tool(test, Tool::Helm) else { return };
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let authority = with_the_originals(&bed, &kubectl).await;
    let folder = tempfile::tempdir().unwrap();
    let release = format!("gastown-operator charts/gastown-operator --namespace {NAMESPACE}");
    let shell = |command: String| {
        let mut it = Command::new("bash");
        it.args(["-o", "pipefail", "-c", &command]).current_dir(top());
        it.env("HELM", &helm).env("HOME", folder.path());
        it
    };
    let helm = |how: &str| shell(format!("\"$HELM\" {how}"));
    let replicas =
        format!("upgrade --install {release} --set crds.enabled=false,webhooks.enabled=false");
    let asking = ["definitions", "webhooks"].map(|it| format!("--show-only templates/{it}.yaml"));
    let first = format!("template {release} {} | deploy/first.sh", asking.join(" "));
    let all = format!("upgrade {release} --reset-values --take-ownership --force-conflicts");
    let cut = "--field-manager=helm";
    let output = runs(&bed, folder.path(), helm(&first)).await;
    let why = words(&output);
    assert!(!output.status.success() && why.contains("bring the replicas before"), "{why}");
    for (command, cut) in [(&replicas, ""), (&first, cut), (&first, ""), (&all, "")] {
        let mut asked = helm(command);
        asked.env("CUT", if cut.is_empty() { "no such word" } else { cut });
        let output = runs(&bed, folder.path(), asked).await;
        assert_eq!(output.status.success(), cut.is_empty(), "{command}: {}", words(&output));
    }
    is_owned_and_told(&asking_of(&read(&kubectl).await), "helm", &authority);
    let output = runs(&bed, folder.path(), shell("echo | deploy/first.sh".into())).await;
    assert!(!output.status.success() && words(&output).contains("pipe what is to be applied"));
    bed.stop().await.unwrap();
}

/// Without the Service, which comes with the replicas.
fn asking_of(all: &[Value]) -> Vec<Value> {
    all.iter().filter(|it| it["kind"] != "Service").cloned().collect()
}
