//! From one road to another, by the commands of docs/roads.md, on a real API server: what stands in the way is what the page says,
//! what people have stays, and nothing of the road that was left is in the way of the next upgrade. No node runs the pods.

use gastown::manifests::{NAMESPACE, chart::FOLDER, operator::DEPLOYMENT, pods::Held, policies};
use gastown_testbed::{Options, Testbed, tools::Tool};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    tool,
    upgrade::{
        Helm, LATER, UNINSTALL, does_what_a_node_would, has_a_witness, later_chart, strategies,
        versions,
    },
};
use crate::{
    asking::comes_true,
    kubectl::Kubectl,
    make::{make_on, words},
    real_olm,
    upgrade::{as_in_the_original, fill, patiently},
    versions::{api, bead_store},
};

const DEPLOY: [&str; 3] = ["deploy", "--assume-old=manifests", "TIMEOUT=0s"];
/// What the page has for whoever comes to Helm from another road.
const TAKES: [&str; 5] =
    ["install", "gastown-operator", FOLDER, "--take-ownership", "--force-conflicts"];

async fn deploys(bed: &Testbed) {
    let output = make_on(bed, &DEPLOY).await;
    assert!(output.status.success(), "{}", words(&output));
}

/// Who the object is that people have.
async fn wendy(kubectl: &Kubectl) -> String {
    let of = ["-n", "town", "get", "witnesses.v1beta1.gastown.gastown.io", "wendy"];
    kubectl.said(&[&of[..], &["-o=jsonpath={.metadata.uid} {.spec}"]].concat()).await
}

/// The selector's label that only the chart has.
async fn instance(kubectl: &Kubectl) -> String {
    let of = "-o=jsonpath={.spec.selector.matchLabels.app\\.kubernetes\\.io/instance}";
    kubectl.said(&["-n", NAMESPACE, "get", "deployment", DEPLOYMENT, of]).await
}

#[tokio::test]
async fn from_kustomize_to_helm_and_back_what_people_have_stays() {
    let test = "from_kustomize_to_helm_and_back_what_people_have_stays";
    let Some(program) = tool(test, Tool::Helm) else { return };
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let helm = Helm::on(&bed, program);
    deploys(&bed).await;
    has_a_witness(&bed, &kubectl).await;
    let before = wendy(&kubectl).await;

    // Helm takes nothing that is another's unless it is told to.
    let refused = helm.run(&["install", "gastown-operator", FOLDER]).await;
    let why = words(&refused);
    assert!(!refused.status.success() && why.contains("invalid ownership metadata"), "{why}");
    assert_eq!(helm.said(&["list", "--short"]).await, "");
    kubectl.said(&["-n", NAMESPACE, "delete", "deployment", DEPLOYMENT]).await;
    helm.said(&TAKES).await;
    assert_eq!(instance(&kubectl).await, "gastown-operator");
    // What kubectl and Helm wrote alike is both's, so the next release writes over kubectl, as the page says.
    let upgrade = ["upgrade", "gastown-operator", &later_chart(&bed)];
    let refused = helm.run(&upgrade).await;
    assert!(!refused.status.success(), "{}", words(&refused));
    assert!(words(&refused).contains("conflict with \"kubectl\""), "{}", words(&refused));
    helm.said(&[&upgrade[..], &["--force-conflicts"]].concat()).await;
    assert_eq!(versions(&kubectl).await, [LATER]);
    assert_eq!(wendy(&kubectl).await, before);

    // Back, without the way out first: a selector can't be changed, and it is said.
    let refused = make_on(&bed, &DEPLOY).await;
    let why = words(&refused);
    assert!(!refused.status.success() && why.contains("field is immutable"), "{why}");
    let hook = does_what_a_node_would(&bed, &kubectl);
    tokio::join!(helm.said(&UNINSTALL), hook);
    assert_eq!(strategies(&kubectl).await, ["None"]);
    deploys(&bed).await;
    assert_eq!(instance(&kubectl).await, "");
    assert_eq!(strategies(&kubectl).await, ["None", "Webhook"], "asked for again");
    assert_eq!(versions(&kubectl).await, [env!("CARGO_PKG_VERSION")]);
    assert_eq!(wendy(&kubectl).await, before);
    assert_eq!(helm.said(&["list", "--short"]).await, "");
    let output = make_on(&bed, &["undeploy"]).await;
    assert!(output.status.success(), "{}", words(&output));
    bed.stop().await.unwrap();
}

