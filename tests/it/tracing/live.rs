//! What a replica does outside of passes and reviews, as spans: calls of `/convert`, a shard that changes hands, the start.

use std::{fs, time::Duration};

use gastown::domain::trace::{Context, attributes};
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use super::{Collector, QUICK, Span, ended, flags, trace_id, world};
use crate::{
    asking::answered,
    door::Door,
    faults::toll::Way,
    full_lists::caller,
    world::{World, polecat},
};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
pub const CALL: &str = "POST /convert";

/// Has the operator convert an object, as an API server whose own trace this is in.
pub async fn convert(door: &Door, object: &Value, desired: &str) -> String {
    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "u", "desiredAPIVersion": desired, "objects": [object]},
    });
    let request = Request::post("/convert?timeout=30s")
        .header("content-type", "application/json")
        .header("traceparent", CALLER)
        .body(Body::from(serde_json::to_vec(&review).unwrap()))
        .unwrap();
    let answer = caller(&door.world.operator).send(request).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    String::from_utf8(answer.into_body().collect_bytes().await.unwrap().to_vec()).unwrap()
}

/// A Polecat in the version that is stored.
pub async fn stored(door: &Door, name: &str) -> Value {
    let namespace = &door.world.namespace;
    let path = format!("/apis/gastown.gastown.io/v1beta1/namespaces/{namespace}/polecats/{name}");
    let request = Request::get(path).body(Vec::new()).unwrap();
    door.world.client.request(request).await.unwrap()
}

#[tokio::test]
async fn a_conversion_is_in_its_callers_trace_or_in_that_of_the_run_that_it_is_about() {
    let collector = Collector::start().await;
    let door = Door::before(world("converted", &QUICK, &collector).await).await;
    let caller = Context::parse(CALLER).unwrap();
    let mine = |it: &&Span| it.name == CALL && it.trace == caller.trace.to_string();
    // No run's: an object without a stamp, in a version that there is none of.
    let answer = convert(&door, &polecat("nux"), "gastown.gastown.io/v9").await;
    assert!(answer.contains(r#""status":"Failure""#), "{answer}");
    collector.until("failed call", |all| all.iter().any(|it| mine(&it))).await;
    let span = collector.spans().into_iter().find(|it| mine(&it)).unwrap();
    assert_eq!(span.parent, caller.span.to_string(), "it hangs on what the caller does");
    assert_eq!(
        (span.says(attributes::ROUTE), span.says(attributes::STATUS), span.says(attributes::ERROR)),
        ("/convert", "200", "ConversionFailed")
    );
    assert!(span.failed && span.attributes.keys().all(|it| it != attributes::DESIRED));
    let log = fs::read_to_string(&door.world.operator.log).unwrap();
    let line = log.lines().find(|it| it.contains("A conversion failed")).unwrap();
    assert!(line.contains(&span.trace) && line.contains(&span.id), "a line has the ids: {line}");
    // A run's.
    assert_eq!(door.create(&polecat("max")).await.code, 201);
    let stored = stored(&door, "max").await;
    let stamped = stored["metadata"]["annotations"]["gastown.io/traceparent"].as_str().unwrap();
    let run = Context::parse(stamped).unwrap();
    convert(&door, &stored, "gastown.gastown.io/v1alpha1").await;
    let joined = |it: &Span| {
        it.name == CALL
            && it.trace == run.trace.to_string()
            && it.parent == run.span.to_string()
            && it.says(attributes::OBJECTS) == "1"
    };
    collector.until("call in the run's trace", |all| all.iter().any(joined)).await;
    // Somebody else's object with the annotation of this one joins nothing.
    let before = collector.spans().iter().filter(|it| mine(it)).count();
    let mut forged = stored.clone();
    forged["metadata"]["name"] = json!("nux");
    convert(&door, &forged, "gastown.gastown.io/v1alpha1").await;
    let again = |all: &[Span]| all.iter().filter(|it| mine(it)).count() > before;
    collector.until("forged one in its caller's trace", again).await;
    door.close().await;
}

#[tokio::test]
async fn a_shard_that_changes_hands_says_from_whom_and_to_whom() {
    let collector = Collector::start().await;
    let world = world("handed", &[("testbed.gastown.io/run-for", "never")], &collector).await;
    world.create("max", |_| {}).await;
    let runs = world.condition("max", "Ready", "True/PodRunning").await;
    let first = world.operator.name.clone();
    let start = |it: &Span| it.name == "start" && it.says(attributes::REPLICA) == first;
    collector.until("start", |all| all.iter().any(start)).await;
    let taken = |it: &Span| it.name == "hand over shard" && it.says(attributes::TO) == first;
    collector.until("shard of the first", |all| all.iter().any(taken)).await;
    let second = world.another("second").await;
    let moved = |it: &Span, left: &str| {
        it.name == "hand over shard"
            && it.says(attributes::FROM) == first
            && it.says(attributes::TO) == second.name
            && it.says(attributes::LEFT) == left
    };
    let balanced = |all: &[Span]| all.iter().any(|it| moved(it, "handed-over"));
    collector.until("shard that was handed over", balanced).await;
    world.operator.kill9().await.unwrap();
    let stopped = |all: &[Span]| all.iter().any(|it| moved(it, "stopped"));
    collector.until("shard that was taken over", stopped).await;
    // Each run under way hears of it in its own trace.
    let uid = runs.metadata.uid.unwrap();
    let heard = |it: &Span| {
        it.name == "hand over shard"
            && it.says(attributes::UID) == uid
            && it.says(attributes::TO) == second.name
            && it.says(attributes::FROM) == first
    };
    collector.until("hand-over in the run's trace", |all| all.iter().any(heard)).await;
    let of_run = collector.spans().into_iter().find(|it| heard(it)).unwrap();
    let pass = |it: &Span| it.name == "reconcile" && it.trace == of_run.trace;
    collector.until("pass in the same trace", |all| all.iter().any(pass)).await;
    let span = collector.spans().into_iter().find(|it| moved(it, "stopped")).unwrap();
    let gap: u64 = span.says(attributes::GAP).parse().unwrap();
    assert!(Duration::from_millis(gap) < super::END, "{span:?}");
    ended(&second).await;
}

#[tokio::test]
async fn the_line_about_a_pass_that_failed_has_the_ids_of_its_span() {
    let collector = Collector::start().await;
    let flags = flags(&collector);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let forever = [("testbed.gastown.io/run-for", "never")];
    let (toll, world) = World::behind_a_toll("failed-pass", &forever, &flags).await;
    world.create("max", |_| {}).await;
    let running = world.condition("max", "Ready", "True/PodRunning").await;
    toll.set(Way::Refused(100));
    world.merge("max", json!({"spec": {"desiredState": "Idle"}})).await;
    let line = answered("a pass that failed", async || {
        let log = fs::read_to_string(&world.operator.log).unwrap();
        log.lines().find(|it| it.contains("\"Pass failed\"")).map(str::to_owned)
    })
    .await;
    toll.set(Way::Open);
    assert!(line.contains(&trace_id(&running)), "it is about this run: {line}");
    let its = |it: &Span| line.contains(&it.trace) && line.contains(&it.id);
    collector.until("span of that line", |all| all.iter().any(its)).await;
    world.condition("max", "Ready", "True/Idle").await;
}
