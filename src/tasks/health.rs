//! Plain endpoints: is the process alive, may it be asked, what has it counted. Readiness never depends on a cache or
//! a Lease: a replica without work still answers webhooks.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::gauge::ConstGauge,
    registry::Registry,
};
use tokio::{net::TcpListener, sync::watch};

/// Serves /livez, /healthz and /readyz until `stop`.
pub async fn serve(
    address: SocketAddr,
    ready: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let readiness = |State(ready): State<watch::Receiver<bool>>| async move {
        if *ready.borrow() {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    };
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .with_state(ready);
    listen(address, routes, stop).await
}

/// Serves /metrics until `stop`.
pub async fn metrics(
    address: SocketAddr,
    mut registry: Registry,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    registry.register_collector(Box::new(Process));
    let scrape = |State(registry): State<Arc<Registry>>| async move {
        let mut text = String::new();
        match encode(&mut text, &registry) {
            Ok(()) => {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                ([(header::CONTENT_TYPE, kind)], text).into_response()
            }
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    };
    let routes = Router::new().route("/metrics", get(scrape)).with_state(Arc::new(registry));
    tracing::info!(%address, "Serving metrics server");
    listen(address, routes, stop).await
}

async fn listen(
    address: SocketAddr,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!("can't listen on {address}: {error}; is the port taken?")
    })?;
    let stopped = async move { drop(stop.wait_for(|it| *it).await) };
    Ok(axum::serve(listener, routes).with_graceful_shutdown(stopped).await?)
}

/// What the kernel says of this process.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let kib = std::fs::read_to_string("/proc/self/status").ok().and_then(|text| {
            let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
            line.split_whitespace().next()?.parse::<i64>().ok()
        });
        if let Some(kib) = kib {
            let gauge = ConstGauge::new(kib * 1024);
            let help = "Resident memory";
            let metric = encoder.encode_descriptor(
                "process_resident_memory_bytes",
                help,
                None,
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
