//! Faults, with three real replicas under load: whatever fails, no object is written by two owners in turns, no attempt has
//! two pods, and every Polecat is Done once. `make test` runs a quick set; `make test-faults` all, with longer faults.

mod by_hand;
mod clocks;
mod crashes;
mod flood;
mod judge;
mod load;
mod mixed;
mod moving;
mod network;
mod server;
mod succession;
pub mod toll;
mod town;
mod trail;

use std::time::Duration;

use futures::future::select_all;
use gastown_testbed::Operator;

use crate::preconditions::skip;

/// Polecats that people ask for a second. The machine may bear fewer: the load says how many.
fn rate() -> u32 {
    let asked = std::env::var("GASTOWN_FAULTS_RATE").ok();
    asked.map_or(if are_long() { 50 } else { 10 }, |it| it.parse().expect("a number"))
}

/// Whether faults are to last as long as they do in the field.
pub fn are_long() -> bool {
    std::env::var_os("GASTOWN_FAULTS").is_some_and(|it| it == "1")
}

/// Whether a test runs that takes minutes; if not, says so by its name.
fn takes_minutes(test: &str) -> bool {
    if !are_long() {
        skip(test, "faults", "takes minutes: `make test-faults` runs it");
    }
    are_long()
}

/// A fault lasts so many seconds, and ends none of these replicas: to lose a Lease never does.
async fn lasts(replicas: &[&Operator], quick: u64, long: u64) {
    let time = Duration::from_secs(if are_long() { long } else { quick });
    let ends = replicas.iter().map(|it| Box::pin(it.wait_end(time)));
    let (first, at, _) = select_all(ends).await;
    assert!(first.is_err(), "{} ended with {first:?}", replicas[at].name);
}
