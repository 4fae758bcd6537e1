//! What becomes of a pass that is under way when the operator is told to end: it gets the time to drain, and no more. A
//! proxy holds the request that it waits for.

use std::time::Duration;

use gastown::domain::shard::Map;
use gastown_testbed::{Operator, audit::Event};
use kube::api::ListParams;

use crate::{
    asking::comes_true,
    faults::toll::{Toll, Way},
    world::World,
};

const FOREVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];
/// Longer than any drain here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const GIVEN: &str = "Giving the shard back";
const SHARDS: u16 = 4;
const CUT_OFF: &str = "Passes were still under way and were cut off";

/// A world whose operator works on a Polecat, and waits for an answer: about its pod, of which it has written that it begins,
/// or about that.
async fn half_way(name: &str, flags: &[&str], way: Way) -> (Toll, World) {
    let (toll, world) = World::behind_a_toll(name, &FOREVER, flags).await;
    world.create("first", |_| {}).await;
    world.condition("first", "Ready", "True/PodRunning").await;
    toll.set(way);
    world.create("max", |_| {}).await;
    toll.holds_creates(1).await;
    (toll, world)
}

/// Waits until it has heard that it is to end.
async fn stops(operator: &Operator) {
    comes_true("the operator to stop", async || said(operator).contains("Stopping: ")).await;
}

fn said(operator: &Operator) -> String {
    std::fs::read_to_string(&operator.log).unwrap()
}

#[tokio::test]
async fn a_pass_under_way_ends_within_the_time_to_drain() {
    let (toll, world) = half_way("drained", &["--drain-seconds=30"], Way::CutForPods).await;
    ends(toll, world).await;
}

/// Nobody waits for the shard, so what comes after the write that is under way is done as well.
#[tokio::test]
async fn a_pass_of_one_alone_does_all_that_it_has_begun() {
    let flags = ["--drain-seconds=30"];
    let (toll, world) = half_way("drained-alone", &flags, Way::CutForStatus).await;
    ends(toll, world).await;
}

async fn ends(toll: Toll, world: World) {
    let open = async {
        stops(&world.operator).await;
        assert_eq!(world.operator.ended(), None, "it waits for what is under way");
        toll.set(Way::Open);
    };
    let (code, ()) = tokio::join!(world.operator.terminate(PATIENCE), open);
    assert_eq!(code.unwrap(), 0, "a clean end");
    assert!(!said(&world.operator).contains(CUT_OFF), "nothing was cut off");
    let pods = world.pods().list(&ListParams::default()).await.unwrap().items;
    let names: Vec<_> = pods.iter().filter_map(|it| it.metadata.name.as_deref()).collect();
    assert_eq!(names, ["polecat-first", "polecat-max"], "what was begun was done");
}

#[tokio::test]
async fn a_pass_that_does_not_end_is_cut_off_when_the_time_is_over() {
    let (_toll, world) = half_way("cut-off", &["--drain-seconds=1"], Way::CutForPods).await;
    let code = world.operator.terminate(PATIENCE).await.unwrap();
    assert_eq!(code, 0, "a clean end all the same");
    assert!(said(&world.operator).contains(CUT_OFF), "{}", said(&world.operator));
}

/// Another one waits for the shard: what was sent is waited for, what would come after it is the next owner's.
#[tokio::test]
async fn a_pass_that_is_cut_off_by_a_hand_over_is_ended_by_the_next_owner() {
    let (toll, world) = half_way("cut-by-a-hand-over", &[], Way::CutForStatus).await;
    let second = world.another("second").await;
    let shard = Map::first(SHARDS).shard_of(&world.namespace).unwrap().to_string();
    let open = async {
        comes_true("the shard to be given away", async || {
            let given = |it: &str| it.contains(GIVEN) && it.contains(&format!("\"{shard}\""));
            said(&world.operator).lines().any(given)
        })
        .await;
        toll.set(Way::Open);
    };
    let (code, ()) = tokio::join!(world.operator.terminate(PATIENCE), open);
    assert_eq!(code.unwrap(), 0, "a clean end");
    world.condition("max", "Ready", "True/PodRunning").await;
    let by_the_first = audited(&world, &world.operator.name).await;
    assert_eq!(by_the_first, ["polecat-first"], "it writes nothing more");
    assert_eq!(audited(&world, &second.name).await, ["polecat-max"], "once");
}

/// The pods that somebody has made.
async fn audited(world: &World, user: &str) -> Vec<String> {
    let all = world.bed.audit_events().await.unwrap();
    let made = |it: &Event| it.verb == "create" && it.resource == "pods" && it.user == user;
    all.into_iter().filter(|it| made(it) && it.code == 201).map(|it| it.name).collect()
}
