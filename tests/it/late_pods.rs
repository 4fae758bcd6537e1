//! What remains of "one acts in each shard": a pod that an owner asked for before it was frozen, and that arrives when somebody
//! else has made that pod, run it, and it is gone. The API server creates it, for nothing of that name is there any more.

use gastown_testbed::audit::Event;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::DeleteParams};
use serde_json::json;

use crate::{
    asking::answered,
    faults::toll::{Toll, Way},
    process::pods_made,
    shards::{Stamp, owns},
    world::{PATIENCE, World},
};

/// Its run was Done; it was lost before; it is lost in the moment of the late create; its second attempt runs; it was deleted.
const ALL: [&str; 5] = ["done", "lost", "losing", "again", "deleted"];
const SHARDS: usize = 4;

#[tokio::test]
async fn a_pod_that_an_owner_asked_for_before_it_was_frozen_runs_no_attempt_twice() {
    let (toll, world) =
        World::behind_a_toll("late-pods", &[("testbed.gastown.io/run-for", "never")], &[]).await;
    // Before it has listed pods it asks for none.
    world.create("first", |_| {}).await;
    world.condition("first", "Ready", "True/PodRunning").await;
    toll.set(Way::CutForPods);
    for name in ALL {
        world.create(name, |_| {}).await;
    }
    toll.holds_creates(ALL.len()).await;
    world.operator.pause();
    let second = world.another("second").await;
    for name in ALL {
        world.condition(name, "Ready", "True/PodRunning").await;
    }
    made_to_go(&world).await;
    let before = versions(&world, &["done", "lost", "again"]).await;
    second.pause();
    deleted_by_hand(&world.pods(), "polecat-losing").await;
    arrive(&toll, &world, &second.name).await;
    second.resume();
    world.condition("losing", "Ready", "False/PodLost").await;
    for name in ALL {
        gone(&world.pods(), &format!("polecat-{name}")).await;
    }
    // Whoever has seen this one's pod has seen what came before.
    world.create("later", |_| {}).await;
    world.condition("later", "Ready", "True/PodRunning").await;
    let after = versions(&world, &["done", "lost", "again"]).await;
    assert_eq!(after, before, "nothing was written of what was said before");
    assert_eq!(
        pods_made(&world, &[&second]).await,
        ALL.len() + 2,
        "each once, and no late one anew"
    );
    world.operator.resume();
    for it in [&world.operator, &second] {
        owns(it, SHARDS / 2).await;
    }
    assert_eq!(versions(&world, &["done", "lost", "again"]).await, before, "nor by who had slept");
}

/// What becomes of each but `losing` before its pod arrives a second time.
async fn made_to_go(world: &World) {
    let pods = world.pods();
    world.end("polecat-done").await;
    world.phase("done", "Done").await;
    deleted_by_hand(&pods, "polecat-done").await;
    deleted_by_hand(&pods, "polecat-lost").await;
    world.condition("lost", "Ready", "False/PodLost").await;
    world.merge("again", json!({"spec": {"desiredState": "Idle"}})).await;
    gone(&pods, "polecat-again").await;
    world.merge("again", json!({"spec": {"desiredState": "Working"}})).await;
    world.condition("again", "Ready", "True/PodRunning").await;
    world.polecats().delete("deleted", &DeleteParams::default()).await.unwrap();
    gone(&pods, "polecat-deleted").await;
}

async fn deleted_by_hand(pods: &Api<Pod>, name: &str) {
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete(name, &at_once).await.unwrap();
    gone(pods, name).await;
}

async fn gone(pods: &Api<Pod>, name: &str) {
    let waited = gastown_testbed::watch::await_condition(pods.clone(), name, |it: Option<&Pod>| {
        it.is_none()
    });
    let waited = tokio::time::timeout(PATIENCE, waited).await;
    assert!(waited.is_ok(), "{name} is still there: {:?}", pods.get_metadata(name).await);
}

/// The creates that were held up arrive, and are accepted: under the older epoch, after those under the younger.
async fn arrive(toll: &Toll, world: &World, second: &str) {
    toll.set(Way::Open);
    let first = &world.operator.name;
    let creates = answered("the late creates", async || {
        let all = world.bed.audit_events().await.unwrap();
        let is = |it: &Event| {
            let create = it.verb == "create" && it.resource == "pods" && it.code == 201;
            let ours = ALL.iter().any(|name| it.name == format!("polecat-{name}"));
            create && ours && (it.user == *first || it.user == second)
        };
        let creates: Vec<Event> = all.into_iter().filter(is).collect();
        let late = creates.iter().filter(|it| it.user == *first).count();
        (late == ALL.len()).then_some(creates)
    })
    .await;
    for name in ALL {
        let pod = format!("polecat-{name}");
        let of = creates.iter().filter(|it| it.name == pod);
        let epochs: Vec<_> = of.map(|it| Stamp::of(it).unwrap().epoch).collect();
        assert_eq!(epochs, [2, 1], "{pod}: by the new owner, then by the one before");
    }
}

async fn versions(world: &World, names: &[&str]) -> Vec<(String, Option<String>)> {
    let mut versions = Vec::new();
    for name in names {
        let polecat = world.polecats().get(name).await.unwrap();
        versions.push((polecat.name_any(), polecat.resource_version()));
    }
    versions
}
