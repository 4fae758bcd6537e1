//! One whose pod the API server will not have, beside others that wait for room.

use serde_json::json;

use super::FOREVER;
use crate::world::World;

#[tokio::test]
async fn one_whose_pod_is_refused_holds_no_slot_and_has_its_turn_once_it_is_mended() {
    let flags = ["--max-running-per-namespace=1"];
    let world = World::with_flags("limit-hopeless", &FOREVER, &flags).await;
    let backwards = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}});
    world.create("hopeless", |it| it["spec"]["kubernetes"]["resources"] = backwards).await;
    world.condition("hopeless", "Ready", "False/PodInvalid").await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    // It stands in nobody's way, and does not forget what it was refused for.
    world.create("nux", |_| {}).await;
    world.condition("nux", "Ready", "False/NamespaceLimit").await;
    world.end("polecat-max").await;
    world.condition("nux", "Ready", "True/PodRunning").await;
    world.condition("hopeless", "Ready", "False/PodInvalid").await;
    let mended = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
    world.merge("hopeless", json!({"spec": {"kubernetes": {"resources": mended}}})).await;
    world.condition("hopeless", "Ready", "False/NamespaceLimit").await;
    world.end("polecat-nux").await;
    world.condition("hopeless", "Ready", "True/PodRunning").await;
}
