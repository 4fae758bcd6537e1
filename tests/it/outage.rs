//! The API server is away for longer than a Lease is valid, on a control plane of its own: nobody ends, nobody is
//! succeeded, and what was begun is finished once.

use gastown_testbed::{Node, Operator, Options, Testbed, http_get};
use kube::api::ListParams;

use crate::{asking::scraped, process::pods_made, shards::shards, world::World};

const API_SERVER: &str = "kube-apiserver";

#[tokio::test]
async fn an_api_server_that_is_away_for_a_while_costs_nothing_but_the_while() {
    let bed = Testbed::start(Options { node: Node::Kwok, ..Options::default() }).await.unwrap();
    // Ends with this process; the test of a testbed's end is its own.
    let bed: &'static Testbed = Box::leak(Box::new(bed));
    // Each works until it is told to end, after the outage: none can be over before it was seen to run.
    let script = [("testbed.gastown.io/run-for", "never")];
    let world = World::apart(bed, "outage", &script).await;
    let second = world.another("second").await;
    for name in ["running-1", "running-2", "running-3"] {
        world.create(name, |_| {}).await;
    }
    for name in ["running-1", "running-2", "running-3"] {
        world.condition(name, "Ready", "True/PodRunning").await;
    }
    for name in ["begun-1", "begun-2", "begun-3"] {
        world.create(name, |_| {}).await; // and not waited for: some of its writes are cut off
    }
    let before = shards(&world).await;
    bed.stop_program(API_SERVER).await.unwrap();
    stops_acting(&world.operator).await;
    for operator in [&world.operator, &second] {
        for path in ["livez", "readyz"] {
            let answer = http_get(&format!("{}/{path}", operator.health)).await.unwrap();
            assert_eq!(answer.0, 200, "{path} of {}: no reason to restart it", operator.name);
        }
    }
    bed.start_program(API_SERVER).await.unwrap();
    let all = ["running-1", "running-2", "running-3", "begun-1", "begun-2", "begun-3"];
    for name in all {
        world.end_once_seen(name).await;
        let done = world.phase(name, "Done").await;
        assert_eq!(done.status.unwrap().attempt, Some(1), "{name}");
    }
    world.create("later", |_| {}).await;
    world.end_once_seen("later").await;
    world.phase("later", "Done").await;
    for operator in [&world.operator, &second] {
        assert_eq!(operator.ended(), None, "{} lives", operator.name);
    }
    assert_eq!(shards(&world).await, before, "who could not be asked lost nothing, nor began anew");
    let made = pods_made(&world, &[&world.operator, &second]).await;
    assert!(made <= all.len() + 1, "no pod twice: {made}"); // the line of one may have been cut off in the log
    let pods = world.pods().list(&ListParams::default()).await.unwrap();
    assert_eq!(pods.items.len(), all.len() + 1, "one each");
}

/// Waits until its leave to write has run out, which only its own metric tells.
async fn stops_acting(operator: &Operator) {
    let (_, text) = http_get(&operator.metrics).await.unwrap();
    assert!(text.lines().any(|it| it == "leader_election_master_status 1"), "it did act before");
    scraped(operator, |it| it == "leader_election_master_status 0").await;
}
