//! What the node says of an image is a part of the run that waited for it.

use k8s_openapi::{api::core::v1::Event, jiff::Timestamp};
use kube::{Api, api::PostParams};
use serde_json::json;

use super::{ALL_BUT_HAND_OVER, Collector, ended, is_tiled, is_whole, root_came, trace_of, world};
use crate::asking::comes_true;

#[tokio::test]
async fn a_pull_that_a_run_waited_for_is_in_its_trace() {
    let collector = Collector::start().await;
    let script = [("testbed.gastown.io/run-after", "3s"), ("testbed.gastown.io/run-for", "never")];
    let world = world("pulled", &script, &collector).await;
    world.create("max", |_| {}).await;
    let pods = world.pods();
    let pod = async || pods.get_opt("polecat-max").await.unwrap();
    comes_true("the pod", async || pod().await.is_some()).await;
    let meta = pod().await.unwrap().metadata;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "type": "Normal", "reason": "Pulled",
        "metadata": {"name": "polecat-max.pulled", "namespace": world.namespace},
        "involvedObject": {
            "kind": "Pod", "name": meta.name, "namespace": world.namespace, "uid": meta.uid,
            "fieldPath": "spec.initContainers{git-init}",
        },
        "message": r#"Successfully pulled image "runner:1" in 1.5s (1.5s including waiting)"#,
        "firstTimestamp": Timestamp::now().to_string(),
        "lastTimestamp": Timestamp::now().to_string(),
    });
    let event: Event = serde_json::from_value(event).unwrap();
    let events = Api::<Event>::namespaced(world.client.clone(), &world.namespace);
    events.create(&PostParams::default(), &event).await.unwrap();
    world.condition("max", "Ready", "True/PodRunning").await;
    world.end("polecat-max").await;
    let done = world.phase("max", "Done").await;
    root_came(&collector, &done).await;
    ended(&world.operator).await;
    let trace = trace_of(&collector, &done);
    is_whole(&trace);
    is_tiled(&trace, &ALL_BUT_HAND_OVER);
    let pulls: Vec<_> = trace.values().filter(|it| it.name == "pull image").collect();
    assert_eq!(pulls.len(), 1, "{pulls:#?}");
    let waited = &trace[&pulls[0].parent];
    assert_eq!(waited.name, "start pod");
    assert!(waited.from <= pulls[0].from && pulls[0].to <= waited.to, "{:?} {waited:?}", pulls[0]);
}
