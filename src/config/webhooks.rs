//! Settings of the admission server and of its certificate.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::{ArgAction, Args, ValueEnum};

use crate::tls::{Files, Manner, check, crypto::Callers};

/// Where files are looked for, as by the original.
const FOLDER: &str = "/tmp/k8s-webhook-server/serving-certs";

/// The admission server.
#[derive(Clone, Debug, Args)]
pub struct Webhooks {
    /// Serve no webhooks.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub disable_webhooks: bool,
    /// Address of the admission server.
    #[arg(long, default_value = ":9443", value_name = "ADDRESS")]
    pub webhook_bind_address: String,
    /// Where the server's certificate comes from: `auto` takes files where there are any, else an authority of our own.
    #[arg(long, value_enum, default_value_t, value_name = "SOURCE")]
    pub webhook_cert_source: CertificateSource,
    /// Where the API server reaches this operator instead of the Service, such as `https://192.0.2.7:9443`; only with an
    /// authority of our own, which writes it into the configurations and definitions.
    #[arg(long, value_name = "URL", value_parser = webhook_url)]
    pub webhook_url: Option<String>,
    /// Folder of the server's certificate and key.
    #[arg(long, default_value = FOLDER, value_name = "FOLDER")]
    pub webhook_cert_path: PathBuf,
    /// File of the certificate chain.
    #[arg(long, default_value = "tls.crt", value_name = "FILE")]
    pub webhook_cert_name: String,
    /// File of the key.
    #[arg(long, default_value = "tls.key", value_name = "FILE")]
    pub webhook_cert_key: String,
    /// What becomes of a Polecat that names a Secret, a ConfigMap or a service account which who asks for it may not have:
    /// its pod would hand it over. The Enterprise edition is installed with `enforce`; where it is said twice, the last counts.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub reference_access: ReferenceAccess,
    /// Speak HTTP/2 beside HTTP/1.1, with at most 100 calls at a time on one connection. API servers speak HTTP/1.1.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub enable_http2: bool,
    /// File with the authorities, in PEM, of the certificates that callers are to show; unset: none is asked for. Only where
    /// API servers are configured to show one to webhooks.
    #[arg(long, value_name = "FILE")]
    pub webhook_client_ca: Option<PathBuf>,
    /// What becomes of a caller that shows no certificate; only with --webhook-client-ca.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub webhook_client_certificate: ClientCertificate,
    /// Apply the admission policies, and the webhooks for labelled namespaces, at the start, and again when one is gone: for
    /// installations that bring none, as OLM's. Without webhooks (--disable-webhooks) the policies alone.
    /// Needs the rights that the bundles ask for.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub apply_policies: bool,
    /// Seconds that a certificate of our own is valid, for tests.
    #[arg(long, hide = true, value_parser = clap::value_parser!(i64).range(1..))]
    pub test_leaf_seconds: Option<i64>,
    /// Seconds that an authority is trusted after it has signed last, for tests.
    #[arg(long, hide = true, value_parser = clap::value_parser!(i64).range(1..))]
    pub test_retire_seconds: Option<i64>,
    /// Seconds that a switch to another certificate is watched, for tests.
    #[arg(long, hide = true, value_parser = clap::value_parser!(i64).range(0..))]
    pub test_settle_seconds: Option<i64>,
}

impl Webhooks {
    /// What is asked of the server beside its certificate; an error where the callers' authorities can't be read.
    pub fn manner(&self) -> anyhow::Result<Manner> {
        let read = |path: &PathBuf| -> anyhow::Result<Callers> {
            let authorities = Arc::new(check::authorities(path)?);
            let required = self.webhook_client_certificate == ClientCertificate::Required;
            Ok(Callers { authorities, required })
        };
        let callers = self.webhook_client_ca.as_ref().map(read).transpose();
        let callers = callers.context("--webhook-client-ca")?;
        Ok(Manner { http2: self.enable_http2, callers })
    }

    /// The files of a certificate, where that is asked for or there are any; an error where they can't be served.
    pub fn files(&self) -> anyhow::Result<Option<Files>> {
        let files = Files {
            certificate: self.webhook_cert_path.join(&self.webhook_cert_name),
            key: self.webhook_cert_path.join(&self.webhook_cert_key),
        };
        let asked_for = self.webhook_cert_path != Path::new(FOLDER);
        let from_files = match self.webhook_cert_source {
            CertificateSource::Files => true,
            CertificateSource::Own => false,
            CertificateSource::Auto => asked_for || files.are_there(),
        };
        if self.disable_webhooks || !from_files {
            return Ok(None);
        }
        files.load().context(
            "webhooks need a certificate: put it into --webhook-cert-path, take --webhook-cert-source=own, or start with \
             --disable-webhooks",
        )?;
        Ok(Some(files))
    }
}

/// What becomes of a caller without a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ClientCertificate {
    /// It is turned away.
    #[default]
    Required,
    /// It is answered; who shows another's is turned away.
    Optional,
}

/// Where the server's certificate comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CertificateSource {
    /// Files, where there are any; else our own authority.
    #[default]
    Auto,
    /// Our own authority, kept in a Secret.
    Own,
    /// Files, as OLM, cert-manager and service-ca mount them.
    Files,
}

/// `https://HOST:PORT`, without a path.
fn webhook_url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|_| "it is no URL".to_owned())?;
    let fine = uri.scheme_str() == Some("https") && uri.host().is_some() && uri.path() == "/";
    let text = text.trim_end_matches('/').to_owned();
    if fine { Ok(text) } else { Err("write https://HOST:PORT, without a path".into()) }
}

/// What is done about names that somebody may not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReferenceAccess {
    /// The Polecat is refused, also where nobody could say.
    Enforce,
    /// It is stored, with a warning.
    #[default]
    Warn,
    /// Nobody is asked.
    Off,
}
