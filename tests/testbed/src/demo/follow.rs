//! Follows Polecats and their pods by watch, and prints each change as it happens.

use std::{
    collections::BTreeMap,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, stream::select};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    core::DynamicObject,
    runtime::{WatchStreamExt as _, watcher::Config},
};
use serde_json::Value;

use super::{
    show,
    stage::{NAMESPACE, Stage, polecats},
};
use crate::watch::watcher;

/// Longest time that the runs may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A Polecat that has ended.
#[derive(Debug)]
pub struct Ended {
    pub name: String,
    pub status: Value,
    /// What was seen of it, and how many seconds after the samples were applied.
    pub steps: Vec<(String, f64)>,
}

impl Ended {
    pub fn phase(&self) -> String {
        self.text("/phase").unwrap_or_default()
    }

    pub fn text(&self, at: &str) -> Option<String> {
        match self.status.pointer(at)? {
            Value::String(it) => Some(it.clone()),
            Value::Null => None,
            it => Some(it.to_string()),
        }
    }

    /// Reason and message of a condition.
    pub fn condition(&self, type_: &str) -> Option<(String, String)> {
        let all = self.status.get("conditions")?.as_array()?;
        let it = all.iter().find(|it| it.get("type").is_some_and(|it| it == type_))?;
        let text = |key: &str| it.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some((text("reason"), text("message")))
    }
}

enum Seen {
    Polecat(Box<DynamicObject>),
    Pod(Box<Pod>),
}

/// Waits until these Polecats are Done or Stuck.
pub async fn until_ended(stage: &Stage, names: &[&str]) -> Result<Vec<Ended>> {
    let began = Instant::now();
    let config = Config::default;
    let of_polecats = watcher(polecats(&stage.client), config()).applied_objects();
    let pods = Api::<Pod>::namespaced(stage.client.clone(), NAMESPACE);
    let of_pods = watcher(pods, config()).applied_objects();
    let both = select(
        of_polecats.map(|it| it.map(|it| Seen::Polecat(Box::new(it)))),
        of_pods.map(|it| it.map(|it| Seen::Pod(Box::new(it)))),
    );
    let mut both = pin!(both);
    let mut steps: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    let mut ended = BTreeMap::new();
    while ended.len() < names.len() {
        let left = PATIENCE.saturating_sub(began.elapsed());
        let Ok(seen) = tokio::time::timeout(left, both.next()).await else {
            bail!("not every Polecat had ended after {} s", PATIENCE.as_secs());
        };
        let seen = seen.context("the watch ended")?.context("the watch failed")?;
        let (name, step) = step(&seen);
        if step.is_empty() {
            continue;
        }
        let known = steps.entry(name.clone()).or_default();
        if known.last().is_none_or(|it| it.0 != step) {
            let after = began.elapsed().as_secs_f64();
            show::line(&format!("{after:6.1} s  {name:<9} {step}"));
            known.push((step, after));
        }
        if let Seen::Polecat(it) = seen
            && names.contains(&name.as_str())
        {
            let status = it.data.get("status").cloned().unwrap_or_default();
            if over(&status, stage.pushes()) {
                ended.insert(name, status);
            }
        }
    }
    let end = |(name, status): (String, Value)| Ended {
        steps: steps.remove(&name).unwrap_or_default(),
        name,
        status,
    };
    Ok(ended.into_iter().map(end).collect())
}

/// Whether an attempt has ended, and what became of its commits is known or, where nobody pushes, never will be.
fn over(status: &Value, somebody_pushes: bool) -> bool {
    let phase = status.get("phase").and_then(Value::as_str);
    let conditions = status.get("conditions").and_then(Value::as_array);
    let pushed =
        conditions.into_iter().flatten().find(|it| it.get("type").is_some_and(|it| it == "Pushed"));
    let open = pushed.is_some_and(|it| it.get("status").is_some_and(|it| it == "Unknown"));
    phase == Some("Stuck") || (phase == Some("Done") && !(open && somebody_pushes))
}

/// Whom a change is about, and what it says.
fn step(seen: &Seen) -> (String, String) {
    match seen {
        Seen::Polecat(it) => {
            let text = |at: &str| {
                it.data.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let conditions = it.data.pointer("/status/conditions").and_then(Value::as_array);
            let ready = conditions
                .into_iter()
                .flatten()
                .find(|it| it.get("type").is_some_and(|it| it == "Ready"));
            let reason = ready
                .and_then(|it| it.get("reason"))
                .and_then(Value::as_str)
                .unwrap_or("asked for");
            let phase = text("/status/phase");
            (
                it.name_any(),
                if phase.is_empty() { String::new() } else { format!("{phase} ({reason})") },
            )
        }
        Seen::Pod(pod) => {
            let name = pod.labels().get("gastown.io/polecat").cloned().unwrap_or_default();
            (name, pod_step(pod).unwrap_or_default())
        }
    }
}

/// What the pod is at.
fn pod_step(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten().next();
    if init.is_some_and(|it| it.state.as_ref().is_some_and(|it| it.running.is_some())) {
        return Some("pod: git-init clones".to_owned());
    }
    let claude = status.container_statuses.iter().flatten().find(|it| it.name == "claude")?;
    let state = claude.state.as_ref()?;
    if state.running.is_some() {
        return Some("pod: claude works".to_owned());
    }
    let end = state.terminated.as_ref()?;
    (status.phase.as_deref() == Some("Running"))
        .then(|| format!("pod: claude ended with {}, telemetry pushes", end.exit_code))
}
