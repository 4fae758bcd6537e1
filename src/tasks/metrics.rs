//! /metrics: plain on loopback; else over HTTPS, for those whom the API server knows by their token and lets read it.

mod format;
mod gate;
mod process;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use axum_server::Handle;
use prometheus_client::{encoding::text::encode, registry::Registry};
use rustls::ServerConfig;
use tokio::{sync::watch, task::JoinSet};
use tower_http::catch_panic::CatchPanicLayer;

use self::gate::Gate;
use super::{
    alerts::Alerts,
    certificates::Live,
    health,
    tls_profile::Followers,
    webhooks::{self, Asking, Stand, Takes},
};
use crate::{
    cluster::{
        certificates::seconds,
        degraded::Degraded,
        meters::{Crypto, Meters},
    },
    config::{Config, Serving},
    domain::certificates::Book,
    manifests,
    tls::{self, check::Presented, mint::ForNames},
};

/// Where it is.
pub const PATH: &str = "/metrics";
/// Requests under way may take this long after the stop.
const DRAIN: Duration = Duration::from_secs(2);

/// What our servers present, and by which provider: the webhooks', which others may present as well.
#[derive(Debug)]
pub struct Faces {
    pub live: Live,
    pub followers: Followers,
    /// Who hears where what the cluster asks of TLS can't be met.
    told: (Meters, Degraded),
}

impl Faces {
    pub fn new(meters: &Meters, degraded: &Degraded) -> Self {
        let (live, followers) = (Live::new(None), Followers::new(None));
        Self { live, followers, told: (meters.clone(), degraded.clone()) }
    }
}

/// Says by which cryptography all is served.
pub fn count_crypto(meters: &Meters) -> anyhow::Result<()> {
    let report = tls::report::Report::of_this_process()?;
    let word = |it| if it { "true" } else { "false" };
    let crypto = Crypto {
        module: report.module,
        version: report.version,
        fips_mode: word(report.fips_mode),
        kernel_fips: word(report.kernel_fips),
    };
    meters.crypto.get_or_create(&crypto).set(1);
    Ok(())
}

/// Serves until `stop`, as the settings say.
pub fn start(
    config: &Config,
    registry: Arc<Registry>,
    (faces, asking): (&Faces, Asking),
    servers: &mut JoinSet<anyhow::Result<()>>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let routes = routes(registry);
    match config.metrics.serving().map_err(anyhow::Error::msg)? {
        Serving::Not => {}
        Serving::Plain(address) => {
            tracing::info!(%address, "Serving metrics server");
            servers.spawn(health::listen(address, routes, stop));
        }
        Serving::Secure(address, files) => {
            let (certificate, stand) = presented(config, files, faces, (&mut *servers, &stop))?;
            let manner = tls::Manner { http2: config.webhooks.enable_http2, callers: None };
            let manner = watch::Sender::new(manner).subscribe();
            let (provider, alerts) = (faces.followers.subscribe(), Alerts::default());
            let takes = Takes { certificate, provider, manner, alerts, stand };
            let gate = Arc::new(Gate::new(asking));
            let routes = routes
                .layer(middleware::from_fn_with_state(gate, gate::pass))
                .layer(CatchPanicLayer::new());
            servers.spawn(serve(address, takes, routes, stop));
        }
    }
    Ok(())
}

/// What is presented, kept up until `stop`, and who tells of the cluster's profile: where it is what the webhooks present, their
/// server does. A certificate of the metrics' own may go with other settings than that one, or with none that is asked for.
fn presented(
    config: &Config,
    files: Option<tls::Files>,
    faces: &Faces,
    (servers, stop): (&mut JoinSet<anyhow::Result<()>>, &watch::Receiver<bool>),
) -> anyhow::Result<(watch::Receiver<Option<Arc<ServerConfig>>>, Stand)> {
    if files.is_none() && config.serves_webhooks() {
        return Ok((faces.live.subscribe(), Stand::default()));
    }
    let own = Live::new(None);
    let (certificate, stand) = (own.subscribe(), Stand::of_metrics(&faces.told.0, &faces.told.1));
    if let Some(files) = files {
        files.load().context("--metrics-cert-path")?;
        let clock = tls::Clock { now: seconds, look: tls::LOOK };
        let serve = async move { files.serve(own, (&[], clock), |_| {}).await };
        servers.spawn(until(stop.clone(), serve));
    } else {
        servers.spawn(until(stop.clone(), of_this_process(config.own_namespace(), own)));
    }
    Ok((certificate, stand))
}

/// Something that goes on until the stop.
async fn until(
    mut stop: watch::Receiver<bool>,
    task: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::select! {
        () = task => anyhow::bail!("nobody keeps the certificate of the metrics any more"),
        _ = stop.wait_for(|it| *it) => Ok(()),
    }
}

async fn serve(
    address: SocketAddr,
    takes: Takes,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let handle = Handle::new();
    let mut serving = std::pin::pin!(webhooks::listen(address, takes, handle.clone(), routes));
    let bound = handle.clone();
    let told = async move {
        if bound.listening().await.is_some() {
            tracing::info!(%address, "Serving metrics server");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|it| *it) => {}
        ended = &mut serving => return ended.with_context(|| format!("metrics on {address}")),
        () = told => {}
    }
    handle.graceful_shutdown(Some(DRAIN));
    // It may never have had a certificate, and then it does not listen to the handle.
    let _ = tokio::time::timeout(DRAIN * 2, serving).await;
    Ok(())
}

