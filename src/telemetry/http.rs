//! A client for what speaks HTTP and is no API server: its cryptography is that of [`tls::crypto`].

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};

use super::proxy::{Proxies, Way};
use crate::tls;

const CONNECT: Duration = Duration::from_secs(5);

/// What is sent and answered.
pub struct Http {
    client: Client<HttpsConnector<Way>, Full<Bytes>>,
    token: Option<PathBuf>,
    /// Bytes that an answer may have.
    most: usize,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// Trusts the authority in this file, or else those of the system; sends the token in the other, read anew each time; goes
    /// through a proxy where one is named.
    pub fn new(
        authority: Option<&Path>,
        token: Option<PathBuf>,
        most: usize,
        proxies: Proxies,
    ) -> anyhow::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trusting(authority)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(way(proxies));
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), token, most })
    }

    /// Sends, and takes the whole answer.
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> anyhow::Result<http::Response<Bytes>> {
        let mut request = request.map(Full::new);
        if let Some(bearer) = bearer(self.token.as_deref()) {
            request.headers_mut().insert(http::header::AUTHORIZATION, bearer.parse()?);
        }
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, self.most).collect().await;
        let body = body.map_err(|it| anyhow::anyhow!("the answer broke off: {it}"))?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }
}

/// Plain connections.
pub(super) fn way(proxies: Proxies) -> Way {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    Way::new(tcp, proxies)
}

/// Trusts the authority in this file, or else those of the system.
pub(super) fn trusting(authority: Option<&Path>) -> anyhow::Result<ClientConfig> {
    if let Some(path) = authority {
        return tls::crypto::client(tls::check::authorities(path)?);
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    tls::crypto::client(roots)
}

/// The token is read anew each time: it may be a projected one, which changes.
pub(super) fn bearer(file: Option<&Path>) -> Option<String> {
    let token = std::fs::read_to_string(file?).ok()?;
    Some(format!("Bearer {}", token.trim()))
}
