//! Certificates by OpenShift's service-ca, as a component for kustomize; the chart has the same by its values, and
//! `tests/it/roads/service_ca.rs` holds one against the other.
//!
//! There is nothing to make: a Service says by an annotation which Secret its certificate goes into, and whoever is told whom to
//! trust says by another that the bundle is wanted. It is service-ca's own authority that signs, for two years; when that one is
//! changed, what is served has a certificate beside it that leads to the one before, and the bundle has both.

use serde_json::{Value, json};

use super::{
    NAMESPACE, WEBHOOK_SERVICE,
    cert_manager::{self, SECRET},
};

/// The component's folder.
pub const FOLDER: &str = "deploy/service-ca";
/// What a Service says of the Secret that it wants.
const WANTED: &str = "service.beta.openshift.io/serving-cert-secret-name";
/// What those say who want the bundle.
const INJECTED: &str = "service.beta.openshift.io/inject-cabundle";

/// The component: what is changed of an installation. The bundle is injected, and the operator serves what is mounted.
pub fn component() -> Value {
    let mut patches = cert_manager::told(&json!({INJECTED: "true"}));
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": WEBHOOK_SERVICE, "namespace": NAMESPACE, "annotations": {WANTED: SECRET}},
    });
    patches.push(json!({"patch": service.to_string()}));
    patches.extend(cert_manager::files());
    patches.push(cert_manager::trusting(&authority()));
    json!({
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "patches": patches,
    })
}

/// Whom a monitor trusts: no authority is laid into the Secret, but OpenShift has the bundle in every namespace.
fn authority() -> Value {
    json!({"configMap": {"key": "service-ca.crt", "name": "openshift-service-ca.crt"}})
}
