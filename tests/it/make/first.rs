//! The first deployment over definitions that nobody converts, and what a release after it finds: it owns all that it applies, so
//! that what it lacks is gone.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use gastown::manifests::{CERTIFICATES, NAMESPACE, VALIDATING};
use gastown_testbed::{Options, Testbed};
use serde_json::{Value, json};

use super::words;
use crate::{generated::top, kubectl::Kubectl};

const ALL: &str = "crds,mutatingwebhookconfigurations,validatingwebhookconfigurations,services";

/// A checkout of its own, whose files may be changed.
fn checkout(at: &Path) {
    // What begins with a dot was made by other tests, and may go meanwhile.
    let copies = "mkdir \"$0/deploy\" && cp -r deploy/* \"$0/deploy\" && cp -r crds webhooks Cargo.toml \"$0\"";
    let output = Command::new("bash").args(["-c", copies]).arg(at).current_dir(top()).status();
    assert!(output.unwrap().success());
}

/// Deploys from there. No node runs the replicas, so it is played that they are ready.
async fn deploys(bed: &Testbed, from: &Path) {
    let kubectl = from.join("kubectl");
    let program = bed.kubectl.display();
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *' rollout status '*) exit 0 ;; esac\nexec {program} \"$@\"\n"
    );
    gastown_testbed::program::write(&kubectl, text).unwrap();
    let mut deploy = Command::new(from.join("deploy/deploy.sh"));
    deploy.env("KUBECTL", &kubectl).env("KUBECONFIG", &bed.kubeconfig);
    for variable in ["EDITION", "IMG", "RUNNER_IMG", "AGENT_IMG", "TIMEOUT"] {
        deploy.env_remove(variable);
    }
    let output: Output =
        tokio::task::spawn_blocking(move || deploy.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", words(&output));
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
    kubectl.said(&["create", "namespace", NAMESPACE]).await;
    kubectl.said(&["apply", "--server-side", "-f", "tests/it/original/crds"]).await;
    let authority = "-o=jsonpath={.clusters[0].cluster.certificate-authority-data}";
    let authority = kubectl.said(&["config", "view", "--raw", "--minify", authority]).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"ca.crt": authority},
        "metadata": {"name": CERTIFICATES, "namespace": NAMESPACE}});
    let file = bed.kubeconfig.with_extension("secret.json");
    fs::write(&file, secret.to_string()).unwrap();
    kubectl.said(&["create", "-f", &file.to_string_lossy()]).await;

    let release = tempfile::tempdir().unwrap();
    checkout(release.path());
    deploys(&bed, release.path()).await;
    let all = read(&kubectl).await;
    for it in &all {
        let owners = it["metadata"]["managedFields"].to_string();
        assert!(owners.contains("\"kubectl\""), "{}: {owners}", it["metadata"]["name"]);
        assert!(!owners.contains("gastown-operator-first"), "{}: {owners}", it["metadata"]["name"]);
    }
    let told = trusted(&all);
    assert!(told.len() > 15, "webhooks and conversions are told whom to trust: {}", told.len());
    assert!(told.iter().all(|it| **it == json!(authority)), "and stay so: {told:?}");

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
    assert!(trusted(&all).iter().all(|it| **it == json!(authority)), "the others still are");
    bed.stop().await.unwrap();
}
