//! `make install` and `make deploy` over what is there: what others wrote, and what an operator elsewhere has led to itself.

use std::collections::BTreeSet;

use gastown_testbed::Testbed;
use serde_json::{Value, json};

use super::{make_on, words};
use crate::{
    doctor::{asked, those},
    kubectl::Kubectl,
};

const HOOKS: &str = "mutatingwebhookconfigurations,validatingwebhookconfigurations";

/// Where these objects have the API server ask: addresses, and of Services the paths.
async fn led(kubectl: &Kubectl, of: &str) -> BTreeSet<String> {
    let text = kubectl.said(&["get", of, "-o", "json"]).await;
    let all: Value = serde_json::from_str(&text).unwrap();
    let configs = all["items"].as_array().unwrap().iter().flat_map(|it| {
        let hooks = it["webhooks"].as_array().into_iter().flatten();
        let conversion = it.pointer("/spec/conversion/webhook/clientConfig");
        conversion.into_iter().chain(hooks.map(|it| &it["clientConfig"]))
    });
    let to = |it: &Value| {
        let to = it["url"].as_str().or(it["service"]["path"].as_str());
        to.unwrap_or_else(|| panic!("{it}")).to_owned()
    };
    configs.map(to).collect()
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|&it| it.to_owned()).collect()
}

/// As an operator does that runs elsewhere: the address takes the place of the Service.
async fn leads_to_itself(kubectl: &Kubectl, address: &str) {
    let at = "/spec/conversion/webhook/clientConfig";
    let config = json!({"url": format!("{address}/convert")});
    let patch = json!([{"op": "replace", "path": at, "value": config}]).to_string();
    let by = ["--field-manager=gastown", "--type=json", "-p", &patch];
    kubectl.said(&[&["patch", "crd", "polecats.gastown.gastown.io"][..], &by].concat()).await;
}

/// After `make undeploy`, whose kubectl is then who wrote the conversion last. Nobody listens anywhere here.
pub async fn installs_and_deploys_over_an_address(bed: &Testbed, kubectl: &Kubectl) {
    let run = async |arguments: &[&str]| {
        let output =
            make_on(bed, &[arguments, &["--assume-old=manifests", "TIMEOUT=0s"]].concat()).await;
        assert!(output.status.success(), "make {arguments:?}: {}", words(&output));
    };
    let (here, there) = ("https://127.0.0.1:7", "https://127.0.0.1:9");
    run(&["install"]).await;
    assert_eq!(led(kubectl, "crds").await, set(&["/convert"]));
    assert_eq!(led(kubectl, HOOKS).await, set(&[]), "nobody is there to be asked");

    leads_to_itself(kubectl, here).await;
    run(&["install", &format!("WEBHOOK_URL={here}/")]).await;
    assert_eq!(led(kubectl, "crds").await, set(&[&format!("{here}/convert")]));
    let hooks = ["mutate", "validate"].map(|it| format!("{here}/{it}"));
    assert_eq!(led(kubectl, HOOKS).await, BTreeSet::from(hooks));
    run(&["install"]).await;
    assert_eq!(led(kubectl, "crds").await, set(&["/convert"]), "as for the first time");
    run(&["install", &format!("WEBHOOK_URL={there}")]).await;
    assert_eq!(led(kubectl, "crds").await, set(&[&format!("{there}/convert")]));

    run(&["deploy"]).await;
    assert_eq!(led(kubectl, "crds").await, set(&["/convert"]));
    let paths = ["/mutate", "/mutate-pods", "/validate", "/validate-pods"];
    assert_eq!(led(kubectl, HOOKS).await, set(&paths));
    let asker = bed.kubeconfig_for("doctor", Some("system:masters")).unwrap();
    let (code, found) = asked(&asker, &["--before-install"]).await;
    assert_eq!(
        (code, those(&found, "failed")),
        (0, vec![]),
        "it may be deployed again: {found:#?}"
    );
    let (_, found) = asked(&asker, &[]).await;
    assert_eq!(found["definitions.owner"]["state"], "ok", "{found:#?}");

    let refused =
        make_on(bed, &["install", "--assume-old=manifests", "WEBHOOK_URL=http://x"]).await;
    assert!(!refused.status.success() && words(&refused).contains("write https://HOST:PORT"));
}
