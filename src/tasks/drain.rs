//! The time that work under way gets after a stop: shards that are handed over and passes that end share it.

use std::time::Duration;

use tokio::{sync::watch, task::JoinHandle};

/// Knows when the time is over.
pub struct Late {
    limit: Duration,
    passed: JoinHandle<()>,
}

impl Late {
    /// So long after the stop was asked for.
    pub fn after(limit: Duration, stop: watch::Receiver<bool>) -> Self {
        Self { limit, passed: tokio::spawn(passed(limit, stop)) }
    }

    /// Ends then, and so long from now at the most: who ends without a stop that was asked for would never be late.
    pub async fn over(self) {
        tokio::select! {
            _ = self.passed => {}
            () = tokio::time::sleep(self.limit) => {}
        }
    }
}

async fn passed(limit: Duration, mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|it| *it).await.is_ok() {
        tokio::time::sleep(limit).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_time_to_drain_begins_with_the_stop() {
        let stop = watch::Sender::new(false);
        let mut late = std::pin::pin!(passed(Duration::ZERO, stop.subscribe()));
        assert!(futures::poll!(&mut late).is_pending(), "nobody asked for a stop");
        stop.send_replace(true);
        late.await;
    }
}
