//! Admission calls as spans of the run that they let begin.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use axum::http::HeaderMap;
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, Operation},
};
use tracing::Instrument as _;

use crate::{
    cluster::{
        live,
        spans::{self, Ending, Pass, Spans},
    },
    domain::{
        trace::{Context, Kind, Run, Seed, TraceId, attributes as name},
        untrusted::fit,
    },
    tls,
};

/// Of what was wrong, so many are named, each in so many bytes.
const NAMED: usize = 8;
const LONGEST: usize = 96;

/// One call, which its run is yet to be found for.
pub struct Call {
    pub name: &'static str,
    pub begun: u64,
    /// Where in its own trace the API server is.
    pub caller: Option<Context>,
}

/// One of a run that is recorded, or of none.
pub struct UnderWay {
    call: Call,
    of: Option<(Run, Arc<Pass>)>,
    /// Lines of the log within it have its ids.
    span: tracing::Span,
}

/// What a call was about, and what came of it.
pub struct Told<'a> {
    pub kind: &'static str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub created: bool,
    pub allowed: bool,
    /// The rules that were broken, or the fields in which something was wrong.
    pub wrong: Vec<&'a str>,
}

/// What a new trace is made of.
pub fn seed() -> Option<Seed> {
    let second = u32::try_from(spans::now() / 1_000_000_000).ok()?;
    Some(Seed { second, chance: tls::chance()? })
}

/// Where in a trace the caller is.
pub fn caller(headers: &HeaderMap) -> Option<Context> {
    Context::parse(headers.get("traceparent")?.to_str().ok()?)
}

impl Call {
    /// One that begins now.
    pub fn begun(name: &'static str, headers: &HeaderMap) -> Self {
        Self { name, begun: spans::now(), caller: caller(headers) }
    }

    /// Within its run, if that is recorded.
    pub fn of(self, run: Option<Run>, spans: &Spans) -> UnderWay {
        let of = run.and_then(|run| Some((run, spans.begin_at(&run, self.begun)?)));
        let span = of.as_ref().map_or_else(tracing::Span::none, |(_, pass)| {
            let (trace_id, span_id) = (pass.context.trace, pass.context.span);
            tracing::info_span!(target: live::PASS, "admission", call = self.name, %trace_id, %span_id)
        });
        UnderWay { call: self, of, span }
    }
}

impl UnderWay {
    /// Does what it is about: requests and lines of the log are its own.
    pub async fn does<T>(&self, what: impl Future<Output = T>) -> T {
        // Once, and not in each of the two ways below.
        let what = Box::pin(what);
        match &self.of {
            Some((_, pass)) => pass.of(what.instrument(self.span.clone())).await,
            None => what.await,
        }
    }

    /// Tells of it, if its run is recorded; in which trace.
    pub fn tell(self, spans: &Spans, told: Told<'_>) -> Option<TraceId> {
        let (run, pass) = self.of?;
        let Told { kind, namespace, name, created, allowed, wrong } = told;
        let count = i64::try_from(wrong.len()).unwrap_or(i64::MAX);
        let mut attributes = vec![
            (name::KIND, kind.into()),
            (name::NAMESPACE, namespace.to_owned().into()),
            (name::NAME, name.to_owned().into()),
            (name::REPLICA, spans.replica().to_owned().into()),
            (name::DOING, if created { "CREATE" } else { "UPDATE" }.into()),
            (name::ADMITTED, allowed.into()),
            (name::FLAWS, count.into()),
        ];
        if !wrong.is_empty() {
            attributes.push((name::BROKEN, named(&wrong).into()));
        }
        let failed = (!allowed).then_some("the write was refused");
        // A caller's own trace has a place for it from the first.
        let parent = Some(run.parent.unwrap_or(run.root));
        let (name, kind, links) =
            (self.call.name, Kind::Server, self.call.caller.into_iter().collect());
        spans.tell(pass.end(Ending { name, kind, parent, attributes, links, failed }));
        Some(run.trace)
    }
}

/// What a review of one of our kinds was about.
pub fn about<'a>(
    request: &'a AdmissionRequest<DynamicObject>,
    response: &'a AdmissionResponse,
) -> Told<'a> {
    let causes = response.result.details.iter().flat_map(|it| &it.causes);
    Told {
        kind: "Polecat",
        namespace: request.namespace.as_deref().unwrap_or_default(),
        name: &request.name,
        created: request.operation == Operation::Create,
        allowed: response.allowed,
        wrong: causes.map(|it| it.field.as_str()).collect(),
    }
}

/// What was wrong, each once. What stands in brackets may be a key that somebody chose, and is left out.
fn named(wrong: &[&str]) -> String {
    let places: BTreeSet<_> = wrong.iter().map(|it| place(it)).collect();
    let more = places.len().saturating_sub(NAMED);
    let mut named: Vec<_> = places.iter().take(NAMED).map(|it| fit(it, LONGEST)).collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    named.join(", ")
}

fn place(field: &str) -> Cow<'_, str> {
    let Some((head, rest)) = field.split_once('[') else { return field.into() };
    // A key may hold a bracket itself: what follows the last one is a field again.
    let tail = rest.rsplit_once(']').map_or("", |it| it.1);
    format!("{head}[]{tail}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_without_what_somebody_chose() {
        let all = ["spec.rig", "metadata.labels[sk-ant-key]", "spec.env[a[0].b].value", "spec.rig"];
        assert_eq!(named(&all), "metadata.labels[], spec.env[].value, spec.rig");
        let many: Vec<_> = (10..30).map(|it| format!("spec.f{it}")).collect();
        let text = named(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(text.starts_with("spec.f10, ") && text.ends_with(", and 12 more"), "{text}");
    }
}
