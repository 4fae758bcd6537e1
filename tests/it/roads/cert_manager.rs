//! Certificates by cert-manager: the chart's and kustomize's are the same.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use gastown::{
    kinds::KINDS,
    manifests::{METRICS_SERVICE, NAMESPACE, chart::FOLDER},
};
use gastown_testbed::{
    Testbed,
    tools::{Tool, on_path},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    CHART, ENTERPRISE, Objects, by_name, changes::applied, drift, flags_beside, objects, run, said,
    tool,
};
use crate::{asking::comes_true, generated::top, kubectl::Kubectl, preconditions::skip};

/// The component.
const COMPONENT: &str = "../cert-manager";

/// An overlay of what is named with the component.
pub(super) fn overlay(resources: &str) -> TempDir {
    overlay_with(COMPONENT, resources)
}

/// An overlay of what is named with a component; kustomize takes nothing from above the folder that it is given, but what that names.
fn overlay_with(component: &str, resources: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix(".overlay.").tempdir_in(top().join("deploy"));
    let folder = folder.unwrap();
    let text = format!("resources: [{resources}]\ncomponents: [{component}]\n");
    fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    folder
}

/// The kinds of cert-manager, which nobody acts upon here.
pub(super) async fn is_served(bed: &Testbed, kubectl: &Kubectl) {
    let definition = |kind: &str| {
        let one = kind.to_lowercase();
        let plural = format!("{one}s");
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.cert-manager.io")},
            "spec": {
                "group": "cert-manager.io", "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": one},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            },
        })
    };
    let definitions = ["Issuer", "Certificate"].map(definition);
    applied(bed, kubectl, "cert-manager", definitions.into()).await;
    let list = ["get", "issuers.cert-manager.io,certificates.cert-manager.io", "--all-namespaces"];
    comes_true("its kinds to be served", async || kubectl.run(&list).await.status.success()).await;
}

const INJECTED: &str = "cert-manager.io/inject-ca-from";
/// The same of OpenShift's service-ca.
const BY_SERVICE_CA: &str = "service.beta.openshift.io/inject-cabundle";

/// What the component asks it for, and the Secrets that it makes of that, beside one of somebody's own.
pub async fn is_asked(bed: &Testbed, kubectl: &Kubectl) {
    is_served(bed, kubectl).await;
    kubectl.said(&["apply", "-f", "deploy/cert-manager"]).await;
    for secret in ["gastown-operator-ca", "gastown-operator-webhook-server-cert", "mine"] {
        kubectl.said(&["-n", NAMESPACE, "create", "secret", "generic", secret]).await;
    }
    let served = format!("{INJECTED}={NAMESPACE}/gastown-operator-webhook");
    kubectl.said(&["annotate", "crd", "polecats.gastown.gastown.io", &served]).await;
    let injected = format!("{BY_SERVICE_CA}=true");
    kubectl.said(&["annotate", "crd", "rigs.gastown.gastown.io", &injected]).await;
}

