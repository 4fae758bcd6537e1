//! What lies between a replica and the API server fails.

use gastown_testbed::{Operator, http_get};
use k8s_openapi::jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    are_long,
    judge::judge,
    lasts, rate,
    toll::{Toll, Way},
    town::{Town, owned},
};
use crate::asking::{answered, comes_true, scraped};

/// It can write, but not renew itself: the sharpest test of when it stops.
#[tokio::test]
async fn cut_off_from_leases_alone_a_replica_stops_before_others_begin() {
    let town = Town::new("cut-leases", &[]).await;
    let toll = Toll::of(town.bed, &town.user("a")).await;
    let a = town.behind(&toll, "a", &["--test-faults=clock-ahead=3600"]).await;
    let b = town.replica("b", &["--test-faults=clock-ahead=-3600"]).await;
    let c = town.replica("c", &[]).await;
    town.settled(&[&a, &b, &c]).await;
    let before = town.epochs().await;
    let load = town.load(rate());
    load.reaches(20).await;
    assert_eq!(town.epochs().await, before, "times of day that are an hour wrong move nothing");
    toll.set(Way::CutForLeases);
    town.settled(&[&b, &c]).await;
    says_that_it_may_not_act(&a).await;
    let margin = first_margin(&town).await;
    println!("cut-leases: they began {margin:?} after its last write was answered");
    // 1.5 s are meant to be between them, of which the API server's answer to the last write takes some.
    assert!(margin.is_positive(), "{margin:?}");
    toll.set(Way::Open);
    town.settled(&[&a, &b, &c]).await;
    let count = town.all_done(load).await;
    judge(&town).await.changed(1).holds("cut-leases", count);
}

/// By `/shardz` and metrics: its session has lapsed, and as far as it sees nobody has the shards of the others.
async fn says_that_it_may_not_act(operator: &Operator) {
    scraped(operator, |it| it.strip_prefix("gastown_shards_unowned ").is_some_and(|it| it != "0"))
        .await;
    let (code, body) = http_get(&format!("{}/shardz", operator.health)).await.unwrap();
    let report: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &report["sessionValid"]), (503, &json!(false)), "{report}");
    assert_ne!(report["unowned"], json!([]), "{report}");
}

/// What it sent arrives when the way is open again.
#[tokio::test]
async fn a_replica_that_is_cut_off_is_succeeded_and_its_late_writes_undo_nothing() {
    let town = Town::new("cut-off", &[]).await;
    let (toll, [a, b, c]) = town.three_with_toll(&[]).await;
    let load = town.load(rate());
    load.is_everywhere().await; // so it has written in each of its shards
    toll.set(Way::Cut);
    town.settled(&[&b, &c]).await;
    comes_true("the one that is cut off to stop", async || {
        owned(&a).await == 0 || !is_leading(&a).await
    })
    .await;
    lasts(&[&a, &b, &c], 2, 50).await;
    let margin = first_margin(&town).await;
    println!("cut-off: they began {margin:?} after its last write was answered");
    assert!(margin.is_positive(), "before anything arrives late: {margin:?}");
    toll.set(Way::Open);
    town.settled(&[&a, &b, &c]).await;
    assert_eq!(a.ended(), None, "who was cut off lives");
    let count = town.all_done(load).await;
    let verdict = judge(&town).await;
    verdict.tell("cut-off, before what was late", Some(margin));
    verdict.undoes_nothing("cut-off", count);
}

/// The smallest margin once several shards were written by both.
async fn first_margin(town: &Town) -> SignedDuration {
    let smallest = async || {
        let verdict = judge(town).await;
        verdict.smallest().filter(|_| verdict.margins.len() > 1)
    };
    answered("writes of the next owner", smallest).await
}

async fn is_leading(operator: &Operator) -> bool {
    let (_, text) = http_get(&operator.metrics).await.unwrap();
    text.lines().any(|it| it == "leader_election_master_status 1")
}

#[tokio::test]
async fn storms_of_429_and_500_move_nothing() {
    let town = Town::new("storms", &[]).await;
    let names = ["a", "b", "c"];
    let mut tolls = Vec::new();
    for name in names {
        tolls.push(Toll::of(town.bed, &town.user(name)).await);
    }
    let mut all = Vec::new();
    for (toll, name) in tolls.iter().zip(names) {
        all.push(town.behind(toll, name, &[]).await);
    }
    town.settled(&all.iter().collect::<Vec<_>>()).await;
    let before = town.epochs().await;
    let load = town.load(rate());
    load.reaches(10).await;
    let set = |way| tolls.iter().for_each(|it| it.set(way));
    let replicas: Vec<_> = all.iter().collect();
    set(Way::Refused(30));
    lasts(&replicas, 8, 60).await;
    set(Way::Refused(100));
    lasts(&replicas, 2, 2).await;
    set(Way::Open);
    assert_eq!(town.epochs().await, before, "a storm moves nothing");
    if are_long() {
        set(Way::Refused(100));
        lasts(&replicas, 0, 15).await;
        set(Way::Open);
    }
    let count = town.all_done(load).await;
    town.settled(&replicas).await;
    assert_eq!(town.epochs().await, before, "who could not be heard by anybody lost nothing");
    assert!(all.iter().all(|it| it.ended().is_none()), "all live");
    judge(&town).await.holds("storms", count);
}
