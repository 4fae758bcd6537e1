//! Calls of `/convert` as spans: of the caller's trace, or, where one object alone is converted, of its run's.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{
    cluster::{live, spans::Spans},
    conversion::review::Review,
    domain::{
        names,
        trace::{Context, Whose},
    },
    tasks::webhooks::caller,
};

/// Of a larger object nobody looks for its run: the call costs enough.
const LOOKED_INTO: usize = 256 << 10;

/// A call that began.
pub struct Call {
    span: Span,
    caller: Option<Context>,
    recorded: bool,
}

impl Call {
    pub fn begin(spans: &Spans, headers: &HeaderMap) -> Self {
        let span = live::live_span!(
            "POST /convert",
            otel.kind = "server",
            http.request.method = "POST",
            http.route = "/convert",
            http.response.status_code = Empty,
            gastown.replica = spans.replica(),
            gastown.conversion.objects = Empty,
            gastown.conversion.version = Empty,
        );
        Self { span, caller: caller(headers), recorded: spans.sampler().is_some() }
    }

    /// Its span, in the trace that it belongs to as far as that is known from what came.
    pub fn within(self, review: Option<(&Review, &[u8])>) -> Span {
        let Self { span, caller, recorded } = self;
        if !recorded {
            return span;
        }
        let run = review.and_then(|(review, body)| run(body.get(review.only()?)?));
        if let (Some(_), Some(caller)) = (run, caller) {
            span.add_link(live::place(&caller));
        }
        live::begun(span, run.or(caller).as_ref())
    }
}

/// Notes what was answered.
pub fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if !status.is_success() {
        live::failed(span, status.as_str());
    }
}

/// Notes what was converted.
pub fn converted(span: &Span, review: &Review) {
    span.record("gastown.conversion.objects", review.converted());
    // What was converted is of a kind of ours, and so is its version; anything else is a caller's own text.
    if review.failure().is_some() {
        live::failed(span, "ConversionFailed");
    } else {
        span.record("gastown.conversion.version", review.desired());
    }
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    generate_name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The root of the run that an object was stamped for. One that was not, as when it comes with somebody else's trace before
/// admission saw it, has none here.
fn run(object: &[u8]) -> Option<Context> {
    if object.len() > LOOKED_INTO {
        return None;
    }
    let Metadata { namespace, name, generate_name, annotations } =
        serde_json::from_slice::<Object>(object).ok()?.metadata;
    let context = Context::of_annotations(Some(&annotations))?;
    let user = annotations.get(names::REQUESTED_BY)?;
    let is = |name| context.is_stamped_for(&Whose { namespace: &namespace, name, user });
    (is(&name) || is(&generate_name)).then_some(context)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::trace::{Seed, TraceId};

    #[test]
    fn only_the_trace_that_an_object_was_stamped_for_is_joined() {
        let whose = Whose { namespace: "town", name: "max", user: "joe" };
        let seed = Seed { second: 7, chance: [1, 2, 3, 4] };
        let stamped = Context::own(TraceId::stamped(seed, &whose), true);
        let object = |name: &str, user: &str| {
            let annotations =
                json!({names::TRACEPARENT: stamped.to_string(), names::REQUESTED_BY: user});
            json!({"metadata": {"namespace": "town", "name": name, "annotations": annotations}})
                .to_string()
        };
        assert_eq!(run(object("max", "joe").as_bytes()), Some(stamped));
        assert_eq!(run(object("nux", "joe").as_bytes()), None, "another's trace");
        assert_eq!(run(object("max", "immortan").as_bytes()), None, "another's words");
        assert_eq!(run(b"{}"), None);
    }
}
