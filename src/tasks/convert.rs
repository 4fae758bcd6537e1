//! `/convert`: axum around `conversion`. The body is taken in under a budget and within the caller's time; the answer
//! goes out in pieces while it is made, and stops when nobody takes them.

mod answering;
mod telling;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::BodyDataStream,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use answering::{Aside, answer};
use telling::Call;
use tracing::Instrument as _;

use super::{
    budget::{Budget, Full, Share},
    webhooks::intake::Asked,
};
use crate::{cluster::spans::Spans, config::Faults, conversion::review::Review};

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
    aside: Aside,
}

/// The route, with so much memory for what comes in.
pub fn routes(budget: Arc<Budget>, faults: Faults, spans: Spans) -> Router {
    Router::new().route("/convert", post(convert)).with_state(Door {
        budget,
        faults,
        spans,
        aside: Aside::new(),
    })
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
    let answer = match taken {
        Ok(Ok((review, body))) => {
            answer(door.aside, door.faults, review, body, until).instrument(span.clone()).await
        }
        Ok(Err(refusal)) => refusal,
        Err(_) => span.in_scope(|| {
            plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive within the call's time")
        }),
    };
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
    let mut body = request.into_body().into_data_stream();
    let held = match hold(door, &mut body, announced, most, patience).await {
        Ok(held) => held,
        Err(refusal) => {
            // Who is still sending hears the answer only so: a connection that is closed while something of it is unread is reset.
            while refusal.status() == StatusCode::TOO_MANY_REQUESTS
                && matches!(body.next().await, Some(Ok(_)))
            {}
            return Err(refusal);
        }
    };
    let read = |held: Held| Review::read(&held.bytes).map(|it| (it, held));
    let read = if held.bytes.len() > LARGE {
        door.aside.run(move || read(held)).await.ok_or_else(defect)?
    } else {
        read(held)
    };
    let (review, mut held) =
        read.map_err(|why| plain(StatusCode::BAD_REQUEST, &why.to_string()))?;
    make_room(&mut held, review.weight(), door.budget.limit()).await?;
    Ok((review, held))
}

/// The whole of a body, once there is room for it.
async fn hold(
    door: &Door,
    body: &mut BodyDataStream,
    announced: usize,
    most: usize,
    patience: Instant,
) -> Result<Held, Response> {
    let share = door.budget.share_for(announced, patience).await.map_err(|Full| busy())?;
    let mut held = Held { bytes: Vec::new(), share };
    // Address space for all of it, so that it is never moved; memory comes with what is written.
    held.bytes.try_reserve_exact(announced).map_err(|_| busy())?;
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
    Ok(held)
}

/// What its objects become takes memory beside the body.
async fn make_room(held: &mut Held, weight: usize, limit: usize) -> Result<(), Response> {
    if held.bytes.len() + weight > limit {
        let text = format!(
            "to convert these objects takes {weight} bytes of memory beside the body, and both together may have {limit}: ask for \
             fewer objects at a time, with fewer fields"
        );
        return Err(plain(StatusCode::PAYLOAD_TOO_LARGE, &text));
    }
    held.share.take(weight).await.map_err(|Full| busy())
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
    use std::io;

    use axum::{
        body::{Body, Bytes},
        http,
    };
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
    async fn what_its_objects_become_needs_room_too() {
        let (routes, budget) = door(4 << 20);
        let labels = |count: usize| -> Value {
            (0..count)
                .map(|it| (it.to_string(), json!(0)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let one = |count| {
            let mut all = objects(1, 100_000);
            all[0]["spec"]["unknown"] = labels(count);
            request(review(&all))
        };
        assert_eq!(ask(&routes, one(100)).await.0, StatusCode::OK);
        let (status, _, words) = ask(&routes, one(10_000)).await;
        let words = String::from_utf8(words).unwrap();
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{words}");
        assert!(words.contains("ask for fewer objects"), "{words}");
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
    /// As an API server sends it: all of the body before it listens.
    #[tokio::test]
    async fn who_is_turned_away_hears_it_after_a_body_of_any_length() {
        const LENGTH: usize = 64 << 20;
        let (routes, budget) = door(LENGTH);
        let mut other = budget.share();
        other.take(LENGTH).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, routes).into_future());
        let mut call = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = "POST /convert HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n\
                    transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        call.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        for _ in 0..LENGTH / 0x10000 {
            call.write_all(chunk.as_bytes()).await.expect("the connection was reset");
        }
        call.write_all(b"0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        call.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
        server.abort();
    }
}
