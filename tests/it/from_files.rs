//! Certificates from files, as cert-manager, service-ca and OLM lay them: these write the bundles, and what none of them sees to
//! is put right by the operator.

use std::path::Path;

use gastown::{
    api::v1alpha1::Polecat, cluster::certificates::seconds, domain::certificates::Book,
    tls::mint::ForNames,
};
use gastown_testbed::{Node, Options, Testbed, manifests as bed_manifests};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use rustls::version::TLS12;
use serde_json::{Value, json};

use crate::{
    asking::{answered, comes_true, scraped},
    preconditions::skip,
    tls_profile::is_answered,
    world::{World, polecat},
};

const TOWN: &str = "town";
const DEFINITION: &str = "polecats.gastown.gastown.io";

/// An object but for what every write changes.
fn settled(object: &Polecat) -> Value {
    let mut it = serde_json::to_value(object).unwrap();
    for key in ["resourceVersion", "managedFields"] {
        it["metadata"].as_object_mut().unwrap().remove(key);
    }
    it
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_that_was_applied_away_comes_back_and_objects_are_whole() {
    let test = "a_conversion_that_was_applied_away_comes_back_and_objects_are_whole";
    let options = Options { node: Node::None, replicas: 1, ..Options::default() };
    let bed = Testbed::start(options).await.unwrap();
    if !bed.enclosed {
        return skip(test, "root", "without namespaces of its own a Service leads nowhere");
    }
    let client = bed.client("admin").await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), TOWN);
    let mut object = polecat("max");
    object["spec"]["desiredState"] = json!("Idle");
    let object = serde_json::from_value(object).unwrap();
    polecats.create(&PostParams::default(), &object).await.unwrap();
    let before = answered("its status", async || {
        let it = polecats.get("max").await.unwrap();
        it.status.as_ref().is_some_and(|it| !it.conditions.is_empty()).then(|| settled(&it))
    })
    .await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let stanza = definitions.get(DEFINITION).await.unwrap().spec.conversion.unwrap();

    // As somebody applies it who has no conversion in his file, and as OLM leaves it.
    let path = "crds/gastown.gastown.io_polecats.yaml";
    let file = std::fs::read_to_string(bed_manifests::project(None).unwrap().join(path)).unwrap();
    let mut definition: CustomResourceDefinition = serde_saphyr::from_str(&file).unwrap();
    definition.spec.conversion = None;
    definition.metadata.resource_version =
        definitions.get(DEFINITION).await.unwrap().metadata.resource_version;
    definitions.replace(DEFINITION, &PostParams::default(), &definition).await.unwrap();
    let back = answered("the conversion to be back", async || {
        let it = definitions.get(DEFINITION).await.unwrap().spec.conversion?;
        (it.strategy == "Webhook").then_some(it)
    })
    .await;
    assert_eq!(back, stanza, "with the bundle that it had");
    comes_true("a write to be taken again", async || {
        let edit = Patch::Merge(json!({"metadata": {"labels": {"seen": "yes"}}}));
        polecats.patch("max", &PatchParams::default(), &edit).await.is_ok()
    })
    .await;
    let seen = json!({"metadata": {"labels": {"seen": null}}});
    polecats.patch("max", &PatchParams::default(), &Patch::Merge(seen)).await.unwrap();
    assert_eq!(settled(&polecats.get("max").await.unwrap()), before, "it is whole");
    bed.stop().await.unwrap();
}

/// Each file as a whole, as a Secret's volume is swapped.
fn lay(folder: &Path, chain: &str, key: &str) {
    for (name, text) in [("tls.crt", chain), ("tls.key", key)] {
        std::fs::write(folder.join("new"), text).unwrap();
        std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
    }
}

#[tokio::test]
async fn a_key_that_no_suite_of_this_process_fits_leaves_what_was_served_and_that_is_told() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let host = bed.host_address.to_string();
    let mint = ForNames { names: vec![host.clone()], leaf_life: None };
    let book = Book::new(&mint, 1, seconds()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    lay(folder.path(), &book.chain(), &book.leaf.key.0);
    let at = |name: &str| folder.path().join(name).display().to_string();
    let flags = [
        "--tls-profile=Custom",
        "--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        &format!("--webhook-cert-name={}", at("tls.crt")),
        &format!("--webhook-cert-key={}", at("tls.key")),
    ];
    let mut world = World::with_flags("unmet", &[], &flags).await;
    world.operator.authority = book.bundle();
    assert!(is_answered(&world.operator, &TLS12), "with a key that fits");

    // Renewed with a key of RSA, for which none of these suites are.
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let mut renewed = rcgen::CertificateParams::new(vec![host]).unwrap();
    renewed.not_after = rcgen::date_time_ymd(2199, 1, 1);
    lay(folder.path(), &renewed.self_signed(&key).unwrap().pem(), &key.serialize_pem());
    let unusable = "gastown_certificate_degraded{reason=\"Unusable\"} 1";
    scraped(&world.operator, |it| it == unusable).await;
    let until = format!("gastown_certificate_not_after_seconds {}", book.leaf.life.until);
    scraped(&world.operator, |it| it == until).await;
    assert!(is_answered(&world.operator, &TLS12), "what was served is served still");
    let log = std::fs::read_to_string(&world.operator.log).unwrap();
    assert!(log.contains("ask for suites that fit its key"), "{log}");

    let next = Book::new(&mint, 2, seconds() + 60).unwrap();
    lay(folder.path(), &next.chain(), &next.leaf.key.0);
    // In the midst of it the files belong to no one pair, so that another reason comes first.
    let until = format!("gastown_certificate_not_after_seconds {}", next.leaf.life.until);
    scraped(&world.operator, |it| it == until).await;
    world.operator.authority = next.bundle();
    assert!(is_answered(&world.operator, &TLS12), "a key that fits is taken up");
}
