//! The two doors of a pass to the API server: `read`, and `write`, which the guard of the pass must allow.

use std::time::Instant;

use serde::de::DeserializeOwned;
use tokio::time::error::Elapsed;

use crate::cluster::{
    Cluster, Error,
    counted::Heard,
    guard::Lapsed,
    spans,
    writing::{Allowed, Leave},
};

/// W3C's header with the place in a trace.
const TRACEPARENT: &str = "traceparent";

/// A request that was built, or was not.
pub type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

impl Cluster {
    /// Reads; what asks for a change is a write, whoever calls it a reading. `attempt` completes the sentence "failed to …".
    pub async fn read<T: DeserializeOwned>(
        &self,
        resource: &'static str,
        attempt: impl FnOnce() -> String,
        built: Built,
    ) -> Result<T, Error> {
        match built.map(Allowed::reading) {
            Ok(Ok(allowed)) => {
                let _turn = self.turns.acquire().await;
                self.send(resource, attempt, allowed).await
            }
            Ok(Err(write)) => self.write(resource, attempt, Ok(*write)).await,
            Err(source) => Err(Error::Build { attempt: attempt(), source: source.into() }),
        }
    }

    /// Writes, if the guard allows it: checked for every single write, which then carries the guard's stamp and may
    /// not take longer than the guard is valid.
    pub async fn write<T: DeserializeOwned>(
        &self,
        resource: &'static str,
        attempt: impl FnOnce() -> String,
        built: Built,
    ) -> Result<T, Error> {
        let request = match built {
            Ok(request) => request,
            Err(source) => return Err(Error::Build { attempt: attempt(), source: source.into() }),
        };
        // Before the guard is asked: what it allows does not wait.
        let _turn = self.turns.acquire().await;
        // An Event has a name made of what it says.
        let told = resource == "events";
        let leave = if told { Leave::Told(&self.guard) } else { Leave::Pass(&self.guard) };
        let allowed = match Allowed::writing(request, &leave) {
            Ok(allowed) => allowed,
            Err(source) => {
                // What is given away in good order is no sign that anything is late.
                if source != Lapsed::GivenAway {
                    self.meters.fenced.inc();
                }
                return Err(Error::Fenced { attempt: attempt(), source });
            }
        };
        self.meters.validity_left.observe(allowed.left.as_secs_f64());
        if matches!(resource, "polecat" | "pods" | "polecats" | "storage") {
            self.guard.burn();
        }
        self.send(resource, attempt, allowed).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        resource: &'static str,
        attempt: impl FnOnce() -> String,
        mut allowed: Allowed,
    ) -> Result<T, Error> {
        let (method, limit) = (allowed.method().as_str().to_owned(), allowed.left);
        let traced = spans::Request::begin();
        if let Some(header) = traced.as_ref().and_then(spans::Request::header) {
            allowed.trace(TRACEPARENT, header);
        }
        let heard = Heard::default();
        allowed.heard_by(&heard);
        let begun = Instant::now();
        let answer = tokio::time::timeout(limit, allowed.send::<T>(&self.client)).await;
        if let Some(it) = traced {
            it.end(&method, resource, heard.code(), failure(&answer));
        }
        match answer {
            Ok(Ok(it)) => Ok(it),
            Ok(Err(source)) => Err(Error::Api { attempt: attempt(), source: Box::new(source) }),
            Err(_) => {
                Err(Error::Timeout { attempt: attempt(), seconds: begun.elapsed().as_secs_f64() })
            }
        }
    }
}

/// Why a request has no answer that can be read; none where the API server said it itself.
fn failure<T>(answer: &Result<kube::Result<T>, Elapsed>) -> Option<&'static str> {
    match answer {
        Ok(Ok(_) | Err(kube::Error::Api(_))) => None,
        Ok(Err(kube::Error::SerdeError(_) | kube::Error::FromUtf8(_))) => Some("unreadable"),
        Ok(Err(_)) => Some("no-answer"),
        Err(_) => Some("timeout"),
    }
}