/// After `make undeploy`, in a namespace that stays.
pub async fn is_asked_no_more(kubectl: &Kubectl) {
    let left = ["-n", NAMESPACE, "get", "issuers,certificates,secrets", "-o", "name"];
    assert_eq!(kubectl.said(&left).await.trim(), "secret/mine", "nobody renews what nobody serves");
    let told = kubectl.said(&["get", "crds", "-o", "json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let all = told["items"].as_array().unwrap().iter();
    let said =
        |it: &Value| [INJECTED, BY_SERVICE_CA].map(|by| it["metadata"]["annotations"][by].clone());
    let said: Vec<_> = all.flat_map(said).filter(|it| !it.is_null()).collect();
    assert!(said.is_empty(), "{told:#}");
}

/// What kustomize makes of resources with a component.
pub(super) fn with_component(kubectl: &Path, component: &str, resources: &str) -> Objects {
    let folder = overlay_with(component, resources);
    objects(&said(&run(kubectl, &["kustomize", folder.path().to_str().unwrap()])))
}

#[test]
fn the_chart_has_cert_manager_make_what_the_component_does() {
    const TEST: &str = "the_chart_has_cert_manager_make_what_the_component_does";
    let (Some(kubectl), Some(helm)) = (tool(TEST, Tool::Kubectl), tool(TEST, Tool::Helm)) else {
        return;
    };
    let chart = |values: &str| {
        let chart = ["template", "gastown-operator", FOLDER, "-n", NAMESPACE];
        let asked = ["--set", "certificates.source=cert-manager", "--set", values];
        by_name(objects(&said(&run(&helm, &[&chart[..], &asked].concat()))))
    };
    for edition in ["community", "enterprise"] {
        let road = by_name(with_component(&kubectl, COMPONENT, &format!("../{edition}")));
        let (strays, _) = drift(&road, &chart(&format!("edition={edition}")), &CHART);
        assert!(strays.is_empty(), "{edition}:\n{}", strays.join("\n"));
        let served = format!("{NAMESPACE}/gastown-operator-webhook");
        let told = road.values().filter(|it| it["metadata"]["annotations"][INJECTED] == *served);
        assert_eq!(told.count(), KINDS.len() + 4, "definitions and webhooks");
        let of = |kind: &str| road.keys().filter(|it| it.starts_with(&format!("{kind}/"))).count();
        assert_eq!((of("Issuer"), of("Certificate")), (2, 2));
    }
    let road = by_name(with_component(&kubectl, COMPONENT, "../community, ../monitoring"));
    let monitors = "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true";
    let (strays, _) = drift(&road, &chart(monitors), &CHART);
    assert!(strays.is_empty(), "with monitors:\n{}", strays.join("\n"));
    let monitor = &road[&format!("ServiceMonitor/{METRICS_SERVICE}")];
    let trusted = &monitor["spec"]["endpoints"][0]["tlsConfig"]["ca"]["secret"]["name"];
    let made = &road["Certificate/gastown-operator-webhook"]["spec"]["secretName"];
    assert!(trusted.is_string() && trusted == made, "{trusted} is trusted, {made} is served");
}

/// The component changes where certificates come from, and takes no edition's own flags away.
#[test]
fn an_edition_keeps_its_flags_with_certificates_by_cert_manager() {
    const TEST: &str = "an_edition_keeps_its_flags_with_certificates_by_cert_manager";
    let Some(kubectl) = tool(TEST, Tool::Kubectl) else { return };
    let [community, enterprise] =
        ["../community", "../enterprise"].map(|it| with_component(&kubectl, COMPONENT, it));
    assert_eq!(flags_beside(&community, &enterprise), ENTERPRISE);
}

/// Runs openssl in a folder; whether it went well.
fn openssl(folder: &Path, arguments: &str) -> bool {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null());
    command.output().unwrap().status.success()
}

/// What `rotationPolicy: Never` of the authority is for: whichever of the two a caller trusts, and whichever signed.
#[test]
fn an_authority_that_keeps_its_key_is_renewed_without_a_refused_call() {
    const TEST: &str = "an_authority_that_keeps_its_key_is_renewed_without_a_refused_call";
    if on_path("openssl").is_none() {
        return skip(TEST, "openssl", "no openssl");
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| assert!(openssl(folder.path(), arguments), "openssl {arguments}");
    let own = "-subj /CN=gastown-operator-ca -days 2";
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout";
    run(&format!("req -x509 {new_key} kept.key -out before.crt {own}"));
    run(&format!("req -x509 -key kept.key -out renewed.crt {own}"));
    run(&format!("req -x509 {new_key} other.key -out rekeyed.crt {own}"));
    run(&format!("req {new_key} leaf.key -out leaf.csr -subj /CN=hooks"));
    for (authority, key) in [("before", "kept"), ("renewed", "kept"), ("rekeyed", "other")] {
        let by = format!("-CA {authority}.crt -CAkey {key}.key -set_serial 7 -days 1");
        run(&format!("x509 -req -in leaf.csr {by} -out by-{authority}.crt"));
    }
    for (trusted, signed, accepted, because) in [
        ("renewed", "before", true, "a replica has not read its new files"),
        ("before", "renewed", true, "an API server has not heard of the new bundle"),
        ("rekeyed", "before", false, "with another key, calls fail meanwhile"),
        ("before", "rekeyed", false, "in both directions"),
    ] {
        let verified =
            openssl(folder.path(), &format!("verify -CAfile {trusted}.crt by-{signed}.crt"));
        assert_eq!(verified, accepted, "{because}");
    }
}
