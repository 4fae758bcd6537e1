//! The requests of the protocol: each one compare-and-swap or one reading, with a limit of its own, never repeated behind
//! the caller's back.

use std::time::Duration;

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Preconditions},
    core::PartialObjectMeta,
};

use super::wire::{self, KIND, SESSION};
use crate::{
    cluster::{
        connect::Connection,
        leases::{self, record},
        writing::Writer,
    },
    domain::{
        lease::{Identity, Mark, Record},
        shard::ShardId,
    },
};

/// Longest time that one request may take.
pub const LIMIT: Duration = Duration::from_millis(1500);

/// How often a write is sent whose answers are lost.
const TRIES: u32 = 4;

/// What came of a write.
#[derive(Debug)]
pub enum Answer<T> {
    Accepted(T),
    /// What was seen is not so any more.
    Refused,
    /// It may have been accepted, or not.
    Unknown(String),
}

/// The way to our Leases.
#[derive(Clone)]
pub struct Door {
    pub(super) api: Api<Lease>,
    pub(super) writer: Writer,
}

impl Door {
    pub(super) fn new(connection: &Connection, namespace: &str) -> Self {
        let api = Api::namespaced(connection.leases.clone(), namespace);
        Self { api, writer: connection.writer("shards") }
    }

    /// Writes a Lease over the version that it carries, or makes it.
    pub async fn put(&self, lease: &Lease) -> Answer<Lease> {
        let name = lease.metadata.name.clone().unwrap_or_default();
        let there = lease.metadata.resource_version.is_some();
        let put = leases::put((&self.api, &self.writer), &name, lease, there);
        match tokio::time::timeout(LIMIT, put).await {
            Ok(Err(error)) if leases::lacks_namespace(&error, there) => {
                Answer::Unknown(error.to_string())
            }
            it => answer(it),
        }
    }

    /// Reads a Lease.
    pub async fn get(&self, name: &str) -> Answer<Option<Lease>> {
        answer(tokio::time::timeout(LIMIT, self.api.get_opt(name)).await)
    }

    /// Reads every session, from storage and not from a cache.
    pub async fn sessions(&self) -> Answer<Vec<Lease>> {
        let params = ListParams::default().labels(&format!("{KIND}={SESSION}"));
        let list = async { self.api.list(&params).await.map(|it| it.items) };
        answer(tokio::time::timeout(LIMIT, list).await)
    }

    /// Deletes a Lease, if it still is the one that was seen.
    pub async fn delete(&self, name: &str, over: &Record) -> Answer<()> {
        let preconditions = Preconditions {
            uid: Some(over.uid.clone()),
            resource_version: Some(over.resource_version.clone()),
        };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        answer(tokio::time::timeout(LIMIT, self.writer.delete(&self.api, name, &params)).await)
    }
}

fn answer<T>(answer: Result<kube::Result<T>, tokio::time::error::Elapsed>) -> Answer<T> {
    match answer {
        Ok(Ok(it)) => Answer::Accepted(it),
        Ok(Err(kube::Error::Api(it))) if matches!(it.code, 404 | 409) => Answer::Refused,
        Ok(Err(error)) => Answer::Unknown(error.to_string()),
        Err(_) => Answer::Unknown(format!("no answer within {LIMIT:?}")),
    }
}

/// Whether any session says that it owns the shard, and the sessions that were read.
pub async fn is_claimed(door: &Door, shard: ShardId, but: &str) -> (bool, Vec<Lease>) {
    let Answer::Accepted(all) = door.sessions().await else { return (true, Vec::new()) };
    let claims = |it: &Lease| {
        let it = wire::session(it);
        it.holder() != but && it.says.holds.contains(&shard)
    };
    (all.iter().any(claims), all)
}

/// Sends a write again whose answer was lost, as long as nobody else wrote.
pub async fn put_surely(door: &Door, lease: &Lease, mark: Mark) -> Answer<Lease> {
    let mut last = door.put(lease).await;
    for _ in 1..TRIES {
        if !matches!(last, Answer::Unknown(_)) {
            break;
        }
        match door.get(lease.metadata.name.as_deref().unwrap_or_default()).await {
            Answer::Accepted(Some(it)) if record(&it).mark == Some(mark) => {
                return Answer::Accepted(it);
            }
            Answer::Accepted(Some(it))
                if it.metadata.resource_version == lease.metadata.resource_version =>
            {
                last = door.put(lease).await;
            }
            Answer::Accepted(_) | Answer::Refused => return Answer::Refused,
            Answer::Unknown(why) => last = Answer::Unknown(why),
        }
    }
    last
}

/// Whether this process runs in the pod that it was told of.
pub async fn has_pod(pods: Api<PartialObjectMeta<Pod>>, me: Identity) -> bool {
    if me.pod_uid.is_empty() {
        return false;
    }
    let answer = tokio::time::timeout(LIMIT, pods.get_opt(&me.pod)).await;
    let pod = answer.ok().and_then(Result::ok).flatten();
    pod.is_some_and(|it| it.metadata.uid.as_deref() == Some(&*me.pod_uid))
}
