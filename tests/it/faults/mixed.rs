//! Replicas of other times side by side, as while a Deployment is given others.

use super::{
    judge::judge,
    rate, takes_minutes,
    toll::{Toll, Way},
    town::Town,
};
use crate::asking::scraped;

/// Who may act for longer than the others would wait for one of theirs can write, but not reach its Leases.
#[tokio::test]
async fn who_may_act_for_longer_is_waited_for_by_those_of_shorter_times() {
    if !takes_minutes("who_may_act_for_longer_is_waited_for_by_those_of_shorter_times") {
        return;
    }
    let town = Town::new("mixed", &[]).await;
    let toll = Toll::of(town.bed, &town.user("a")).await;
    let a = town.behind(&toll, "a", &["--failover=normal"]).await;
    let (b, c) = (town.replica("b", &[]).await, town.replica("c", &[]).await);
    town.settled(&[&a, &b, &c]).await;
    let load = town.load(rate());
    load.reaches(20).await;
    toll.set(Way::CutForLeases);
    town.settled(&[&b, &c]).await;
    // It believes itself to be the owner until its own clock says otherwise.
    scraped(&a, |it| it == "leader_election_master_status 0").await;
    let count = town.all_done(load).await;
    let verdict = judge(&town).await;
    let smallest = verdict.smallest().expect("owners changed under load");
    println!("mixed: they began {smallest:?} after its last write was answered");
    verdict.holds("mixed", count);
}
