//! What the operator does beside the runs has traces, too.

use http::{Method, Request};
use serde_json::json;

use super::*;
use crate::full_lists::caller;

/// A call that the API server would make, from a place in a trace of its own.
fn conversion(traceparent: &str, object: &serde_json::Value) -> Request<Vec<u8>> {
    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {
            "uid": "u", "desiredAPIVersion": "gastown.gastown.io/v1beta1", "objects": [object],
        },
    });
    let request = Request::builder().method(Method::POST).uri("/convert?timeout=10s");
    let request = request.header("content-type", "application/json");
    request.header("traceparent", traceparent).body(review.to_string().into_bytes()).unwrap()
}

#[tokio::test]
async fn a_conversion_is_told_of_beneath_its_caller_who_decides_whether() {
    let collector = Collector::start().await;
    let world = world("traced-convert", &QUICK, &collector).await;
    let api_server = caller(&world.operator);
    let object = polecat("max");
    let (unseen, seen) = ("1".repeat(32), "2".repeat(32));
    for (trace, flags) in [(&unseen, "00"), (&seen, "01")] {
        let traceparent = format!("00-{trace}-b7ad6b7169203331-{flags}");
        let answer = api_server.request_text(conversion(&traceparent, &object)).await.unwrap();
        assert!(answer.contains("Success"), "{answer}");
    }
    collector.until("conversion", |all| all.iter().any(|it| it.trace == seen)).await;
    let all = collector.spans();
    let told: Vec<_> = all.iter().filter(|it| it.name == "convert").collect();
    let found = told.iter().find(|it| it.trace == seen).unwrap();
    assert_eq!(found.parent, "b7ad6b7169203331");
    let said = [attributes::STATUS, attributes::OBJECTS, attributes::PATH].map(|it| found.says(it));
    assert_eq!(said, ["200", "1", "/convert"]);
    assert!(!found.failed);
    assert!(all.iter().all(|it| it.trace != unseen), "its caller records none");

    // A line of the log names the trace in which it was said.
    let broken = "3".repeat(32);
    let traceparent = format!("00-{broken}-b7ad6b7169203331-01");
    let mut object = polecat("max");
    object["apiVersion"] = json!("gastown.gastown.io/v9");
    let answer = api_server.request_text(conversion(&traceparent, &object)).await.unwrap();
    assert!(answer.contains("Failure"), "{answer}");
    let failed = |it: &Span| it.trace == broken && it.failed;
    collector.until("failed conversion", |all| all.iter().any(failed)).await;
    let log = fs::read_to_string(&world.operator.log).unwrap();
    let line = log.lines().find(|it| it.contains("A conversion failed")).unwrap();
    assert!(line.contains(&broken), "{line}");
    ended(&world.operator).await;
}

#[tokio::test]
async fn a_change_of_owner_is_told_of_with_the_old_one_and_the_new_one() {
    let collector = Collector::start().await;
    let world = world("traced-owners", &QUICK, &collector).await;
    // Two share the shards evenly, so the second is given half of them.
    let second = world.another("second").await;
    let (old, new) = (world.operator.name.clone(), second.name.clone());
    let handed_over = |it: &Span| {
        it.name == "shard.owned"
            && it.says(attributes::OLD_OWNER) == old
            && it.says(attributes::NEW_OWNER) == new
            && it.says(attributes::CAUSE) == "handed-over"
            && !it.events.is_empty()
    };
    collector.until("hand-over", |all| all.iter().any(handed_over)).await;
    ended(&world.operator).await;
    ended(&second).await;
}
