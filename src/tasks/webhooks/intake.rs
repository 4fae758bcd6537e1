//! How a review comes in: in the caller's time, of a size that a review can have, as a part of the memory that all bodies
//! share. What is none gets a plain answer that repeats nothing of it, and costs nobody else.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Query, Request, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt as _;
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionReview},
};
use serde::Deserialize;

use crate::{
    conversion::scan,
    tasks::budget::{Budget, Full, Share},
};

/// Largest review: an object of 1.5 MiB, old and new, with room for escapes.
pub const MAX_BODY: usize = 7 * 1024 * 1024;
/// Copies that are made of one of our own objects at a time, as it is read, judged and compared.
const COPIES: usize = 4;
/// Longest time for one review, below the API server's ten seconds.
const LIMIT: Duration = Duration::from_secs(8);

/// What the API server says beside a review.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    timeout: Option<String>,
}

impl Asked {
    /// How long the caller waits, as `3s`; no longer than this.
    pub fn limit(&self, most: Duration) -> Duration {
        let seconds = self.timeout.as_deref().and_then(|it| it.strip_suffix('s')?.parse().ok());
        seconds.map_or(most, |it| Duration::from_secs(it).min(most))
    }
}

/// Why there is no request in a body.
#[derive(Clone, Copy, Debug)]
pub enum NoReview {
    OtherType,
    Unreadable,
    NoRequest,
    CutShort,
    TooLarge,
    Busy,
    Late,
}

impl IntoResponse for NoReview {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::OtherType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send an AdmissionReview as application/json, without a content encoding\n",
            ),
            Self::Unreadable => {
                (StatusCode::BAD_REQUEST, "the body is no AdmissionReview of admission.k8s.io/v1\n")
            }
            Self::NoRequest => {
                (StatusCode::BAD_REQUEST, "the AdmissionReview has no request with a uid\n")
            }
            Self::CutShort => (StatusCode::BAD_REQUEST, "the body ended early\n"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "no review is as large as this\n"),
            Self::Busy => {
                (StatusCode::TOO_MANY_REQUESTS, "other calls hold the memory for this one\n")
            }
            Self::Late => (
                StatusCode::REQUEST_TIMEOUT,
                "the review was not there, or not answered, within the call's time\n",
            ),
        };
        (status, text).into_response()
    }
}

/// In the caller's time; who has gone by then is not worked for any more.
pub async fn in_time<T: IntoResponse>(
    asked: Result<Query<Asked>, QueryRejection>,
    answer: impl Future<Output = Result<T, NoReview>>,
) -> Response {
    let limit = asked.map(|it| it.0).unwrap_or_default().limit(LIMIT);
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => answer.into_response(),
        Ok(Err(why)) => why.into_response(),
        Err(_) => NoReview::Late.into_response(),
    }
}

/// The request of a review; its memory counts until the share is dropped.
pub async fn take_in(
    budget: &Arc<Budget>,
    request: Request,
) -> Result<(AdmissionRequest<DynamicObject>, Share), NoReview> {
    let (bytes, share) = body(budget, request, COPIES).await?;
    Ok((read(&bytes)?, share))
}

/// The bytes of what may be a review; their memory counts until the share is dropped, and that of so many copies of what is read
/// from them.
pub async fn body(
    budget: &Arc<Budget>,
    request: Request,
    copies: usize,
) -> Result<(Vec<u8>, Share), NoReview> {
    let text = |headers: &HeaderMap, name| {
        headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned()
    };
    let headers = request.headers();
    let sort = text(headers, header::CONTENT_TYPE);
    // What comes behind it is of no account: JSON is UTF-8 in any case.
    let sort = sort.split(';').next().unwrap_or_default().trim();
    if !sort.eq_ignore_ascii_case("application/json")
        || !text(headers, header::CONTENT_ENCODING).is_empty()
    {
        return Err(NoReview::OtherType);
    }
    let announced: usize = text(headers, header::CONTENT_LENGTH).parse().unwrap_or(0);
    if announced > MAX_BODY {
        return Err(NoReview::TooLarge);
    }
    let mut share = budget.share();
    let mut bytes = Vec::with_capacity(announced);
    let mut body = request.into_body().into_data_stream();
    while let Some(part) = body.next().await {
        let part = part.map_err(|_| NoReview::CutShort)?;
        if bytes.len() + part.len() > MAX_BODY {
            return Err(NoReview::TooLarge);
        }
        share.take(part.len()).await.map_err(|Full| NoReview::Busy)?;
        bytes.extend_from_slice(&part);
    }
    let read = unfolded(&bytes).saturating_mul(copies);
    let no_room = if read > budget.most_to_read() { NoReview::TooLarge } else { NoReview::Busy };
    share.take_to_read(read).await.map_err(|Full| no_room)?;
    Ok((bytes, share))
}

