//! A collector on this machine: takes OTLP over HTTP and keeps the spans.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use crate::world::PATIENCE;

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
        let routes = Router::new().route("/v1/traces", post(take)).with_state(kept.clone());
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
