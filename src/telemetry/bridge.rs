//! From spans of `tracing` to the queue that all spans take: tracing-opentelemetry makes them, and instead of the SDK's own
//! processors, which wait or lose without counting, this one puts them into that queue. Attributes that the table does not name
//! are left out.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    Context as Otel, KeyValue,
    trace::{
        Link, SpanContext, SpanId as OtelSpanId, SpanKind, Status, TraceContextExt as _,
        TraceId as OtelTraceId, TraceState, TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{
        SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample, SpanData, SpanProcessor,
    },
};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::{
    cluster::{live::TARGET, spans::Spans},
    domain::trace::{Context, Kind, Sampler, Source, Span, SpanId, TraceId, Value, attributes},
};

/// The queue, once there is one: logs begin earlier, and the subscriber is one for the whole process as well.
static QUEUE: OnceLock<Spans> = OnceLock::new();

/// Spans go into this queue from now on.
pub fn into(queue: &Spans) {
    let _ = QUEUE.set(queue.clone());
}

/// The layer that makes spans of [`TARGET`] into ours.
pub fn layer<S>(sampler: Sampler) -> impl Layer<S> + Send + Sync
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampling(sampler))
        .with_span_processor(Queueing(&QUEUE))
        .build();
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("gastown"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_context_activation(false)
        .with_filter(filter_fn(|it| it.is_span() && it.target() == TARGET))
}

/// Samples as everything else is.
#[derive(Clone, Debug)]
struct Sampling(Sampler);

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Otel>,
        trace: OtelTraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent = parent.filter(|it| it.has_active_span());
        let decided = parent.map(|it| it.span().span_context().is_sampled());
        let samples = self.0.samples(TraceId(trace.to_bytes()), decided);
        SamplingResult {
            decision: if samples {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: TraceState::default(),
        }
    }
}

#[derive(Debug)]
struct Queueing(&'static OnceLock<Spans>);

impl SpanProcessor for Queueing {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &Otel) {}

    fn on_end(&self, span: SpanData) {
        if let Some(queue) = self.0.get() {
            queue.tell([plain(span)]);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// A span as plain data.
fn plain(span: SpanData) -> Span {
    let parent = span.parent_span_id;
    Span {
        trace: TraceId(span.span_context.trace_id().to_bytes()),
        id: SpanId(span.span_context.span_id().to_bytes()),
        parent: (parent != OtelSpanId::INVALID).then(|| SpanId(parent.to_bytes())),
        name: span.name,
        kind: match span.span_kind {
            SpanKind::Server => Kind::Server,
            SpanKind::Client => Kind::Client,
            _ => Kind::Internal,
        },
        source: Source::Operator,
        from: nanoseconds(span.start_time),
        to: nanoseconds(span.end_time),
        attributes: span.attributes.into_iter().filter_map(attribute).collect(),
        links: span.links.links.iter().map(|it| context(&it.span_context)).collect(),
        failed: matches!(span.status, Status::Error { .. }).then_some("it failed"),
    }
}

fn context(it: &SpanContext) -> Context {
    Context {
        trace: TraceId(it.trace_id().to_bytes()),
        span: SpanId(it.span_id().to_bytes()),
        sampled: it.is_sampled(),
    }
}

/// Under a name of the table alone.
fn attribute(it: KeyValue) -> Option<(&'static str, Value)> {
    let (name, _) = attributes::TABLE.iter().find(|(name, _)| *name == it.key.as_str())?;
    let value = match it.value {
        opentelemetry::Value::Bool(it) => it.into(),
        opentelemetry::Value::I64(it) => it.into(),
        other => other.as_str().into_owned().into(),
    };
    Some((name, value))
}

fn nanoseconds(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{layer::SubscriberExt as _, registry};

    use super::*;
    use crate::cluster::{
        live::{self, live_span},
        meters::Meters,
        spans::Telling,
    };

    /// What is told by spans that `done` makes, under a sampler of that name.
    fn told(sampler: &str, done: impl FnOnce()) -> Vec<Span> {
        let sampler = Sampler::named(sampler, None).unwrap();
        let (spans, mut queue) = Spans::new(9, sampler, ("operator-0", "nonce"), Meters::default());
        // A queue of this test's own, for as long as this process.
        let own: &'static OnceLock<Spans> = Box::leak(Box::new(OnceLock::from(spans)));
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampling(sampler))
            .with_span_processor(Queueing(own))
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(registry().with(layer), done);
        std::iter::from_fn(|| queue.try_recv().ok()).flat_map(Telling::spans).collect()
    }

    #[test]
    fn a_span_joins_the_callers_trace_and_keeps_what_the_table_names() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let caller = Context::parse(text).unwrap();
        let all = told("parentbased_always_off", || {
            let span = live_span!("call", otel.kind = "server", http.route = "/x", secret = "s");
            let span = live::begun(span, Some(&caller));
            live::failed(&span, "Timeout");
        });
        let [it] = &all[..] else { panic!("the caller's decision stands: {all:?}") };
        assert_eq!((it.trace, it.parent), (caller.trace, Some(caller.span)));
        assert_eq!((it.kind, it.failed.is_some()), (Kind::Server, true));
        let names: Vec<_> = it.attributes.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&attributes::ROUTE) && names.contains(&attributes::ERROR));
        assert!(names.iter().all(|it| attributes::TABLE.iter().any(|(name, _)| name == it)));
    }

    #[test]
    fn what_is_not_sampled_is_not_told() {
        let one = || drop(live::begun(live_span!("call"), None));
        assert_eq!(told("always_off", one), []);
        assert_eq!(told("always_on", one).len(), 1);
    }
}
