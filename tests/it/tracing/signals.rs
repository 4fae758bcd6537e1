//! Metrics and lines of the log come to the collector as well: the same figures as are scraped, and lines with the ids of the
//! spans that they belong to.

use std::collections::BTreeSet;

use gastown_testbed::http_get;
use http::Request;
use k8s_openapi::api::core::v1::LimitRange;
use kube::{Api, api::PostParams, client::Body};
use serde_json::json;

use super::{Collector, QUICK, world_with};
use crate::{asking::comes_true, door::Door, full_lists::caller, world::polecat};

#[tokio::test]
async fn figures_and_lines_come_to_the_collector_too() {
    let collector = Collector::start().await;
    let flags = ["--otlp-metrics-interval=200", "--otlp-logs-delay=50", "--otlp-compression=gzip"];
    let world = world_with("signals", &QUICK, &collector, &flags).await;
    world.create("max", |_| {}).await;
    world.phase("max", "Done").await;
    let pass = [("controller", "polecat"), ("result", "success")];
    comes_true("passes among the figures", async || {
        collector.figures().of("gastown_reconcile", &pass).is_some_and(|it| it > 0.0)
    })
    .await;

    // Every family with a figure, whatever is added to them.
    let (_, text) = http_get(&world.operator.metrics).await.unwrap();
    let scraped: BTreeSet<_> = text.lines().filter_map(|it| it.strip_prefix("# TYPE ")).collect();
    let with_figures = |name: &str| text.lines().any(|it| it.starts_with(name));
    let names: BTreeSet<_> = scraped
        .iter()
        .filter_map(|it| it.split(' ').next())
        .filter(|it| with_figures(it))
        .collect();
    assert!(names.len() > 20, "{names:?}");
    comes_true("every figure that is scraped", async || {
        let sent = collector.figures().names();
        names.iter().all(|it| sent.contains(*it))
    })
    .await;
    let owned = text.lines().find_map(|it| it.strip_prefix("gastown_shards_owned ")).unwrap();
    assert_eq!(collector.figures().of("gastown_shards_owned", &[]), owned.parse().ok());

    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "u", "desiredAPIVersion": "gastown.gastown.io/v9", "objects": [polecat("nux")]},
    });
    let request = Request::post("/convert").header("content-type", "application/json");
    let request = request.body(Body::from(serde_json::to_vec(&review).unwrap())).unwrap();
    caller(&world.operator).send(request).await.unwrap();
    let is = |it: &&super::collector::Line| it.text == "A conversion failed";
    comes_true("a line", async || collector.lines().iter().any(|it| is(&it))).await;
    let line = collector.lines().into_iter().find(|it| is(&it)).unwrap();
    assert_eq!(
        (line.service.as_str(), line.module.as_str()),
        ("gastown-operator", "gastown::tasks::convert::answering")
    );
    let call = |it: &super::Span| it.trace == line.trace && it.id == line.span;
    collector.until("span that the line names", |all| all.iter().any(call)).await;
}

/// A line of this text came with the ids of a span of this name that came as well. What is only tried belongs to no run.
async fn belongs(collector: &Collector, text: &str, span: &str) {
    let is = |it: &super::collector::Line| it.text == text && !it.trace.is_empty();
    comes_true(text, async || collector.lines().iter().any(is)).await;
    let line = collector.lines().into_iter().find(is).unwrap();
    let is = |it: &super::Span| it.name == span && it.trace == line.trace && it.id == line.span;
    collector
        .until(&format!("{span} that the line names: {line:?}"), |all| all.iter().any(is))
        .await;
}

#[tokio::test]
async fn a_line_about_what_went_wrong_is_in_its_trace_whatever_the_level_of_the_log() {
    let collector = Collector::start().await;
    let flags = ["--log-level=warn", "--otlp-logs-delay=50"];
    let door = Door::before(world_with("warned", &QUICK, &collector, &flags).await).await;
    let world = &door.world;
    let range = json!({"metadata": {"name": "small"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
    let ranges: Api<LimitRange> = Api::namespaced(world.client.clone(), &world.namespace);
    ranges.create(&PostParams::default(), &serde_json::from_value(range).unwrap()).await.unwrap();
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "False/LimitRangeRefused").await;
    belongs(&collector, "The API server refused a child", "reconcile").await;

    let mut wrong = polecat("nux");
    wrong["spec"]["kubernetes"]["gitBranch"] = json!("-d");
    assert_eq!(door.create(&wrong).await.code, 422);
    belongs(&collector, "Refused a write", "admission validate").await;
    let of = |it: &&super::Span| it.name == "admission validate" && it.failed;
    let span = collector.spans().into_iter().find(|it| of(&it)).unwrap();
    let broken = span.says("gastown.admission.broken");
    assert!(broken.contains("gitBranch"), "it names the field: {broken}");
    door.close().await;
}
