//! Calls of the webhooks, counted where they come in and go out: how many, how they ended, how long they took.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::{
    cluster::meters::{Call, Meters, PATHS, Webhook},
    domain::trace::TraceId,
};

/// On a call of this process to itself, which is nobody's.
#[derive(Clone, Copy, Debug)]
pub struct Own;

/// On an answer that refuses what it was asked about.
#[derive(Clone, Copy, Debug)]
pub struct Refused;

/// In which trace it was told of.
#[derive(Clone, Copy, Debug)]
struct Traced(TraceId);

/// Marks an answer that refuses, and one that was told of in a trace.
pub fn told(allowed: bool, trace: Option<TraceId>, mut answer: Response) -> Response {
    if let Some(trace) = trace {
        answer.extensions_mut().insert(Traced(trace));
    }
    if !allowed {
        answer.extensions_mut().insert(Refused);
    }
    answer
}

/// Counts a call; one to a path that is none of ours is not.
pub async fn count(State(meters): State<Meters>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Own>().is_some() {
        return next.run(request).await;
    }
    let webhook = PATHS.into_iter().find(|it| *it == request.uri().path());
    let begun = Instant::now();
    let answer = next.run(request).await;
    if let Some(webhook) = webhook {
        let code = answer.status().as_u16();
        meters.calls.get_or_create(&Call { webhook, code }).inc();
        let trace = answer.extensions().get::<Traced>().map(|it| it.0);
        meters.call_took(webhook, begun.elapsed(), trace);
        let webhook = Webhook { webhook };
        if answer.extensions().get::<Refused>().is_some() {
            meters.refusals.get_or_create(&webhook).inc();
        }
    }
    answer
}
