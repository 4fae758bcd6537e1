//! The API server or its storage fails.

use std::time::Duration;

use tokio::time::interval;

use super::{judge::judge, lasts, rate, takes_minutes, town::Town};

/// Writes that three replicas may have under way when it is killed: 16 passes each.
const UNDER_WAY: usize = 48;

#[tokio::test]
async fn an_api_server_that_begins_anew_under_load_moves_nothing() {
    // With the times of an installation: on a busy machine it may be long until somebody's renewal is answered again.
    let town = Town::new("restart", &["--failover=normal"]).await;
    let [a, b, c] = town.three().await;
    let before = town.epochs().await;
    let load = town.load(rate());
    load.reaches(20).await;
    town.bed.stop_program("kube-apiserver").await.unwrap();
    lasts(&[&a, &b, &c], 4, 20).await;
    town.bed.start_program("kube-apiserver").await.unwrap();
    let count = town.all_done(load).await;
    town.settled(&[&a, &b, &c]).await;
    assert_eq!(town.epochs().await, before, "nobody lost anything");
    judge(&town).await.unlogged(UNDER_WAY).holds("restart", count);
}

#[tokio::test]
async fn storage_that_is_slow_moves_nothing_and_one_that_stands_makes_no_second_owner() {
    if !takes_minutes(
        "storage_that_is_slow_moves_nothing_and_one_that_stands_makes_no_second_owner",
    ) {
        return;
    }
    let town = Town::new("slow-etcd", &["--failover=normal"]).await;
    let [a, b, c] = town.three().await;
    let before = town.epochs().await;
    let load = town.load(5);
    load.reaches(10).await;
    stutter(&town, Duration::from_millis(500), 30).await;
    assert_eq!(town.epochs().await, before, "half a second for a write moves nothing");
    stutter(&town, Duration::from_secs(2), 15).await;
    let count = town.all_done(load).await;
    town.settled(&[&a, &b, &c]).await;
    judge(&town).await.holds("slow-etcd", count);
}

/// How long it goes on in between.
const GOES_ON: Duration = Duration::from_millis(100);

/// etcd stands still for so long, and goes on for a moment, again and again.
async fn stutter(town: &Town, stands: Duration, times: u32) {
    let (mut thaws, mut freezes) = (interval(stands + GOES_ON), interval(stands + GOES_ON));
    freezes.reset_after(GOES_ON);
    for _ in 0..times {
        thaws.tick().await;
        town.bed.thaw_program("etcd").await.unwrap();
        freezes.tick().await;
        town.bed.freeze_program("etcd").await.unwrap();
    }
    thaws.tick().await;
    town.bed.thaw_program("etcd").await.unwrap();
}
