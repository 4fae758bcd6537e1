//! From the Go original's installation to ours by the documented commands, on a real API server: its Deployment has our name, and a
//! selector can't be changed. No node runs the pods; what ours does beside the original is what `upgrade` is about.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use gastown::manifests::{NAMESPACE, chart::FOLDER};
use gastown_testbed::{Options, Testbed, tools::Tool};
use serde_json::Value;

use super::tool;
use crate::{
    asking::comes_true,
    generated::top,
    kubectl::Kubectl,
    make::{make_on, words},
    pages::told,
};

/// What the original's kustomize and chart make of its Deployment, as far as it matters: names, selectors, and what ours lacks.
fn originals(instance: &str) -> String {
    let labels = format!(
        "{{control-plane: controller-manager, app.kubernetes.io/name: gastown-operator{instance}}}"
    );
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: gastown-operator-controller-manager, namespace: {NAMESPACE}, labels: {labels}}}
spec:
  replicas: 1
  selector: {{matchLabels: {labels}}}
  template:
    metadata: {{labels: {labels}}}
    spec:
      containers:
      - name: manager
        image: controller:latest
        command: [/manager]
        args: [--leader-elect, --health-probe-bind-address=:8081]
        env: [{{name: GT_PATH, value: /usr/local/bin/gt}}]
        securityContext: {{runAsUser: 0, readOnlyRootFilesystem: false}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: gastown-operator-controller-manager-pdb, namespace: {NAMESPACE}}}
spec: {{minAvailable: 1, selector: {{matchLabels: {{control-plane: controller-manager}}}}}}
"
    )
}

/// A definition as the original brings it: its version alone.
fn definition() -> String {
    "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rigs.gastown.gastown.io}
spec:
  group: gastown.gastown.io
  scope: Cluster
  names: {kind: Rig, listKind: RigList, plural: rigs, singular: rig}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"
    .into()
}

/// Nothing of the original is left in the Deployment, and nothing of it was made anew.
async fn is_ours(kubectl: &Kubectl, uid: &str) {
    let get =
        ["-n", NAMESPACE, "get", "deployment", "gastown-operator-controller-manager", "-o", "json"];
    let it: serde_json::Value = serde_json::from_str(&kubectl.said(&get).await).unwrap();
    assert_eq!(it["metadata"]["uid"], uid, "changed in place");
    assert_eq!(it["spec"]["replicas"], 3);
    let container = &it["spec"]["template"]["spec"]["containers"][0];
    assert!(container.get("command").is_none(), "the original's program: {container:#}");
    assert!(container["image"].as_str().unwrap().contains("gastown-operator:"), "{container:#}");
    assert!(!container["env"].to_string().contains("GT_PATH"), "{container:#}");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert!(container["securityContext"].get("runAsUser").is_none(), "{container:#}");
    let versions = "-o=jsonpath={.spec.versions[*].name}";
    assert_eq!(
        kubectl.said(&["get", "crd", "rigs.gastown.gastown.io", versions]).await,
        "v1beta1 v1alpha1"
    );
    let budget = "-o=jsonpath={.items[*].spec.minAvailable}/{.items[*].spec.maxUnavailable}";
    assert_eq!(kubectl.said(&["-n", NAMESPACE, "get", "pdb", budget]).await, "/1");
}

async fn uid(kubectl: &Kubectl) -> String {
    kubectl
        .said(&[
            "-n",
            NAMESPACE,
            "get",
            "deployment",
            "gastown-operator-controller-manager",
            "-o=jsonpath={.metadata.uid}",
        ])
        .await
}

