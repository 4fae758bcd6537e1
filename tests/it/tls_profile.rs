//! An OpenShift cluster's TLS profile, followed without a restart: on a control plane of its own, as the kind is of the cluster.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    sync::Arc,
    time::Duration,
};

use gastown::{manifests::NAMESPACE, tls::check::certificates};
use gastown_testbed::{Operator, OperatorOptions, Options, Testbed};
use k8s_openapi::{
    api::core::v1::Event,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{ApiResource, ListParams, Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};

use crate::{
    asking::{comes_true, scraped},
    upgrade,
};

/// OpenShift's kind, as far as anybody here reads it.
async fn install_kind(bed: &Testbed) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "apiservers.config.openshift.io",
            // The group is protected; this says that it was agreed on.
            "annotations": {"api-approved.kubernetes.io": "https://github.com/openshift/api/pull/470"},
        },
        "spec": {
            "group": "config.openshift.io", "scope": "Cluster",
            "names": {"kind": "APIServer", "listKind": "APIServerList", "plural": "apiservers", "singular": "apiserver"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }}}],
        },
    });
    let definition: CustomResourceDefinition = serde_json::from_value(definition).unwrap();
    upgrade::apply(bed, &definition).await;
}

fn objects(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("config.openshift.io", "v1", "APIServer");
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, "apiservers"))
}

async fn asks(client: &Client, profile: Value) {
    let object = json!({
        "apiVersion": "config.openshift.io/v1", "kind": "APIServer", "metadata": {"name": "cluster"},
        "spec": {"tlsAdherence": "StrictAllComponents", "tlsSecurityProfile": profile},
    });
    let params = PatchParams::apply("admin").force();
    objects(client).patch("cluster", &params, &Patch::Apply(object)).await.unwrap();
}

/// Whether a caller of this version is answered.
pub fn is_answered(operator: &Operator, version: &'static SupportedProtocolVersion) -> bool {
    let mut roots = RootCertStore::empty();
    let authority = certificates(operator.authority.as_bytes()).unwrap();
    roots.add_parsable_certificates(authority);
    let config = ClientConfig::builder_with_protocol_versions(&[version]);
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let address = operator.webhook.trim_start_matches("https://");
    let host = address.rsplit_once(':').unwrap().0.to_owned();
    let client = ClientConnection::new(config, host.try_into().unwrap()).unwrap();
    let plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(client, plain);
    let asked = stream.write_all(b"GET /validate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 405")
}

/// What the plugin says, as JSON a line each.
async fn plugin(bed: &Testbed, words: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(["-n", NAMESPACE]).args(words).args(["-o", "json"]);
    command.env("KUBECONFIG", &bed.kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let all = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    all.map(Result::unwrap).collect()
}

async fn degraded(bed: &Testbed) -> Value {
    plugin(bed, &["shards"]).await.first().map_or(Value::Null, |it| it["degraded"].clone())
}

/// In the session's Lease, which the plugin reads, and by an Event about the map, since it lasts.
async fn people_see_it(bed: &Testbed, client: &Client) {
    comes_true("somebody to be degraded", async || {
        degraded(bed).await.to_string().contains("tls-profile NothingInCommon")
    })
    .await;
    let rows = plugin(bed, &["doctor"]).await;
    let row = rows.iter().find(|it| it["id"] == "operator.degraded").unwrap();
    assert_eq!(row["state"], "failed");
    assert!(row["findings"][0]["fix"].as_str().unwrap().contains("tlsSecurityProfile"), "{row}");
    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let about = ListParams::default().fields("involvedObject.kind=ShardMap,reason=Degraded");
    comes_true("an Event about it", async || {
        let all = events.list(&about).await.unwrap().items;
        all.iter().any(|it| it.message.as_ref().is_some_and(|it| it.contains("NothingInCommon")))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clusters_tls_profile_is_followed_while_calls_go_on() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let client = bed.client("admin").await.unwrap();
    bed.install_crds().await.unwrap();
    install_kind(&bed).await;
    let options = OperatorOptions { name: "follower".into(), ..OperatorOptions::default() };
    let operator = Operator::start(&bed, options).await.unwrap();
    operator.wait_ready().await.unwrap();
    assert!(is_answered(&operator, &TLS12), "nobody asked for anything yet");

    asks(&client, json!({"type": "Modern"})).await;
    comes_true("TLS 1.2 to be refused", async || !is_answered(&operator, &TLS12)).await;
    assert!(is_answered(&operator, &TLS13), "TLS 1.3 is served still");

    let custom = |ciphers: &[&str]| json!({"type": "Custom", "custom": {"minTLSVersion": "VersionTLS12", "ciphers": ciphers}});
    asks(&client, custom(&["AES128-SHA"])).await;
    scraped(&operator, |it| it.starts_with("gastown_tls_profile_degraded{") && it.ends_with(" 1"))
        .await;
    assert!(!is_answered(&operator, &TLS12), "the last good one stays, and nothing looser");
    assert!(is_answered(&operator, &TLS13));
    people_see_it(&bed, &client).await;

    asks(&client, custom(&["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"])).await;
    comes_true("TLS 1.2 to be served", async || is_answered(&operator, &TLS12)).await;
    assert!(!is_answered(&operator, &TLS13), "no suite of 1.3 was named");
    comes_true("nobody to be degraded", async || degraded(&bed).await == json!({})).await;
    assert_eq!(operator.ended(), None, "all of it without a restart");
    bed.stop().await.unwrap();
}
