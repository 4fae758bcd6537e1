//! OLM's own operator (`GASTOWN_OLM=program`, its definitions in `GASTOWN_OLM_CRDS=folder`; `make test-olm` builds it) installs a
//! bundle on the real node, in a namespace of any name: given the group, the CSV and what an install plan makes of the bundle. Then
//! the CSV goes and comes back, and one that follows takes its place under load.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use gastown::manifests::{self, images::Images, operator::Edition};
use gastown_testbed::{Node, Operator, Options, Testbed, olm, preconditions};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    asking::{answered, comes_true},
    doctor::asked,
    kubectl::Kubectl,
    preconditions::{release_binary, skip},
    real_deployed::runs,
    real_node::make_references,
    real_upgrade::{Load, knocks},
    roads::olm::webhook_names,
};

const IMAGE: &str = "localhost/gastown-operator:test";
/// Where it is installed, which is none of our names.
pub const HERE: &str = "somewhere";
const TOWN: &str = "olm";
/// The version of a release that is not there yet.
const LATER: &str = "9.0.0";

/// What OLM is given, in two parts: all but the CSV, as its install plans make it, and the CSV.
pub fn bundle() -> (Vec<Value>, Value) {
    let images = Images {
        operator: IMAGE.into(),
        runner: "localhost/gt-runner:dev".into(),
        agent: Some("localhost/agent:dev".into()),
    };
    let files = manifests::olm::bundle(Edition::Community, &images).unwrap();
    let all = files.iter().filter(|it| it.0.contains("/manifests/"));
    olm::of_bundle(all.map(|it| serde_saphyr::from_str(&it.1).unwrap()).collect(), HERE).unwrap()
}

pub async fn apply(kubectl: &Kubectl, objects: &[Value]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    fs::write(&file, list.to_string()).unwrap();
    let args = ["apply", "--server-side", "--force-conflicts", "-f", file.to_str().unwrap()];
    kubectl.said(&args).await;
}