/// Applies `deploy/install.yaml` by the command of the page.
async fn applies_one_file(bed: &Testbed) -> Output {
    let page = fs::read_to_string(top().join("docs/install.md")).unwrap();
    let command = page.split("$ sed ").nth(1).unwrap().split("```").next().unwrap();
    let command = command.replace("\\\n", " ").replace("kubectl apply", "\"$KUBECTL\" apply");
    let mut shell = Command::new("bash");
    shell.args(["-o", "pipefail", "-c", &format!("sed {command}")]).current_dir(top());
    shell.env("KUBECTL", &bed.kubectl).env("KUBECONFIG", &bed.kubeconfig);
    tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn one_file_takes_the_place_of_what_the_original_applied() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    kubectl.said(&["create", "namespace", NAMESPACE]).await;
    let file = bed.kubeconfig.with_extension("original.yaml");
    fs::write(&file, format!("{}---\n{}", originals(""), definition())).unwrap();
    kubectl.said(&["apply", "-f", &file.to_string_lossy()]).await;
    let before = uid(&kubectl).await;
    let refused = applies_one_file(&bed).await;
    let why = words(&refused);
    assert!(!refused.status.success() && why.contains("minAvailable and maxUnavailable"), "{why}");
    let budget = ["-n", NAMESPACE, "delete", "poddisruptionbudget"];
    kubectl.said(&[&budget[..], &["gastown-operator-controller-manager-pdb"]].concat()).await;
    let output = applies_one_file(&bed).await;
    assert!(output.status.success(), "{}", words(&output));
    is_ours(&kubectl, &before).await;
    bed.stop().await.unwrap();
}

#[tokio::test]
async fn make_deploy_takes_the_place_of_what_the_original_applied() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    kubectl.said(&["create", "namespace", NAMESPACE]).await;
    for way in [&["apply"][..], &["apply", "--server-side"]] {
        let file = bed.kubeconfig.with_extension("original.yaml");
        fs::write(&file, format!("{}---\n{}", originals(""), definition())).unwrap();
        kubectl.said(&[way, &["-f", &file.to_string_lossy()]].concat()).await;
        let before = uid(&kubectl).await;
        let output = make_on(&bed, &["deploy", "--assume-old=manifests", "TIMEOUT=0s"]).await;
        assert!(output.status.success(), "over {way:?}: {}", words(&output));
        is_ours(&kubectl, &before).await;
        kubectl.said(&["-n", NAMESPACE, "delete", "deployments,pdb", "--all"]).await;
        // Listed first: a definition of which nothing ever was may stay for minutes (see `make uninstall`).
        kubectl.said(&["get", "rigs.gastown.gastown.io"]).await;
        kubectl.said(&["delete", "crd", "rigs.gastown.gastown.io"]).await;
    }
    bed.stop().await.unwrap();
}

/// Helm as who may do anything, for a release in the operator's namespace.
pub(super) struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Helm {
    pub(super) fn on(bed: &Testbed, program: PathBuf) -> Self {
        let kubeconfig = bed.kubeconfig_for("helm", Some("system:masters")).unwrap();
        Self { program, kubeconfig }
    }

    pub(super) async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--namespace", NAMESPACE]).current_dir(top()).env_clear();
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.kubeconfig.with_extension("home"));
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub(super) async fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "helm {}: {}", arguments.join(" "), words(&output));
        words(&output)
    }

    /// What a page tells people to do, by the command in it that begins so.
    async fn does(&self, (page, begins): (&str, &str), more: &[&str]) -> String {
        let told = told(page, begins);
        let told =
            told[1..].iter().map(|it| if it == "NAMESPACE" { NAMESPACE } else { it.as_str() });
        self.said(&told.chain(more.iter().copied()).collect::<Vec<_>>()).await
    }
}

const INSTALL: &str = "docs/install.md";
pub(super) const UNINSTALL: [&str; 2] = ["uninstall", "gastown-operator"];
/// Asks for the Job that ends the conversion.
const HOOK: [&str; 5] = ["-n", NAMESPACE, "get", "job", "gastown-operator-uninstall"];
/// Witnesses in the version that they are not stored in.
const OLDER: [&str; 6] =
    ["-n", "town", "get", "witnesses.v1alpha1.gastown.gastown.io", "-o", "name"];

/// How definitions are converted, each way once.
pub(super) async fn strategies(kubectl: &Kubectl) -> Vec<String> {
    let said = kubectl.said(&["get", "crd", "-o=jsonpath={.items[*].spec.conversion.strategy}"]);
    let all: BTreeSet<String> = said.await.split_whitespace().map(Into::into).collect();
    all.into_iter().collect()
}

