//! Clients for watches: where the API server speaks HTTP/2, many watches share a connection, and each has a part of its
//! window of its own, so that none waits for another one that is slow. Where it does not, each watch has a connection.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use rustls::pki_types::ServerName;
use tower::{BoxError, ServiceBuilder};
use tower_http::timeout::ResponseBodyTimeoutLayer;

use super::{
    watch_faults::{Failures, Fares},
    writing::name,
};

/// Watches on one connection at most: an API server takes 100 streams of each (`--http2-max-streams-per-connection`), and
/// one more than it takes would wait for ever.
const STREAMS: usize = 48;
/// What an API server may send on one watch before we have read it, in bytes, and on all of a connection: more than all of
/// them together, or one that nobody reads would stop the rest.
const STREAM_WINDOW: u32 = 256 << 10;
const WINDOW: u32 = 16 << 20;
const _: () = assert!(STREAM_WINDOW as usize * STREAMS <= WINDOW as usize);
/// How often a connection is tried that says nothing, and how long its answer may take.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(10);
/// How long an answer may be awaited, and may then say nothing: pings keep a connection that carries others.
const SILENCE: Duration = Duration::from_secs(295);

/// Hands out clients, as many as it takes.
#[derive(Clone)]
pub struct Watches(Arc<Pool>);

struct Pool {
    make: Box<dyn Fn() -> anyhow::Result<kube::Client> + Send + Sync>,
    failures: Failures,
    first: Seat,
    more: Mutex<Vec<Seat>>,
}

/// A client for one watch, for as long as it is held.
#[derive(Clone)]
pub struct Seat {
    pub client: kube::Client,
    failures: Failures,
    /// Counts who sits here, and the pool.
    taken: Arc<()>,
}

impl Seat {
    fn new(client: kube::Client, failures: Failures) -> Self {
        Self { client, failures, taken: Arc::default() }
    }

    /// How a watch of this resource will fare.
    pub fn fares(&self, resource: &'static str) -> Fares {
        Fares::of(&self.failures, resource)
    }

    fn is_free(&self) -> bool {
        Arc::strong_count(&self.taken) <= STREAMS
    }
}

impl Watches {
    /// Clients with this configuration, which ask under this name. An error is one that no waiting mends.
    pub fn new(
        config: kube::Config,
        agent: HeaderValue,
        failures: Failures,
    ) -> anyhow::Result<Self> {
        let make = Box::new(move || client(&config, agent.clone()));
        let first = Seat::new(make()?, failures.clone());
        Ok(Self(Arc::new(Pool { make, failures, first, more: Mutex::default() })))
    }

    /// All watches by one client, which makes connections as it likes.
    pub fn all_by(client: kube::Client, failures: Failures) -> Self {
        let of = client.clone();
        let make = Box::new(move || Ok(of.clone()));
        let first = Seat::new(client, failures.clone());
        Self(Arc::new(Pool { make, failures, first, more: Mutex::default() }))
    }

    /// A place for one more watch.
    pub fn seat(&self) -> Seat {
        let mut more = self.0.more.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(it) = [&self.0.first].into_iter().chain(more.iter()).find(|it| it.is_free()) {
            return it.clone();
        }
        match (self.0.make)() {
            Ok(client) => {
                let seat = Seat::new(client, self.0.failures.clone());
                more.push(seat.clone());
                seat
            }
            // The same configuration made the first: what fails now is of the machine, and may pass.
            Err(error) => {
                let why = format!("{error:#}");
                tracing::warn!(why, "No client for more watches");
                self.0.first.clone()
            }
        }
    }
}

fn client(config: &kube::Config, agent: HeaderValue) -> anyhow::Result<kube::Client> {
    if config.proxy_url.is_some() {
        // What leads through a proxy is the library's own.
        return Ok(ClientBuilder::try_from(config.clone())?.with_layer(&name(agent)).build());
    }
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    let secure = HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http();
    let secure = match &config.tls_server_name {
        Some(name) => {
            let name = ServerName::try_from(name.clone())?;
            secure.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => secure,
    };
    let mut connector = TimeoutConnector::new(secure.enable_all_versions().wrap_connector(plain));
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let client: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(WINDOW)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PONG)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(name(agent))
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(ResponseBodyTimeoutLayer::new(SILENCE))
        .timeout(SILENCE)
        .map_err(BoxError::from)
        .service(client);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_has_as_many_watches_as_an_api_server_takes_and_a_place_is_free_again() {
        let config = kube::Config::new("https://127.0.0.1:1".parse().unwrap());
        crate::tls::install_provider().unwrap();
        let watches =
            Watches::new(config, HeaderValue::from_static("gastown"), Failures::default()).unwrap();
        let clients = || 1 + watches.0.more.lock().unwrap().len();
        let mut seats: Vec<_> = (0..STREAMS).map(|_| watches.seat()).collect();
        assert_eq!(clients(), 1);
        let one_more = watches.seat();
        assert_eq!(clients(), 2, "the first is full");
        drop(one_more);
        seats.pop();
        drop(watches.seat());
        let _again: Vec<_> = (0..STREAMS).map(|_| watches.seat()).collect();
        assert_eq!(clients(), 2, "places that were left are taken again");
    }
}
