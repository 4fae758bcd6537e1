//! Spans as one message.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{InstrumentationScope, any_value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as Told, Status, span, status},
};

use super::attribute;
use crate::domain::trace::{Context, Kind, Source, Span, Value};

/// In `flags`: recorded, and known whether it is another process's place; whether it is.
const RECORDED: u32 = 0x1 | 0x100;
const ELSEWHERE: u32 = 0x200;

/// Spans, each with who they are of, as what a collector takes; without any of one, nothing is said of it.
pub fn request(all: impl IntoIterator<Item = (Resource, Vec<Span>)>) -> ExportTraceServiceRequest {
    let told = all.into_iter().filter(|(_, spans)| !spans.is_empty());
    let resource_spans = told.map(|(resource, spans)| of(resource, spans)).collect();
    ExportTraceServiceRequest { resource_spans }
}

fn of(resource: Resource, spans: Vec<Span>) -> ResourceSpans {
    // What another release may tell again is the same then: it names none.
    let own = spans.iter().all(|it| it.source == Source::Operator);
    let version = if own { env!("CARGO_PKG_VERSION") } else { "" };
    let scope = InstrumentationScope {
        name: "gastown".into(),
        version: version.into(),
        ..InstrumentationScope::default()
    };
    let spans = spans.into_iter().map(told).collect();
    let scope = ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() };
    ResourceSpans { resource: Some(resource), scope_spans: vec![scope], ..ResourceSpans::default() }
}

fn told(span: Span) -> Told {
    let kind = match span.kind {
        Kind::Internal => span::SpanKind::Internal,
        Kind::Server => span::SpanKind::Server,
        Kind::Client => span::SpanKind::Client,
    };
    let status = Status {
        code: span.failed.map_or(status::StatusCode::Unset, |_| status::StatusCode::Error).into(),
        message: span.failed.unwrap_or_default().into(),
    };
    let value = |it| match it {
        Value::Text(it) => any_value::Value::StringValue(it.into_owned()),
        Value::Number(it) => any_value::Value::IntValue(it),
        Value::Flag(it) => any_value::Value::BoolValue(it),
    };
    Told {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.0.to_vec(),
        parent_span_id: span.parent.map(|it| it.0.to_vec()).unwrap_or_default(),
        flags: RECORDED,
        name: span.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.from,
        end_time_unix_nano: span.to,
        attributes: span
            .attributes
            .into_iter()
            .map(|(key, it)| attribute(key, value(it)))
            .collect(),
        links: span.links.iter().map(link).collect(),
        status: Some(status),
        ..Told::default()
    }
}

fn link(to: &Context) -> span::Link {
    span::Link {
        trace_id: to.trace.0.to_vec(),
        span_id: to.span.0.to_vec(),
        flags: RECORDED | ELSEWHERE,
        ..span::Link::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::trace::{SpanId, TraceId};

    #[test]
    fn all_of_a_span_is_said_and_nobody_who_did_nothing_is_named() {
        let (trace, id) = (TraceId([1; 16]), SpanId([2; 8]));
        let span = Span {
            trace,
            id,
            parent: Some(SpanId([3; 8])),
            name: "push".into(),
            kind: Kind::Client,
            source: Source::Runner,
            from: 5,
            to: 7,
            attributes: vec![("a", "b".into()), ("n", 4_i64.into()), ("f", true.into())],
            links: vec![Context { trace, span: id, sampled: true }],
            failed: Some("it failed"),
        };
        let root = Span { parent: None, failed: None, ..span.clone() };
        let runner = crate::otlp::runner("town=bar,service.name=x");
        let own = Span { source: Source::Operator, ..root.clone() };
        let request = request([
            (runner, vec![span, root]),
            (Resource::default(), vec![]),
            (Resource::default(), vec![own]),
        ]);
        let [of, own] = &request.resource_spans[..] else { panic!("{request:?}") };
        let version = |it: &ResourceSpans| it.scope_spans[0].scope.clone().unwrap().version;
        assert_eq!(
            (version(of), version(own)),
            (String::new(), env!("CARGO_PKG_VERSION").into()),
            "a release is named of what no other tells"
        );
        let said = &of.resource.as_ref().unwrap().attributes;
        assert!(
            said.contains(&crate::otlp::text("service.name", "gastown-runner")),
            "its own wins"
        );
        assert!(said.contains(&crate::otlp::text("town", "bar")));
        let [told, root] = &of.scope_spans[0].spans[..] else { panic!("{of:?}") };
        assert_eq!((told.trace_id.len(), told.span_id.len(), told.parent_span_id[0]), (16, 8, 3));
        assert_eq!((told.start_time_unix_nano, told.end_time_unix_nano), (5, 7));
        assert_eq!((told.kind, told.attributes.len(), told.links.len()), (3, 3, 1));
        assert_eq!(told.status.as_ref().map(|it| it.code), Some(2));
        assert_eq!(root.parent_span_id, Vec::<u8>::new());
        assert_eq!(root.status.as_ref().map(|it| it.code), Some(0));
    }
}
