//! `/convert`: axum around `conversion`. The body is taken in under a budget and within the caller's time; the answer
//! goes out in pieces while it is made, and stops when nobody takes them.

mod telling;

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{Stream, StreamExt as _};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use telling::Call;
use tracing::{Instrument as _, Span};

use super::{
    budget::{Budget, Full, Share},
    webhooks::intake::Asked,
};
use crate::{
    cluster::spans::Spans,
    config::Faults,
    conversion::{self, Refusal, review::Review, review::named},
};

/// Largest review, if the budget has room for it: 30,000 objects of 8 kB.
const MAX_BODY: usize = 256 << 20;
/// The API server's own limit for a call.
const LIMIT: Duration = Duration::from_secs(30);
/// A body whose length is not announced gets room in steps of at most this.
const STEP: usize = 8 << 20;
/// A body larger than this is parsed aside from other requests.
const LARGE: usize = 1 << 20;

#[derive(Clone)]
struct Door {
    budget: Arc<Budget>,
    faults: Faults,
    spans: Spans,
}

/// The route, with so much memory for what comes in.
pub fn routes(budget: Arc<Budget>, faults: Faults, spans: Spans) -> Router {
    Router::new().route("/convert", post(convert)).with_state(Door { budget, faults, spans })
}

async fn convert(
    State(door): State<Door>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let call = Call::begin(&door.spans, &headers);
    let (now, limit) = (Instant::now(), asked.limit(LIMIT));
    let until = now + limit;
    let taken = timeout_at(until, take_in(&door, &headers, request, now + limit / 2)).await;
    let run = taken.as_ref().ok().and_then(|it| it.as_ref().ok());
    let span = call.within(run.map(|(review, body)| (review, body.bytes.as_slice())));
    let answer = span.in_scope(|| match taken {
        Ok(Ok((review, body))) => answer(door.faults, review, body, until),
        Ok(Err(refusal)) => refusal,
        Err(_) => {
            plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within the call's time")
        }
    });
    telling::answered(&span, answer.status());
    answer
}

/// A body, and the part of the budget that it holds for as long as it is there.
struct Held {
    bytes: Vec<u8>,
    share: Share,
}

/// Takes a body in; for room it waits until `patience`, so that enough of the call's time is left.
async fn take_in(
    door: &Door,
    headers: &HeaderMap,
    request: Request,
    patience: Instant,
) -> Result<(Review, Held), Response> {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if !text(header::CONTENT_TYPE).starts_with("application/json")
        || !text(header::CONTENT_ENCODING).is_empty()
    {
        return Err(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send a ConversionReview as application/json, without a content encoding",
        ));
    }
    let most = MAX_BODY.min(door.budget.limit());
    let announced: usize = text(header::CONTENT_LENGTH).parse().unwrap_or(0);
    if announced > most {
        return Err(too_large(most));
    }
    let share = door.budget.share_for(announced, patience).await.map_err(|Full| busy())?;
    let mut held = Held { bytes: Vec::new(), share };
    // Address space for all of it, so that it is never moved; memory comes with what is written.
    held.bytes.try_reserve_exact(announced).map_err(|_| busy())?;
    let mut body = request.into_body().into_data_stream();
    while let Some(part) = body.next().await {
        let part = part.map_err(|_| plain(StatusCode::BAD_REQUEST, "the body ended early"))?;
        if held.bytes.len() + part.len() > most {
            return Err(too_large(most));
        }
        held.share.take(part.len()).await.map_err(|Full| busy())?;
        if held.bytes.capacity() - held.bytes.len() < part.len() {
            held.bytes.reserve_exact(part.len().max(STEP.min(held.bytes.len())));
        }
        held.bytes.extend_from_slice(&part);
    }
    let read = |held: Held| Review::read(&held.bytes).map(|it| (it, held));
    let read = if held.bytes.len() > LARGE {
        tokio::task::spawn_blocking(move || read(held)).await.map_err(|_| defect())?
    } else {
        read(held)
    };
    read.map_err(|why| plain(StatusCode::BAD_REQUEST, &why.to_string()))
}

/// The answer: at once where it is one piece, else as a stream that is made while it is taken.
fn answer(faults: Faults, mut review: Review, body: Held, until: Instant) -> Response {
    let convert = move |object: &str, to: &str, out: &mut String| -> Result<(), Refusal> {
        if faults.panic_on.is_some() {
            faults.strike(named(object).rsplit(['/', ' ']).next().unwrap_or_default());
        }
        conversion::convert(conversion::kinds(), object, to, out)
    };
    let first = review.next_piece(&convert, &body.bytes).unwrap_or_default();
    let json = [(header::CONTENT_TYPE, "application/json")];
    if review.is_complete() {
        report(&review);
        return (json, first).into_response();
    }
    let (pieces, taken) = mpsc::channel(2);
    let told = async move {
        let mut next = Some(first);
        while let Some(piece) = next {
            let last = review.is_complete();
            if !matches!(timeout_at(until, pieces.send((piece, last))).await, Ok(Ok(()))) {
                tracing::warn!(
                    objects = review.converted(),
                    "Nobody took the answer to a conversion"
                );
                return;
            }
            next = review.next_piece(&convert, &body.bytes);
        }
        report(&review);
    };
    tokio::spawn(told.instrument(Span::current()));
    (json, Body::from_stream(stream(taken))).into_response()
}

/// The pieces as they come. Where the last is missing, the connection ends in the middle: nobody takes that for whole.
fn stream(pieces: mpsc::Receiver<(Vec<u8>, bool)>) -> impl Stream<Item = io::Result<Bytes>> {
    futures::stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some((piece, last)) => Some((Ok(piece.into()), (!last).then_some(pieces))),
            None => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
}

