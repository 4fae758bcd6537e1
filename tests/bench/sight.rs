//! Watches one kind, reading no more of each object than a few words, so that looking costs little of the machine that
//! is being measured.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::{Stream, TryStreamExt as _};
use kube::{
    Client,
    api::{ListParams, WatchEvent, WatchParams},
    core::Request,
};
use serde::Deserialize;

use crate::options::Version;

/// Where pods of all namespaces are.
pub const PODS: &str = "/api/v1/pods";
/// Seconds after which a watch is begun anew where it ended; the client gives up at 295.
const WATCH_SECONDS: u32 = 280;
/// Times that the begin of a watch is tried.
const TRIES: u32 = 100;

/// What is read of a Polecat or a pod.
#[derive(Clone, Debug, Deserialize)]
pub struct Sight {
    pub metadata: Meta,
    #[serde(default)]
    pub status: Status,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    #[serde(default)]
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub owner_references: Vec<Owner>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Owner {
    pub kind: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub phase: String,
}

/// A list of them, of which nothing is read but where it stands.
#[derive(Debug, Deserialize)]
pub struct Sights {
    pub metadata: ListMeta,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    pub resource_version: String,
}

/// The version from which a watch sees everything that is yet to happen.
pub async fn version(client: &Client, place: &str) -> Result<String> {
    let params = ListParams { limit: Some(1), ..ListParams::default() };
    let request = Request::new(place).list(&params).context("failed to build a list")?;
    let list: Sights =
        client.request(request).await.with_context(|| format!("failed to list {place}"))?;
    Ok(list.metadata.resource_version)
}

/// Where Polecats of all namespaces are, in this version.
pub fn polecats(version: Version) -> String {
    format!("/apis/gastown.gastown.io/{}/polecats", version.name())
}

/// Watches everything that happens after `version`, until it is dropped or fails.
pub async fn watch(
    client: &Client,
    place: &str,
    mut version: String,
    see: impl Fn(&Sight),
) -> Result<()> {
    loop {
        let mut events = pin!(open(client, place, &version).await?);
        loop {
            let event = match events.try_next().await {
                // Its cache is set up anew, after a change of the CRD: begin again.
                Err(kube::Error::Api(it)) if it.code == 429 => break,
                event => event,
            };
            match event.with_context(|| format!("failed to watch {place}"))? {
                None => break,
                Some(WatchEvent::Added(it) | WatchEvent::Modified(it)) => {
                    see(&it);
                    version = it.metadata.resource_version;
                }
                Some(WatchEvent::Deleted(it)) => version = it.metadata.resource_version,
                Some(WatchEvent::Bookmark(it)) => version = it.metadata.resource_version,
                Some(WatchEvent::Error(it)) if it.code == 429 => break,
                Some(WatchEvent::Error(it)) => bail!("the watch of {place} broke off: {it}"),
            }
        }
    }
}

/// Begins a watch. For a moment after a CRD was made the API server answers 429, since it still sets up its cache.
async fn open(
    client: &Client,
    place: &str,
    version: &str,
) -> Result<impl Stream<Item = kube::Result<WatchEvent<Sight>>> + use<>> {
    let mut tried = 0;
    loop {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let request = Request::new(place).watch(&params, version);
        let request = request.context("failed to build a watch")?;
        tried += 1;
        match client.request_events(request).await {
            Ok(events) => return Ok(events),
            Err(kube::Error::Api(it)) if it.code == 429 && tried < TRIES => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error).with_context(|| format!("failed to watch {place}")),
        }
    }
}
