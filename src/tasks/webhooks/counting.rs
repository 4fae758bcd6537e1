//! Calls of the webhooks, counted where they come in and go out: how many, how they ended, how long they took.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::cluster::meters::{Call, Meters, PATHS, Webhook};

/// On an answer that refuses what it was asked about.
#[derive(Clone, Copy, Debug)]
pub struct Refused;

/// Marks an answer that refuses.
pub fn told(allowed: bool, mut answer: Response) -> Response {
    if !allowed {
        answer.extensions_mut().insert(Refused);
    }
    answer
}

/// Counts a call; one to a path that is none of ours is not.
pub async fn count(State(meters): State<Meters>, request: Request, next: Next) -> Response {
    let webhook = PATHS.into_iter().find(|it| *it == request.uri().path());
    let begun = Instant::now();
    let answer = next.run(request).await;
    if let Some(webhook) = webhook {
        let code = answer.status().as_u16();
        meters.calls.get_or_create(&Call { webhook, code }).inc();
        let webhook = Webhook { webhook };
        meters.call_duration.get_or_create(&webhook).observe(begun.elapsed().as_secs_f64());
        if answer.extensions().get::<Refused>().is_some() {
            meters.refusals.get_or_create(&webhook).inc();
        }
    }
    answer
}
