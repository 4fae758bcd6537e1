//! Faults, with three real replicas under load: whatever fails, no object is written by two owners in turns, no attempt has
//! two pods, and every Polecat is Done once. `make test` runs a quick set; `make test-faults` all, with longer faults.

mod clocks;
mod flood;
mod judge;
mod moving;
mod network;
mod server;
mod toll;
mod town;

use std::time::Duration;

/// Polecats that are created a second.
fn rate() -> u32 {
    let asked = std::env::var("GASTOWN_FAULTS_RATE").ok();
    asked.map_or(if are_long() { 20 } else { 10 }, |it| it.parse().expect("a number"))
}

/// Whether faults are to last as long as they do in the field.
fn are_long() -> bool {
    std::env::var_os("GASTOWN_FAULTS").is_some_and(|it| it == "1")
}

/// How long a fault lasts.
async fn lasts(quick: u64, long: u64) {
    tokio::time::sleep(Duration::from_secs(if are_long() { long } else { quick })).await;
}
