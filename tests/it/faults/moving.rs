//! Replicas come, go, end and change; the map changes: all of it under load.

use std::{collections::BTreeMap, time::Duration};

use gastown::{
    api::v1beta1::{ShardMap, ShardMapSpec},
    domain::shard::{Map, ShardId},
};
use gastown_testbed::Operator;
use kube::api::PostParams;

use super::{
    are_long,
    judge::judge,
    lasts, rate, takes_minutes,
    toll::Way,
    town::{SHARDS, Town},
};
use crate::{asking::comes_true, preconditions::previous};

/// How long a replica may take to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// How many shards moved how often between two readings.
fn moves(before: &BTreeMap<String, i32>, after: &BTreeMap<String, i32>) -> BTreeMap<i32, usize> {
    let mut moves = BTreeMap::new();
    for (name, epoch) in after {
        *moves.entry(epoch - before.get(name).copied().unwrap_or_default()).or_default() += 1;
    }
    moves
}

async fn ends(operator: &Operator) {
    assert_eq!(operator.terminate(PATIENCE).await.unwrap(), 0, "{}: a clean end", operator.name);
}

/// In the order of a Deployment's controller: as many new ones as may surge are ready before as many old ones are told to end.
#[tokio::test]
async fn in_a_rolling_update_each_shard_moves_once() {
    let town = Town::new("rolling", &[]).await;
    let [a, b, c] = town.three().await;
    let load = town.load(rate());
    load.reaches(10).await;
    let before = town.epochs().await;
    let mut new = Vec::new();
    for name in ["d", "e", "f"] {
        new.push(town.replica(name, &["--build=second"]).await);
    }
    for old in [&a, &b, &c] {
        ends(old).await;
    }
    town.settled(&new.iter().collect::<Vec<_>>()).await;
    let moved = moves(&before, &town.epochs().await);
    println!("maxSurge 100 %: shards by moves {moved:?}");
    assert_eq!(moved, [(1, SHARDS)].into(), "each once");
    if are_long() {
        let before = town.epochs().await;
        for (old, name) in new.drain(..).zip(["g", "h", "i"]).collect::<Vec<_>>() {
            let one = town.replica(name, &["--build=third"]).await;
            ends(&old).await;
            new.push(one);
        }
        town.settled(&new.iter().collect::<Vec<_>>()).await;
        println!("maxSurge 1: shards by moves {:?}", moves(&before, &town.epochs().await));
    }
    let count = town.all_done(load).await;
    judge(&town).await.holds("rolling", count);
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

async fn killed_and_frozen(town: Town) {
    let [a, b, c] = town.three().await;
    let load = town.load(rate());
    load.reaches(20).await;
    a.kill9().await.unwrap();
    town.settled(&[&b, &c]).await;
    let d = town.replica("d", &[]).await;
    town.settled(&[&b, &c, &d]).await;
    b.pause();
    town.settled(&[&c, &d]).await;
    lasts(&[&b, &c, &d], 2, 25).await;
    b.resume();
    town.settled(&[&b, &c, &d]).await;
    let count = town.all_done(load).await;
    judge(&town).await.holds(town.name, count);
}

#[tokio::test]
async fn replicas_that_join_and_leave_all_the_time_move_no_more_than_they_must() {
    if !takes_minutes("replicas_that_join_and_leave_all_the_time_move_no_more_than_they_must") {
        return;
    }
    let town = Town::new("join-leave", &[]).await;
    let [a, b, c] = town.three().await;
    let load = town.load(rate());
    load.reaches(10).await;
    for name in ["d", "e", "f"] {
        let before = town.epochs().await;
        let one = town.replica(name, &[]).await;
        town.settled(&[&a, &b, &c, &one]).await;
        let moved = moves(&before, &town.epochs().await);
        assert_eq!(moved, [(0, SHARDS * 3 / 4), (1, SHARDS / 4)].into(), "{name} came");
        lasts(&[&a, &b, &c, &one], 2, 20).await;
        let before = town.epochs().await;
        ends(&one).await;
        town.settled(&[&a, &b, &c]).await;
        let moved = moves(&before, &town.epochs().await);
        assert_eq!(moved, [(0, SHARDS * 3 / 4), (1, SHARDS / 4)].into(), "{name} went");
        lasts(&[&a, &b, &c], 2, 20).await;
    }
    let count = town.all_done(load).await;
    judge(&town).await.holds("join-leave", count);
}

#[tokio::test]
async fn two_builds_side_by_side_keep_what_they_have_and_the_newer_gains() {
    if takes_minutes("two_builds_side_by_side_keep_what_they_have_and_the_newer_gains") {
        side_by_side(Town::new("two-builds", &[]).await).await;
    }
}

#[tokio::test]
async fn an_older_version_beside_this_one_keeps_what_it_has_and_this_one_gains() {
    let test = "an_older_version_beside_this_one_keeps_what_it_has_and_this_one_gains";
    if let Some(folder) = previous(test, "GASTOWN_PREVIOUS") {
        let town = Town::new("two-versions", &[]).await;
        side_by_side(town.begun_by(folder.join("built/gastown-operator"))).await;
    }
}

async fn side_by_side(town: Town) {
    let [a, b, c] = town.three().await;
    let load = town.load(rate());
    load.reaches(10).await;
    let before = town.epochs().await;
    let new = town.replica("d", &["--build=second"]).await;
    lasts(&[&a, &b, &c, &new], 3, 20).await;
    assert_eq!(town.epochs().await, before, "a newer build takes nothing from who stays");
    ends(&a).await;
    comes_true("the newer build to have what one gave up", async || {
        super::town::owned(&new).await * 4 >= SHARDS
    })
    .await;
    b.kill9().await.unwrap();
    ends(&c).await;
    town.settled(&[&new]).await;
    let count = town.all_done(load).await;
    judge(&town).await.holds(town.name, count);
}

/// The next version of the map.
async fn publish(town: &Town, change: impl Fn(&Map) -> Result<Map, String>) {
    let maps = town.maps();
    let stored = maps.get("gastown").await.unwrap();
    let map = change(&Map::try_from(&stored.spec).unwrap()).unwrap();
    let new = ShardMap { spec: ShardMapSpec::from(&map), ..stored };
    maps.replace("gastown", &PostParams::default(), &new).await.unwrap();
    acknowledged(town, &map).await;
}

async fn acknowledged(town: &Town, map: &Map) {
    comes_true("the map to be acknowledged", async || {
        let leases = town.leases().list(&kube::api::ListParams::default()).await.unwrap();
        map.givers().into_iter().all(|giver| {
            let name = format!("gastown-shard-{giver}");
            let lease = leases.items.iter().find(|it| it.metadata.name.as_ref() == Some(&name));
            let said = lease
                .and_then(|it| it.metadata.annotations.as_ref()?.get("gastown.io/map-version"));
            said.and_then(|it| it.parse().ok()).is_some_and(|it: i64| it >= map.version())
        })
    })
    .await;
}

#[tokio::test]
async fn splits_and_pins_under_load_while_one_hears_nothing_move_nothing_twice() {
    if !takes_minutes("splits_and_pins_under_load_while_one_hears_nothing_move_nothing_twice") {
        return;
    }
    let town = Town::new("splits", &[]).await;
    let (toll, _replicas) = town.three_with_toll(&[]).await;
    let load = town.load(rate());
    load.reaches(10).await;
    toll.set(Way::Deaf);
    for shard in 0..4 {
        publish(&town, |map| map.split(ShardId(shard))).await;
    }
    for number in 0..4 {
        let namespace = format!("splits-{number}");
        publish(&town, |map| map.pin(&namespace, ShardId(5 + number))).await;
    }
    toll.set(Way::Open);
    for number in 0..4 {
        publish(&town, |map| map.unpin(&format!("splits-{number}"))).await;
    }
    let count = town.all_done(load).await;
    judge(&town).await.holds("splits", count);
}
