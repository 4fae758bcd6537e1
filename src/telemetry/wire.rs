//! The way of one signal to the collector: OTLP over HTTP or gRPC, through the same connections as traces.

use std::{io::Write as _, path::PathBuf, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, StatusCode, header, uri::PathAndQuery};
use prost::Message;
use tonic::{Code, codec::CompressionEncoding, metadata::MetadataMap, transport::Channel};
use tonic_prost::ProstCodec;

use super::{
    http::{Http, bearer},
    otlp,
    proxy::Proxies,
};
use crate::config::{Compression, Protocol, Signal, Signals, Tracing};

/// What an answer may hold, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Where a signal goes.
pub struct Wire {
    to: To,
    headers: HeaderMap,
    token: Option<PathBuf>,
    compression: Compression,
    limit: Duration,
}

enum To {
    Http(Box<Http>, String),
    Grpc(Channel, PathAndQuery),
}

/// What became of a sending.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// But for so many of it.
    Taken(u64),
    /// It may be taken a little later.
    Busy(String),
    Refused(String),
    /// The collector knows no such signal.
    Unknown,
    NoAnswer,
}

/// The answer to metrics and to logs: both have this shape.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    partial: Option<Partial>,
}

#[derive(Clone, PartialEq, Message)]
struct Partial {
    #[prost(int64, tag = "1")]
    rejected: i64,
}

impl Wire {
    /// Prepares to send; nothing is connected before there is something to send.
    pub fn new(
        settings: &Signals,
        shared: &Tracing,
        signal: Signal,
        endpoint: &str,
    ) -> anyhow::Result<Self> {
        let limit = settings.timeout(signal, shared);
        let to = match shared.otlp_protocol {
            Protocol::Http => {
                let proxies = Proxies::of(&shared.outside);
                let http = Http::new(otlp::trust(shared)?, None, MAX_ANSWER, proxies);
                To::Http(Box::new(http), endpoint.into())
            }
            Protocol::Grpc => {
                let service = match signal {
                    Signal::Metrics => "metrics.v1.MetricsService",
                    Signal::Logs => "logs.v1.LogsService",
                };
                let path = format!("/opentelemetry.proto.collector.{service}/Export");
                To::Grpc(otlp::channel(shared, endpoint, limit)?, path.parse()?)
            }
        };
        let headers = settings.headers(signal).map_err(anyhow::Error::msg)?;
        let token = shared.otlp_token_file.clone();
        Ok(Self { to, headers, token, compression: shared.otlp_compression, limit })
    }

    /// Sends once.
    pub async fn send(&self, message: impl Message + 'static) -> Outcome {
        let sent = async {
            match &self.to {
                To::Http(http, url) => self.post(http, url, message.encode_to_vec()).await,
                To::Grpc(channel, path) => self.call(channel, path, message).await,
            }
        };
        match tokio::time::timeout(self.limit, sent).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Busy(format!("{error:#}")),
            Err(_) => Outcome::NoAnswer,
        }
    }

    async fn post(&self, http: &Http, url: &str, body: Vec<u8>) -> anyhow::Result<Outcome> {
        let gzip = self.compression == Compression::Gzip;
        let body = if gzip { zipped(&body)? } else { body };
        let mut request = http::Request::post(url).body(Bytes::from(body))?;
        request.headers_mut().extend(self.headers());
        if gzip {
            request.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse()?);
        }
        request.headers_mut().insert(header::CONTENT_TYPE, "application/x-protobuf".parse()?);
        let answer = http.send(request).await.context("it could not be reached")?;
        Ok(match answer.status() {
            it if it.is_success() => Outcome::Taken(rejected(answer.body())),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Outcome::Unknown,
            it @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Outcome::Busy(it.to_string()),
            it => Outcome::Refused(it.to_string()),
        })
    }

    async fn call(
        &self,
        channel: &Channel,
        path: &PathAndQuery,
        message: impl Message + 'static,
    ) -> anyhow::Result<Outcome> {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        if self.compression == Compression::Gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        grpc.ready().await.context("it could not be reached")?;
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers());
        let answer = grpc.unary(request, path.clone(), ProstCodec::<_, Answer>::default()).await;
        Ok(match answer {
            Ok(it) => Outcome::Taken(it.get_ref().rejected()),
            Err(status) => match status.code() {
                Code::Unimplemented => Outcome::Unknown,
                Code::Unavailable
                | Code::ResourceExhausted
                | Code::DeadlineExceeded
                | Code::Aborted => Outcome::Busy(status.code().to_string()),
                code => Outcome::Refused(code.to_string()),
            },
        })
    }

    /// The token is read anew each time.
    fn headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Some(bearer) = bearer(self.token.as_deref()).and_then(|it| it.parse().ok()) {
            headers.insert(header::AUTHORIZATION, bearer);
        }
        headers
    }
}

fn zipped(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut zip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    zip.write_all(body)?;
    zip.finish()
}

impl Answer {
    fn rejected(&self) -> u64 {
        self.partial.as_ref().and_then(|it| it.rejected.try_into().ok()).unwrap_or(0)
    }
}

/// One that can't be read rejects nothing.
fn rejected(body: &[u8]) -> u64 {
    Answer::decode(body).map_or(0, |it| it.rejected())
}