/// Applies objects as somebody.
pub(super) async fn applied(bed: &Testbed, kubectl: &Kubectl, by: &str, objects: Vec<Value>) {
    let file = bed.kubeconfig.with_extension("objects.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(&file, list.to_string()).unwrap();
    let by = format!("--field-manager={by}");
    let apply = ["apply", "--server-side", "--force-conflicts", &by, "-f"];
    kubectl.said(&[&apply[..], &[file.to_str().unwrap()]].concat()).await;
}

/// Definitions as OLM's install plan makes them of the bundle: nobody answers whom they ask before the CSV is there.
fn definitions_of_the_bundle() -> Vec<Value> {
    let is_definition = |it: &Value| it["kind"] == "CustomResourceDefinition";
    let all: Vec<_> = real_olm::bundle().0.into_iter().filter(is_definition).collect();
    assert_eq!(all.len(), gastown::kinds::KINDS.len());
    all
}

/// What is left of an installation by OLM once its CSV is gone: definitions whose conversion OLM has switched off, and what the
/// operator had applied itself, for the namespace that it was in.
async fn what_olm_leaves(bed: &Testbed, kubectl: &Kubectl) {
    let mut definitions = definitions_of_the_bundle();
    for it in &mut definitions {
        it["spec"]["conversion"] = json!({"strategy": "None"});
    }
    applied(bed, kubectl, "catalog", definitions).await;
    let own = policies::of(real_olm::HERE, Held::default())
        .into_iter()
        .chain(policies::hooks(real_olm::HERE));
    applied(bed, kubectl, "gastown-operator", own.collect()).await;
}

/// The page's command for what the operator had applied itself, and nobody else brings.
const LEFT: [&str; 3] = [
    "delete",
    "mutatingwebhookconfigurations,validatingwebhookconfigurations",
    "gastown-operator-pods-of-namespaces",
];

#[tokio::test]
async fn what_olm_leaves_is_taken_over_by_helm_and_by_kustomize() {
    let test = "what_olm_leaves_is_taken_over_by_helm_and_by_kustomize";
    let Some(program) = tool(test, Tool::Helm) else { return };
    for road in ["kustomize", "Helm"] {
        let bed = Testbed::start(Options::default()).await.unwrap();
        let kubectl = Kubectl::admin(&bed);
        what_olm_leaves(&bed, &kubectl).await;
        assert_eq!(strategies(&kubectl).await, ["None"], "{road}");
        kubectl.said(&LEFT).await;
        if road == "Helm" {
            let helm = Helm::on(&bed, program.clone());
            helm.said(&[&TAKES[..], &["--create-namespace"]].concat()).await;
        } else {
            deploys(&bed).await;
        }
        assert_eq!(strategies(&kubectl).await, ["None", "Webhook"], "{road}");
        let policies = ["get", "validatingadmissionpolicies", "-o", "json"];
        let all = kubectl.said(&policies).await;
        assert!(!all.contains(real_olm::HERE), "{road}: of the namespace that it was in");
        bed.stop().await.unwrap();
    }
}

/// Who goes, or goes back to the Go original, whose pods no policy of ours may refuse.
#[tokio::test]
async fn what_olm_leaves_goes_with_the_definitions() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    what_olm_leaves(&bed, &kubectl).await;
    // Who keeps the objects takes away what refuses them, as the page on OLM has it.
    kubectl.said(&LEFT).await;
    kubectl.said(&["delete", "-k", "deploy/policies"]).await;
    assert_eq!(strategies(&kubectl).await, ["None"], "definitions stay");
    what_olm_leaves(&bed, &kubectl).await;
    let all = "crds,validatingadmissionpolicies,validatingadmissionpolicybindings,\
               mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let there = ["get", all, "-o", "name", "--ignore-not-found"];
    let left = kubectl.said(&there).await;
    assert!(left.contains("gastown-operator-pods-of-namespaces"), "{left}");
    let output = make_on(&bed, &["uninstall", "CONFIRM=yes"]).await;
    assert!(output.status.success(), "{}", words(&output));
    let left = kubectl.said(&there).await;
    assert!(!left.contains("gastown"), "{left}");
    bed.stop().await.unwrap();
}

/// Between OLM's install plan and the CSV, definitions have two versions, and nobody converts what the original has stored.
#[tokio::test]
async fn while_olm_takes_the_place_of_the_original_nothing_is_stored_cut() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    as_in_the_original(&bed).await;
    bed.make_namespace("town", &[]).await.unwrap();
    let (client, kubectl) = (bed.client("user").await.unwrap(), Kubectl::admin(&bed));
    fill(&client, 1).await;
    let old = api(&client, "town", bead_store(), "v1alpha1");
    let before = old.get("beads-0").await.unwrap().data;

    // Under the name by which the testbed writes a CSV's part later.
    applied(&bed, &kubectl, "gastown-testbed", definitions_of_the_bundle()).await;
    let edit = Patch::Merge(json!({"spec": {"syncInterval": "9s"}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    comes_true("a refusal", async || {
        let tried = old.patch("beads-0", &dry, &edit).await;
        tried.is_err_and(|it| it.to_string().contains("conversion webhook for"))
    })
    .await;
    let tried = old.patch("beads-0", &PatchParams::default(), &edit).await;
    assert!(tried.is_err(), "it would be stored without what v1alpha1 says: {tried:?}");
    let read = patiently(async || old.get("beads-0").await).await;
    assert_eq!(read.data, before, "and it is read as ever");

    bed.install_crds().await.unwrap();
    comes_true("the end of refusals", async || old.patch("beads-0", &dry, &edit).await.is_ok())
        .await;
    let read = patiently(async || old.get("beads-0").await).await;
    assert_eq!(read.data, before, "nothing of it was lost");
    let new = api(&client, "town", bead_store(), "v1beta1");
    let new = patiently(async || new.get("beads-0").await).await;
    assert_eq!(new.data["spec"]["syncIntervalSeconds"], 7);
    bed.stop().await.unwrap();
}
