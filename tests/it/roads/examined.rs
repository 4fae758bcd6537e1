//! What `kubectl gt doctor` says of an installation by Helm, by OLM and with cert-manager, on a real API server without a node:
//! nobody runs, so only the checks are looked at that need nobody.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gastown::{
    domain::certificates::Book,
    manifests::{NAMESPACE, WEBHOOK_SERVICE, chart::FOLDER, policies},
    tls::{
        crypto::{self, Wanted},
        mint::ForNames,
    },
};
use gastown_testbed::{Options, Testbed, olm::installed_in, tools::Tool};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    cert_manager,
    changes::applied,
    olm::webhook,
    tool,
    upgrade::{Helm, later_chart, originals_chart},
};
use crate::{
    asking::answered,
    doctor::{asked, those},
    kubectl::Kubectl,
    real_olm::{self, HERE},
};

/// `kubectl gt doctor --before-install && helm upgrade …` upgrades.
async fn nothing_is_in_the_way(bed: &Testbed, what: &str) -> Vec<String> {
    let asker = bed.kubeconfig_for("doctor", Some("system:masters")).unwrap();
    let (code, found) = asked(&asker, &["--before-install"]).await;
    assert_eq!((code, those(&found, "failed")), (0, vec![]), "{what}: {found:#?}");
    assert_eq!(those(&found, "unknown"), Vec::<String>::new(), "{what}: {found:#?}");
    those(&found, "advice")
}

#[tokio::test]
async fn before_helm_upgrades_a_release_nothing_is_said_to_be_in_its_way() {
    let test = "before_helm_upgrades_a_release_nothing_is_said_to_be_in_its_way";
    let Some(program) = tool(test, Tool::Helm) else { return };
    let bed = Testbed::start(Options::default()).await.unwrap();
    let helm = Helm::on(&bed, program);
    let chart = originals_chart(&bed);
    let install = ["install", "gastown-operator", &chart.to_string_lossy(), "--create-namespace"];
    helm.said(&install).await;
    let advice = nothing_is_in_the_way(&bed, "the Go original's release").await;
    assert!(advice.contains(&"definitions.owner".to_owned()), "ours take their place: {advice:?}");

    let upgrade = ["upgrade", "gastown-operator"];
    let over = ["--reset-values", "--take-ownership", "--force-conflicts"];
    helm.said(&[&upgrade[..], &[FOLDER], &over].concat()).await;
    nothing_is_in_the_way(&bed, "this release").await;
    helm.said(&[&upgrade[..], &[&later_chart(&bed)]].concat()).await;
    let advice = nothing_is_in_the_way(&bed, "another release").await;
    assert!(advice.contains(&"definitions.owner".to_owned()), "by Helm: {advice:?}");
    bed.stop().await.unwrap();
}

/// A webhook as OLM makes one of a CSV, in a configuration of its own.
fn configuration(definition: &Value) -> Option<Value> {
    let sort = definition["type"].as_str().unwrap().strip_suffix("AdmissionWebhook")?;
    let mut hook = webhook(definition);
    hook["clientConfig"]["service"]["namespace"] = json!(HERE);
    Some(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{sort}WebhookConfiguration"),
        "metadata": {"name": hook["name"]}, "webhooks": [hook],
    }))
}

/// Those that the operator applies itself, led where it leads them.
fn own_hooks() -> Vec<Value> {
    let mut all = policies::hooks(HERE);
    for hook in all.iter_mut().flat_map(|it| it["webhooks"].as_array_mut().unwrap()) {
        hook["clientConfig"]["service"]["namespace"] = json!(HERE);
    }
    all
}

#[tokio::test]
async fn what_olm_installs_is_held_to_what_its_bundle_says() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    kubectl.said(&["create", "namespace", HERE]).await;
    let (mut all, csv) = real_olm::bundle();
    let made = installed_in(&csv, HERE).unwrap().into_iter();
    all.extend(made.filter(|it| it["kind"] == "Deployment" || it["kind"] == "Service"));
    applied(&bed, &kubectl, "catalog", all).await;
    let definitions = csv["spec"]["webhookdefinitions"].as_array().unwrap();
    let hooks = definitions.iter().filter_map(configuration).chain(own_hooks());
    applied(&bed, &kubectl, "olm", hooks.collect()).await;

    let asker = bed.kubeconfig_for("doctor", Some("system:masters")).unwrap();
    // Rights are told to who judges by them a moment after they are written.
    let found = answered("its rights", async || {
        let (_, found) = asked(&asker, &["-n", HERE]).await;
        (found["rights.operator"]["state"] == "ok").then_some(found)
    })
    .await;
    for id in ["webhooks.ours", "webhooks.foreign", "definitions.present", "definitions.owner"] {
        assert_eq!(found[id]["state"], "ok", "{:#}", found[id]);
    }
    kubectl.said(&["delete", "validatingwebhookconfiguration", "vpolecat.kb.io"]).await;
    let (code, found) = asked(&asker, &["-n", HERE]).await;
    let told = found["webhooks.ours"].to_string();
    assert!(code == 1 && told.contains("vpolecat.kb.io") && told.contains("CSV"), "{told}");
    bed.stop().await.unwrap();
}

