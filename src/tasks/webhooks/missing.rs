//! A word on Secrets that are not there, with the line that makes them: only where a Role that somebody adds lets the operator
//! look, and by their metadata alone. Where none does, the API server is asked once a minute whether one does.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use kube::core::{DynamicObject, admission::AdmissionRequest};

use super::{answer, asking::Asking};
use crate::{
    admission,
    cluster::{Cluster, Error},
    domain::{names, secrets::Needed},
};

/// How long an answer about a Role holds.
const HOLDS: Duration = Duration::from_secs(60);
/// Longest time for all questions about one object.
const LIMIT: Duration = Duration::from_secs(1);
/// Most Secrets of one Polecat that are looked for.
const MOST: usize = 8;
/// Answers that are kept; beyond them all are asked for anew.
const KEPT: usize = 4096;

/// Namespace and name.
type Key = (Box<str>, Box<str>);

/// Which Secrets the operator may look at, by the API server's word of a moment ago.
#[derive(Debug, Default)]
pub struct Leave(Mutex<HashMap<Key, (Instant, bool)>>);

impl Leave {
    fn of(&self, key: &Key, now: Instant) -> Option<bool> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, allowed) = all.get(key)?;
        (now.saturating_duration_since(*since) < HOLDS).then_some(*allowed)
    }

    fn note(&self, key: Key, now: Instant, allowed: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(key, (now, allowed));
    }
}

impl Asking {
    /// A line for each Secret that is known to be missing.
    pub async fn missing(&self, request: &AdmissionRequest<DynamicObject>) -> Vec<String> {
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let Some(cluster) = self.cluster() else { return Vec::new() };
        let needed = answer::secrets(request);
        let named = needed.iter().filter(|it| names::is_name(&it.name)).take(MOST);
        let all = join_all(named.map(|it| self.is_missing(cluster, namespace, it)));
        tokio::time::timeout(LIMIT, all).await.unwrap_or_default().into_iter().flatten().collect()
    }

    async fn is_missing(
        &self,
        cluster: &Cluster,
        namespace: &str,
        needed: &Needed,
    ) -> Option<String> {
        match self.look(cluster, namespace, &needed.name).await {
            Ok(Some(false)) => Some(admission::warning(&needed.missing(namespace))),
            Ok(_) => None,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "Not looking for a Secret");
                None
            }
        }
    }

    /// Whether it is there; `None`: the operator may not look.
    async fn look(
        &self,
        cluster: &Cluster,
        namespace: &str,
        name: &str,
    ) -> Result<Option<bool>, Error> {
        let key: Key = (namespace.into(), name.into());
        let known = self.leave.of(&key, Instant::now());
        let allowed = if let Some(it) = known {
            it
        } else {
            let it = cluster.may_see_secret(namespace, name).await?;
            self.leave.note(key.clone(), Instant::now(), it);
            it
        };
        if !allowed {
            return Ok(None);
        }
        let found = cluster.has_secret(namespace, name).await;
        if found.is_err() {
            // The Role may be gone: it is asked for again in a minute.
            self.leave.note(key, Instant::now(), false);
        }
        found.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_a_minute() {
        let (leave, now) = (Leave::default(), Instant::now());
        let key = |name: &str| -> Key { ("town".into(), name.into()) };
        leave.note(key("git"), now, true);
        leave.note(key("llm"), now, false);
        let at = |name: &str, seconds| leave.of(&key(name), now + Duration::from_secs(seconds));
        assert_eq!((at("git", 59), at("llm", 59)), (Some(true), Some(false)));
        assert_eq!((at("git", 60), at("other", 0)), (None, None));
        for number in 0..KEPT {
            leave.note(key(&number.to_string()), now, true);
        }
        assert_eq!(leave.of(&key("git"), now), None, "no more is kept than there is room for");
    }
}
