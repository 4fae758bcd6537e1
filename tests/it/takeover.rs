//! In place of the Go original: what ours does while that acts, and with what it left behind. The original is played here;
//! `takeover/go.rs` runs its binary, where one is given.

mod go;
mod lease;
mod left;

use crate::{asking::scraped, world::World};

/// Waits until the operator's metric says whether the original acts. No watch tells of a metric.
async fn original_acts(world: &World, acts: bool) {
    let want = format!("gastown_original_acts {}", i32::from(acts));
    scraped(&world.operator, |it| it == want).await;
}

fn log(world: &World) -> String {
    std::fs::read_to_string(&world.operator.log).unwrap()
}
