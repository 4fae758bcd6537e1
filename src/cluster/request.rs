//! The two doors to the API server: `read`, and `write`, the one function that every write passes.

use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use serde::de::DeserializeOwned;

use crate::cluster::{Cluster, Error, meters, spans};

/// W3C's header with the place in a trace.
const TRACEPARENT: &str = "traceparent";
/// Longest time that one request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A request that was built, or was not.
pub type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

impl Cluster {
    /// Reads. `attempt` completes the sentence "failed to …".
    pub async fn read<T: DeserializeOwned>(
        &self,
        resource: &'static str,
        attempt: impl FnOnce() -> String,
        built: Built,
    ) -> Result<T, Error> {
        match built {
            Ok(request) => self.send(resource, attempt, request, LIMIT).await,
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
        let mut request = match built {
            Ok(request) => request,
            Err(source) => return Err(Error::Build { attempt: attempt(), source: source.into() }),
        };
        let stamp = match self.guard.check() {
            Ok(stamp) => stamp,
            Err(source) => {
                self.meters.fenced.inc();
                return Err(Error::Fenced { attempt: attempt(), source });
            }
        };
        self.meters.validity_left.observe(stamp.left.as_secs_f64());
        if matches!(resource, "polecat" | "pods" | "polecats" | "storage") {
            self.guard.burn();
        }
        request.headers_mut().insert(USER_AGENT, stamp.user_agent);
        self.send(resource, attempt, request, LIMIT.min(stamp.left)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        resource: &'static str,
        attempt: impl FnOnce() -> String,
        mut request: http::Request<Vec<u8>>,
        limit: Duration,
    ) -> Result<T, Error> {
        let method = request.method().as_str().to_owned();
        let traced = spans::Request::begin();
        if let Some(header) = traced.as_ref().and_then(spans::Request::header) {
            request.headers_mut().insert(TRACEPARENT, header);
        }
        let begun = Instant::now();
        let answer = tokio::time::timeout(limit, self.client.request::<T>(request)).await;
        let code = match &answer {
            Ok(Ok(_)) => 200,
            Ok(Err(kube::Error::Api(it))) => it.code,
            Ok(Err(_)) => 0,
            Err(_) => 504,
        };
        if let Some(it) = traced {
            it.end(&method, resource, code);
        }
        self.meters.requests.get_or_create(&meters::Request { code, method, resource }).inc();
        match answer {
            Ok(Ok(it)) => Ok(it),
            Ok(Err(source)) => Err(Error::Api { attempt: attempt(), source: Box::new(source) }),
            Err(_) => {
                Err(Error::Timeout { attempt: attempt(), seconds: begun.elapsed().as_secs_f64() })
            }
        }
    }
}
