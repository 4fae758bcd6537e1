//! Clocks whose rates differ: one that may write and not renew itself measures how long it believes itself to be the owner.

use k8s_openapi::jiff::SignedDuration;

use crate::asking::scraped;

use super::{
    judge::{Verdict, judge},
    rate, takes_minutes,
    toll::Way,
    town::Town,
};

/// The owner's clock shows so many thousandths of a second in a second.
async fn cut_with(name: &'static str, thousandths: u32, flags: &[&str]) -> (usize, Verdict) {
    let town = Town::new(name, &[flags, &["--original-lease=0"]].concat()).await;
    let slow = format!("--test-faults=clock-rate={thousandths}");
    let (toll, [a, b, c]) = town.three_with_toll(&[&slow]).await;
    let load = town.load(rate());
    load.is_everywhere().await;
    toll.set(Way::CutForLeases);
    town.settled(&[&b, &c]).await;
    // It believes itself to be the owner until its own clock says otherwise.
    scraped(&a, |it| it == "leader_election_master_status 0").await;
    load.goes_round().await;
    let count = town.all_done(load).await;
    (count, judge(&town).await)
}

#[tokio::test]
async fn a_clock_that_runs_a_tenth_slower_still_leaves_a_margin() {
    if !takes_minutes("a_clock_that_runs_a_tenth_slower_still_leaves_a_margin") {
        return;
    }
    // With the times of an installation, which leave less room than those that notice a crash sooner.
    let (count, verdict) = cut_with("clocks-tenth", 909, &["--failover=normal"]).await;
    verdict.changed(1).holds("clocks-tenth", count);
}

/// Four times those by default, so that two owners have seconds together also on a busy machine.
const LONG: [&str; 3] = ["--lease-duration=40", "--renew-deadline=30", "--retry-period=8"];

/// The control: that these tests would see two owners if there were any.
#[tokio::test]
async fn a_clock_that_runs_two_thirds_as_fast_makes_two_owners_and_the_judge_sees_it() {
    if !takes_minutes("a_clock_that_runs_two_thirds_as_fast_makes_two_owners_and_the_judge_sees_it")
    {
        return;
    }
    let (_, verdict) = cut_with("clocks-half", 667, &LONG).await;
    let smallest = verdict.smallest().expect("owners changed under load");
    println!("an owner's clock that shows 2 s in 3: margin {smallest:?}");
    assert!(smallest < SignedDuration::ZERO, "no overlap was seen: {:?}", verdict.margins);
    assert!(verdict.pods.values().all(|it| *it == 1), "even so no attempt has two pods");
}
