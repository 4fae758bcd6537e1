//! Asking again: for what no watch tells of, such as a metric, or when a policy or a changed definition takes effect.

use std::time::Duration;

/// Time between two questions.
const PERIOD: Duration = Duration::from_millis(25);

/// The first answer; `None` where there was none within this time.
pub async fn answered<T>(patience: Duration, ask: impl AsyncFn() -> Option<T>) -> Option<T> {
    let mut period = tokio::time::interval(PERIOD);
    let asked = async {
        loop {
            period.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(patience, asked).await.ok()
}
