//! What time it is by the API server's clock: API servers are who has to take a certificate, so one that this node's clock would
//! make of another time than theirs is of no use. Every answer says it (`Date`). Nothing else is judged by it, least of all a
//! Lease: clocks of different machines are not compared there. People are told ages and silence by it (`shard_reading`).

use std::sync::atomic::{AtomicI64, Ordering};

use http::{Response, header::DATE};
use jiff::fmt::rfc2822;
use tower::util::MapResponseLayer;

/// Up to so many seconds clocks count as the same: an answer may be slow, and certificates reach back for longer.
const SAME: i64 = 60;

/// API servers behind one address may differ from each other: that is said no more often than this, in seconds.
const QUIET: i64 = 60;

/// By how many seconds it is ahead of this node's; 0 where they are the same.
static AHEAD: AtomicI64 = AtomicI64::new(0);
/// When a change was said last.
static TOLD: AtomicI64 = AtomicI64::new(i64::MIN);

/// Listens to all answers of a client.
pub(super) fn heard<B>() -> MapResponseLayer<fn(Response<B>) -> Response<B>> {
    MapResponseLayer::new(hear)
}

fn hear<B>(answer: Response<B>) -> Response<B> {
    let said = answer.headers().get(DATE).and_then(|it| it.to_str().ok());
    let now = super::now().as_second();
    if let Some(ahead) = said.and_then(|it| difference(it, now)) {
        let before = AHEAD.swap(ahead, Ordering::Relaxed);
        if (before == 0) != (ahead == 0) && is_due(&TOLD, now) {
            tracing::warn!(
                seconds = -ahead,
                "By the API server's clock this node's clock is ahead by so many seconds"
            );
        }
    }
    answer
}

/// Whether something may be said again, which is taken note of.
fn is_due(told: &AtomicI64, now: i64) -> bool {
    let due = |last: i64| (now.saturating_sub(last).saturating_abs() >= QUIET).then_some(now);
    told.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
}

/// By how many seconds a `Date` is ahead of a time, as far as that is of account; `None` where it is none.
fn difference(date: &str, now: i64) -> Option<i64> {
    let ahead = rfc2822::parse(date).ok()?.timestamp().as_second() - now;
    Some(if ahead.abs() <= SAME { 0 } else { ahead })
}

/// By how many seconds the API server's clock is ahead of this node's, by the last answer.
pub(super) fn ahead() -> i64 {
    AHEAD.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_another_one_if_it_differs_by_more_than_a_minute() {
        let (date, time) = ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777);
        for (date, now, want, because) in [
            (date, time, Some(0), "the same"),
            (date, time + 60, Some(0), "an answer that was slow"),
            (date, time + 691_200, Some(-691_200), "a node that is eight days ahead"),
            (date, time - 3600, Some(3600), "a node that is an hour behind"),
            ("yesterday", time, None, "no date"),
        ] {
            assert_eq!(difference(date, now), want, "{because}");
        }
    }

    #[test]
    fn api_servers_that_differ_from_each_other_are_told_of_once_a_minute() {
        let told = AtomicI64::new(i64::MIN);
        let said: Vec<i64> = (0..200).filter(|it| is_due(&told, *it)).collect();
        assert_eq!(said, [0, 60, 120, 180]);
        assert!(is_due(&told, -86_400), "this node's clock was set back");
    }
}
