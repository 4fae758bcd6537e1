//! What becomes of a pass that is under way when the operator is told to end: it gets the time to drain, and no more. A
//! proxy holds the request that it waits for.

use std::time::Duration;

use gastown_testbed::Operator;
use kube::api::ListParams;

use crate::{
    asking::comes_true,
    faults::toll::{Toll, Way},
    world::World,
};

const FOREVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];
/// Longer than any drain here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const CUT_OFF: &str = "Passes were still under way and were cut off";

/// A world whose operator has written that it begins, and waits for the answer about the pod.
async fn half_way(name: &str, flags: &[&str]) -> (Toll, World) {
    let (toll, world) = World::behind_a_toll(name, &FOREVER, flags).await;
    world.create("first", |_| {}).await;
    world.condition("first", "Ready", "True/PodRunning").await;
    toll.set(Way::CutForPods);
    world.create("max", |_| {}).await;
    world.phase("max", "Working").await;
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
    let (toll, world) = half_way("drained", &["--drain-seconds=30"]).await;
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
    let (_toll, world) = half_way("cut-off", &["--drain-seconds=1"]).await;
    let code = world.operator.terminate(PATIENCE).await.unwrap();
    assert_eq!(code, 0, "a clean end all the same");
    assert!(said(&world.operator).contains(CUT_OFF), "{}", said(&world.operator));
}
