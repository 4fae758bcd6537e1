//! Replicas that are gone from one moment to the next.

use std::time::Duration;

use futures::FutureExt as _;
use gastown_testbed::Operator;
use tokio::time::interval;

use super::{judge::judge, lasts, load::Load, rate, succession::Gone, takes_minutes, town::Town};

#[tokio::test]
async fn one_that_is_killed_and_one_that_is_frozen_at_once_are_succeeded_by_the_third() {
    let town = Town::new("sudden", &[]).await;
    let [a, b, c] = town.three().await;
    let load = town.load(rate());
    load.is_everywhere().await;
    let gone = [Gone::now(&town, "a").await, Gone::now(&town, "b").await];
    a.kill9().await.unwrap();
    b.pause();
    town.settled(&[&c]).await;
    load.goes_round().await;
    b.resume();
    town.settled(&[&b, &c]).await;
    load.goes_round().await;
    let count = town.all_done(load).await;
    for it in &gone {
        it.was_succeeded(&town).await;
    }
    let busy = town.busy().await;
    let both = gone.iter().flat_map(|it| &it.shards).filter(|it| busy.contains(it)).count();
    judge(&town).await.changed(both).holds("sudden", count);
}

#[tokio::test]
async fn replicas_that_are_killed_or_frozen_one_after_the_other_are_succeeded() {
    if takes_minutes("replicas_that_are_killed_or_frozen_one_after_the_other_are_succeeded") {
        killed_and_frozen(Town::new("crashes", &[]).await).await;
    }
}

/// Times and shards that an installation has, if it asks for no others.
#[tokio::test]
async fn replicas_are_succeeded_by_the_times_and_with_the_shards_by_default() {
    if takes_minutes("replicas_are_succeeded_by_the_times_and_with_the_shards_by_default") {
        let town = Town::new("by-default", &["--failover=normal"]).await;
        killed_and_frozen(town.with_shards(64)).await;
    }
}

/// Connections of three replicas to the API server, at most.
const CONNECTIONS: usize = 64;

async fn killed_and_frozen(town: Town) {
    let [a, b, c] = town.three().await;
    let load = town.load(rate());
    load.is_everywhere().await;
    let connections = most_connections(&town, &load, &[&a, &b, &c]).await;
    println!("{}: {connections} connections of three replicas under load", town.name);
    assert!(connections <= CONNECTIONS, "{connections} connections");
    let killed = Gone::now(&town, "a").await;
    a.kill9().await.unwrap();
    town.settled(&[&b, &c]).await;
    let d = town.replica("d", &[]).await;
    town.settled(&[&b, &c, &d]).await;
    let frozen = Gone::now(&town, "b").await;
    b.pause();
    town.settled(&[&c, &d]).await;
    lasts(&[&b, &c, &d], 2, 25).await;
    b.resume();
    town.settled(&[&b, &c, &d]).await;
    load.goes_round().await;
    let count = town.all_done(load).await;
    killed.was_succeeded(&town).await;
    frozen.was_succeeded(&town).await;
    let busy = town.busy().await;
    let both = killed.shards.intersection(&busy).count();
    judge(&town).await.changed(both).holds(town.name, count);
}

/// The most that these have at a time while there is one more Polecat in each namespace.
async fn most_connections(town: &Town, load: &Load, operators: &[&Operator]) -> usize {
    let server = town.bed.server().unwrap();
    let of = |it: &&Operator| it.connections_to(&server).unwrap();
    let (mut most, mut round) = (0, Box::pin(load.goes_round()));
    let mut clock = interval(Duration::from_millis(20));
    while (&mut round).now_or_never().is_none() {
        clock.tick().await;
        most = most.max(operators.iter().map(of).sum());
    }
    most
}
