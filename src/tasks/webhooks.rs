//! The admission server: axum around `admission`. A panic is that request's failure; a review that can't be read gets a
//! plain answer and costs nobody else.

mod answer;
mod asking;
mod callers;
pub(super) mod counting;
pub(super) mod intake;
mod missing;
mod rehearsal;
mod takes;
pub(super) mod telling;
#[cfg(test)]
mod under_way;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Query, Request, State, rejection::QueryRejection},
    middleware,
    response::{IntoResponse as _, Response},
    routing::post,
};
use axum_server::{
    Handle,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse},
};
use tokio::task::JoinSet;
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    alerts::{ByRecord, Counting, seats::Seats},
    budget::Budget,
    convert,
    definitions::Unconverted,
    door, pods,
};
use crate::{
    admission::Policy,
    cluster::{meters::Meters, spans::Spans},
    config::Faults,
};
pub use asking::Asking;
pub use callers::manner;
use intake::{in_time, take_in};
pub use rehearsal::rehearsed;
pub use takes::{Stand, Takes};
pub(super) use telling::caller;

/// Longest time for a handshake, for the first request of a connection, and for the head of each later one, from its first byte on.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest time until the next request is there. API servers keep a connection for 90 s: who ended it before would at times
/// meet a call that is on its way, which nobody sends again.
const REST: Duration = Duration::from_secs(120);

/// Of one connection of HTTP/2: calls at a time, calls that were given up and wait to be looked at, and bytes of a head. Who
/// has more than that loses the connection.
const STREAMS: u32 = 100;
const RESETS: usize = 20;
const HEAD: u32 = 16 * 1024;

/// What every review is judged with. Faults are only ever asked for by a test.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub policy: Policy,
    pub faults: Faults,
    pub asking: Asking,
    pub pods: pods::Pods,
    pub spans: Spans,
    pub unconverted: Unconverted,
    pub meters: Meters,
}

/// The routes.
pub fn routes(rules: Rules) -> Router {
    routes_within(rules, Budget::of_this_process())
}

/// The routes, with so much memory for what comes in.
fn routes_within(rules: Rules, budget: Arc<Budget>) -> Router {
    let counted = middleware::from_fn_with_state(rules.meters.clone(), counting::count);
    let conversion_faults = rules.faults.clone();
    let pods = pods::routes(rules.pods.clone(), Arc::clone(&budget));
    let conversion = convert::routes(Arc::clone(&budget), conversion_faults, rules.spans.clone());
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .with_state((rules, budget))
        .merge(pods)
        .merge(conversion)
        .layer(CatchPanicLayer::new())
        .layer(counted)
}

/// Binds as soon as there is a certificate, and serves until the handle shuts it down. Another certificate is for those who
/// come after it; calls under way are not touched.
pub(super) async fn listen(
    address: SocketAddr,
    mut takes: Takes,
    handle: Handle<SocketAddr>,
    routes: Router,
) -> anyhow::Result<()> {
    const ENDED: &str = "nobody keeps certificates any more";
    takes.certificate.wait_for(Option::is_some).await.context(ENDED)?;
    let live = RustlsConfig::from_config(takes.now()?.context(ENDED)?);
    let inner = RustlsAcceptor::new(live.clone()).handshake_timeout(PATIENCE).acceptor(ByRecord);
    let (alerts, seats) = (takes.alerts.clone(), Seats::default());
    let acceptor = Counting { inner, alerts, seats, patience: PATIENCE };
    let mut server = axum_server::from_tcp(door::listener(address)?)?
        .acceptor(acceptor)
        .handle(handle)
        .first_request_timeout(PATIENCE);
    if !takes.manner.borrow().http2 {
        server = server.http1_only();
    }
    server.http_builder().http1().header_read_timeout(REST);
    server
        .http_builder()
        .http2()
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(HEAD)
        .keep_alive_interval(PATIENCE * 4)
        .keep_alive_timeout(PATIENCE);
    let server = server.serve(routes.into_make_service());
    let reload = async {
        while let Some(config) = takes.next().await {
            live.reload_from_config(config);
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
        let call = telling::Call::begun("admission mutate", request.headers());
        let (request, _share) = take_in(&budget, request).await?;
        rules.faults.strike(&request.name);
        let mut policy = rules.policy;
        policy.tracing.seed = telling::seed();
        let (response, run) = answer::stamped(&request, policy);
        let told = telling::about(&request, &response);
        let trace = call.of(run, &rules.spans).tell(&rules.spans, told);
        Ok(counting::told(response.allowed, trace, Json(response.into_review()).into_response()))
    })
    .await
}

