//! The collector: OTLP over HTTP or gRPC, both through connections of one kind, whose cryptography is that of
//! [`tls::crypto`](crate::tls::crypto).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use rustls::ClientConfig;
use tonic::transport::{Channel, Endpoint};

use super::{
    http::{Http, bearer, trusting, way},
    proxy::Proxies,
};
use crate::{
    config::{Compression, Protocol, Tracing},
    domain::trace::{Kind, Source, Span, Value},
    tls::Files,
};

/// The name of the runner as a service.
const RUNNER: &str = "gastown-runner";
/// What an answer may hold.
const MAX_ANSWER: usize = 64 * 1024;

/// An exporter for each program whose work is told of.
pub struct Collector {
    operator: SpanExporter,
    runner: SpanExporter,
}

impl Collector {
    /// Sends a batch.
    pub async fn send(&self, batch: Vec<Span>) -> OTelSdkResult {
        let (operator, runner): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|it| it.source == Source::Operator);
        let mut outcome = Ok(());
        for (to, spans) in [(&self.operator, operator), (&self.runner, runner)] {
            if !spans.is_empty() {
                outcome = outcome.and(to.export(spans.into_iter().map(data).collect()).await);
            }
        }
        outcome
    }
}

/// Prepares to send; nothing is connected before there is something to send.
pub fn connect(settings: &Tracing, endpoint: &str, replica: &str) -> anyhow::Result<Collector> {
    let make = |service: &str| -> anyhow::Result<SpanExporter> {
        let mut exporter = match settings.otlp_protocol {
            Protocol::Http => over_http(settings, endpoint)?,
            Protocol::Grpc => over_grpc(settings, endpoint)?,
        };
        exporter.set_resource(&resource(settings, service, replica));
        Ok(exporter)
    };
    Ok(Collector { operator: make(&settings.otlp_service_name)?, runner: make(RUNNER)? })
}

fn over_http(settings: &Tracing, endpoint: &str) -> anyhow::Result<SpanExporter> {
    let token = settings.otlp_token_file.clone();
    let proxies = Proxies::of(&settings.outside);
    let http = Http::new(trust(settings)?, token, MAX_ANSWER, proxies);
    let sender = Sender(http);
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(sender)
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(settings.timeout());
    if settings.otlp_compression == Compression::Gzip {
        exporter = exporter.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    exporter.build().with_context(|| format!("traces can't be sent to {endpoint}"))
}

fn over_grpc(settings: &Tracing, endpoint: &str) -> anyhow::Result<SpanExporter> {
    let channel = channel(settings, endpoint, settings.timeout())?;
    let token = settings.otlp_token_file.clone();
    let mut exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_timeout(settings.timeout())
        .with_interceptor(move |mut request: tonic::Request<()>| {
            if let Some(bearer) = bearer(token.as_deref()).and_then(|it| it.parse().ok()) {
                request.metadata_mut().insert("authorization", bearer);
            }
            Ok(request)
        });
    if settings.otlp_compression == Compression::Gzip {
        exporter = exporter.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    exporter.build().with_context(|| format!("traces can't be sent to {endpoint}"))
}

/// Whom the collector has to be signed by, and what it is shown; the files are read once.
pub(super) fn trust(settings: &Tracing) -> anyhow::Result<ClientConfig> {
    let own = settings
        .own_certificate()
        .map(|(certificate, key)| Files { certificate: certificate.into(), key: key.into() });
    trusting(settings.authority(), own.as_ref())
}

/// The way of gRPC; nothing is connected yet.
pub(super) fn channel(
    settings: &Tracing,
    endpoint: &str,
    limit: Duration,
) -> anyhow::Result<Channel> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(trust(settings)?)
        .https_or_http()
        .enable_http2()
        .wrap_connector(way(Proxies::of(&settings.outside)));
    let endpoint = Endpoint::from_shared(endpoint.to_owned())?.timeout(limit);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

fn resource(settings: &Tracing, service: &str, replica: &str) -> Resource {
    let pairs = settings.otlp_resource_attributes.split(',').filter_map(|it| it.split_once('='));
    let pairs =
        pairs.map(|(key, value)| KeyValue::new(key.trim().to_owned(), value.trim().to_owned()));
    Resource::builder_empty()
        .with_attributes(pairs)
        .with_service_name(service.to_owned())
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", replica.to_owned()),
        ])
        .build()
}

/// Sends over HTTP.
#[derive(Debug)]
struct Sender(Http);

#[async_trait::async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        Ok(self.0.send(request).await?)
    }
}

/// A span in the exporter's shape.
fn data(span: Span) -> SpanData {
    let flags = TraceFlags::SAMPLED;
    let context = |trace: [u8; 16], id: [u8; 8], remote| {
        let (trace, id) = (TraceId::from_bytes(trace), SpanId::from_bytes(id));
        SpanContext::new(trace, id, flags, remote, TraceState::default())
    };
    let mut links = SpanLinks::default();
    links.links = span
        .links
        .into_iter()
        .map(|it| Link::with_context(context(it.trace.0, it.span.0, true)))
        .collect();
    SpanData {
        span_context: context(span.trace.0, span.id.0, false),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |it| SpanId::from_bytes(it.0)),
        parent_span_is_remote: false,
        span_kind: match span.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
        },
        name: span.name,
        start_time: time(span.from),
        end_time: time(span.to),
        attributes: pairs(span.attributes),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: span.failed.map_or(Status::Unset, Status::error),
        instrumentation_scope: InstrumentationScope::builder("gastown")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn pairs(all: Vec<(&'static str, Value)>) -> Vec<KeyValue> {
    let value = |it| match it {
        Value::Text(it) => opentelemetry::Value::from(it),
        Value::Number(it) => it.into(),
        Value::Flag(it) => it.into(),
    };
    all.into_iter().map(|(key, it)| KeyValue::new(key, value(it))).collect()
}

fn time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}