async fn json_of(kubectl: &Kubectl, args: &[&str]) -> Value {
    let text = kubectl.said(&[args, &["-o", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap()
}

/// Waits until OLM says that the CSV is installed.
pub async fn succeeded(kubectl: &Kubectl, csv: &Value) {
    let name = format!("csv/{}", csv["metadata"]["name"].as_str().unwrap());
    let wait =
        ["-n", HERE, "wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=240s", &name];
    let output = kubectl.run(&wait).await;
    if !output.status.success() {
        let it = json_of(kubectl, &["-n", HERE, "get", &name]).await;
        panic!("it is not installed: {:#}", it["status"]);
    }
}

/// Webhooks and conversions go to the Service that OLM made, and whom to trust is written everywhere.
pub async fn is_wired(kubectl: &Kubectl, csv: &Value) {
    let mut names = BTreeSet::new();
    let mut bundles = BTreeSet::new();
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let all = json_of(kubectl, &["get", kind, "-l", "olm.managed=true"]).await;
        for webhook in all["items"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|it| it["webhooks"].as_array().unwrap())
        {
            assert_eq!(webhook["clientConfig"]["service"]["namespace"], HERE, "{webhook:#}");
            assert!(names.insert(webhook["name"].as_str().unwrap().to_owned()));
            bundles.insert(webhook["clientConfig"]["caBundle"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(names, webhook_names(csv), "all of the CSV's");
    for name in gastown::kinds::convertible() {
        let definition = json_of(kubectl, &["get", "crd", &name]).await;
        let client = &definition["spec"]["conversion"]["webhook"]["clientConfig"];
        assert_eq!(client["service"]["namespace"], HERE, "{name}: {client:#}");
        bundles.insert(client["caBundle"].as_str().unwrap().to_owned());
    }
    assert_eq!(bundles.len(), 1, "one authority, written everywhere");
    assert!(bundles.iter().all(|it| it.len() > 500), "{bundles:?}");
}

/// Specs of all Polecats in a version.
async fn specs(kubectl: &Kubectl, version: &str) -> Vec<Value> {
    let kind = format!("polecats.{version}.gastown.gastown.io");
    let all = json_of(kubectl, &["-n", TOWN, "get", &kind]).await;
    all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["metadata"]["uid"], it["spec"]]))
        .collect()
}

/// Whoever writes is told that nobody converts, once the role's binding has gone with the CSV: by the policy, or by the API server,
/// which has what is in the other version converted before it asks that.
async fn nothing_is_written(kubectl: &Kubectl, version: &str, spec: &Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.json");
    let new = json!({"apiVersion": format!("gastown.gastown.io/{version}"), "kind": "Polecat",
        "metadata": {"name": "new", "namespace": TOWN}, "spec": spec});
    fs::write(&file, new.to_string()).unwrap();
    let create = ["create", "--dry-run=server", "-f", file.to_str().unwrap()];
    comes_true(&format!("a refusal in {version}"), async || {
        let tried = kubectl.run(&create).await;
        let told = String::from_utf8_lossy(&tried.stderr);
        let by_server = version == "v1alpha1" && told.contains("conversion webhook for");
        by_server || told.contains("nobody converts")
    })
    .await;
}

/// `kubectl gt doctor` finds nothing that a pipeline would stop for; what it could not look at is a finding here, too.
async fn is_healthy(bed: &Testbed) {
    let asker = bed.kubeconfig_for("doctor", Some("system:masters")).unwrap();
    answered("a healthy installation", async || {
        let (code, found) = asked(&asker, &["-n", HERE]).await;
        let fine = |it: &&Value| it["state"] == "ok" || it["state"] == "advice";
        let troubled: Vec<_> = found.values().filter(|it| !fine(it)).collect();
        if !troubled.is_empty() {
            println!("doctor ends with {code}: {troubled:#?}");
        }
        (code == 0 && troubled.is_empty()).then_some(())
    })
    .await;
}

/// The CSV of a release that follows, whose pods are others.
pub fn next(csv: &Value) -> Value {
    let mut next = csv.clone();
    let name = csv["metadata"]["name"].as_str().unwrap();
    next["metadata"]["name"] = json!(name.replace(env!("CARGO_PKG_VERSION"), LATER));
    next["spec"]["version"] = json!(LATER);
    next["spec"]["replaces"] = json!(name);
    let deployment = &mut next["spec"]["install"]["spec"]["deployments"][0];
    deployment["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] =
        json!(LATER);
    next
}

/// The certificate that OLM makes for the Service after the Deployment.
const CERTIFICATE: &str = "gastown-operator-controller-manager-service-cert";

/// Waits until what OLM does after the CSV before is gone is done. That one owned the certificate's Secret alone, which goes with it;
/// OLM makes another authority, tells everybody at once to trust it, and has replicas follow that are served by it: until the
/// first are there, writes are refused. Returns how long that was.
pub async fn settles(kubectl: &Kubectl, client: &Client, town: &str, csv: &Value) -> Duration {
    let began = Instant::now();
    let hooks = "mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let name = csv["metadata"]["name"].as_str().unwrap();
    let others = format!("olm.managed=true,olm.owner!={name}");
    let left = ["get", hooks, "-l", &others, "-o", "name"];
    comes_true("others' webhooks to be gone", async || kubectl.said(&left).await.is_empty()).await;
    let trusted = "{.items[*].webhooks[*].clientConfig.caBundle}";
    let trusted = ["get", hooks, "-l", "olm.managed=true", &format!("-o=jsonpath={trusted}")];
    let deployment = ["-n", HERE, "get", "deployments", "-o=jsonpath={.items[*]..olmcahash}"];
    comes_true("a certificate of the CSV's own, which is trusted", async || {
        let get = ["-n", HERE, "get", "secret", CERTIFICATE, "-o", "json"];
        let output = kubectl.run(&get).await;
        let Ok(secret) = serde_json::from_slice::<Value>(&output.stdout) else { return false };
        let owners = secret["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let own = owners.iter().any(|it| it["name"] == name);
        let bundle = secret["data"]["olmCAKey"].as_str().unwrap_or_default().to_owned();
        let told = kubectl.said(&trusted).await;
        let hash = secret["metadata"]["annotations"]["olmcahash"].as_str().unwrap_or("none");
        let led = kubectl.said(&deployment).await.contains(hash);
        own && led && told.split_whitespace().all(|it| it == bundle)
    })
    .await;
    let rolled = ["-n", HERE, "rollout", "status", "deployment", "--timeout=240s"];
    kubectl.said(&rolled).await;
    comes_true("the door to be open", async || knocks(client, town).await.is_ok()).await;
    began.elapsed()
}

/// A CSV takes the place of the one that it says it replaces, and no write fails until that one is gone.
async fn is_replaced(kubectl: &Kubectl, client: &Client, csv: &Value) {
    let (next, name) = (next(csv), csv["metadata"]["name"].as_str().unwrap());
    let before = specs(kubectl, "v1beta1").await;
    let finalizers = |it: &str| format!("-p={{\"metadata\":{{\"finalizers\":[{it}]}}}}");
    let (hold, release) = (finalizers("\"gastown.io/held\""), finalizers(""));
    let patch = ["-n", HERE, "patch", "csv", name, "--type=merge"];
    kubectl.said(&[&patch[..], &[&hold]].concat()).await;
    let load = Load::begin(client, "next", TOWN);
    apply(kubectl, &olm::rights(&next, HERE).unwrap()).await;
    apply(kubectl, std::slice::from_ref(&next)).await;
    succeeded(kubectl, &next).await;
    let rolled = ["-n", HERE, "rollout", "status", "deployment", "--timeout=240s"];
    kubectl.said(&rolled).await;
    load.end("from one CSV to the next").await;
    kubectl.said(&[&patch[..], &[&release]].concat()).await;
    let gone = format!("csv/{name}");
    kubectl.said(&["-n", HERE, "wait", "--for=delete", &gone, "--timeout=240s"]).await;
    let shut = settles(kubectl, client, TOWN, &next).await;
    println!("until OLM's next certificate is served: {shut:?}");
    let version = "-o=jsonpath={.items[*].metadata.labels.app\\.kubernetes\\.io/version}";
    let pods = ["-n", HERE, "get", "pods", "--field-selector=status.phase=Running", version];
    let new = [LATER; 3].join(" ");
    comes_true("pods of the next release alone", async || kubectl.said(&pods).await == new).await;
    // The last that the load has deleted goes a moment later.
    comes_true("every object as before", async || specs(kubectl, "v1beta1").await == before).await;
    is_wired(kubectl, &next).await;
}

/// An install plan writes definitions as they are packed, which lead nowhere; OLM leads them on when it installs the CSV, and until
/// then the replicas that are there do.
async fn definitions_are_led_back(kubectl: &Kubectl, others: &[Value]) {
    let before = specs(kubectl, "v1alpha1").await;
    let (folder, mut packed) = (tempfile::tempdir().unwrap(), 0);
    for (at, it) in others.iter().enumerate() {
        if it["spec"]["conversion"]["strategy"] == "Webhook" {
            let file = folder.path().join(format!("{at}.json"));
            fs::write(file, it.to_string()).unwrap();
            packed += 1;
        }
    }
    assert_eq!(packed, gastown::kinds::convertible().count());
    kubectl.said(&["replace", "-f", folder.path().to_str().unwrap()]).await;
    let led = "-o=jsonpath={range .items[*]}{.spec.conversion.webhook.clientConfig.service.namespace} {end}";
    comes_true("definitions to be led back", async || {
        let said = kubectl.said(&["get", "crds", led]).await;
        said.split_whitespace().filter(|it| *it == HERE).count() == packed
    })
    .await;
    // By whom they are, and not by OLM, which is content with its CSV.
    let logs = ["-n", HERE, "logs", "-l", "control-plane=controller-manager", "--tail=-1"];
    let says = async || kubectl.said(&logs).await.contains("Wrote where its conversion is");
    comes_true("a replica to say so", says).await;
    // The API server makes itself ready for a definition that was changed, and nothing tells when it is.
    let older = ["-n", TOWN, "get", "polecats.v1alpha1.gastown.gastown.io"];
    comes_true("reading", async || kubectl.run(&older).await.status.success()).await;
    assert_eq!(specs(kubectl, "v1alpha1").await, before, "they convert");
}

/// A namespace to install into, and OLM's operator, which has begun.
pub async fn with_olm(
    bed: &Testbed,
    kubectl: &Kubectl,
    client: &Client,
    given: &Given,
) -> Operator {
    olm::define(client, Path::new(&given.definitions)).await.unwrap();
    let mut namespace = gastown::manifests::operator::namespace();
    namespace["metadata"]["name"] = json!(HERE);
    apply(kubectl, &[namespace]).await;
    apply(kubectl, &[olm::group(HERE)]).await;
    let started = olm::start(bed, Path::new(&given.program)).await.unwrap();
    eprintln!("OLM's log: {}", started.log.display());
    started
}

/// OLM's own operator, and the folder of its definitions.
pub struct Given {
    program: String,
    definitions: String,
}

/// What a test is given, if it is and a real node may be had.
pub fn given(test: &str) -> Option<Given> {
    let (Ok(program), Ok(definitions)) =
        (std::env::var("GASTOWN_OLM"), std::env::var("GASTOWN_OLM_CRDS"))
    else {
        skip(test, "olm", "GASTOWN_OLM and GASTOWN_OLM_CRDS name no OLM (make test-olm)");
        return None;
    };
    preconditions::allow(test, Node::Real).unwrap().then_some(Given { program, definitions })
}

#[tokio::test]
async fn olm_installs_the_bundle_and_a_csv_that_goes_and_comes_back_loses_nothing() {
    const TEST: &str = "olm_installs_the_bundle_and_a_csv_that_goes_and_comes_back_loses_nothing";
    let Some(given) = given(TEST) else { return };
    let Some(program) = release_binary(TEST) else { return };
    let bed = Testbed::start(Options { node: Node::Real, ..Options::default() }).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    let client = bed.client("user-olm").await.unwrap();
    bed.make_operator_image(&program, IMAGE).await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    make_references(&client, TOWN, bed.git.as_ref().unwrap()).await;
    let started = with_olm(&bed, &kubectl, &client, &given).await;

    let (others, csv) = bundle();
    apply(&kubectl, &others).await;
    apply(&kubectl, std::slice::from_ref(&csv)).await;
    succeeded(&kubectl, &csv).await;
    is_wired(&kubectl, &csv).await;
    runs(&bed, &client, TOWN, "max").await;
    let before = [specs(&kubectl, "v1alpha1").await, specs(&kubectl, "v1beta1").await];
    assert_ne!(before[0], before[1], "it converts");

    let name = csv["metadata"]["name"].as_str().unwrap();
    kubectl.said(&["-n", HERE, "delete", "csv", name, "--timeout=60s"]).await;
    let gone = ["-n", HERE, "wait", "--for=delete", "deployment", "--all", "--timeout=120s"];
    kubectl.said(&gone).await;
    assert_eq!(specs(&kubectl, "v1beta1").await, before[1], "what is stored is read as ever");
    for (version, whole) in ["v1alpha1", "v1beta1"].into_iter().zip(&before) {
        nothing_is_written(&kubectl, version, &whole[0][1]).await;
    }

    apply(&kubectl, &others).await;
    apply(&kubectl, std::slice::from_ref(&csv)).await;
    succeeded(&kubectl, &csv).await;
    is_wired(&kubectl, &csv).await;
    let after = [specs(&kubectl, "v1alpha1").await, specs(&kubectl, "v1beta1").await];
    assert_eq!(after, before, "nothing is lost");
    runs(&bed, &client, TOWN, "nux").await;
    is_healthy(&bed).await;

    definitions_are_led_back(&kubectl, &others).await;
    is_replaced(&kubectl, &client, &csv).await;
    runs(&bed, &client, TOWN, "nux-after").await;
    is_healthy(&bed).await;
    started.kill9().await.unwrap();
    bed.stop().await.unwrap();
}
