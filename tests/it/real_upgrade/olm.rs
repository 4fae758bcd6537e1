//! From an older bundle of ours to this one by OLM's own operator on the real node, with a run that spans it, and back as OLM has it:
//! the CSV goes, and the older one comes again. Writes beside it are tried from this bundle on (`real_olm`): the older operators do
//! not lead definitions back that an install plan has written as they are packed.

use std::fs;

use gastown::{api::v1alpha1::Polecat, manifests::NAMESPACE};
use gastown_testbed::{Node, Options, Testbed, olm};
use kube::Api;
use serde_json::{Value, json};

use super::{OLDER, TOWN, Version, begin, each_pod_once, ended_once};
use crate::{
    asking::comes_true,
    generated::top,
    kubectl::Kubectl,
    preconditions::{previous, release_binary},
    real_deployed::runs,
    real_node::make_references,
    real_olm::{HERE, apply, given, is_wired, next, settles, succeeded, with_olm},
    world::condition,
};

/// What OLM is given of a version's bundle, as its install plans make it, with the images that were made of it.
fn bundle(of: &Version, csv: impl Fn(&Value) -> Value) -> (Vec<Value>, Value) {
    let folder = of.checkout.join("bundle/community/manifests");
    let files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let texts = files.map(|it| fs::read_to_string(it).unwrap());
    let mut all: Vec<Value> = texts.map(|it| serde_saphyr::from_str(&it).unwrap()).collect();
    let found = all.iter_mut().find(|it| it["kind"] == "ClusterServiceVersion").unwrap();
    *found = csv(found);
    let at = "/spec/install/spec/deployments/0/spec/template/spec/containers/0";
    let container = found.pointer_mut(at).unwrap();
    container["image"] = json!(of.operator());
    let env = container["env"].as_array_mut().unwrap();
    env.retain(|it| !it["name"].as_str().unwrap().starts_with("RELATED_IMAGE_"));
    env.push(json!({"name": "RELATED_IMAGE_RUNNER", "value": of.runner()}));
    env.push(json!({"name": "RELATED_IMAGE_AGENT", "value": "localhost/agent:dev"}));
    olm::of_bundle(all, HERE).unwrap()
}

async fn install(kubectl: &Kubectl, (others, csv): &(Vec<Value>, Value)) {
    apply(kubectl, others).await;
    apply(kubectl, std::slice::from_ref(csv)).await;
    succeeded(kubectl, csv).await;
    let rolled = ["-n", HERE, "rollout", "status", "deployment", "--timeout=240s"];
    kubectl.said(&rolled).await;
    comes_true("the definitions to be led on", async || {
        let led = "-o=jsonpath={.items[*].spec.conversion.webhook.clientConfig.service.namespace}";
        !kubectl.said(&["get", "crds", led]).await.contains(NAMESPACE)
    })
    .await;
}

#[tokio::test]
async fn olm_upgrades_an_older_bundle_and_the_older_one_comes_back() {
    let test = "olm_upgrades_an_older_bundle_and_the_older_one_comes_back";
    let Some(given) = given(test) else { return };
    let Some(previous) = previous(test, "GASTOWN_PREVIOUS_CHART") else { return };
    let Some(program) = release_binary(test) else { return };
    let bed = Testbed::start(Options { node: Node::Real, ..Options::default() }).await.unwrap();
    let programs = ["gastown-operator", "gt-runner"].map(|it| previous.join("built").join(it));
    let old = Version::of(&bed, "old", &previous, [&programs[0], &programs[1]]).await;
    let runner = top().join("target/static/gt-runner");
    let new = Version::of(&bed, "new", top(), [&program, &runner]).await;
    let (kubectl, client) = (Kubectl::admin(&bed), bed.client("user-upgraded").await.unwrap());
    bed.make_namespace(TOWN, &[]).await.unwrap();
    make_references(&client, TOWN, bed.git.as_ref().unwrap()).await;
    let started = with_olm(&bed, &kubectl, &client, &given).await;

    let older = bundle(&old, Value::clone);
    install(&kubectl, &older).await;
    is_wired(&kubectl, &older.1).await;
    runs(&bed, &client, TOWN, "before").await;
    begin(&bed, &client, "across").await;
    // Both are of one version by their names, since neither was released.
    let newer = bundle(&new, next);
    install(&kubectl, &newer).await;
    let gone = format!("csv/{}", older.1["metadata"]["name"].as_str().unwrap());
    kubectl.said(&["-n", HERE, "wait", "--for=delete", &gone, "--timeout=240s"]).await;
    settles(&kubectl, &client, TOWN, &newer.1).await;
    is_wired(&kubectl, &newer.1).await;
    runs(&bed, &client, TOWN, "after").await;
    ended_once(&bed, &client, "across", &["True/Pushed", OLDER]).await;

    begin(&bed, &client, "back").await;
    let name = newer.1["metadata"]["name"].as_str().unwrap();
    kubectl.said(&["-n", HERE, "delete", "csv", name, "--timeout=60s"]).await;
    let gone = ["-n", HERE, "wait", "--for=delete", "deployment", "--all", "--timeout=120s"];
    kubectl.said(&gone).await;
    install(&kubectl, &older).await;
    ended_once(&bed, &client, "back", &["True/Pushed", OLDER]).await;
    runs(&bed, &client, TOWN, "again").await;
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), TOWN);
    for name in ["before", "after", "again"] {
        let it = polecats.get(name).await.unwrap();
        assert_eq!(condition(&it, "Pushed"), "True/Pushed", "{name}");
    }
    each_pod_once(&bed, &["before", "across", "after", "back", "again"]).await;
    started.kill9().await.unwrap();
    bed.stop().await.unwrap();
}
