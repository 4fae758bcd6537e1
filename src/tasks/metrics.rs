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
}

impl Default for Faces {
    fn default() -> Self {
        Self { live: Live::new(None), followers: Followers::new(None) }
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
            let own = Live::new(None);
            let certificate = if let Some(files) = files {
                files.load().context("--metrics-cert-path")?;
                let live = own.clone();
                let clock = tls::Clock { now: seconds, look: tls::LOOK };
                let serve = async move { files.serve(live, (&[], clock), |_| {}).await };
                servers.spawn(until(stop.clone(), serve));
                own.subscribe()
            } else if config.serves_webhooks() {
                faces.live.subscribe()
            } else {
                servers.spawn(until(
                    stop.clone(),
                    of_this_process(config.own_namespace(), own.clone()),
                ));
                own.subscribe()
            };
            let manner = tls::Manner { http2: config.webhooks.enable_http2, callers: None };
            let provider = faces.followers.subscribe();
            // The webhooks' server tells of the cluster's profile.
            let (alerts, stand) = (Alerts::default(), Stand::default());
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
}
