//! A watch that fails: that is counted, in one counter for all watches, and said, with its reason, at once and no more often
//! than once a minute for the same.

use std::time::{Duration, Instant};

use kube::runtime::watcher::Error;
use prometheus_client::metrics::{counter::Counter, family::Family};

use super::meters::Controller;

/// The same is not said again before this has passed.
const QUIET: Duration = Duration::from_secs(60);
/// "Too old": the watch fell behind and is begun anew by a list. That is how watches work.
const GONE: u16 = 410;

/// How often watches failed, by what they watch.
pub type Failures = Family<Controller, Counter>;

/// How one watch of a resource fares.
#[derive(Debug)]
pub struct Fares {
    resource: &'static str,
    failures: Counter,
    faults: Faults,
}

impl Fares {
    /// Counts from zero: a rate does not see the first event of a counter that begins with it.
    pub fn of(failures: &Failures, resource: &'static str) -> Self {
        let failures = failures.get_or_create_owned(&Controller { controller: resource });
        Self { resource, failures, faults: Faults::default() }
    }

    /// It failed, and is tried again.
    pub fn failed(&mut self, error: &Error) {
        self.failures.inc();
        let say = self.faults.failed(code(error), Instant::now());
        let (error, kind) = (error as &dyn std::error::Error, self.resource);
        match say {
            Say::Aloud => tracing::warn!(error, kind, "Watch failed; it is tried again"),
            Say::Quietly => tracing::debug!(error, kind, "Watch failed; it is tried again"),
        }
    }

    /// It told of something.
    pub fn works(&mut self) {
        if let Some(failures) = self.faults.works() {
            tracing::info!(kind = self.resource, failures, "Watch works again");
        }
    }
}

/// What one watch failed of, in a row.
#[derive(Debug, Default)]
struct Faults {
    in_a_row: u64,
    said: Option<(u16, Instant)>,
}

/// What is to be said of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Say {
    Aloud,
    Quietly,
}

impl Faults {
    /// Takes note of a failure with this code.
    fn failed(&mut self, code: u16, now: Instant) -> Say {
        self.in_a_row += 1;
        let said_lately = self
            .said
            .is_some_and(|(said, at)| said == code && now.saturating_duration_since(at) < QUIET);
        if code == GONE || said_lately {
            return Say::Quietly;
        }
        self.said = Some((code, now));
        Say::Aloud
    }

    /// Takes note of an event; how many failures came before it.
    const fn works(&mut self) -> Option<u64> {
        match std::mem::replace(&mut self.in_a_row, 0) {
            0 => None,
            times => Some(times),
        }
    }
}

/// The HTTP code of a failure; 0 where nobody answered.
fn code(error: &Error) -> u16 {
    match error {
        Error::InitialListFailed(kube::Error::Api(it))
        | Error::WatchStartFailed(kube::Error::Api(it))
        | Error::WatchFailed(kube::Error::Api(it))
        | Error::WatchError(it) => it.code,
        _ => 0,
    }
}

/// An API server that refuses everything, for tests of those who watch.
#[cfg(test)]
pub(super) mod testing {
    use std::{convert::Infallible, sync::Arc};

    use axum::body::Body as Answer;
    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;
    use tokio::sync::Notify;

    use super::Duration;

    /// A client of it, and what is notified of every request.
    pub fn refusing() -> (kube::Client, Arc<Notify>) {
        let asked = Arc::new(Notify::new());
        let told = asked.clone();
        let service = tower::service_fn(move |_: Request<Body>| {
            told.notify_one();
            let status =
                json!({"kind": "Status", "code": 403, "message": "no", "reason": "Forbidden"});
            let mut answer = Response::new(Answer::from(status.to_string()));
            *answer.status_mut() = StatusCode::FORBIDDEN;
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        (kube::Client::new(service, "default"), asked)
    }

    /// Ends with the second request: then the first has failed.
    pub async fn tried_again(asked: &Notify) {
        let twice = async {
            asked.notified().await;
            asked.notified().await;
        };
        tokio::time::timeout(Duration::from_secs(30), twice).await.expect("it was not tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_once_a_minute_and_another_at_once() {
        let (mut faults, now) = (Faults::default(), Instant::now());
        assert_eq!(faults.failed(403, now), Say::Aloud, "a right is missing");
        assert_eq!(faults.failed(403, now + QUIET / 2), Say::Quietly, "said already");
        assert_eq!(faults.failed(0, now + QUIET / 2), Say::Aloud, "another reason");
        assert_eq!(faults.works(), Some(3));
        assert_eq!(faults.works(), None, "it has worked since");
        assert_eq!(faults.failed(0, now + QUIET), Say::Quietly, "one that comes and goes");
        assert_eq!(faults.failed(0, now + QUIET * 2), Say::Aloud, "a minute later");
        assert_eq!(faults.failed(GONE, now + QUIET * 9), Say::Quietly, "how watches work");
    }
}
