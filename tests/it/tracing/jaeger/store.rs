//! A Jaeger of the test's own, and what it says that it was told.

use std::{collections::BTreeMap, process::Stdio};

use gastown_testbed::http_get;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::{
    asking::{answered, comes_true},
    tracing::collector::{Span, with_version},
};

/// Where it is asked; it listens on its own ports.
pub const QUERY: &str = "http://127.0.0.1:16686";

/// One with everything in memory; it ends with this.
pub struct Jaeger {
    _child: Child,
}

impl Jaeger {
    pub async fn start(program: &str) -> Self {
        let mut child = tokio::process::Command::new(program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        comes_true("Jaeger to be up", async || asked("services").await.is_some()).await;
        assert_eq!(child.try_wait().unwrap(), None, "it is ours that answers, and no other");
        Self { _child: child }
    }

    /// All that it has of a trace as it was told, each copy by itself; nothing where it knows of none yet. Not raw, this Jaeger's
    /// memory would write its remarks about what is still missing into what it keeps.
    pub async fn told(&self, trace: &str) -> Vec<Span> {
        let answer = asked(&format!("traces/{trace}?raw_traces=true")).await;
        answer.map_or_else(Vec::new, |it| spans(&it))
    }

    /// The same of every trace that anybody told of.
    pub async fn everything(&self) -> Vec<Span> {
        let services = answered("its services", async || asked("services").await).await;
        let services: Value = serde_json::from_str(&services).unwrap();
        let mut all = Vec::new();
        for it in services["services"].as_array().unwrap() {
            let question = format!(
                "traces?query.service_name={}&query.start_time_min=2000-01-01T00:00:00Z\
                 &query.start_time_max=2200-01-01T00:00:00Z&query.num_traces=50000&query.raw_traces=true",
                it.as_str().unwrap()
            );
            let answer = answered("its traces", async || asked(&question).await).await;
            all.extend(spans(&answer));
        }
        all
    }
}

/// What it answers to a question of its third version; nothing where it does not answer well, or in time.
async fn asked(question: &str) -> Option<String> {
    let (code, text) = http_get(&format!("{QUERY}/api/v3/{question}")).await.ok()?;
    (code == 200).then_some(text)
}

/// Of an answer in one piece or more.
fn spans(answer: &str) -> Vec<Span> {
    let list = |of: &Value, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let mut all = Vec::new();
    for part in serde_json::Deserializer::from_str(answer).into_iter::<Value>() {
        for of in list(&part.unwrap()["result"], "resourceSpans") {
            let who = pairs(&of["resource"]["attributes"]);
            for scope in list(&of, "scopeSpans") {
                let version = scope["scope"]["version"].as_str().unwrap_or_default();
                let teller = with_version(who.clone(), version.to_owned());
                all.extend(list(&scope, "spans").iter().map(|it| span(it, &teller)));
            }
        }
    }
    all
}

fn span(it: &Value, teller: &BTreeMap<String, String>) -> Span {
    let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
    Span {
        service: teller["service.name"].clone(),
        teller: teller.clone(),
        trace: text("traceId"),
        id: text("spanId"),
        parent: text("parentSpanId"),
        name: text("name"),
        from: text("startTimeUnixNano").parse().unwrap(),
        to: text("endTimeUnixNano").parse().unwrap(),
        attributes: pairs(&it["attributes"]),
        events: Vec::new(),
        links: Vec::new(),
        failed: it["status"]["code"] == json!(2),
    }
}

fn pairs(all: &Value) -> BTreeMap<String, String> {
    let text = |it: &Value| {
        let value = it["value"].as_object().and_then(|it| it.values().next()).cloned();
        value.map(|it| it.as_str().map_or_else(|| it.to_string(), ToOwned::to_owned))
    };
    let pair = |it: &Value| Some((it["key"].as_str()?.to_owned(), text(it)?));
    all.as_array().into_iter().flatten().filter_map(pair).collect()
}
