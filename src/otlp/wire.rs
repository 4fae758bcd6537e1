//! The way of one signal to the collector: OTLP over HTTP or gRPC, both through connections of one kind, whose cryptography is
//! that of [`tls::crypto`](crate::tls::crypto).

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use http::{HeaderMap, header, uri::PathAndQuery};
use hyper_rustls::HttpsConnectorBuilder;
use prost::Message;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{
    Code,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{
    Protocol, Route, Signal,
    http::{Http, bearer, trusting, way},
    post::{Answer, MAX_ANSWER, Outcome, Post},
    proxy::Proxies,
};

/// Tries of one batch, and the pause before the second; each next one is twice as long.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);
/// How often a connection is tried over which gRPC is spoken, and how long its answer may take: a collector whose machine is gone
/// says nothing, and without this each batch would wait for it until the kernel gives up. Over HTTP a time limit closes the connection.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(5);

/// Where a signal goes.
pub struct Wire {
    to: To,
    headers: HeaderMap,
    token: Option<PathBuf>,
    gzip: bool,
    limit: Duration,
}

enum To {
    Http(Box<Post>),
    Grpc(Channel, PathAndQuery),
}

impl Wire {
    /// Prepares to send; nothing is connected before there is something to send. Files of certificates are read once.
    pub fn new(route: &Route) -> anyhow::Result<Self> {
        Self::pinging(route, (PING, PONG))
    }

    fn pinging(route: &Route, (every, patience): (Duration, Duration)) -> anyhow::Result<Self> {
        let trust = trusting(route.authority.as_deref(), route.own.as_ref())?;
        let proxies = Proxies::of(&route.outside);
        let to = match route.protocol {
            Protocol::Http => {
                let http = Http::new(trust, None, MAX_ANSWER, proxies);
                To::Http(Box::new(Post::new(http, route.endpoint.clone(), route.gzip)))
            }
            Protocol::Grpc => {
                let service = match route.signal {
                    Signal::Traces => "trace.v1.TraceService",
                    Signal::Metrics => "metrics.v1.MetricsService",
                    Signal::Logs => "logs.v1.LogsService",
                };
                let path = format!("/opentelemetry.proto.collector.{service}/Export");
                let connector = HttpsConnectorBuilder::new()
                    .with_tls_config(trust)
                    .https_or_http()
                    .enable_http2()
                    .wrap_connector(way(proxies));
                let endpoint = Endpoint::from_shared(route.endpoint.clone())?
                    .timeout(route.limit)
                    .http2_keep_alive_interval(every)
                    .keep_alive_timeout(patience)
                    .keep_alive_while_idle(true);
                To::Grpc(endpoint.connect_with_connector_lazy(connector), path.parse()?)
            }
        };
        let Route { headers, token, gzip, limit, .. } = route.clone();
        Ok(Self { to, headers, token, gzip, limit })
    }

    /// Sends once.
    pub async fn send<M: Message + Clone + 'static>(&self, message: &M) -> Outcome {
        let sent = async {
            match &self.to {
                To::Http(post) => post.send(self.headers()?, message.encode_to_vec()).await,
                To::Grpc(channel, path) => self.call(channel, path, message.clone()).await,
            }
        };
        match timeout(self.limit, sent).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Busy { why: format!("{error:#}"), after: None },
            Err(_) => Outcome::NoAnswer,
        }
    }

    /// Sends again what may be taken a little later. All of it takes no longer than one sending may; where a collector asks for more
    /// patience than that, its answer stands.
    pub async fn patiently<M: Message + Clone + 'static>(&self, message: &M) -> Outcome {
        let until = Instant::now() + self.limit;
        let send =
            async || timeout_at(until, self.send(message)).await.unwrap_or(Outcome::NoAnswer);
        for attempt in 0..TRIES - 1 {
            let outcome = send().await;
            let Outcome::Busy { after, .. } = &outcome else { return outcome };
            let pause = after.unwrap_or_default().max(PAUSE * 2_u32.pow(attempt));
            if Instant::now() + pause >= until {
                return outcome;
            }
            sleep(pause).await;
        }
        send().await
    }

    async fn call(
        &self,
        channel: &Channel,
        path: &PathAndQuery,
        message: impl Message + 'static,
    ) -> anyhow::Result<Outcome> {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        if self.gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        grpc.ready().await.context("it could not be reached")?;
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers()?);
        let answer = grpc.unary(request, path.clone(), ProstCodec::<_, Answer>::default()).await;
        Ok(match answer {
            Ok(it) => Outcome::Taken(it.get_ref().rejected()),
            Err(status) => match status.code() {
                Code::Unimplemented => Outcome::Unknown,
                Code::Unavailable
                | Code::ResourceExhausted
                | Code::DeadlineExceeded
                | Code::Aborted => Outcome::Busy { why: status.code().to_string(), after: None },
                code => Outcome::Refused(code.to_string()),
            },
        })
    }

    /// The token is read anew each time.
    fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = self.headers.clone();
        if let Some(bearer) = bearer(self.token.as_deref())? {
            headers.insert(header::AUTHORIZATION, bearer);
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests;
