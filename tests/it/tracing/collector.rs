//! A collector on this machine: takes OTLP over HTTP and over gRPC, and keeps the spans.

use std::{
    collections::BTreeMap,
    future::ready,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{
        HeaderMap,
        header::{CONTENT_TYPE, HeaderValue},
    },
    response::{IntoResponse as _, Response},
    routing::post,
};
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use crate::world::PATIENCE;

/// Where gRPC calls a collector.
const CALL: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A span as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub service: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub from: u64,
    pub to: u64,
    pub attributes: BTreeMap<String, String>,
    pub events: Vec<String>,
    pub failed: bool,
}

impl Span {
    pub fn says(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

#[derive(Default)]
struct Kept {
    spans: Mutex<Vec<Span>>,
    authorizations: Mutex<Vec<String>>,
    news: Notify,
}

pub struct Collector {
    pub endpoint: String,
    kept: Arc<Kept>,
    task: JoinHandle<()>,
}

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Kept::default());
        let routes = Router::new().route("/v1/traces", post(take)).route(CALL, post(called));
        let routes = routes.with_state(kept.clone());
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { endpoint, kept, task }
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.kept.spans.lock().unwrap().clone()
    }

    pub fn authorizations(&self) -> Vec<String> {
        self.kept.authorizations.lock().unwrap().clone()
    }

    /// Waits until what has come is as told.
    pub async fn until(&self, what: &str, is: impl Fn(&[Span]) -> bool) {
        let comes = async {
            loop {
                let news = self.kept.news.notified();
                if is(&self.spans()) {
                    return;
                }
                news.await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, comes).await;
        assert!(came.is_ok(), "no {what} among {:#?}", self.spans());
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) {
    if let Some(it) = headers.get("authorization") {
        kept.authorizations.lock().unwrap().push(it.to_str().unwrap().to_owned());
    }
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    for of in request.resource_spans {
        let service = pairs(&of.resource.unwrap().attributes)["service.name"].clone();
        for span in of.scope_spans.into_iter().flat_map(|it| it.spans) {
            kept.spans.lock().unwrap().push(Span {
                service: service.clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                from: span.start_time_unix_nano,
                to: span.end_time_unix_nano,
                attributes: pairs(&span.attributes),
                events: span.events.into_iter().map(|it| it.name).collect(),
                failed: span.status.is_some_and(|it| it.code == 2),
            });
        }
    }
    kept.news.notify_waiters();
}

/// A message of gRPC: a byte that says whether it is compressed, four with its length, then what `take` takes.
async fn called(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers[CONTENT_TYPE], "application/grpc");
    assert_eq!(body[0], 0, "nobody asked for compression");
    take(State(kept), headers, body.slice(5..)).await;
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(0))]);
    let answer = Full::new(Bytes::from_static(&[0; 5])).with_trailers(ready(Some(Ok(trailers))));
    ([(CONTENT_TYPE, "application/grpc")], Body::new(answer)).into_response()
}

fn pairs(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| match it.value.clone().and_then(|it| it.value) {
        Some(any_value::Value::StringValue(it)) => it,
        Some(any_value::Value::IntValue(it)) => it.to_string(),
        Some(any_value::Value::BoolValue(it)) => it.to_string(),
        other => panic!("{} is {other:?}", it.key),
    };
    all.iter().map(|it| (it.key.clone(), text(it))).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}
