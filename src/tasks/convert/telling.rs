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
        let (within, beside) = match run {
            Some(Run::Stamped(it)) => (Some(it), caller),
            Some(Run::Named(it)) => (caller, Some(it)),
            None => (caller, None),
        };
        if let Some(it) = beside {
            span.add_link(live::place(&it));
        }
        live::begun(span, within.as_ref())
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

/// The place in a trace that an object names.
#[derive(Debug, PartialEq, Eq)]
enum Run {
    /// The root of the run that it was stamped for.
    Stamped(Context),
    /// Somebody else's trace, which its run may continue. Whether admission let it, or has yet to see it, can't be told from the
    /// object: it is linked, as the API server links what callers say whom it does not trust.
    Named(Context),
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

/// The run of an object. One with another's stamp has none here.
fn run(object: &[u8]) -> Option<Run> {
    if object.len() > LOOKED_INTO {
        return None;
    }
    let Metadata { namespace, name, generate_name, annotations } =
        serde_json::from_slice::<Object>(object).ok()?.metadata;
    let context = Context::of_annotations(Some(&annotations))?;
    if !context.is_own() {
        return Some(Run::Named(context));
    }
    let user = annotations.get(names::REQUESTED_BY)?;
    let is = |name| context.is_stamped_for(&Whose { namespace: &namespace, name, user });
    (is(&name) || is(&generate_name)).then_some(Run::Stamped(context))
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
        let named = |context: Context, name: &str, user: &str| {
            let annotations =
                json!({names::TRACEPARENT: context.to_string(), names::REQUESTED_BY: user});
            json!({"metadata": {"namespace": "town", "name": name, "annotations": annotations}})
                .to_string()
        };
        let object = |name, user| named(stamped, name, user);
        assert_eq!(run(object("max", "joe").as_bytes()), Some(Run::Stamped(stamped)));
        assert_eq!(run(object("nux", "joe").as_bytes()), None, "another's trace");
        assert_eq!(run(object("max", "immortan").as_bytes()), None, "another's words");
        assert_eq!(run(b"{}"), None);
        let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let caller = Context::parse(caller).unwrap();
        let continued = named(caller, "max", "joe");
        assert_eq!(run(continued.as_bytes()), Some(Run::Named(caller)), "linked, and no more");
    }
}
