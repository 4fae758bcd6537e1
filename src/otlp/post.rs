//! One message over HTTP, and what its answer means.

use std::{io::Write as _, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, StatusCode, header};
use prost::Message;

use super::http::Http;

/// What an answer may hold, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024;

/// Where messages are posted to.
pub struct Post {
    http: Http,
    url: String,
    gzip: bool,
}

/// What became of a sending.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// But for so many of it.
    Taken(u64),
    /// It may be taken a little later, and no sooner than the collector said.
    Busy {
        why: String,
        after: Option<Duration>,
    },
    Refused(String),
    /// The collector knows no such signal.
    Unknown,
    NoAnswer,
}

/// The answer to each of the signals: all have this shape.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(message, optional, tag = "1")]
    partial: Option<Partial>,
}

#[derive(Clone, PartialEq, Message)]
struct Partial {
    #[prost(int64, tag = "1")]
    rejected: i64,
}

impl Post {
    /// Prepares to send to this address; nothing is connected before there is something to send.
    pub fn new(http: Http, url: String, gzip: bool) -> Self {
        Self { http, url, gzip }
    }

    /// Sends once. An error: the collector could not be reached.
    pub async fn send(&self, headers: HeaderMap, message: Vec<u8>) -> anyhow::Result<Outcome> {
        let body = if self.gzip { zipped(&message)? } else { message };
        let mut request = http::Request::post(&self.url).body(Bytes::from(body))?;
        request.headers_mut().extend(headers);
        if self.gzip {
            request.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse()?);
        }
        request.headers_mut().insert(header::CONTENT_TYPE, "application/x-protobuf".parse()?);
        let answer = self.http.send(request).await.context("it could not be reached")?;
        Ok(match answer.status() {
            it if it.is_success() => Outcome::Taken(rejected(answer.body())),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Outcome::Unknown,
            it @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => {
                Outcome::Busy { why: it.to_string(), after: after(answer.headers()) }
            }
            it => Outcome::Refused(it.to_string()),
        })
    }
}

/// When it may be tried again; a date is not looked at.
fn after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn zipped(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut zip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    zip.write_all(body)?;
    zip.finish()
}

impl Answer {
    pub(super) fn rejected(&self) -> u64 {
        self.partial.as_ref().and_then(|it| it.rejected.try_into().ok()).unwrap_or(0)
    }
}

/// One that can't be read rejects nothing.
fn rejected(body: &[u8]) -> u64 {
    Answer::decode(body).map_or(0, |it| it.rejected())
}
