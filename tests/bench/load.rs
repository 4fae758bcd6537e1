//! Creates Polecats, as the user `loadgen`: so many in flight, or so many a second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use gastown::domain::shard::bucket;
use kube::{Client, api::PostParams, core::Request};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    ledger::{Key, Ledger},
    options::Version,
};

/// A task of ordinary length: people write a paragraph.
const TASK: &str = "Read CONTRIBUTING.md first. The parser in src/parse.rs accepts trailing commas in lists, but not in \
                    maps; make it accept them in both, add one test for each, and keep the error messages as they are. \
                    Run the whole test suite before you commit, and say in the commit message what was wrong and why.";

/// Where the Polecats are that warm everything up.
pub const WARM: &str = "bench-warm";

/// `count` names, spread evenly over namespaces.
pub fn spread(namespaces: &[String], count: usize) -> Vec<Key> {
    let namespaces = namespaces.iter().cycle().cloned();
    let keys = namespaces.zip(0..count);
    keys.map(|(namespace, number)| Key { namespace, name: format!("p{number:05}") }).collect()
}

/// Who creates, and in which version.
#[derive(Clone)]
pub struct Load {
    pub client: Client,
    pub ledger: Arc<Ledger>,
    pub version: Version,
}

impl Load {
    /// Creates all of them, this many in flight.
    pub async fn burst(&self, keys: &[Key], in_flight: usize) -> Result<()> {
        let creates = stream::iter(keys).map(|key| self.create(key));
        creates.buffer_unordered(in_flight).try_collect().await
    }

    /// Creates one after the other by the clock, whether or not those before were answered: a server that is slow does
    /// not slow the load down.
    pub async fn paced(&self, keys: Vec<Key>, a_second: u32) -> Result<()> {
        let (begun, step) = (Instant::now(), Duration::from_secs(1) / a_second);
        let mut creates = JoinSet::new();
        let mut at = begun;
        for key in keys {
            tokio::time::sleep_until(at.into()).await;
            at += step;
            let load = self.clone();
            creates.spawn(async move { load.create(&key).await });
        }
        while let Some(created) = creates.join_next().await {
            created.context("a create was cut short")??;
        }
        Ok(())
    }

    /// Creates one. It may have been asked for before, by a request whose answer was lost and that the client repeated.
    pub async fn create(&self, key: &Key) -> Result<()> {
        let Key { namespace, name } = key;
        let version = self.version.name();
        let polecat = json!({
            "apiVersion": format!("gastown.gastown.io/{version}"),
            "kind": "Polecat",
            // As it is stamped at the door.
            "metadata": { "name": name, "namespace": namespace, "labels": { (bucket::LABEL): bucket::label(namespace) } },
            "spec": spec(name, self.version),
        });
        let body = serde_json::to_vec(&polecat).context("failed to write a Polecat")?;
        let place = format!("/apis/gastown.gastown.io/{version}/namespaces/{namespace}/polecats");
        let request = Request::new(place).create(&PostParams::default(), body);
        let request = request.context("failed to build a create")?;
        self.ledger.sent(key);
        match self.client.request::<IgnoredAny>(request).await {
            Err(kube::Error::Api(it)) if it.code == 409 => {}
            answer => {
                answer.with_context(|| format!("failed to create Polecat {namespace}/{name}"))?;
            }
        }
        self.ledger.answered(key);
        Ok(())
    }
}

/// The same work in either version.
pub fn spec(name: &str, version: Version) -> Value {
    let (git, key) = (json!({ "name": "git" }), json!({ "name": "llm", "key": "key" }));
    let (repository, image) =
        ("git@git.example.com:bench/parser.git", "registry.example.com/agent:1");
    match version {
        Version::V1alpha1 => json!({
            "rig": "bench",
            "beadID": format!("be-{name}"),
            "desiredState": "Working",
            "taskDescription": TASK,
            "kubernetes": {
                "gitRepository": repository,
                "gitBranch": "main",
                "gitSecretRef": git,
                "apiKeySecretRef": key,
                "image": image,
                "activeDeadlineSeconds": 3600,
            },
        }),
        Version::V1beta1 => json!({
            "rig": "bench",
            "beadID": format!("be-{name}"),
            "desiredState": "Working",
            "task": TASK,
            "repository": { "url": repository, "baseBranch": "main", "secretRef": git },
            "agent": { "image": image, "anthropicKeySecretRef": key },
            "limits": { "activeDeadlineSeconds": 3600 },
        }),
    }
}
