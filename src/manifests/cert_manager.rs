//! Certificates by cert-manager, as a component for kustomize; the chart has the same by hand (`templates/certificate.yaml`), and
//! `tests/it/roads.rs` holds one against the other.
//!
//! # Why an authority stands between
//! Callers are told to trust the `ca.crt` of the Secret that is served from (`inject-ca-from`). Were the certificate its own
//! authority, each renewal would change both at once, and calls would fail until every replica has read its files again. So an
//! authority signs, which outlives many certificates; and it keeps its key when it is renewed, so that what was signed before is
//! accepted under the new bundle, and what is signed after it under the old one.

use serde_json::{Value, json};

use super::{
    METRICS_SERVICE, MUTATING, NAMESPACE, PODS_MUTATING, PODS_VALIDATING, VALIDATING,
    WEBHOOK_SERVICE, kustomize,
    operator::{self, CONTAINER, DEPLOYMENT, Edition, Shape},
};
use crate::kinds::KINDS;

/// The component's folder.
pub const FOLDER: &str = "deploy/cert-manager";
/// The Certificate that is served, which bundles are injected from.
const SERVED: &str = "gastown-operator-webhook";
/// The Secret with what is served.
pub(super) const SECRET: &str = "gastown-operator-webhook-server-cert";
/// The authority: its Certificate, its Secret, and the Issuer that signs by it.
const AUTHORITY: &str = "gastown-operator-ca";
/// Who signs the authority itself.
const SELF_SIGNED: &str = "gastown-operator-selfsigned";
/// Where the operator looks for files.
const FILES: &str = "/tmp/k8s-webhook-server/serving-certs";

/// Who signs: itself, and by that the authority.
pub fn issuers() -> [Value; 2] {
    let issuer = |name: &str, spec: Value| {
        json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Issuer",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
        })
    };
    [
        issuer(SELF_SIGNED, json!({"selfSigned": {}})),
        issuer(AUTHORITY, json!({"ca": {"secretName": AUTHORITY}})),
    ]
}

/// The authority, of five years, renewed a year before its end; and what is served, of 90 days, renewed 30 days before. So no
/// certificate outlives the authority in the bundle that is beside it.
pub fn certificates() -> [Value; 2] {
    let certificate = |name: &str, spec: Value| {
        json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
        })
    };
    let service = format!("{WEBHOOK_SERVICE}.{NAMESPACE}.svc");
    [
        certificate(
            AUTHORITY,
            json!({
                "isCA": true,
                "commonName": AUTHORITY,
                "secretName": AUTHORITY,
                "duration": "43800h",
                "renewBefore": "8760h",
                "usages": ["cert sign", "crl sign"],
                "privateKey": {"algorithm": "ECDSA", "size": 384, "rotationPolicy": "Never"},
                "issuerRef": {"kind": "Issuer", "name": SELF_SIGNED},
            }),
        ),
        certificate(
            SERVED,
            json!({
                "secretName": SECRET,
                "dnsNames": [service, format!("{service}.cluster.local")],
                "duration": "2160h",
                "renewBefore": "720h",
                "usages": ["digital signature", "server auth"],
                "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
                "issuerRef": {"kind": "Issuer", "name": AUTHORITY},
            }),
        ),
    ]
}

/// The component: these, and what they change of an installation. Bundles are injected, and the operator serves what is mounted.
pub fn component() -> Value {
    let injected = json!({"cert-manager.io/inject-ca-from": format!("{NAMESPACE}/{SERVED}")});
    let mut patches = told(&injected);
    patches.extend(files());
    patches.push(trusting(&json!({"secret": {"key": "ca.crt", "name": SECRET}})));
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "resources": ["issuers.yaml", "certificates.yaml"],
        "patches": patches,
    })
}

