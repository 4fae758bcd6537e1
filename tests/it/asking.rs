//! Asking again: for what no watch tells of, such as a metric, or when a policy or a changed definition takes effect.

use std::time::Duration;

use gastown_testbed::{Operator, http_get};

use crate::world::PATIENCE;

/// Time between two questions.
const PERIOD: Duration = Duration::from_millis(25);

/// Asks until there is an answer.
pub async fn answered<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let mut period = tokio::time::interval(PERIOD);
    let asked = async {
        loop {
            period.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    answer.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
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