/// What takes memory of a text of JSON, counted: each of them at most so often.
#[derive(Default)]
struct Signs {
    maps: usize,
    entries: usize,
    lists: usize,
    values: usize,
    texts: usize,
}

impl Signs {
    /// By one look at where these signs stand, inside of texts too, where they are none: quick, and too many.
    fn anywhere(body: &[u8]) -> Self {
        let count = |sign| memchr::memchr_iter(sign, body).count();
        Self {
            maps: count(b'{'),
            entries: count(b':'),
            lists: count(b'['),
            values: count(b','),
            texts: count(b'"') / 2,
        }
    }

    /// Those outside of texts. Of what is no JSON, those before the place where a reader ends.
    fn outside_of_texts(body: &[u8]) -> Self {
        let mut all = Self::default();
        scan::outside_strings(body, |byte| match byte {
            b'{' => all.maps += 1,
            b':' => all.entries += 1,
            b'[' => all.lists += 1,
            b',' => all.values += 1,
            b'"' => all.texts += 1,
            _ => {}
        });
        all
    }

    /// Most memory that it takes as a [`serde_json::Value`], in bytes.
    const fn memory(&self) -> usize {
        /// A node of a map, which has room for eleven entries.
        const MAP: usize = 650;
        /// What another entry of it takes, where nodes are as empty as they become.
        const ENTRY: usize = 130;
        /// The least that a list takes.
        const LIST: usize = 150;
        /// What another value of it takes, where it has just been made twice as large.
        const VALUE: usize = 64;
        /// The least that a text takes.
        const TEXT: usize = 32;
        self.maps * MAP
            + self.entries.saturating_sub(self.maps) * ENTRY
            + self.lists * LIST
            + self.values * VALUE
            + self.texts * TEXT
    }
}

/// Most memory that so many bytes may become when they are read: seven bytes of an object with one key are six hundred.
fn unfolded(body: &[u8]) -> usize {
    /// Up to here, in bytes, the quick look is good enough.
    const LITTLE: usize = 4 << 20;
    let quick = Signs::anywhere(body).memory();
    let signs = if quick <= LITTLE { quick } else { Signs::outside_of_texts(body).memory() };
    signs + body.len() // what texts hold
}

fn read(body: &[u8]) -> Result<AdmissionRequest<DynamicObject>, NoReview> {
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_slice(body).map_err(|_| NoReview::Unreadable)?;
    let types = &review.types;
    let is = types.api_version == "admission.k8s.io/v1" && types.kind == "AdmissionReview";
    // Whoever answers does not ask.
    if !is || review.response.is_some() {
        return Err(NoReview::Unreadable);
    }
    let request: AdmissionRequest<DynamicObject> =
        review.try_into().map_err(|_| NoReview::NoRequest)?;
    if request.uid.is_empty() { Err(NoReview::NoRequest) } else { Ok(request) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_texts_takes_no_memory_of_its_own() {
        let count = |text: &str| {
            let it = Signs::outside_of_texts(text.as_bytes());
            [it.maps, it.entries, it.lists, it.values, it.texts]
        };
        for (text, want, because) in [
            (r#"{"a":[1,{"b":2}],"c":3}"#, [2, 3, 1, 2, 3], "all of them"),
            (r#"{"a{[,:":"}{"}"#, [1, 1, 0, 0, 2], "in keys and texts"),
            (r#"{"a\"{,":"\\"}"#, [1, 1, 0, 0, 2], "behind what is escaped"),
            (r#"["{,{,"#, [0, 0, 1, 0, 1], "a text that does not end"),
            (r#"["\"#, [0, 0, 1, 0, 1], "nor what is escaped"),
        ] {
            assert_eq!(count(text), want, "{because}");
        }
        let dense = r#"{"":0},"#.repeat(1_000);
        assert!(unfolded(dense.as_bytes()) > 600_000, "{}", unfolded(dense.as_bytes()));
        let code = format!("{{\"task\":\"{}\"}}", "{a: [b, c]}".repeat(100_000));
        assert!(unfolded(code.as_bytes()) < code.len() + 1_000, "{}", unfolded(code.as_bytes()));
    }
}
