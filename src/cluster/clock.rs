//! The clock that validity is judged by: time since the machine started, which goes on while it is suspended. A
//! `std::time::Instant` stands still then on Linux, so that a holder could wake up and believe that no time had passed.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment on this machine; nobody else's clock is ever compared with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment it is now.
    pub fn now() -> Self {
        // Neither part is ever negative for this clock.
        let now = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
        Self(Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default()))
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
