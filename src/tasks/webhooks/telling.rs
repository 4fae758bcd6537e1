//! Admission calls as spans of the run that they let begin.

use axum::http::HeaderMap;
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, Operation},
};

use crate::{
    cluster::spans::{self, Ending, Spans},
    domain::trace::{Context, Kind, Run, Seed, TraceId, attributes as name},
    tls,
};

/// One call.
pub struct Call {
    pub name: &'static str,
    pub begun: u64,
    /// Where in its own trace the API server is.
    pub caller: Option<Context>,
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
    /// Tells of it, if its run is recorded; in which trace.
    pub fn tell(
        self,
        spans: &Spans,
        request: &AdmissionRequest<DynamicObject>,
        run: Option<Run>,
        response: &AdmissionResponse,
    ) -> Option<TraceId> {
        let run = run?;
        let pass = spans.begin_at(&run, self.begun)?;
        let text = |it: &Option<String>| it.clone().unwrap_or_default();
        let causes = response.result.details.as_ref().map_or(0, |it| it.causes.len());
        let doing = if request.operation == Operation::Create { "CREATE" } else { "UPDATE" };
        let attributes = vec![
            (name::KIND, "Polecat".into()),
            (name::NAMESPACE, text(&request.namespace).into()),
            (name::NAME, request.name.clone().into()),
            (name::REPLICA, spans.replica().to_owned().into()),
            (name::DOING, doing.into()),
            (name::ADMITTED, response.allowed.into()),
            (name::FLAWS, i64::try_from(causes).unwrap_or(i64::MAX).into()),
        ];
        let failed = (!response.allowed).then_some("the write was refused");
        // A caller's own trace has a place for it from the first.
        let parent = Some(run.parent.unwrap_or(run.root));
        let (name, kind, links) = (self.name, Kind::Server, self.caller.into_iter().collect());
        spans.tell(pass.end(Ending { name, kind, parent, attributes, links, failed }));
        Some(run.trace)
    }
}