async fn validate(State((rules, budget)): Shared, asked: Asked, request: Request) -> Response {
    in_time(asked, async {
        let call = telling::Call::begun("admission validate", request.headers());
        let (request, _share) = take_in(&budget, request).await?;
        let call = call.of(answer::run(&request), &rules.spans);
        let response = call.does(judged(&rules, &request)).await;
        let trace = call.tell(&rules.spans, telling::about(&request, &response));
        Ok(counting::told(response.allowed, trace, Json(response.into_review()).into_response()))
    })
    .await
}

async fn judged(rules: &Rules, request: &AdmissionRequest<DynamicObject>) -> AdmissionResponse {
    rules.faults.strike(&request.name);
    let asking = &rules.asking;
    let (rig, mut named, missing) =
        tokio::join!(asking.rig(request), asking.names(request), asking.missing(request));
    named.warnings.extend(missing);
    named.refusals.extend(rules.unconverted.refusal(request, Instant::now()));
    answer::judged(request, rules.policy, rig.said(), named)
}

/// Waits until the admission server listens, and until something else is done.
pub async fn listens(
    handle: &Handle<SocketAddr>,
    address: SocketAddr,
    servers: &mut JoinSet<anyhow::Result<()>>,
    also: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::select! {
        (bound, ()) = async { tokio::join!(handle.listening(), also) } => anyhow::ensure!(
            bound.is_some(),
            "the admission server can't listen on {address}; is the port taken?"
        ),
        Some(ended) = servers.join_next() => {
            ended??;
            anyhow::bail!("a server ended before it was ready");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, StatusCode},
    };
    use serde_json::{Value, json};
    use tokio::sync::watch;
    use tower::ServiceExt as _;

    use super::{super::alerts::Alerts, *};
    use crate::tls;

    /// Every way in for reviews of admission.
    const DOORS: [&str; 4] = ["/mutate", "/validate", "/mutate-pods", "/validate-pods"];

    async fn post(body: impl Into<Body>, content_type: &str) -> (StatusCode, Vec<u8>) {
        post_to("/mutate", body, content_type).await
    }

    async fn post_to(
        door: &str,
        body: impl Into<Body>,
        content_type: &str,
    ) -> (StatusCode, Vec<u8>) {
        let request =
            Request::post(door).header("content-type", content_type).body(body.into()).unwrap();
        sent(request).await
    }

    async fn sent(request: Request<Body>) -> (StatusCode, Vec<u8>) {
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
        let (good, json) = (review(&json!({"note": "canary"})), "application/json");
        let text = |from: &str, to: &str| good.replace(from, to).into_bytes();
        let mut invalid = text("canary", "canary!");
        let at = invalid.iter().position(|it| *it == b'!').unwrap();
        invalid[at] = 0xff;
        let bad = StatusCode::BAD_REQUEST;
        let table = [
            (
                "an answer beside the question",
                text(r#","request""#, r#","response":{},"request""#),
                json,
                bad,
            ),
            ("another version", text("k8s.io/v1", "k8s.io/v1beta1"), json, bad),
            ("an empty uid", text("u-1", ""), json, bad),
            ("no uid", text(r#""uid":"u-1""#, r#""other":"u-1""#), json, bad),
            ("half a character as uid", text("u-1", r"\ud800"), json, bad),
            ("a key twice", text(r#""uid":"#, r#""uid":"canary","uid":"#), json, bad),
            ("no UTF-8", invalid, json, bad),
            ("a NUL", b"{\"canary\":\x001}".to_vec(), json, bad),
            ("nothing", Vec::new(), json, bad),
            ("half of it", b"{\"canary\": ".to_vec(), json, bad),
            ("no review", b"{}".to_vec(), json, bad),
            ("another type", b"{}".to_vec(), "text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            (
                "a patch",
                b"{}".to_vec(),
                "application/json-patch+json",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            ("a charset", b"{}".to_vec(), "Application/JSON; charset=utf-8", bad),
        ];
        for door in DOORS {
            for (what, body, content_type, want) in &table {
                let (got, said) = post_to(door, body.clone(), content_type).await;
                let said = String::from_utf8(said).unwrap();
                assert_eq!(got, *want, "{door}: {what}: {said}");
                let echoes = said.contains("canary") || said.contains("panicked");
                assert!(!echoes && said.lines().count() == 1, "{door}: {what}: {said}");
            }
            let get = Request::get(door).body(Body::empty()).unwrap();
            assert_eq!(sent(get).await.0, StatusCode::METHOD_NOT_ALLOWED, "{door}");
        }
        let huge = "x".repeat(intake::MAX_BODY + 1);
        assert_eq!(post(huge, json).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(post(deep, json).await.0, bad, "deep nesting");
        let announced = Request::post("/validate-pods").header("content-type", json);
        let announced = announced.header("content-length", 100 << 20).body(Body::empty()).unwrap();
        assert_eq!(sent(announced).await.0, StatusCode::PAYLOAD_TOO_LARGE, "before it is there");
    }

    #[tokio::test]
    async fn what_would_take_much_more_memory_than_it_is_long_is_refused_before_it_is_read() {
        let budget = Budget::new(256 << 20); // of 512Mi, as the operator has
        let send = async |door: &str, body: &str| {
            let request = Request::post(door).header("content-type", "application/json");
            let request = request.body(Body::from(body.to_owned())).unwrap();
            let routes = routes_within(Rules::default(), Arc::clone(&budget));
            routes.oneshot(request).await.unwrap().status()
        };
        let many = |it: &str| {
            let all = vec![it; (intake::MAX_BODY - (64 << 10)) / (it.len() + 1)];
            format!("[{}]", all.join(","))
        };
        let hostile = [r#"{"":0}"#, "[0]", "0", r#""""#, r#"{"a":[{"b":[]}]}"#].map(many);
        let keys: Vec<_> = (0..650_000).map(|it| format!(r#""{it}":0"#)).collect();
        let hostile = hostile.into_iter().chain([format!("{{{}}}", keys.join(","))]);
        let of = |inside: &str| {
            let object = json!({"metadata": {"name": "max"}, "spec": "HERE"});
            review(&object).replace("\"HERE\"", inside)
        };
        for inside in hostile {
            let body = of(&inside);
            for door in DOORS {
                let said = &inside[..20];
                assert_eq!(send(door, &body).await, StatusCode::PAYLOAD_TOO_LARGE, "{said}");
            }
        }
        // As large as an object can be, of lines, and of many small parts.
        let text = json!({"taskDescription": "one line, of many: {like} this\n".repeat(50_000)});
        let part = json!({"name": "a", "value": "b".repeat(100), "list": [{"c": 1}, {"d": 2}]});
        let parts = json!({"containers": [{"name": "a", "env": vec![part; 10_000]}]});
        for inside in [text, parts].map(|it| it.to_string()) {
            assert!(inside.len() > 1_400_000, "{}", inside.len());
            let body = of(&inside);
            for door in DOORS {
                assert_eq!(send(door, &body).await, StatusCode::OK, "{door}: {}", &inside[..40]);
            }
        }
        assert_eq!(budget.room(), budget.limit(), "everything was given back");
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

    /// A server on a free port of this machine, with a certificate of its own, and who trusts that.
    pub(super) struct Hall {
        pub address: SocketAddr,
        pub config: Arc<rustls::ClientConfig>,
        pub alerts: Alerts,
        pub live: watch::Sender<Option<Arc<rustls::ServerConfig>>>,
        pub manner: watch::Sender<tls::Manner>,
        pub handle: Handle<SocketAddr>,
    }

    async fn served(manner: tls::Manner) -> (SocketAddr, Arc<rustls::ClientConfig>, Alerts) {
        let it = hall(manner).await;
        (it.address, it.config, it.alerts)
    }

    pub(super) async fn hall(manner: tls::Manner) -> Hall {
        use crate::domain::certificates::Book;
        let _ = tls::install_provider();
        let mint = tls::mint::ForNames { names: vec!["127.0.0.1".into()], leaf_life: None };
        let book = Book::new(&mint, 1, crate::cluster::certificates::seconds()).unwrap();
        let read = tls::check::Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes());
        let live = watch::Sender::new(Some(Arc::new(tls::server(read.unwrap()).unwrap())));
        let provider = watch::Sender::new(None).subscribe();
        let handle = Handle::new();
        let alerts = Alerts::default();
        let (certificate, stand) = (live.subscribe(), Stand::default());
        let (manner, followed) = watch::channel(manner);
        let takes =
            Takes { certificate, provider, manner: followed, alerts: alerts.clone(), stand };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        tokio::spawn(listen(address, takes, handle.clone(), routes(Rules::default())));
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add_parsable_certificates(tls::check::certificates(book.bundle().as_bytes()).unwrap());
        let client = tls::crypto::client(roots).unwrap();
        let (address, config) = (handle.listening().await.unwrap(), Arc::new(client));
        Hall { address, config, alerts, live, manner, handle }
    }

    /// What comes back for the beginning of a request, or of none, until the connection ends.
    pub(super) fn say(
        address: SocketAddr,
        config: Option<Arc<rustls::ClientConfig>>,
        text: &str,
    ) -> String {
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
        let (address, config, alerts) = served(tls::Manner::default()).await;
        let rests = under_way::resting(address, &config).await;
        let begins = under_way::resting(address, &config).await;
        let begins = tokio::spawn(under_way::is_shed(begins, "POST /validate HTTP/1.1\r\nho"));
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
        assert_eq!(alerts.count(), 0, "who is slow or honest distrusts nothing");
        for it in tries {
            let answer = it.await.unwrap();
            assert!(!answer.contains("200"), "{answer}");
        }
        assert!(begins.await.unwrap(), "nor is the head of a later call waited for");
        under_way::calls_again(rests).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_caller_that_does_not_trust_the_certificate_is_counted() {
        let (address, _, alerts) = served(tls::Manner::default()).await;
        let stranger = tls::crypto::client(rustls::RootCertStore::empty()).unwrap();
        let called = tokio::task::spawn_blocking(move || {
            let name = "127.0.0.1".try_into().unwrap();
            let mut client = rustls::ClientConnection::new(Arc::new(stranger), name).unwrap();
            let mut plain = std::net::TcpStream::connect(address).unwrap();
            let _ = client.complete_io(&mut plain);
            let _ = client.write_tls(&mut plain); // the alert
            let mut rest = Vec::new();
            let _ = std::io::Read::read_to_end(&mut plain, &mut rest);
        });
        let mut news = alerts.news();
        called.await.unwrap();
        let counted = tokio::time::timeout(PATIENCE, news.wait_for(|it| *it == 1)).await;
        assert!(counted.is_ok(), "{} were counted", alerts.count());
    }

    const WHOLE: &str = "GET /validate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    #[tokio::test(flavor = "multi_thread")]
    async fn callers_show_a_certificate_where_one_is_asked_for() {
        let authority = |name: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = rcgen::KeyPair::generate().unwrap();
            rcgen::CertifiedIssuer::self_signed(params, key).unwrap()
        };
        let _ = tls::install_provider();
        let (known, stranger) = (authority("known"), authority("stranger"));
        let mut authorities = rustls::RootCertStore::empty();
        authorities.add(known.der().clone()).unwrap();
        let authorities = Arc::new(authorities);
        for (required, shown, answered, because) in [
            (true, None, false, "none is shown, and one is required"),
            (true, Some(&known), true, "one of the authority's"),
            (true, Some(&stranger), false, "another's"),
            (false, None, true, "none is shown, and may not be"),
            (false, Some(&known), true, "one of the authority's"),
            (false, Some(&stranger), false, "another's is never taken"),
        ] {
            let callers = tls::crypto::Callers { authorities: Arc::clone(&authorities), required };
            let manner = tls::Manner { callers: Some(callers), ..tls::Manner::default() };
            let (address, config, _) = served(manner).await;
            let mut config = rustls::ClientConfig::clone(&config);
            if let Some(issuer) = shown {
                let key = rcgen::KeyPair::generate().unwrap();
                let params = rcgen::CertificateParams::new(vec!["api-server".to_owned()]).unwrap();
                let leaf = params.signed_by(&key, issuer).unwrap();
                let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                let chain = vec![leaf.der().clone()];
                let provider = config.crypto_provider().clone();
                let certified = rustls::sign::CertifiedKey::from_der(chain, key, &provider);
                let resolver = rustls::sign::SingleCertAndKey::from(certified.unwrap());
                config.client_auth_cert_resolver = Arc::new(resolver);
            }
            let config = Some(Arc::new(config));
            let said = tokio::task::spawn_blocking(move || say(address, config, WHOLE)).await;
            let said = said.unwrap();
            assert_eq!(said.starts_with("HTTP/1.1 405"), answered, "{because}: {said}");
        }
    }

    /// Frames of HTTP/2 as they come until the connection ends, for frames that are sent at once.
    fn say_in_frames(
        address: SocketAddr,
        config: &Arc<rustls::ClientConfig>,
        frames: &[u8],
    ) -> Vec<(u8, Vec<u8>)> {
        use std::io::{Read as _, Write as _};
        let mut config = rustls::ClientConfig::clone(config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = "127.0.0.1".try_into().unwrap();
        let client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let plain = std::net::TcpStream::connect(address).unwrap();
        plain.set_read_timeout(Some(PATIENCE * 6)).unwrap();
        let mut stream = rustls::StreamOwned::new(client, plain);
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        // Who is shed may not take all of it.
        let _ = stream.write_all(&[preface, frames].concat());
        let mut told = Vec::new();
        let mut head = [0; 9];
        while stream.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut body = vec![0; usize::try_from(length).unwrap()];
            if stream.read_exact(&mut body).is_err() {
                break;
            }
            told.push((head[3], body));
        }
        told
    }

    /// A frame of HTTP/2: its kind, its flags, its stream.
    fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags];
        [&head[..], &stream.to_be_bytes(), body].concat()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_gives_up_calls_by_the_hundred_loses_the_connection() {
        let manner = tls::Manner { http2: true, ..tls::Manner::default() };
        let (address, config, _) = served(manner).await;
        // GET https /validate, by the table that every connection begins with, and a name that is none.
        let asked = [&[0x82, 0x87, 0x04, 9][..], b"/validate", &[0x41, 1], b"x"].concat();
        let mut frames = Vec::new();
        // So few that all of it is read: what is left unread when a connection ends takes the last words with it.
        for stream in (1..).step_by(2).take(200) {
            frames.extend(frame(1, 0x5, stream, &asked)); // HEADERS, whole
            frames.extend(frame(3, 0, stream, &8_u32.to_be_bytes())); // RST_STREAM: cancelled
        }
        let (many, shed) = (frames.clone(), config.clone());
        let told = tokio::task::spawn_blocking(move || say_in_frames(address, &shed, &many));
        let told = told.await.unwrap();
        let settings = told.iter().find(|it| it.0 == 4).map(|it| it.1.clone()).unwrap_or_default();
        let streams = settings.chunks(6).find(|it| it[..2] == [0, 3]).map(|it| it[2..].to_vec());
        assert_eq!(streams, Some(STREAMS.to_be_bytes().to_vec()), "how many calls at a time");
        let away = told.iter().find(|it| it.0 == 7).map(|it| it.1[4..8].to_vec());
        assert_eq!(away, Some(vec![0, 0, 0, 11]), "GOAWAY, ENHANCE_YOUR_CALM: {told:?}");
        let whole = tokio::task::spawn_blocking(move || say(address, Some(config), WHOLE));
        assert!(whole.await.unwrap().starts_with("HTTP/1.1 405"), "others are served");
    }
}
