//! Clients of the API server as they are used here: of the requests of kube's own, over connections whose number is known.

use std::time::Duration;

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

use super::{counted::Counting, their_clock, writing::name};

/// What an API server may send on one watch before we have read it, in bytes, and on all of a connection: more than all of
/// them together, or one that nobody reads would stop the rest.
const STREAM_WINDOW: u32 = 256 << 10;
const WINDOW: u32 = 16 << 20;
/// Watches that one connection has room for.
pub const STREAMS_AT_MOST: usize = (WINDOW / STREAM_WINDOW) as usize;
/// How often a connection is tried that says nothing, and how long its answer may take.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(10);
/// How long an answer may be awaited, and may then say nothing: pings keep a connection that carries others.
const SILENCE: Duration = Duration::from_secs(295);
/// How long a connection is kept on which nobody asks: less than the 90 s after which some balancers forget one.
const UNUSED: Duration = Duration::from_secs(60);

/// What a client is for.
#[derive(Clone, Copy)]
pub enum Use {
    /// Many answers without end, on one connection where the API server speaks HTTP/2.
    Watches,
    /// A request at a time on each connection, since one that is dead is left after its first request that got no answer.
    /// What a burst took beyond this many is closed as soon as it is not needed.
    Calls { kept: usize },
}

/// A client with this configuration, which asks under this name. An error is one that no waiting mends.
pub fn make(
    config: &kube::Config,
    agent: HeaderValue,
    counting: &Counting,
    of: Use,
) -> anyhow::Result<kube::Client> {
    if config.proxy_url.is_some() {
        // What leads through a proxy is the library's own.
        let own = ClientBuilder::try_from(config.clone())?;
        let own = own.with_layer(&their_clock::heard()).with_layer(&name(agent));
        return Ok(own.with_layer(counting).build());
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
    let secure = match of {
        Use::Watches => secure.enable_all_versions().wrap_connector(plain),
        Use::Calls { .. } => secure.enable_http1().wrap_connector(plain),
    };
    let mut connector = TimeoutConnector::new(secure);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let client: legacy::Client<_, Body> = pool(of).build(connector);
    let service = ServiceBuilder::new()
        .layer(counting.clone())
        .layer(name(agent))
        .layer(their_clock::heard())
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .layer(ResponseBodyTimeoutLayer::new(SILENCE))
        .timeout(SILENCE)
        .map_err(BoxError::from)
        .service(client);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

fn pool(of: Use) -> legacy::Builder {
    let mut pool = legacy::Client::builder(TokioExecutor::new());
    pool.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
    match of {
        Use::Watches => pool
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(WINDOW)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PONG),
        Use::Calls { kept } => pool.pool_idle_timeout(UNUSED).pool_max_idle_per_host(kept),
    };
    pool
}
