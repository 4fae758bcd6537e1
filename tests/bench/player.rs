//! Plays the pods, as the user `player`: Running after 100 ms, Succeeded 2 s later, with the last words that ours
//! expects of a run that was pushed. It looks and writes through connections of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use gastown::domain::{layout, verdict::Verdict};
use http::{HeaderValue, header::ACCEPT};
use k8s_openapi::jiff::Timestamp;
use kube::{Client, api::PostParams, core::Request};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    ledger::{Key, Ledger},
    sight::{self, Meta, Sight},
};

/// From a pod's being seen to its being Running.
const RUNNING_AFTER: Duration = Duration::from_millis(100);
/// From then to its being Succeeded.
const SUCCEEDED_AFTER: Duration = Duration::from_secs(2);
/// Requests at a time; each takes a connection.
const IN_FLIGHT: usize = 32;
/// Answers with the metadata alone.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// As long as a node's words for an image are.
const IMAGE_ID: &str = "registry.example.com/agent@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
/// Times that one request is tried.
const TRIES: u32 = 3;

/// How much of a pod's life is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "shared with another bench")]
pub enum Life {
    Whole,
    /// It is seen when all is over: that spares a write of ours and one of the operator's.
    End,
}

/// Watches pods from `version` on and plays each that a Polecat owns.
pub async fn play(client: Client, ledger: Arc<Ledger>, version: String, life: Life) {
    let stage = Arc::new(Stage {
        client: client.clone(),
        ledger: ledger.clone(),
        permits: Semaphore::new(IN_FLIGHT),
        life,
    });
    let fresh = |pod: &Sight| pod.status.phase.is_empty() || pod.status.phase == "Pending";
    let see = |pod: &Sight| {
        let owner = pod.metadata.owner_references.iter().find(|it| it.kind == "Polecat");
        if let Some(owner) = owner.filter(|_| fresh(pod)) {
            let seen = Instant::now();
            let namespace = pod.metadata.namespace.clone();
            let key = Key { namespace, name: owner.name.clone() };
            if ledger.pod(&key, &pod.metadata.uid, seen) {
                tokio::spawn(act(stage.clone(), key, pod.metadata.clone(), seen));
            }
        }
    };
    if let Err(error) = sight::watch(&client, sight::PODS, version, see).await {
        ledger.fault(format!("{error:#}"));
    }
}

/// Watches Polecats from a version on and notes each that is Done.
pub async fn observe(client: Client, ledger: Arc<Ledger>, (place, version): (String, String)) {
    let see = |polecat: &Sight| {
        if polecat.status.phase == "Done" {
            let Sight { metadata, .. } = polecat;
            let key = Key { namespace: metadata.namespace.clone(), name: metadata.name.clone() };
            ledger.done(&key, Instant::now());
        }
    };
    if let Err(error) = sight::watch(&client, &place, version, see).await {
        ledger.fault(format!("{error:#}"));
    }
}

struct Stage {
    client: Client,
    ledger: Arc<Ledger>,
    permits: Semaphore,
    life: Life,
}

async fn act(stage: Arc<Stage>, key: Key, pod: Meta, seen: Instant) {
    let played = async {
        let began = match stage.life {
            Life::Whole => stage.run(&pod, seen).await?,
            Life::End => Timestamp::now(),
        };
        let _permit = stage.permits.acquire().await?;
        let status = succeeded_status(began, Timestamp::now())?;
        stage.ledger.ended(&key);
        stage.replace(&pod, status).await
    };
    if let Err(error) = played.await {
        stage.ledger.fault(format!("failed to play pod {}/{}: {error:#}", pod.namespace, pod.name));
    }
}

impl Stage {
    /// Has it Running in time; ends when its agent is to end, with when that began.
    async fn run(&self, pod: &Meta, seen: Instant) -> Result<Timestamp> {
        tokio::time::sleep_until((seen + RUNNING_AFTER).into()).await;
        let permit = self.permits.acquire().await?;
        let (running, began) = (Instant::now(), Timestamp::now());
        self.replace(pod, running_status(began)).await?;
        drop(permit);
        tokio::time::sleep_until((running + SUCCEEDED_AFTER).into()).await;
        Ok(began)
    }

    /// Puts a status in place. Of a pod the API server keeps all but its metadata, so that is all that is sent beside
    /// it, and all that is asked for: a merge patch, answered with the whole pod, costs it half as much again.
    async fn replace(&self, pod: &Meta, status: Value) -> Result<()> {
        let place = format!("/api/v1/namespaces/{}/pods", pod.namespace);
        let whole = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod.name, "namespace": pod.namespace, "uid": pod.uid,
                "labels": pod.labels, "annotations": pod.annotations,
            },
            "spec": { "containers": [] },
            "status": status,
        });
        let whole = serde_json::to_vec(&whole).context("failed to write a status")?;
        let mut tried = 0;
        loop {
            let request = Request::new(place.as_str()).replace_subresource(
                "status",
                &pod.name,
                &PostParams::default(),
                whole.clone(),
            );
            let mut request = request.context("failed to build a request")?;
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(METADATA_ONLY));
            tried += 1;
            match self.client.request::<IgnoredAny>(request).await {
                Ok(IgnoredAny) => return Ok(()),
                Err(error) if tried == TRIES => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

fn container(name: &str, ready: bool, state: &Value) -> Value {
    json!({
        "name": name, "image": "bench", "imageID": IMAGE_ID, "ready": ready, "restartCount": 0, "started": ready,
        "state": state,
    })
}

fn ended(began: Timestamp, ended: Timestamp, message: &str) -> Value {
    let mut state = json!({
        "exitCode": 0, "reason": "Completed", "startedAt": began.to_string(), "finishedAt": ended.to_string(),
    });
    if !message.is_empty()
        && let Some(state) = state.as_object_mut()
    {
        state.insert("message".to_owned(), message.into());
    }
    json!({ "terminated": state })
}

/// `git-init` has ended, the agent and `telemetry` run.
fn running_status(began: Timestamp) -> Value {
    let running = json!({ "running": { "startedAt": began.to_string() } });
    json!({
        "phase": "Running",
        "startTime": began.to_string(),
        "initContainerStatuses": [container(layout::GIT_INIT, false, &ended(began, began, ""))],
        "containerStatuses": [
            container(layout::CLAUDE, true, &running),
            container(layout::TELEMETRY, true, &running),
        ],
    })
}

/// All have ended well, and the commit was pushed.
fn succeeded_status(began: Timestamp, now: Timestamp) -> Result<Value> {
    let verdict = Verdict {
        v: 1,
        base: Some("1".repeat(40)),
        commit: Some("2".repeat(40)),
        commits: 1,
        branch: Some("polecat/bench".to_owned()),
        pushed: true,
        reason: "Pushed".to_owned(),
        push_seconds: 0.2,
        ..Verdict::default()
    };
    let verdict = verdict.to_json().context("failed to write a verdict")?;
    Ok(json!({
        "phase": "Succeeded",
        "initContainerStatuses": [container(layout::GIT_INIT, false, &ended(began, began, ""))],
        "containerStatuses": [
            container(layout::CLAUDE, false, &ended(began, now, "")),
            container(layout::TELEMETRY, false, &ended(began, now, &verdict)),
        ],
    }))
}