fn report(review: &Review) {
    telling::converted(&Span::current(), review);
    match review.failure() {
        None => tracing::debug!(objects = review.converted(), "Converted"),
        Some(why) => tracing::warn!(objects = review.converted(), why, "A conversion failed"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response {
    tracing::warn!(status = status.as_u16(), why = text, "Refused a conversion");
    (status, format!("{text}\n")).into_response()
}

fn too_large(most: usize) -> Response {
    let text = format!("the body is larger than {most} bytes: ask for fewer objects at a time");
    plain(StatusCode::PAYLOAD_TOO_LARGE, &text)
}

fn busy() -> Response {
    let text = "other conversions hold the memory for this one: try again in a second\n";
    tracing::warn!(status = 429, why = text.trim_end(), "Refused a conversion");
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], text).into_response()
}

fn defect() -> Response {
    plain(StatusCode::INTERNAL_SERVER_ERROR, "a defect in the conversion; please report it")
}

#[cfg(test)]
mod tests {
    use axum::http;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;

    fn review(objects: &Value) -> String {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "request": {"uid": "u-1", "desiredAPIVersion": "gastown.gastown.io/v1alpha1", "objects": objects},
        })
        .to_string()
    }

    fn objects(count: usize, size: usize) -> Value {
        let one = |number| {
            json!({"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat",
            "metadata": {"name": format!("max-{number}")}, "spec": {"taskDescription": "x".repeat(size)}})
        };
        (0..count).map(one).collect()
    }

    fn post() -> http::request::Builder {
        http::Request::post("/convert").header("content-type", "application/json")
    }

    async fn ask(
        routes: &Router,
        request: http::Request<Body>,
    ) -> (StatusCode, HeaderMap, Vec<u8>) {
        let answer = routes.clone().oneshot(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, axum::body::to_bytes(answer.into_body(), 1 << 30).await.unwrap().to_vec())
    }

    fn request(body: String) -> http::Request<Body> {
        post().header("content-length", body.len()).body(body.into()).unwrap()
    }

    fn door(limit: usize) -> (Router, Arc<Budget>) {
        let budget = Budget::new(limit);
        (routes(Arc::clone(&budget), "panic-on=boom".parse().unwrap(), Spans::default()), budget)
    }

    #[tokio::test]
    async fn a_long_list_goes_out_in_pieces_and_whole() {
        let (routes, budget) = door(64 << 20);
        let many = objects(3000, 1000);
        let (status, headers, body) = ask(&routes, request(review(&many))).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!headers.contains_key("content-length"), "it was not collected first");
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["response"]["convertedObjects"], many);
        assert_eq!(budget.room(), budget.limit(), "everything was given back");
    }

    #[tokio::test]
    async fn what_is_malformed_touches_nobody_else() {
        let (routes, budget) = door(1 << 20);
        let fine = review(&objects(1, 10));
        let text = http::Request::post("/convert").body(fine.clone().into()).unwrap();
        let packed = post().header("content-encoding", "gzip").body(fine.clone().into()).unwrap();
        let announced = post().header("content-length", 2 << 20).body("".into()).unwrap();
        let table = [
            (request("{".into()), StatusCode::BAD_REQUEST, "cut short"),
            (request("[".repeat(100_000)), StatusCode::BAD_REQUEST, "a depth bomb"),
            (request(fine.replace("u-1", "")), StatusCode::BAD_REQUEST, "no uid"),
            (text, StatusCode::UNSUPPORTED_MEDIA_TYPE, "not JSON by its own word"),
            (packed, StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed"),
            (announced, StatusCode::PAYLOAD_TOO_LARGE, "too large by its own word"),
            (
                post().body("x".repeat(2 << 20).into()).unwrap(),
                StatusCode::PAYLOAD_TOO_LARGE,
                "too large in fact",
            ),
        ];
        for (request, want, because) in table {
            let (status, _, body) = ask(&routes, request).await;
            assert_eq!(status, want, "{because}: {}", String::from_utf8_lossy(&body));
            assert_eq!(
                ask(&routes, self::request(fine.clone())).await.0,
                StatusCode::OK,
                "after: {because}"
            );
        }
        assert_eq!(budget.room(), budget.limit(), "everything was given back");
    }

    #[tokio::test]
    async fn a_panic_is_that_calls_failure() {
        let (routes, _) = door(1 << 20);
        let body = review(&objects(1, 1)).replace("max-0", "boom");
        let (status, _, body) = ask(&routes, request(body)).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status, &answer["response"]["result"]["status"]),
            (StatusCode::OK, &json!("Failure"))
        );
    }

    #[tokio::test]
    async fn who_finds_the_memory_used_up_is_told_when_to_come_again() {
        let (routes, budget) = door(1 << 20);
        let mut other = budget.share();
        other.take(1 << 20).await.unwrap();
        let (status, headers, _) = ask(&routes, request(review(&objects(1, 1)))).await;
        assert_eq!(
            (status, headers["retry-after"].to_str().unwrap()),
            (StatusCode::TOO_MANY_REQUESTS, "1")
        );
        let unannounced = post().body(review(&objects(1, 1)).into()).unwrap();
        assert_eq!(
            ask(&routes, unannounced).await.0,
            StatusCode::TOO_MANY_REQUESTS,
            "as it arrives"
        );
        drop(other);
        assert_eq!(ask(&routes, request(review(&objects(1, 1)))).await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_ends_with_the_calls_time() {
        let (routes, budget) = door(1 << 20);
        let stuck = Body::from_stream(futures::stream::pending::<io::Result<Bytes>>());
        let request =
            http::Request::post("/convert?timeout=1s").header("content-type", "application/json");
        let (status, ..) = ask(&routes, request.body(stuck).unwrap()).await;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(budget.room(), budget.limit(), "everything was given back");
    }
}
