//! A proxy between one replica and the API server, which does to its requests what networks and busy servers do. It speaks
//! TLS to either side, as whoever it stands for.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, Version, header},
    response::{IntoResponse as _, Response},
};
use axum_server::tls_rustls::RustlsConfig;
use futures::{StreamExt as _, future::pending};
use gastown_testbed::{OperatorOptions, Testbed};
use kube::Client;
use serde_json::json;
use tokio::sync::watch;

use crate::world::PATIENCE;

/// What becomes of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Open,
    /// So many of a hundred are refused, with 429 or 500 in turn.
    Refused(u64),
    /// Nothing is answered, and what is sent arrives once the way is open again: the network is cut.
    Cut,
    /// The same of requests for Leases alone.
    CutForLeases,
    /// And of requests about pods alone.
    CutForPods,
    /// And of what is written about the status of Polecats.
    CutForStatus,
    /// Watches that stood when this was set say nothing any more; all else is as it should be.
    Deaf,
}

/// The proxy of one replica.
pub struct Toll {
    pub server: String,
    way: watch::Sender<Way>,
    generation: Arc<AtomicU64>,
    held: watch::Receiver<usize>,
}

#[derive(Clone)]
struct Passage {
    client: Client,
    way: watch::Receiver<Way>,
    /// Creates that were held up, and writes of a status where these are.
    held: Arc<watch::Sender<usize>>,
    requests: Arc<AtomicU64>,
    /// Watches of an older generation are deaf.
    generation: Arc<AtomicU64>,
}

impl Toll {
    /// For a replica of this name.
    pub async fn of(bed: &Testbed, name: &str) -> Self {
        let client = bed.client_in(name, Some(&OperatorOptions::default().group)).await.unwrap();
        let way = watch::Sender::new(Way::Open);
        let generation = Arc::<AtomicU64>::default();
        let (holding, held) = watch::channel(0);
        let passage = Passage {
            client,
            way: way.subscribe(),
            held: Arc::new(holding),
            requests: Arc::default(),
            generation: generation.clone(),
        };
        let certificates = bed.dir.join("webhook");
        let files = (certificates.join("tls.crt"), certificates.join("tls.key"));
        let tls = RustlsConfig::from_pem_file(files.0, files.1).await.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let router = Router::new().fallback(pass).with_state(passage);
        let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
        tokio::spawn(server.serve(router.into_make_service()));
        Self { server: format!("https://{address}"), way, generation, held }
    }

    /// Waits until so many creates, or writes of a status, are or were held up.
    pub async fn holds_creates(&self, count: usize) {
        let mut held = self.held.clone();
        let waited = tokio::time::timeout(PATIENCE, held.wait_for(|it| *it >= count)).await;
        waited.expect("they come in time").expect("the proxy lives");
    }

    pub fn set(&self, way: Way) {
        if way == Way::Deaf {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        self.way.send_replace(way);
    }
}

impl Way {
    /// Whether what is about this path is held up.
    fn holds(self, path: &str) -> bool {
        match self {
            Self::Open | Self::Refused(_) | Self::Deaf => false,
            Self::Cut => true,
            Self::CutForLeases => path.contains("/leases"),
            Self::CutForPods => path.contains("/pods"),
            Self::CutForStatus => path.contains("/polecats/") && path.ends_with("/status"),
        }
    }
}

impl Passage {
    async fn until(&self, so: impl Fn(Way) -> bool) {
        let mut way = self.way.clone();
        if way.wait_for(|it| so(*it)).await.is_err() {
            pending::<()>().await; // the test is over
        }
    }

    fn way(&self) -> Way {
        *self.way.borrow()
    }

    /// Spread evenly, and the same in every run.
    fn is_refused(&self, of_hundred: u64) -> Option<StatusCode> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let refused = (number * 37) % 100 < of_hundred;
        let codes = [StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR];
        refused.then(|| codes[usize::from(number % 2 == 1)])
    }
}

async fn pass(State(passage): State<Passage>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if let Way::Refused(of_hundred) = passage.way()
        && let Some(code) = passage.is_refused(of_hundred)
    {
        return refusal(code);
    }
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::HOST);
    head.version = Version::HTTP_11; // a replica's watches come by HTTP/2, and go on as this client likes
    let body = to_bytes(body, 4 << 20).await.unwrap_or_default();
    // What was sent arrives, however late, and whether or not anybody still waits for the answer.
    let arriving = tokio::spawn({
        let (passage, path) = (passage.clone(), path.clone());
        async move {
            let counts = head.method == Method::POST || passage.way() == Way::CutForStatus;
            if counts && passage.way().holds(&path) {
                passage.held.send_modify(|it| *it += 1);
            }
            passage.until(|it| !it.holds(&path)).await;
            passage.client.send(http::Request::from_parts(head, body.into())).await
        }
    });
    let Ok(Ok(answer)) = arriving.await else {
        return StatusCode::BAD_GATEWAY.into_response(); // the API server is away
    };
    if passage.way().holds(&path) {
        pending::<()>().await; // the answer is lost
    }
    let (head, body) = answer.into_parts();
    let began = passage.generation.load(Ordering::SeqCst);
    let parts = Body::new(body).into_data_stream();
    let said = parts.then(move |part| {
        let (passage, path) = (passage.clone(), path.clone());
        async move {
            let deaf = || passage.generation.load(Ordering::SeqCst) > began;
            passage.until(|it| !(it.holds(&path) || it == Way::Deaf && deaf())).await;
            part
        }
    });
    Response::from_parts(head, Body::from_stream(said))
}

/// As the API server writes it.
fn refusal(code: StatusCode) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "reason": if code == StatusCode::TOO_MANY_REQUESTS { "TooManyRequests" } else { "InternalError" },
        "message": "refused by the proxy of a test",
    });
    let body = Bytes::from(status.to_string());
    (code, [(header::CONTENT_TYPE, "application/json"), (header::RETRY_AFTER, "1")], body)
        .into_response()
}
