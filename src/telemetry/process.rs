//! What this process does beside the runs: conversions, and shards that come and go. These are spans of `tracing` whose
//! target is [`PROCESS`]; tracing-opentelemetry brings them into traces, and from there into the queue in which the spans
//! of runs wait, so that they are bounded, counted and sent like those.

use std::{sync::OnceLock, time::Duration};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator as _,
    trace::{Link, SpanContext, SpanKind, TraceContextExt as _, TraceId, TracerProvider as _},
};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{
        SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample, Span, SpanData,
        SpanProcessor,
    },
};
use tracing::{Subscriber, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::{
    cluster::spans::Spans,
    config::Tracing,
    domain::trace::{self, PROCESS, Sampler},
};

/// Where the spans go, as soon as the queue is there: the subscriber is the process's, and begins before it.
static QUEUE: OnceLock<Spans> = OnceLock::new();

/// From now on spans go into this queue; the first one stays.
pub fn go_to(spans: &Spans) {
    let _ = QUEUE.set(spans.clone());
}

/// The layer that makes traces of them; none without an endpoint, so that nothing is kept for nobody.
pub fn layer<S>(settings: &Tracing) -> anyhow::Result<Option<impl Layer<S> + Send + Sync + use<S>>>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    if settings.endpoint().is_none() {
        return Ok(None);
    }
    let sampler = settings.sampler().map_err(anyhow::Error::msg)?;
    let provider =
        SdkTracerProvider::builder().with_sampler(Rule(sampler)).with_span_processor(Into).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("gastown"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false);
    Ok(Some(layer.with_filter(filter_fn(|it| it.target() == PROCESS))))
}

/// A call that came in, as a span: beneath the caller's, if it says where it is. Its lines in the log have its trace's id.
pub fn called(name: &'static str, path: &'static str, headers: &HeaderMap) -> tracing::Span {
    let span = tracing::info_span!(
        target: PROCESS,
        "call",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = "POST",
        url.path = path,
        http.response.status_code = Empty,
        gastown.conversion.objects = Empty,
        error.r#type = Empty,
        trace_id = Empty,
    );
    let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // Where nothing is recorded there is nothing to set it on.
    let _ = span.set_parent(caller);
    let id = span.context().span().span_context().trace_id();
    if id != TraceId::INVALID {
        span.record("trace_id", tracing::field::display(id));
    }
    span
}

/// Which of them are recorded: by the rule that runs go by.
#[derive(Clone, Debug)]
struct Rule(Sampler);

impl ShouldSample for Rule {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        id: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent =
            parent.map(|it| it.span().span_context().clone()).filter(SpanContext::is_valid);
        let decided = parent.as_ref().map(SpanContext::is_sampled);
        let decision = if self.0.samples(trace::TraceId(id.to_bytes()), decided) {
            SamplingDecision::RecordAndSample
        } else {
            SamplingDecision::Drop
        };
        let trace_state = parent.map(|it| it.trace_state().clone()).unwrap_or_default();
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

/// Puts what has ended into the queue.
#[derive(Debug)]
struct Into;

impl SpanProcessor for Into {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Some(spans) = QUEUE.get() {
            spans.tell_of_process(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
