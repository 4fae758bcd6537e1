//! In place of the Go original: what ours does while that acts, and with what it left behind. The original is played here;
//! `takeover/go.rs` runs its binary, where one is given.

mod go;
mod lease;
mod left;

use gastown_testbed::http_get;

use crate::world::{PATIENCE, World};

/// Waits until the operator's metric says whether the original acts. No watch tells of a metric.
async fn original_acts(world: &World, acts: bool) {
    let want = format!("gastown_original_acts {}", i32::from(acts));
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let text = http_get(&world.operator.metrics).await.map(|(_, it)| it).unwrap_or_default();
        if text.lines().any(|it| it == want) {
            return;
        }
        assert!(tokio::time::Instant::now() < until, "no metric {want}: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn log(world: &World) -> String {
    std::fs::read_to_string(&world.operator.log).unwrap()
}