async fn applies(bed: &Testbed, kubectl: &Kubectl, version: &str, rig: &str) -> Output {
    let witness = format!(
        "apiVersion: gastown.gastown.io/{version}\nkind: Witness\nmetadata: {{name: wendy, namespace: town}}\nspec: {{{rig}}}\n"
    );
    let file = bed.kubeconfig.with_extension("witness.yaml");
    fs::write(&file, witness).unwrap();
    kubectl.run(&["apply", "-f", &file.to_string_lossy()]).await
}

/// Puts an object into storage, which nobody converts: no node runs the operator.
pub(super) async fn has_a_witness(bed: &Testbed, kubectl: &Kubectl) {
    kubectl.said(&["create", "namespace", "town"]).await;
    let closed = ["delete", "validatingwebhookconfigurations", gastown::manifests::VALIDATING];
    kubectl.said(&closed).await;
    // Who may be asked, and who lets writes through, is told to the API server a moment after it is written.
    comes_true("a write", async || {
        applies(bed, kubectl, "v1beta1", "rigRef: {name: a}").await.status.success()
    })
    .await;
    let output = kubectl.run(&OLDER).await;
    assert!(words(&output).contains("conversion webhook"), "{}", words(&output));
}

/// Runs what the hook's pod asks for, as its account, by the program of this checkout; and tells how it ended.
pub(super) async fn does_what_a_node_would(bed: &Testbed, kubectl: &Kubectl) {
    kubectl
        .said(&["label", "ns", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"])
        .await;
    let get = ["-n", NAMESPACE, "get", "pods", "-o", "json", "-l"];
    let get = [&get[..], &["app.kubernetes.io/name=gastown-operator-uninstall"]].concat();
    let pods = async || {
        let all: Value = serde_json::from_str(&kubectl.said(&get).await).unwrap();
        all["items"].as_array().unwrap().first().cloned()
    };
    comes_true("the hook's pod", async || pods().await.is_some()).await;
    let pod = pods().await.unwrap();
    let (name, account) = (&pod["metadata"]["name"], &pod["spec"]["serviceAccountName"]);
    let (name, account) = (name.as_str().unwrap(), account.as_str().unwrap());
    let token = kubectl.said(&["-n", NAMESPACE, "create", "token", account]).await;
    let config = kubectl.said(&["config", "view", "--raw", "--minify", "-o", "json"]).await;
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["users"][0]["user"] = serde_json::json!({"token": token.trim()});
    let file = bed.kubeconfig.with_extension("hook.kubeconfig");
    fs::write(&file, config.to_string()).unwrap();
    let container = &pod["spec"]["containers"][0];
    let mut command = Command::new(env!("CARGO_BIN_EXE_gastown-operator"));
    command.env_clear().env("GASTOWN_NAMESPACE", NAMESPACE).arg("--kubeconfig").arg(&file);
    command.args(container["args"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let ended = "-p={\"status\":{\"phase\":\"Succeeded\"}}";
    let patch = ["-n", NAMESPACE, "patch", "pod", name, "--subresource=status", "--type=merge"];
    kubectl.said(&[&patch[..], &[ended]].concat()).await;
}

/// What a plain uninstall leaves is read in either version and deleted with its namespace, and nobody cuts it meanwhile.
async fn needs_no_webhook(bed: &Testbed, kubectl: &Kubectl) {
    assert_eq!(strategies(kubectl).await, ["None"]);
    // The API server makes itself ready for a definition that was changed, and nothing tells when it is.
    let reads = async || kubectl.run(&OLDER).await.status.success();
    comes_true("reading in the other version", reads).await;
    assert_eq!(kubectl.said(&OLDER).await.trim(), "witness.gastown.gastown.io/wendy");
    let output = applies(bed, kubectl, "v1alpha1", "rigRef: b").await;
    assert!(!output.status.success(), "it would be stored without what v1alpha1 lacks");
    assert!(words(&output).contains("nobody converts"), "{}", words(&output));
    kubectl.said(&["delete", "namespace", "town", "--timeout=60s"]).await;
}

/// No node runs the hook, as where its image can't be pulled: the release goes all the same.
async fn goes_though_its_hook_fails(helm: &Helm, kubectl: &Kubectl) {
    let late = async {
        comes_true("the hook's Job", async || kubectl.run(&HOOK).await.status.success()).await;
        let soon = "-p={\"spec\":{\"activeDeadlineSeconds\":1}}";
        kubectl.said(&["-n", NAMESPACE, "patch", "job", "gastown-operator-uninstall", soon]).await;
    };
    let (output, ()) = tokio::join!(helm.run(&UNINSTALL), late);
    assert!(!output.status.success(), "and that it failed is said: {}", words(&output));
    assert_eq!(helm.said(&["list", "--short"]).await, "");
    kubectl.said(&HOOK).await; // it stays, to be looked at
    let rights = "clusterroles,clusterrolebindings";
    let left = kubectl.said(&["get", rights, "-o", "name"]).await;
    assert!(!left.contains("gastown-operator-uninstall"), "{left}");
}

/// What a hook that failed would have done, by the command of the chart's page; and the release after that.
async fn is_mended_by_hand(bed: &Testbed, helm: &Helm, kubectl: &Kubectl) {
    let asks = kubectl.run(&OLDER).await;
    assert!(words(&asks).contains("conversion webhook"), "nobody answers: {}", words(&asks));
    let page = fs::read_to_string(top().join(FOLDER).join("README.md")).unwrap();
    let command = page.split("$ for it in ").nth(1).unwrap().split("```").next().unwrap();
    let kubectls = bed.kubectl.parent().unwrap().display();
    let mut shell = Command::new("bash");
    shell.args(["-e", "-c", &format!("PATH={kubectls}:$PATH; for it in {command}")]);
    shell.env("KUBECONFIG", &bed.kubeconfig);
    let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", words(&output));
    comes_true("reading", async || kubectl.run(&OLDER).await.status.success()).await;
    let install = ["install", "gastown-operator", FOLDER];
    let refused = helm.run(&install).await;
    assert!(!refused.status.success() && words(&refused).contains("conflict"), "kubectl owns it");
    // A release that failed is there, and its objects with it.
    let again = ["upgrade", "gastown-operator", FOLDER, "--force-conflicts"];
    helm.said(&again).await;
    assert_eq!(strategies(kubectl).await, ["None", "Webhook"]);
}

/// The version of a release that is not there yet.
pub(super) const LATER: &str = "9.0.0";

/// The chart as that release has it: its version stands on every object.
pub(super) fn later_chart(bed: &Testbed) -> String {
    let chart = bed.kubeconfig.with_extension("later");
    let copied = Command::new("cp").arg("-r").arg(top().join(FOLDER)).arg(&chart).status();
    assert!(copied.unwrap().success());
    let file = chart.join("Chart.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let next = text.replace(env!("CARGO_PKG_VERSION"), LATER);
    assert_ne!(text, next);
    fs::write(file, next).unwrap();
    chart.to_str().unwrap().to_owned()
}

/// The versions that definitions and the Deployment say, each once.
pub(super) async fn versions(kubectl: &Kubectl) -> Vec<String> {
    let of = "-o=jsonpath={.items[*].metadata.labels.app\\.kubernetes\\.io/version}";
    let definitions = kubectl.said(&["get", "crds", of]).await;
    let deployments = kubectl.said(&["-n", NAMESPACE, "get", "deployments", of]).await;
    let all = definitions.split_whitespace().chain(deployments.split_whitespace());
    all.map(Into::into).collect::<BTreeSet<_>>().into_iter().collect()
}

/// By the command of the page on upgrades, which names no image: what was set stays, and of its edition is what the chart brings.
async fn keeps_its_edition(helm: &Helm, kubectl: &Kubectl, later: &str) {
    let begins = format!("helm upgrade gastown-operator {FOLDER} --namespace {NAMESPACE} --wait");
    let told = told("docs/upgrade.md", &begins);
    // No node runs what would be waited for.
    let told = told[1..].iter().filter(|it| *it != "--wait");
    let upgrade: Vec<_> = told.map(|it| if it == FOLDER { later } else { it.as_str() }).collect();
    let other = ["--set", "image.tag=9.0.0", "--set", "runnerImage.tag=9.0.0"];
    let refused = helm.run(&[&upgrade[..], &other].concat()).await;
    assert!(!refused.status.success() && words(&refused).contains("9.0.0-ubi9"), "no FIPS build");
    helm.said(&upgrade).await;
    assert_eq!(versions(kubectl).await, [LATER]);
    let images =
        "-o=jsonpath={..containers[0].image} {..env[?(@.name=='RELATED_IMAGE_RUNNER')].value}";
    let said = kubectl.said(&["-n", NAMESPACE, "get", "deployments", images]).await;
    let image = |name: &str| format!("registry.example.com/gastown-{name}:{LATER}-ubi9");
    assert_eq!(said, format!("{} {}", image("operator"), image("runner")));
}

/// A chart with the original's names: definitions in crds/, which Helm never upgrades. Of the original's own checkout, where one is
/// named.
pub(super) fn originals_chart(bed: &Testbed) -> PathBuf {
    if let Some(source) = std::env::var_os("GO_ORIGINAL_SOURCE") {
        return PathBuf::from(source).join("helm/gastown-operator");
    }
    let chart = bed.kubeconfig.with_extension("chart");
    for folder in ["templates", "crds"] {
        fs::create_dir_all(chart.join(folder)).unwrap();
    }
    fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: gastown-operator\nversion: 0.4.2\n")
        .unwrap();
    let instance = ", app.kubernetes.io/instance: '{{ .Release.Name }}'";
    fs::write(chart.join("templates/all.yaml"), originals(instance)).unwrap();
    fs::write(chart.join("crds/rigs.yaml"), definition()).unwrap();
    chart
}

#[tokio::test]
async fn helm_upgrades_a_release_of_the_original_and_leaves_the_definitions_when_it_goes() {
    let test = "helm_upgrades_a_release_of_the_original_and_leaves_the_definitions_when_it_goes";
    let Some(program) = tool(test, Tool::Helm) else { return };
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let helm = Helm::on(&bed, program);
    let chart = originals_chart(&bed);
    helm.said(&["install", "gastown-operator", &chart.to_string_lossy(), "--create-namespace"])
        .await;
    let before = uid(&kubectl).await;

    let over = format!("helm upgrade gastown-operator {FOLDER} --namespace NAMESPACE ");
    let said = helm.does(("docs/upgrade.md", &over), &[]).await;
    assert!(
        said.contains("rollout status deployment/gastown-operator-controller-manager"),
        "the next command: {said}"
    );
    is_ours(&kubectl, &before).await;
    // Again, as any later release: nothing more than the command itself.
    helm.does((INSTALL, "helm upgrade gastown-operator charts/"), &["--set", "replicaCount=3"])
        .await;
    is_ours(&kubectl, &before).await;

    has_a_witness(&bed, &kubectl).await;
    let hook = does_what_a_node_would(&bed, &kubectl);
    tokio::join!(helm.does((INSTALL, "helm uninstall "), &[]), hook);
    needs_no_webhook(&bed, &kubectl).await;
    let left = kubectl.said(&["get", "crds,validatingadmissionpolicies", "-o", "name"]).await;
    assert_eq!(
        left.matches("gastown.gastown.io").count() + left.matches("gptme.ai").count(),
        gastown::kinds::KINDS.len(),
        "{left}"
    );
    assert!(
        left.contains(
            "validatingadmissionpolicy.admissionregistration.k8s.io/gastown-operator-conversion"
        ),
        "{left}"
    );
    let asks = "mutatingwebhookconfigurations,validatingwebhookconfigurations,deployments.apps,clusterrolebindings";
    let left = kubectl.said(&["-n", NAMESPACE, "get", asks, "-o", "name"]).await;
    assert!(!left.contains("gastown"), "{left}");
    // It is installed again over what stayed, by the command itself, and asks for the conversion that was switched off.
    let install = format!("helm install gastown-operator {FOLDER} ");
    helm.does((INSTALL, &install), &["--set", "edition=enterprise"]).await;
    assert_eq!(
        strategies(&kubectl).await,
        ["None", "Webhook"],
        "who has two versions is converted"
    );
    // And goes on as any release does: no owner of what stayed is in the way of another version.
    keeps_its_edition(&helm, &kubectl, &later_chart(&bed)).await;

    has_a_witness(&bed, &kubectl).await;
    goes_though_its_hook_fails(&helm, &kubectl).await;
    is_mended_by_hand(&bed, &helm, &kubectl).await;
    bed.stop().await.unwrap();
}