/// Patches that annotate whoever is told whom to trust.
pub(super) fn told(annotations: &Value) -> Vec<Value> {
    let patch = |api: &str, kind: &str, name: &str| {
        let patch = json!({
            "apiVersion": api, "kind": kind,
            "metadata": {"name": name, "annotations": annotations},
        });
        json!({"patch": patch.to_string()})
    };
    let webhooks = [
        ("MutatingWebhookConfiguration", MUTATING),
        ("MutatingWebhookConfiguration", PODS_MUTATING),
        ("ValidatingWebhookConfiguration", VALIDATING),
        ("ValidatingWebhookConfiguration", PODS_VALIDATING),
    ];
    let webhooks =
        webhooks.map(|(kind, name)| patch("admissionregistration.k8s.io/v1", kind, name));
    let definitions = KINDS.iter().map(|it| {
        let name = format!("{}.{}", it.plural, it.group);
        patch("apiextensions.k8s.io/v1", "CustomResourceDefinition", &name)
    });
    definitions.chain(webhooks).collect()
}

/// Patches by which the operator serves what is in the Secret.
pub(super) fn files() -> [Value; 2] {
    [json!({"patch": mounted().to_string()}), kustomize::of_deployment(&served())]
}

/// A monitor that trusts who signed what is served. What names a target is left undone where that is no part of an installation.
pub(super) fn trusting(whom: &Value) -> Value {
    let at = "/spec/endpoints/0/tlsConfig/ca";
    let patch = json!([{"op": "replace", "path": at, "value": whom}]);
    json!({"patch": patch.to_string(), "target": {"kind": "ServiceMonitor", "name": METRICS_SERVICE}})
}

/// The Deployment with the files.
fn mounted() -> Value {
    let container = json!({
        "name": CONTAINER,
        "volumeMounts": [{"name": "certificates", "mountPath": FILES, "readOnly": true}],
    });
    let volume = json!({"name": "certificates", "secret": {"secretName": SECRET}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE},
        "spec": {"template": {"spec": {"containers": [container], "volumes": [volume]}}},
    })
}

/// The one argument that says to serve them, in the place of an authority of the operator's own. The others stay: an edition has some
/// of its own. Where somebody has put another one into that place, kustomize says so.
fn served() -> Value {
    let shape = Shape::of(Edition::Community);
    let own = operator::cert_source(shape.certificates);
    let whole = operator::deployment(shape);
    let all = whole.pointer(kustomize::ARGUMENTS).and_then(Value::as_array);
    let place = all.and_then(|all| all.iter().position(|it| *it == *own)).unwrap_or_default();
    let path = format!("{}/{place}", kustomize::ARGUMENTS);
    json!([
        {"op": "test", "path": path, "value": own},
        {"op": "replace", "path": path, "value": operator::cert_source("files")},
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours of `4h`.
    fn hours(value: &Value) -> u64 {
        value.as_str().unwrap().strip_suffix('h').unwrap().parse().unwrap()
    }

    #[test]
    fn no_renewal_leaves_callers_without_the_authority_of_what_is_served() {
        let [authority, served] = certificates().map(|mut it| it["spec"].take());
        assert_eq!(authority["isCA"], true);
        assert_eq!(authority["privateKey"]["rotationPolicy"], "Never", "the old one verifies on");
        assert!(served.get("isCA").is_none(), "a renewal of it changes no bundle");
        let [itself, by] = issuers();
        assert_eq!(authority["issuerRef"]["name"], itself["metadata"]["name"]);
        assert_eq!(served["issuerRef"]["name"], by["metadata"]["name"]);
        assert_eq!(by["spec"]["ca"]["secretName"], authority["secretName"]);
        // Beside what is served lies the authority of the day it was signed; the next is made a year before that ends.
        assert!(hours(&authority["renewBefore"]) > hours(&served["duration"]));
        for it in [&authority, &served] {
            assert!(hours(&it["renewBefore"]) < hours(&it["duration"]));
            assert_eq!(it["privateKey"]["algorithm"], "ECDSA");
        }
    }
}
