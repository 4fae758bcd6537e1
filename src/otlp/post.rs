//! One message over HTTP, and what its answer means.

use std::{io::Write as _, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, StatusCode, header};
use prost::Message;
use serde_json::Value;

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
            it if it.is_success() => taken(it, answer.headers(), answer.body()),
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

/// What a success says: some web server, or a page to sign in at, answers so to anything.
fn taken(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let sort = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let sort = sort.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let rejected = match sort {
        _ if body.is_empty() => Some(0),
        "" | "application/x-protobuf" | "application/protobuf" | "application/octet-stream" => {
            Answer::decode(body).ok().map(|it| it.rejected())
        }
        // Not what was asked for, but said by a collector.
        "application/json" => rejected_in_json(body),
        _ => None,
    };
    rejected.map_or_else(
        || Outcome::Refused(format!("it answered {code}, but not as a collector does: is it one?")),
        Outcome::Taken,
    )
}

fn rejected_in_json(body: &[u8]) -> Option<u64> {
    let answer: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    if answer.keys().any(|it| it != "partialSuccess") {
        return None;
    }
    let partial = answer.get("partialSuccess").and_then(Value::as_object);
    let count = partial.and_then(|it| it.iter().find(|(key, _)| key.starts_with("rejected")));
    // Numbers of so many bits are texts in this notation.
    let number = |it: &Value| it.as_u64().or_else(|| it.as_str()?.parse().ok());
    Some(count.and_then(|(_, it)| number(it)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_one_where_a_collector_says_it() {
        let partial = Answer { partial: Some(Partial { rejected: 3 }) }.encode_to_vec();
        #[rustfmt::skip]
        let table: [(&str, &[u8], Option<u64>, &str); 12] = [
            ("application/x-protobuf", b"", Some(0), "all of it was taken"),
            ("", b"", Some(0), "it says nothing at all"),
            ("text/html", b"", Some(0), "nothing says otherwise"),
            ("application/x-protobuf", &partial, Some(3), "a part was rejected"),
            ("", &partial, Some(3), "of a sort that is not named"),
            ("application/json", b"{}", Some(0), "one that answers in JSON whatever is asked"),
            ("application/json; charset=utf-8", br#"{"partialSuccess":{"rejectedSpans":"3"}}"#, Some(3), "in JSON too"),
            ("application/json", br#"{"error":"sign in"}"#, None, "JSON of somebody else"),
            ("application/json", b"[]", None, "no message"),
            ("text/html; charset=utf-8", b"<!doctype html>", None, "a page"),
            ("text/plain", b"Hi", None, "a word, which could be read as a message"),
            ("application/x-protobuf", b"<!doctype html>", None, "a page under another name"),
        ];
        for (sort, body, want, because) in table {
            let mut headers = HeaderMap::new();
            if !sort.is_empty() {
                headers.insert(header::CONTENT_TYPE, sort.parse().unwrap());
            }
            let found = match taken(StatusCode::OK, &headers, body) {
                Outcome::Taken(rejected) => Some(rejected),
                _ => None,
            };
            assert_eq!(found, want, "{sort}: {because}");
        }
    }
}
