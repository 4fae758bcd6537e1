//! Plain endpoints: is the process alive, may it be asked. Readiness never depends on a cache or
//! a Lease: a replica without work still answers webhooks.

use std::net::SocketAddr;

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};

use super::door;
use crate::cluster::{certificates::seconds, meters::Meters, shards::Report};

/// What the endpoints tell of.
#[derive(Clone, Debug)]
pub struct States {
    pub ready: watch::Receiver<bool>,
    pub shards: watch::Receiver<Report>,
    /// When the served certificate ends, in seconds since 1970; 0: there is none.
    pub certificate_until: Gauge,
}

impl States {
    pub fn new(
        ready: &watch::Sender<bool>,
        shards: &watch::Sender<Report>,
        meters: &Meters,
    ) -> Self {
        let certificate_until = meters.certificate_until.clone();
        Self { ready: ready.subscribe(), shards: shards.subscribe(), certificate_until }
    }

    /// Why nobody should call; a caller would not accept a certificate that has ended.
    fn unready(&self, now: i64) -> Option<&'static str> {
        let until = self.certificate_until.get();
        if !*self.ready.borrow() {
            Some("not ready\n")
        } else if until != 0 && until <= now {
            Some("not ready: the certificate of the webhooks has expired\n")
        } else {
            None
        }
    }
}

/// Serves /livez, /healthz, /readyz and /shardz until `stop`.
pub async fn serve(
    address: SocketAddr,
    states: States,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let readiness = |State(states): State<States>| async move {
        match states.unready(seconds()) {
            None => (StatusCode::OK, "ok\n"),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
        }
    };
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/shardz", get(shard_readiness))
        .with_state(states);
    listen(address, routes, stop).await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    ready: bool,
    session_valid: bool,
    #[serde(flatten)]
    report: Report,
}

/// Whether this replica does what is its own, and every shard has an owner: for people and alerts. It is no part of
/// readiness, since a replica that owns nothing answers webhooks all the same.
async fn shard_readiness(State(states): State<States>) -> impl IntoResponse {
    let report = states.shards.borrow().clone();
    let (ready, valid) = (report.is_ready(), report.is_valid());
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Answer { ready, session_valid: valid, report }))
}

/// Serves over plain HTTP until `stop`.
pub(super) async fn listen(
    address: SocketAddr,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(door::listener(address)?)?;
    let stopped = async move { drop(stop.wait_for(|it| *it).await) };
    Ok(axum::serve(listener, routes).with_graceful_shutdown(stopped).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_would_not_be_trusted_is_not_asked() {
        let (ready, shards) = (watch::Sender::new(false), watch::Sender::new(Report::default()));
        let meters = Meters::default();
        let (states, certificate_until) =
            (States::new(&ready, &shards, &meters), meters.certificate_until);
        assert!(states.unready(100).is_some(), "nothing is served yet");
        ready.send_replace(true);
        assert_eq!(states.unready(100), None, "the end of what is served is not known");
        certificate_until.set(101);
        assert_eq!(states.unready(100), None);
        let told = states.unready(101).unwrap_or_default();
        assert!(told.contains("expired"), "{told}");
    }
}
