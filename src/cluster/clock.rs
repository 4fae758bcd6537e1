//! The clock that validity is judged by: time since the machine started, which goes on while it is suspended. A
//! `std::time::Instant` stands still then on Linux, so that a holder could wake up and believe that no time had passed.

use std::{sync::OnceLock, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// A moment on this machine; nobody else's clock is ever compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

/// How the clocks of this process are wrong, where a test asked for that.
static WRONG: OnceLock<Wrong> = OnceLock::new();

#[derive(Clone, Copy, Debug)]
struct Wrong {
    since: Duration,
    /// Thousandths of a second that pass in a second.
    rate: u32,
    /// Seconds by which the time of day is ahead.
    ahead: i64,
}

/// Makes the clocks of this process wrong from now on, as those of a bad machine are: only ever asked for by a test. The
/// first call counts.
pub fn go_wrong(rate: u32, ahead: i64) {
    let since = Moment::of_machine();
    let _ = WRONG.set(Wrong { since, rate, ahead });
}

/// Seconds by which the time of day is ahead; 0 but in tests.
pub(super) fn ahead() -> i64 {
    WRONG.get().map_or(0, |it| it.ahead)
}

impl Moment {
    /// The moment it is now.
    pub fn now() -> Self {
        let now = Self::of_machine();
        Self(WRONG.get().map_or(now, |it| {
            it.since.saturating_add(now.saturating_sub(it.since).saturating_mul(it.rate) / 1000)
        }))
    }

    fn of_machine() -> Duration {
        // Neither part is ever negative for this clock.
        let now = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
    }

    /// The moment that comes this long after the start of the machine.
    pub const fn after_start(since: Duration) -> Self {
        Self(since)
    }

    /// How long after the start of the machine it is.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long it still is from `now` until this moment; nothing once it has passed.
    pub const fn left(self, now: Self) -> Duration {
        self.0.saturating_sub(now.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, more: Duration) -> Self {
        Self(self.0.saturating_add(more))
    }
}
