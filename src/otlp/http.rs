//! A client for what speaks HTTP and is no API server: its cryptography is that of [`tls::crypto`].

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore};

use super::proxy::{Proxies, Way};
use crate::tls::{self, Files};

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
    /// Trusts and shows what [`trusting`] says; sends the token in the file, read anew each time; goes through a proxy where one
    /// is named.
    pub fn new(
        config: ClientConfig,
        token: Option<PathBuf>,
        most: usize,
        proxies: Proxies,
    ) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(way(proxies));
        Self { client: Client::builder(TokioExecutor::new()).build(connector), token, most }
    }

    /// Sends, and takes the whole answer.
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> anyhow::Result<http::Response<Bytes>> {
        let mut request = request.map(Full::new);
        if let Some(bearer) = bearer(self.token.as_deref())? {
            request.headers_mut().insert(http::header::AUTHORIZATION, bearer);
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

/// Trusts the authority in this file, or else those of the system; shows the certificate in the others to who asks for one.
pub fn trusting(authority: Option<&Path>, own: Option<&Files>) -> anyhow::Result<ClientConfig> {
    let roots = if let Some(path) = authority {
        tls::check::authorities(path)?
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    };
    let own = own.map(Files::read).transpose()?;
    tls::crypto::client_that_shows(roots, own)
}

/// The token is read anew each time: it may be a projected one, which changes.
///
/// # Errors
///
/// The file can't be read, or holds no token; nothing is asked without one then, since the answer would name no file.
pub(super) fn bearer(file: Option<&Path>) -> anyhow::Result<Option<HeaderValue>> {
    let Some(file) = file else { return Ok(None) };
    let of = || format!("the file of the bearer token, {}", file.display());
    let token = std::fs::read_to_string(file).with_context(of)?;
    anyhow::ensure!(!token.trim().is_empty(), "{} is empty", of());
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
        .with_context(|| format!("{} holds no token", of()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, routing::post};
    use axum_server::tls_rustls::RustlsConfig;

    use super::*;
    use crate::{
        domain::certificates::Book,
        tls::{check::Presented, crypto::Callers, mint::ForNames},
    };

    /// One that talks to nobody but the holder of this certificate, its address, and its authority.
    async fn asking(only: &rcgen::Certificate) -> (String, String) {
        let names = vec!["127.0.0.1".into()];
        let now = crate::cluster::certificates::seconds();
        let book = Book::new(&ForNames { names, leaf_life: None }, 1, now).unwrap();
        let read = Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes()).unwrap();
        let mut authorities = RootCertStore::empty();
        authorities.add(only.der().clone()).unwrap();
        let callers = Some(Callers { authorities: Arc::new(authorities), required: true });
        let manner = tls::Manner { callers, ..tls::Manner::default() };
        let config = manner.apply(&tls::server(read).unwrap(), None).unwrap();
        let handle = axum_server::Handle::new();
        let routes = Router::new().route("/v1/traces", post(async || "taken"));
        let config = RustlsConfig::from_config(Arc::new(config));
        let listening = axum_server::bind_rustls("127.0.0.1:0".parse().unwrap(), config);
        tokio::spawn(listening.handle(handle.clone()).serve(routes.into_make_service()));
        let address: std::net::SocketAddr = handle.listening().await.unwrap();
        (format!("https://{address}/v1/traces"), book.bundle())
    }

    #[test]
    fn a_token_that_cannot_be_read_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let said = || bearer(Some(&file)).map_err(|it| format!("{it:#}"));
        let named = |it: &str| it.contains(&file.display().to_string());
        assert!(said().is_err_and(|it| named(&it) && it.contains("No such file")));
        for (text, want) in [(" \n", "is empty"), ("open\nsesame", "holds no token")] {
            std::fs::write(&file, text).unwrap();
            let why = said().unwrap_err();
            assert!(named(&why) && why.contains(want) && !why.contains("sesame"), "{why}");
        }
        std::fs::write(&file, "open-sesame\n").unwrap();
        let value = said().unwrap().unwrap();
        assert!(value == "Bearer open-sesame" && value.is_sensitive());
        assert!(bearer(None).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_collector_that_asks_for_a_certificate_is_shown_one() {
        let _ = tls::install_provider();
        let own = rcgen::generate_simple_self_signed(vec!["operator".into()]).unwrap();
        let (url, bundle) = asking(&own.cert).await;
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let authority = file("ca.crt", bundle);
        let shown = Files {
            certificate: file("tls.crt", own.cert.pem()),
            key: file("tls.key", own.signing_key.serialize_pem()),
        };
        let post = async |own: Option<&Files>| {
            let config = trusting(Some(&authority), own).unwrap();
            let http = Http::new(config, None, 1 << 10, Proxies::default());
            http.send(http::Request::post(&url).body(Bytes::new()).unwrap()).await
        };
        assert_eq!(post(Some(&shown)).await.unwrap().body(), "taken");
        assert!(post(None).await.is_err(), "a stranger is turned away");
        let half = Files { key: folder.path().join("none"), ..shown };
        let why = format!("{:#}", trusting(Some(&authority), Some(&half)).unwrap_err());
        assert!(why.contains("none can't be read"), "{why}");
    }
}
