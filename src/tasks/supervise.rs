//! Keeps watches and workers alive: one that panics or ends is begun anew after a pause, is counted and logged, and
//! never stops silently.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use futures::FutureExt as _;

use crate::cluster::meters::{Meters, Task};

/// First pause before a task is begun anew, doubled with each further failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// A task that has run for so long has recovered.
const RECOVERED: Duration = Duration::from_secs(60);

/// Runs a task, and again whenever it panics or ends, until `over` resolves.
pub async fn keep<F: Future<Output = ()>, O: Future<Output = ()>>(
    task: Task,
    meters: Meters,
    over: impl Fn() -> O,
    begin: impl Fn() -> F,
) {
    drop(meters.restarts.get_or_create(&task));
    let mut in_a_row = 0;
    loop {
        let since = Instant::now();
        // The closure is within, since it may panic as well.
        let ended = AssertUnwindSafe(async { begin().await }).catch_unwind().await;
        if over().now_or_never().is_some() {
            return;
        }
        in_a_row = if since.elapsed() >= RECOVERED { 1 } else { in_a_row + 1 };
        let pause = pause(in_a_row);
        meters.restarts.get_or_create(&task).inc();
        let how = if ended.is_err() { "panicked" } else { "ended" };
        let (name, of, seconds) = (task.task, task.controller, pause.as_secs_f64());
        tracing::error!(task = name, of, seconds, "A task {how}, and is begun anew");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = over() => return,
        }
    }
}

fn pause(in_a_row: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << (in_a_row.saturating_sub(1)).min(16)).min(LAST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    const TASK: Task = Task { task: "watch", controller: "rigs" };

    #[tokio::test]
    async fn a_task_that_panics_or_ends_is_begun_anew_and_counted() {
        let (meters, begun) = (Meters::default(), AtomicU32::new(0));
        let over = || {
            let over = begun.load(Ordering::SeqCst) == 3;
            async move { if over { ready(()).await } else { pending().await } }
        };
        let task = || async {
            assert!(begun.fetch_add(1, Ordering::SeqCst) != 0, "the first time it panics");
        };
        keep(TASK, meters.clone(), over, task).await;
        assert_eq!(begun.load(Ordering::SeqCst), 3, "a panic, an end, and the end asked for");
        assert_eq!(meters.restarts.get_or_create(&TASK).get(), 2);
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let pauses: Vec<_> = (1..=8).map(|it| pause(it).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
        assert_eq!(pause(u32::MAX), LAST_PAUSE);
    }
}
