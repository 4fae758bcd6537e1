//! Creates Polecats, as the user `loadgen`: so many in flight, or so many a second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{Client, api::PostParams, core::Request};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::task::JoinSet;

use crate::ledger::{Key, Ledger};

/// A task of ordinary length: people write a paragraph.
const TASK: &str = "Read CONTRIBUTING.md first. The parser in src/parse.rs accepts trailing commas in lists, but not in \
                    maps; make it accept them in both, add one test for each, and keep the error messages as they are. \
                    Run the whole test suite before you commit, and say in the commit message what was wrong and why.";

/// `count` names, spread evenly over namespaces.
pub fn spread(namespaces: &[String], count: usize) -> Vec<Key> {
    let namespaces = namespaces.iter().cycle().cloned();
    let keys = namespaces.zip(0..count);
    keys.map(|(namespace, number)| Key { namespace, name: format!("p{number:05}") }).collect()
}

/// Creates all of them, this many in flight.
pub async fn burst(client: &Client, ledger: &Ledger, keys: &[Key], in_flight: usize) -> Result<()> {
    let creates = stream::iter(keys).map(|key| create(client, ledger, key));
    creates.buffer_unordered(in_flight).try_collect().await
}

/// Creates one after the other by the clock, whether or not those before were answered: a server that is slow does not
/// slow the load down.
pub async fn paced(
    client: &Client,
    ledger: &Arc<Ledger>,
    keys: Vec<Key>,
    a_second: u32,
) -> Result<()> {
    let (begun, step) = (Instant::now(), Duration::from_secs(1) / a_second);
    let mut creates = JoinSet::new();
    let mut at = begun;
    for key in keys {
        tokio::time::sleep_until(at.into()).await;
        at += step;
        let (client, ledger) = (client.clone(), ledger.clone());
        creates.spawn(async move { create(&client, &ledger, &key).await });
    }
    while let Some(created) = creates.join_next().await {
        created.context("a create was cut short")??;
    }
    Ok(())
}

async fn create(client: &Client, ledger: &Ledger, key: &Key) -> Result<()> {
    let Key { namespace, name } = key;
    let polecat = json!({
        "apiVersion": "gastown.gastown.io/v1alpha1",
        "kind": "Polecat",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "rig": "bench",
            "beadID": format!("be-{name}"),
            "desiredState": "Working",
            "taskDescription": TASK,
            "kubernetes": {
                "gitRepository": "git@git.example.com:bench/parser.git",
                "gitBranch": "main",
                "gitSecretRef": { "name": "git" },
                "apiKeySecretRef": { "name": "llm", "key": "key" },
                "image": "registry.example.com/agent:1",
                "activeDeadlineSeconds": 3600,
            },
        },
    });
    let body = serde_json::to_vec(&polecat).context("failed to write a Polecat")?;
    let place = format!("/apis/gastown.gastown.io/v1alpha1/namespaces/{namespace}/polecats");
    let request = Request::new(place).create(&PostParams::default(), body);
    let request = request.context("failed to build a create")?;
    ledger.sent(key);
    let answer = client.request::<IgnoredAny>(request).await;
    answer.with_context(|| format!("failed to create Polecat {namespace}/{name}"))?;
    ledger.answered(key);
    Ok(())
}
