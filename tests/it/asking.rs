//! Asking again: for what no watch tells of, such as a metric, or when a policy or a changed definition takes effect.

use gastown_testbed::{Operator, ask, http_get};

use crate::world::PATIENCE;

/// Asks until there is an answer.
pub async fn answered<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let answer = ask::answered(PATIENCE, ask).await;
    answer.unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}"))
}

/// Asks until something is so.
pub async fn comes_true(what: &str, ask: impl AsyncFn() -> bool) {
    answered(what, async || ask().await.then_some(())).await;
}

/// Waits until an operator's metrics have a line.
pub async fn scraped(operator: &Operator, is: impl Fn(&str) -> bool) {
    comes_true("a line of the metrics", async || {
        http_get(&operator.metrics).await.is_ok_and(|(_, text)| text.lines().any(&is))
    })
    .await;
}