fn book() -> Book {
    let _ = crypto::install(&Wanted::default());
    let names = vec![format!("{WEBHOOK_SERVICE}.{NAMESPACE}.svc")];
    Book::new(&ForNames { names, leaf_life: None }, 1, Timestamp::now().as_second()).unwrap()
}

/// What cert-manager makes of the component's Certificate, as files of a Secret.
async fn is_mounted(bed: &Testbed, kubectl: &Kubectl, book: &Book) {
    let data = json!({"tls.crt": book.chain(), "tls.key": "", "ca.crt": book.bundle()});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": data,
        "metadata": {"name": "gastown-operator-webhook-server-cert", "namespace": NAMESPACE},
    });
    applied(bed, kubectl, "cert-manager-certificates-issuing", vec![secret]).await;
}

/// Writes an authority wherever the component has asked for one.
async fn is_injected(bed: &Testbed, kubectl: &Kubectl, book: &Book) {
    let of = "crds,mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let all: Value = serde_json::from_str(&kubectl.said(&["get", of, "-o", "json"]).await).unwrap();
    let told = json!({"caBundle": BASE64_STANDARD.encode(book.bundle())});
    let is_asked =
        |it: &&Value| !it["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].is_null();
    let one = |it: &Value| {
        let mut part = json!({
            "apiVersion": it["apiVersion"], "kind": it["kind"], "metadata": {"name": it["metadata"]["name"]},
        });
        if it["spec"]["conversion"]["webhook"].is_object() {
            part["spec"] = json!({"conversion": {"webhook": {"clientConfig": told}}});
        }
        if let Some(hooks) = it["webhooks"].as_array() {
            let hook = |it: &Value| json!({"name": it["name"], "clientConfig": told});
            part["webhooks"] = hooks.iter().map(hook).collect();
        }
        part
    };
    let parts: Vec<_> = all["items"].as_array().unwrap().iter().filter(is_asked).map(one).collect();
    let file = bed.kubeconfig.with_extension("parts.json");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": parts});
    std::fs::write(&file, list.to_string()).unwrap();
    // kubectl would miss what whole objects must have: it is there.
    let by = ["--validate=false", "--field-manager=cert-manager-cainjector"];
    let apply = ["apply", "--server-side", "-f", file.to_str().unwrap()];
    kubectl.said(&[&apply[..], &by].concat()).await;
}

#[tokio::test]
async fn what_cert_manager_makes_is_held_to_whom_it_has_callers_trust() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    cert_manager::is_served(&bed, &kubectl).await;
    let overlay = cert_manager::overlay("../community");
    let apply = ["apply", "--server-side", "--force-conflicts", "-k"];
    kubectl.said(&[&apply[..], &[overlay.path().to_str().unwrap()]].concat()).await;
    let ours = book();
    is_mounted(&bed, &kubectl, &ours).await;
    is_injected(&bed, &kubectl, &ours).await;

    let asker = bed.kubeconfig_for("doctor", Some("system:masters")).unwrap();
    let (_, found) = asked(&asker, &[]).await;
    for id in [
        "certificates.bundles",
        "certificates.served",
        "definitions.conversion",
        "definitions.owner",
        "webhooks.foreign",
        "webhooks.ours",
    ] {
        assert_eq!(found[id]["state"], "ok", "{:#}", found[id]);
    }
    nothing_is_in_the_way(&bed, "an installation with cert-manager").await;

    // Its authority begins anew, and nobody has told callers.
    is_mounted(&bed, &kubectl, &book()).await;
    let (code, found) = asked(&asker, &[]).await;
    let told = &found["certificates.bundles"];
    assert_eq!((code, &told["state"]), (1, &json!("failed")), "{told:#}");
    bed.stop().await.unwrap();
}
