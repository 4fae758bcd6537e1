//! The admission server: axum around `admission`. A panic is that request's failure; a review that can't be read gets a
//! plain answer and costs nobody else.

mod answer;
mod asking;
pub(super) mod intake;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Query, Request, State, rejection::QueryRejection},
    response::Response,
    routing::post,
};
use axum_server::{
    Handle,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use rustls::ServerConfig;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;

use super::{budget::Budget, convert, pods};
use crate::{admission::Policy, config::Faults};
pub use asking::Asking;
use intake::{in_time, take_in};

/// Longest time for a handshake, for the head of a request, and for the first one of a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// What every review is judged with. Faults are only ever asked for by a test.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub policy: Policy,
    pub faults: Faults,
    pub asking: Asking,
    pub pods: pods::Pods,
}

/// The routes.
pub fn routes(rules: Rules) -> Router {
    let conversion_faults = rules.faults.clone();
    let budget = Budget::of_this_process();
    let pods = pods::routes(rules.pods.clone(), Arc::clone(&budget));
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .with_state((rules, Arc::clone(&budget)))
        .merge(pods)
        .merge(convert::routes(budget, conversion_faults))
        .layer(CatchPanicLayer::new())
}

/// Binds as soon as there is a certificate, and serves until the handle shuts it down. Another certificate is for those who
/// come after it; calls under way are not touched.
pub async fn serve(
    address: SocketAddr,
    mut certificate: watch::Receiver<Option<Arc<ServerConfig>>>,
    handle: Handle<SocketAddr>,
    rules: Rules,
) -> anyhow::Result<()> {
    let first = certificate.wait_for(Option::is_some).await.map(|it| it.clone());
    let first = first.ok().flatten().context("nobody keeps certificates any more")?;
    let live = RustlsConfig::from_config(first);
    let acceptor = RustlsAcceptor::new(live.clone()).handshake_timeout(PATIENCE);
    let mut server = axum_server::bind(address)
        .acceptor(acceptor)
        .handle(handle)
        .http1_only()
        .first_request_timeout(PATIENCE);
    server.http_builder().http1().header_read_timeout(PATIENCE);
    let server = server.serve(routes(rules).into_make_service());
    let reload = async {
        while certificate.changed().await.is_ok() {
            if let Some(config) = certificate.borrow_and_update().clone() {
                live.reload_from_config(config);
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = server => Ok(ended?),
        () = reload => Ok(()),
    }
}

type Shared = State<(Rules, Arc<Budget>)>;
type Asked = Result<Query<intake::Asked>, QueryRejection>;

async fn mutate(State((rules, budget)): Shared, asked: Asked, request: Request) -> Response {
    in_time(asked, async {
        let (request, _share) = take_in(&budget, request).await?;
        rules.faults.strike(&request.name);
        Ok(Json(answer::stamped(&request, rules.policy).into_review()))
    })
    .await
}

async fn validate(State((rules, budget)): Shared, asked: Asked, request: Request) -> Response {
    in_time(asked, async {
        let (request, _share) = take_in(&budget, request).await?;
        rules.faults.strike(&request.name);
        let (rig, named) = tokio::join!(rules.asking.rig(&request), rules.asking.names(&request));
        Ok(Json(answer::judged(&request, rules.policy, rig.said(), named).into_review()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, StatusCode},
    };
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;

    async fn post(body: impl Into<Body>, content_type: &str) -> (StatusCode, Vec<u8>) {
        let request = Request::post("/mutate")
            .header("content-type", content_type)
            .body(body.into())
            .unwrap();
        let faults = "panic-on=boom".parse().unwrap();
        let rules = Rules { faults, ..Rules::default() };
        let answer = routes(rules).oneshot(request).await.unwrap();
        let status = answer.status();
        (status, axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec())
    }

    fn review(object: &Value) -> String {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "operation": "CREATE", "name": "max", "namespace": "town", "userInfo": {},
                "kind": {"group": "gastown.gastown.io", "version": "v1alpha1", "kind": "Polecat"},
                "resource": {"group": "gastown.gastown.io", "version": "v1alpha1", "resource": "polecats"},
                "object": object,
            },
        })
        .to_string()
    }

    #[tokio::test]
    async fn a_polecat_is_stamped() {
        let object = json!({"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat",
            "metadata": {"name": "max", "namespace": "town"}, "spec": {"rig": "greeter"}});
        let (status, body) = post(review(&object), "application/json").await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["response"]["uid"]), (StatusCode::OK, &json!("u-1")));
        assert_eq!(body["response"]["allowed"], true);
        assert_eq!(body["response"]["patchType"], "JSONPatch");
    }

    #[tokio::test]
    async fn a_panic_is_that_requests_failure() {
        let object = json!({"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat", "metadata": {"name": "boom"}});
        let body = review(&object).replace(r#""name":"max""#, r#""name":"boom""#);
        assert_eq!(post(body, "application/json").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn what_is_no_review_is_told_so() {
        let other = review(&json!({})).replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
        let foreign = review(&json!({})).replace("u-1", "");
        let lone = review(&json!({})).replace("u-1", r"\ud800");
        let table = [
            (other.as_str(), "application/json", StatusCode::BAD_REQUEST),
            (&foreign, "application/json", StatusCode::BAD_REQUEST),
            (&lone, "application/json", StatusCode::BAD_REQUEST),
            ("{\"a\":\u{0}1}", "application/json", StatusCode::BAD_REQUEST),
            ("", "application/json", StatusCode::BAD_REQUEST),
            ("{", "application/json", StatusCode::BAD_REQUEST),
            ("{}", "application/json", StatusCode::BAD_REQUEST),
            ("{}", "text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ];
        for (body, content_type, want) in table {
            let got = post(body.to_owned(), content_type).await.0;
            assert_eq!(got, want, "{body} as {content_type}");
        }
        let huge = "x".repeat(intake::MAX_BODY + 1);
        assert_eq!(post(huge, "application/json").await.0, StatusCode::PAYLOAD_TOO_LARGE);
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(post(deep, "application/json").await.0, StatusCode::BAD_REQUEST, "deep nesting");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_ends_with_the_calls_time() {
        let stuck = Body::from_stream(futures::stream::pending::<std::io::Result<Vec<u8>>>());
        let request = Request::post("/validate?timeout=1s")
            .header("content-type", "application/json")
            .body(stuck)
            .unwrap();
        let answer = routes(Rules::default()).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    }

    /// A server on a free port of this machine, with a certificate of its own.
    async fn served() -> (SocketAddr, Arc<rustls::ClientConfig>) {
        use crate::{domain::certificates::Book, tls};
        let _ = tls::install_provider();
        let mint = tls::mint::ForNames { names: vec!["127.0.0.1".into()], leaf_life: None };
        let book = Book::new(&mint, 1, crate::cluster::certificates::seconds()).unwrap();
        let read = tls::check::Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes());
        let live = watch::Sender::new(Some(Arc::new(tls::server(read.unwrap()).unwrap())));
        let (certificate, handle) = (live.subscribe(), Handle::new());
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        tokio::spawn(serve(address, certificate, handle.clone(), Rules::default()));
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add_parsable_certificates(tls::check::certificates(book.bundle().as_bytes()).unwrap());
        let client = tls::crypto::client(roots).unwrap();
        (handle.listening().await.unwrap(), Arc::new(client))
    }

    /// What comes back for the beginning of a request, or of none, until the connection ends.
    fn say(address: SocketAddr, config: Option<Arc<rustls::ClientConfig>>, text: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut plain = std::net::TcpStream::connect(address).unwrap();
        plain.set_read_timeout(Some(PATIENCE * 6)).unwrap();
        let mut answer = Vec::new();
        let ended = match config {
            None => plain.read_to_end(&mut answer),
            Some(config) => {
                let name = "127.0.0.1".try_into().unwrap();
                let client = rustls::ClientConnection::new(config, name).unwrap();
                let mut stream = rustls::StreamOwned::new(client, plain);
                stream.write_all(text.as_bytes()).unwrap();
                stream.read_to_end(&mut answer)
            }
        };
        let late = ended.is_err_and(|it| it.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!late, "the connection is open still");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_does_not_go_on_is_shed_and_others_are_served() {
        let (address, config) = served().await;
        let mut tries = Vec::new();
        for text in [None, Some(""), Some("POST /validate HTTP/1.1\r\nhost: x")] {
            let config = text.map(|_| config.clone());
            let text = text.unwrap_or_default();
            tries.push(tokio::task::spawn_blocking(move || say(address, config, text)));
        }
        let whole = "GET /validate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = tokio::task::spawn_blocking(move || say(address, Some(config), whole)).await;
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        for it in tries {
            let answer = it.await.unwrap();
            assert!(!answer.contains("200"), "{answer}");
        }
    }
}
