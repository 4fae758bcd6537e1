//! Spans of what this process does outside of passes and reviews: calls that come in, a shard that changes hands, steps of
//! certificates, migrations, the start. They are spans of `tracing`, which tracing-opentelemetry turns into those that are sent:
//! begun when the thing begins, so that log lines within carry their ids.

use opentelemetry::{
    Context as Otel,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::domain::trace::Context;

/// What such spans are told by; nothing else has it. Filters of the log let them pass, whatever its level.
pub const TARGET: &str = "gastown::live";

/// What passes and calls of admission are told by in the log, whatever its level: a line within has their ids. They are no spans of
/// `tracing` for a collector; those are made of what they did, once they have ended.
pub const PASS: &str = "gastown::pass";

/// A place in a trace, in the shape of the exporters.
pub fn place(it: &Context) -> SpanContext {
    let flags = if it.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(it.trace.0), SpanId::from_bytes(it.span.0));
    SpanContext::new(trace, span, flags, true, TraceState::default())
}

/// Has a span hang on a place of another process or run, and notes its ids in its fields `trace_id` and `span_id`.
pub fn begun(span: Span, within: Option<&Context>) -> Span {
    if let Some(it) = within {
        // A span that is not recorded has no parent to set.
        let _ = span.set_parent(Otel::new().with_remote_span_context(place(it)));
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    if own.is_valid() {
        span.record("trace_id", tracing::field::display(own.trace_id()));
        span.record("span_id", tracing::field::display(own.span_id()));
    }
    span
}

/// Says that it failed, by a word of a short list.
pub fn failed(span: &Span, why: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", why);
}

/// A span of this kind: its name, then its fields; those that every one has come by themselves.
macro_rules! live_span {
    ($name:literal $(, $($field:tt)*)?) => {
        ::tracing::info_span!(
            target: $crate::cluster::live::TARGET,
            $name,
            trace_id = ::tracing::field::Empty,
            span_id = ::tracing::field::Empty,
            otel.status_code = ::tracing::field::Empty,
            "error.type" = ::tracing::field::Empty,
            $($($field)*)?
        )
    };
}

pub(crate) use live_span;
