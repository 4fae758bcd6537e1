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
    load.is_everywhere().await;
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
    load.goes_round().await;
    let count = town.all_done(load).await;
    judge(&town).await.changed(town.busy().await.len()).holds("rolling", count);
}

#[tokio::test]
async fn replicas_that_join_and_leave_all_the_time_move_no_more_than_they_must() {
    if !takes_minutes("replicas_that_join_and_leave_all_the_time_move_no_more_than_they_must") {
        return;
    }
    let town = Town::new("join-leave", &[]).await;
    let [a, b, c] = town.three().await;
    let load = town.load(rate());
    load.is_everywhere().await;
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
    judge(&town).await.changed(1).holds("join-leave", count);
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
    load.is_everywhere().await;
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
    load.goes_round().await;
    let count = town.all_done(load).await;
    judge(&town).await.changed(town.busy().await.len()).holds(town.name, count);
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
async fn splits_merges_and_pins_under_load_while_one_hears_nothing_move_nothing_twice() {
    if !takes_minutes(
        "splits_merges_and_pins_under_load_while_one_hears_nothing_move_nothing_twice",
    ) {
        return;
    }
    let town = Town::new("splits", &[]).await;
    let (toll, replicas) = town.three_with_toll(&[]).await;
    let load = town.load(rate());
    load.is_everywhere().await;
    let before = town.epochs().await;
    toll.set(Way::Deaf);
    for shard in 0..SHARDS {
        publish(&town, |map| map.split(ShardId(shard.try_into().unwrap()))).await;
    }
    for (from, into) in [(16, 0), (17, 2)] {
        publish(&town, |map| map.merge(ShardId(from), ShardId(into))).await;
    }
    for number in 0..8 {
        let namespace = format!("splits-{number}");
        publish(&town, |map| map.pin(&namespace, ShardId(3 + number))).await;
    }
    for number in 0..4 {
        publish(&town, |map| map.unpin(&format!("splits-{number}"))).await;
    }
    town.share(&replicas.each_ref(), 2 * SHARDS - 2).await;
    let split = town.epochs().await;
    println!("splits: shards by moves {:?}", moves(&before, &split));
    for (name, epoch) in &split {
        let most = before.get(name).map_or(2, |it| it + 1);
        assert!(*epoch <= most, "{name} moved twice: {before:?}, {split:?}");
    }
    // Watches that began with the new maps fall silent too; nobody mends them, so that whoever waits for news has to.
    toll.set(Way::Deaf);
    load.goes_round().await;
    let count = town.all_done(load).await;
    assert_eq!(town.epochs().await, split, "silence moves nothing");
    judge(&town).await.holds("splits", count);
}
