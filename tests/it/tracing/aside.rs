//! Runs that end while their pod still pushes, and of which nobody can tell later.

use gastown::domain::{polecat::RUN, trace::attributes};
use kube::api::DeleteParams;
use serde_json::json;

use super::{Collector, ended, is_tiled, is_whole, root_came, trace_of, world_with};
use crate::{waits::shortened, world::condition};

/// The agent has ended, and what was under way then lasts until that is written.
const UNTIL_THE_END: [&str; 7] =
    ["queue", "schedule pod", "start pod", "clone", "start agent", "agent", "hand over"];

#[tokio::test]
async fn a_run_that_is_put_aside_or_deleted_while_it_pushes_has_its_root_and_stages() {
    let collector = Collector::start().await;
    let script = [("testbed.gastown.io/run-for", "100ms"), ("testbed.gastown.io/linger", "never")];
    let quick = shortened(&["--verdict-wait=1"]);
    let world = world_with("pushing", &script, &collector, quick).await;
    let mut over = Vec::new();
    for name in ["max", "nux"] {
        world.create(name, |_| {}).await;
        over.push(world.phase(name, "Done").await);
    }
    for done in &over {
        assert_eq!(condition(done, "Pushed"), "Unknown/NoVerdict", "its pod is at it still");
    }
    world.polecats().delete("max", &DeleteParams::default()).await.unwrap();
    world.merge("nux", json!({"spec": {"desiredState": "Idle"}})).await;
    for done in &over {
        root_came(&collector, done).await;
    }
    ended(&world.operator).await;
    for done in &over {
        let trace = trace_of(&collector, done);
        is_whole(&trace);
        is_tiled(&trace, &UNTIL_THE_END);
        let root = trace.values().find(|it| it.name == RUN).unwrap();
        assert!(!root.failed && root.says(attributes::PHASE) == "Done", "as it ended: {root:?}");
    }
}
