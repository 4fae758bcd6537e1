//! A collector on this machine: takes OTLP over HTTP and over gRPC, and keeps the spans.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    io::Read as _,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{
        HeaderMap,
        header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
    },
    response::{IntoResponse as _, Response},
    routing::post,
};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{KeyValue, any_value},
    logs::v1::LogRecord,
    metrics::v1::{HistogramDataPoint, NumberDataPoint, metric::Data, number_data_point},
    trace::v1::Span as Told,
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use crate::world::PATIENCE;

/// Where gRPC calls a collector.
fn call(service: &str) -> String {
    format!("/opentelemetry.proto.collector.{service}Service/Export")
}

/// A span as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub service: String,
    /// All that is said of who tells it, and the version of what makes it.
    pub teller: BTreeMap<String, String>,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub name: String,
    pub from: u64,
    pub to: u64,
    pub attributes: BTreeMap<String, String>,
    pub events: Vec<String>,
    /// Trace and span of each.
    pub links: Vec<String>,
    pub failed: bool,
}

impl Span {
    pub fn says(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A line of a log as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub service: String,
    pub module: String,
    pub text: String,
    pub trace: String,
    pub span: String,
}

/// Figures as they came last, by name and labels.
#[derive(Clone, Debug, Default)]
pub struct Figures(BTreeMap<(String, BTreeMap<String, String>), f64>);

impl Figures {
    pub fn names(&self) -> BTreeSet<String> {
        self.0.keys().map(|(name, _)| name.clone()).collect()
    }

    /// The figure with these labels.
    pub fn of(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(key, it)| ((*key).to_owned(), (*it).to_owned())).collect();
        self.0.get(&(name.to_owned(), labels)).copied()
    }
}

#[derive(Default)]
struct Kept {
    spans: Mutex<Vec<Span>>,
    lines: Mutex<Vec<Line>>,
    figures: Mutex<Figures>,
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
        Self::at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// At an address that others than processes of this machine reach.
    pub async fn at(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Kept::default());
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .route("/v1/logs", post(take_lines))
            .route("/v1/metrics", post(take_figures))
            .route(&call("trace.v1.Trace"), post(called))
            .route(&call("logs.v1.Logs"), post(lines_called))
            .route(&call("metrics.v1.Metrics"), post(figures_called))
            .with_state(kept.clone());
        let task = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { endpoint, kept, task }
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.kept.spans.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<Line> {
        self.kept.lines.lock().unwrap().clone()
    }

    pub fn figures(&self) -> Figures {
        self.kept.figures.lock().unwrap().clone()
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

fn unzipped(body: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    GzDecoder::new(body).read_to_end(&mut plain).unwrap();
    plain.into()
}

/// What was sent over HTTP, as it was before it was compressed.
fn plain(headers: &HeaderMap, body: Bytes) -> Bytes {
    let gzip = headers.get(CONTENT_ENCODING).is_some_and(|it| it == "gzip");
    if gzip { unzipped(&body) } else { body }
}

async fn take(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) {
    if let Some(it) = headers.get("authorization") {
        kept.authorizations.lock().unwrap().push(it.to_str().unwrap().to_owned());
    }
    let request = ExportTraceServiceRequest::decode(plain(&headers, body)).unwrap();
    for of in request.resource_spans {
        let who = pairs(&of.resource.unwrap().attributes);
        for scope in of.scope_spans {
            let version = scope.scope.unwrap().version;
            let teller = with_version(who.clone(), version);
            let mut spans = kept.spans.lock().unwrap();
            spans.extend(scope.spans.into_iter().map(|it| read(it, &teller)));
        }
    }
    kept.news.notify_waiters();
}

/// Who tells, as spans are compared by it.
pub fn with_version(
    mut who: BTreeMap<String, String>,
    version: String,
) -> BTreeMap<String, String> {
    who.insert("otel.scope.version".into(), version);
    who
}

fn read(span: Told, teller: &BTreeMap<String, String>) -> Span {
    Span {
        service: teller["service.name"].clone(),
        teller: teller.clone(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name,
        from: span.start_time_unix_nano,
        to: span.end_time_unix_nano,
        attributes: pairs(&span.attributes),
        events: span.events.into_iter().map(|it| it.name).collect(),
        links: span
            .links
            .iter()
            .map(|it| format!("{}/{}", hex(&it.trace_id), hex(&it.span_id)))
            .collect(),
        failed: span.status.is_some_and(|it| it.code == 2),
    }
}

/// A message of gRPC: a byte that says whether it is compressed, four with its length, then what is sent over HTTP.
fn message(headers: &HeaderMap, body: &Bytes) -> Bytes {
    assert_eq!(headers[CONTENT_TYPE], "application/grpc");
    if body[0] == 0 {
        return body.slice(5..);
    }
    assert_eq!(headers["grpc-encoding"], "gzip");
    unzipped(&body[5..])
}

fn empty_answer() -> Response {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(0))]);
    let answer = Full::new(Bytes::from_static(&[0; 5])).with_trailers(ready(Some(Ok(trailers))));
    ([(CONTENT_TYPE, "application/grpc")], Body::new(answer)).into_response()
}

async fn called(kept: State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> Response {
    let message = message(&headers, &body);
    take(kept, headers, message).await;
    empty_answer()
}

async fn lines_called(kept: State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> Response {
    let message = message(&headers, &body);
    take_lines(kept, headers, message).await;
    empty_answer()
}

async fn figures_called(kept: State<Arc<Kept>>, headers: HeaderMap, body: Bytes) -> Response {
    let message = message(&headers, &body);
    take_figures(kept, headers, message).await;
    empty_answer()
}

async fn take_lines(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) {
    let request = ExportLogsServiceRequest::decode(plain(&headers, body)).unwrap();
    for of in request.resource_logs {
        let service = pairs(&of.resource.unwrap().attributes)["service.name"].clone();
        for scope in of.scope_logs {
            let module = scope.scope.unwrap().name;
            let line = |it: LogRecord| Line {
                service: service.clone(),
                module: module.clone(),
                text: match it.body.and_then(|it| it.value) {
                    Some(any_value::Value::StringValue(it)) => it,
                    _ => String::new(),
                },
                trace: hex(&it.trace_id),
                span: hex(&it.span_id),
            };
            kept.lines.lock().unwrap().extend(scope.log_records.into_iter().map(line));
        }
    }
}

async fn take_figures(State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes) {
    let mut figures = Figures::default();
    let request = ExportMetricsServiceRequest::decode(plain(&headers, body)).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
    for it in scopes.flat_map(|it| it.metrics) {
        let numbers = |points: Vec<NumberDataPoint>| -> Vec<_> {
            let value = |it: &NumberDataPoint| match it.value {
                Some(number_data_point::Value::AsDouble(it)) => it,
                _ => f64::NAN,
            };
            points.iter().map(|it| (pairs(&it.attributes), value(it))).collect()
        };
        let points = match it.data.unwrap() {
            Data::Sum(it) => numbers(it.data_points),
            Data::Gauge(it) => numbers(it.data_points),
            Data::Histogram(it) => {
                let sum = |it: HistogramDataPoint| (pairs(&it.attributes), it.sum.unwrap());
                it.data_points.into_iter().map(sum).collect()
            }
            other => panic!("{other:?}"),
        };
        figures
            .0
            .extend(points.into_iter().map(|(labels, value)| ((it.name.clone(), labels), value)));
    }
    *kept.figures.lock().unwrap() = figures;
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