/// A certificate that nobody but this process signed, for one that serves no webhooks and so keeps no authority.
async fn of_this_process(namespace: String, live: Live) {
    let service = format!("{}.{namespace}.svc", manifests::METRICS_SERVICE);
    let mint = ForNames { names: vec![service], leaf_life: None };
    loop {
        let now = seconds();
        let made = Book::new(&mint, 1, now).and_then(|book| {
            let read = Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes())?;
            Ok((tls::server(read)?, book.leaf.life.renewal() - now))
        });
        let pause = match made {
            Ok((config, left)) => {
                live.send_replace(Some(Arc::new(config)));
                left.max(1).unsigned_abs()
            }
            Err(error) => {
                let why = format!("{error:#}");
                tracing::error!(why, "Failed to make a certificate for the metrics");
                60
            }
        };
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
}

/// Everything that is told: what is registered, and what the kernel says of this process.
pub fn whole(mut registry: Registry) -> Arc<Registry> {
    registry.register_collector(Box::new(process::Process));
    Arc::new(registry)
}

/// In the format of `OpenMetrics`.
pub fn text(registry: &Registry) -> Option<String> {
    let mut text = String::new();
    encode(&mut text, registry).ok().map(|()| text)
}

/// The one route.
fn routes(registry: Arc<Registry>) -> Router {
    Router::new().route(PATH, get(scrape)).with_state(registry)
}

async fn scrape(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let format = format::Format::wanted(accept.unwrap_or_default());
    match text(&registry) {
        Some(text) => ([(header::CONTENT_TYPE, format.name())], format.write(text)).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{degraded::Matter, meters::NOTHING_FOR_METRICS};

    #[tokio::test]
    async fn a_process_without_webhooks_has_a_certificate_of_its_own() {
        let _ = tls::install_provider();
        let live = Live::new(None);
        let task = tokio::spawn(of_this_process("town".into(), live.clone()));
        let mut told = live.subscribe();
        let made = tokio::time::timeout(Duration::from_secs(30), told.wait_for(Option::is_some));
        assert!(made.await.is_ok_and(|it| it.is_ok()), "nothing is served");
        task.abort();
    }

    /// Whether it is told that a cluster's profile, of suites for ECDSA keys alone, can't be met by what is presented with these
    /// flags, once that is served.
    async fn is_told(flags: &[&str]) -> bool {
        use clap::Parser as _;
        let own = ["x", "--metrics-bind-address=127.0.0.1:0", "--metrics-secure"];
        let config = Config::try_parse_from(own.iter().chain(flags)).unwrap();
        let Ok(Serving::Secure(address, files)) = config.metrics.serving() else { panic!("HTTPS") };
        let (meters, degraded) = (Meters::default(), Degraded::default());
        let faces = Faces::new(&meters, &degraded);
        let wanted = tls::crypto::Wanted {
            profile: tls::crypto::Profile::Custom,
            suites: vec!["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384".into()],
            groups: Vec::new(),
        };
        faces.followers.send_replace(Some(Arc::new(wanted.intersection())));
        let (_stop, stopped) = watch::channel(false);
        let (mut servers, handle) = (JoinSet::new(), Handle::new());
        let (certificate, stand) =
            presented(&config, files, &faces, (&mut servers, &stopped)).unwrap();
        let (provider, alerts) = (faces.followers.subscribe(), Alerts::default());
        let manner = watch::Sender::new(tls::Manner::default()).subscribe();
        let takes = Takes { certificate, provider, manner, alerts, stand };
        servers.spawn(webhooks::listen(address, takes, handle.clone(), Router::new()));
        handle.listening().await.expect("it is served all the same");
        let told = degraded.news().borrow().clone();
        let flaw = meters.tls_profile_flaws.get_or_create(&NOTHING_FOR_METRICS).get();
        assert_eq!(flaw, i64::from(!told.is_empty()));
        assert!(!told.contains_key(&Matter::TlsProfile), "that of the webhooks is another matter");
        told.contains_key(&Matter::MetricsTls)
    }

    #[tokio::test]
    async fn a_certificate_of_the_metrics_own_that_the_clusters_profile_does_not_go_with_is_told() {
        let _ = tls::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let lay = |algorithm| {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let made = rcgen::CertificateParams::new(vec!["a".into()]).unwrap().self_signed(&key);
            std::fs::write(folder.path().join("tls.crt"), made.unwrap().pem()).unwrap();
            std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
        };
        let path = format!("--metrics-cert-path={}", folder.path().display());
        lay(&rcgen::PKCS_RSA_SHA256);
        assert!(is_told(&[&path]).await, "service-ca's are RSA");
        assert!(is_told(&[&path, "--disable-webhooks"]).await, "nor does anybody else tell");
        lay(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert!(!is_told(&[&path]).await, "it goes with that");
        assert!(!is_told(&["--disable-webhooks"]).await, "so does the process's own");
    }
}
