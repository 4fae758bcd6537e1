//! Values about certificates.

use schemars::JsonSchema;
use serde::Serialize;

use super::Raw;

/// The certificate that the API server is served with.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificates {
    /// own: an authority of the operator's, rotated by itself. cert-manager: an authority and a certificate of it, whose bundle it
    /// injects. service-ca: the same by OpenShift's own. secret: a Secret that is there, whose bundle is `caBundle`.
    pub source: Source,
    /// Name of the Secret with tls.crt and tls.key; not with own.
    pub secret_name: String,
    /// With secret: the authority, as base64 of PEM, written to webhooks and definitions.
    pub ca_bundle: String,
    /// With cert-manager: who signs, and lays a ca.crt beside what it signed; empty: an authority that the chart makes.
    pub issuer_ref: Raw,
}

/// Where certificates come from.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    Own,
    CertManager,
    ServiceCa,
    Secret,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            source: Source::Own,
            secret_name: "gastown-operator-webhook-server-cert".into(),
            ca_bundle: String::new(),
            issuer_ref: Raw::new(),
        }
    }
}
