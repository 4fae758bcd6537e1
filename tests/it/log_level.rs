//! What is logged is changed while the operator runs, by an annotation of the map, and what can't be read changes nothing.

use std::process::{Command, Output};

use gastown::{api::v1beta1::ShardMap, domain::names::LOG_LEVEL};
use http::Request;
use kube::{
    Api,
    api::{Patch, PatchParams},
    client::Body,
};
use serde_json::json;

use crate::{
    asking::comes_true,
    full_lists::caller,
    world::{World, own, polecat},
};

async fn gt(world: &World, args: &[&str]) -> Output {
    let kubeconfig = world.bed.kubeconfig_for("level-person", Some("system:masters")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(["-n", &own(&world.namespace), "log-level"]).args(args);
    command.env_clear().env("KUBECONFIG", kubeconfig);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn log(world: &World) -> String {
    std::fs::read_to_string(&world.operator.log).unwrap()
}

async fn logged(world: &World, what: &str) {
    comes_true(what, async || log(world).contains(what)).await;
}

/// Has the operator convert something, of which it says a word at debug level alone.
async fn convert(world: &World) -> bool {
    let object = polecat("nux");
    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "u", "desiredAPIVersion": "gastown.gastown.io/v1beta1", "objects": [object]},
    });
    let request = Request::post("/convert").header("content-type", "application/json");
    let request = request.body(Body::from(serde_json::to_vec(&review).unwrap())).unwrap();
    assert_eq!(caller(&world.operator).send(request).await.unwrap().status().as_u16(), 200);
    log(world).contains("\"Converted\"")
}

#[tokio::test]
async fn the_log_level_is_changed_and_changed_back_without_a_restart() {
    let world = World::new("log-level", &[]).await;
    comes_true("the map", async || gt(&world, &[]).await.status.success()).await;
    let told = String::from_utf8(gt(&world, &[]).await.stdout).unwrap();
    assert!(told.contains("what it was started with"), "{told}");
    assert!(!convert(&world).await, "it says nothing of each conversion");

    let refused = gt(&world, &["info,gastown=loud"]).await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("is no level"), "{told}");
    let level = "info,gastown::tasks::convert=debug";
    let told = String::from_utf8(gt(&world, &[level]).await.stdout).unwrap();
    assert!(told.contains(level), "{told}");
    logged(&world, "The log level was changed").await;
    assert!(convert(&world).await, "now it does");

    // Past the plugin, where no webhook is.
    let maps: Api<ShardMap> = Api::namespaced(world.client.clone(), &own("log-level"));
    let bad = Patch::Merge(json!({"metadata": {"annotations": {LOG_LEVEL: "loud"}}}));
    maps.patch_metadata("gastown", &PatchParams::default(), &bad).await.unwrap();
    logged(&world, "can't be followed; the old one stays").await;

    assert!(gt(&world, &["--reset"]).await.status.success());
    let back = format!("\"before\":\"{level}\"");
    logged(&world, &back).await;
}
