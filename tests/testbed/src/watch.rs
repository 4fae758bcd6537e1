//! Watches that outlast an API server which asks to come again: it restarts, or the storage of a definition that has
//! just been changed is not ready yet ("storage is (re)initializing", 429).

use std::fmt::Debug;

use futures::{StreamExt as _, stream::BoxStream};
use kube::{
    Api, Error, Resource,
    runtime::{
        WatchStreamExt as _,
        wait::Condition,
        watcher::{self, Config, Event, watch_object},
    },
};
use serde::de::DeserializeOwned;

/// What a watch tells. Its errors are those that no waiting mends ([`passes`]).
pub fn watcher<K>(
    api: Api<K>,
    config: Config,
) -> BoxStream<'static, Result<Event<K>, watcher::Error>>
where
    K: Clone + Debug + Send + DeserializeOwned + Resource + 'static,
{
    let told = watcher::watcher(api, config).default_backoff();
    told.filter(|it| std::future::ready(!it.as_ref().is_err_and(passes))).boxed()
}

/// Waits until an object meets a condition, which may be that it is gone; as `kube::runtime::wait::await_condition`,
/// which ends with the first error of its watch.
///
/// # Errors
/// Those that no waiting mends ([`passes`]).
pub async fn await_condition<K>(
    api: Api<K>,
    name: &str,
    condition: impl Condition<K>,
) -> Result<Option<K>, watcher::Error>
where
    K: Clone + Debug + Send + DeserializeOwned + Resource + 'static,
{
    let mut told = std::pin::pin!(watch_object(api, name).default_backoff());
    loop {
        match told.next().await {
            Some(Ok(object)) if condition.matches_object(object.as_ref()) => return Ok(object),
            Some(Err(error)) if !passes(&error) => return Err(error),
            Some(Ok(_) | Err(_)) => {}
            // A watcher starts again for ever.
            None => return Err(watcher::Error::NoResourceVersion),
        }
    }
}

/// Whether the same question may get an answer later: all but an API server that says no.
pub fn passes(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(it)
        | watcher::Error::WatchStartFailed(it)
        | watcher::Error::WatchFailed(it) => match it {
            Error::Api(said) => said.code == 429 || said.code >= 500 || said.code == 410,
            Error::HyperError(_) | Error::Service(_) | Error::ReadEvents(_) => true,
            _ => false,
        },
        watcher::Error::WatchError(said) => {
            said.code == 429 || said.code >= 500 || said.code == 410
        }
        watcher::Error::NoResourceVersion => false,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{Status, response::StatusSummary};

    use super::*;

    fn said(code: u16) -> watcher::Error {
        let status = Status { status: Some(StatusSummary::Failure), code, ..Status::default() };
        watcher::Error::WatchStartFailed(Error::Api(Box::new(status)))
    }

    #[test]
    fn what_the_api_server_may_answer_later_passes() {
        for (code, does, because) in [
            (429, true, "storage is (re)initializing"),
            (503, true, "it starts"),
            (500, true, "etcd does not answer it"),
            (410, true, "the watcher lists anew"),
            (403, false, "no waiting gives a right"),
            (404, false, "a kind that is not served is a mistake of the test"),
        ] {
            assert_eq!(passes(&said(code)), does, "{code}: {because}");
        }
    }
}
