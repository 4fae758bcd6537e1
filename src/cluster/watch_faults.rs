//! What is said of a watch that fails: why, at once, and no more often than once a minute for the same reason.

use std::time::{Duration, Instant};

use kube::runtime::watcher::Error;

/// The same is not said again before this has passed.
const QUIET: Duration = Duration::from_secs(60);
/// "Too old": the watch fell behind and is begun anew by a list. That is how watches work.
const GONE: u16 = 410;

/// How one watch fares.
#[derive(Debug, Default)]
pub struct Faults {
    in_a_row: u64,
    said: Option<(u16, Instant)>,
}

/// What is to be said of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    Aloud,
    Quietly,
}

impl Faults {
    /// Takes note of a failure with this code.
    pub fn failed(&mut self, code: u16, now: Instant) -> Say {
        self.in_a_row += 1;
        let said_lately = self
            .said
            .is_some_and(|(said, at)| said == code && now.saturating_duration_since(at) < QUIET);
        if code == GONE || said_lately {
            return Say::Quietly;
        }
        self.said = Some((code, now));
        Say::Aloud
    }

    /// Takes note of an event; how many failures came before it.
    pub const fn works(&mut self) -> Option<u64> {
        match std::mem::replace(&mut self.in_a_row, 0) {
            0 => None,
            times => Some(times),
        }
    }
}

/// The HTTP code of a failure; 0 where nobody answered.
pub fn code(error: &Error) -> u16 {
    match error {
        Error::InitialListFailed(kube::Error::Api(it))
        | Error::WatchStartFailed(kube::Error::Api(it))
        | Error::WatchFailed(kube::Error::Api(it))
        | Error::WatchError(it) => it.code,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_once_a_minute_and_another_at_once() {
        let (mut faults, now) = (Faults::default(), Instant::now());
        assert_eq!(faults.failed(403, now), Say::Aloud, "a right is missing");
        assert_eq!(faults.failed(403, now + QUIET / 2), Say::Quietly, "said already");
        assert_eq!(faults.failed(0, now + QUIET / 2), Say::Aloud, "another reason");
        assert_eq!(faults.works(), Some(3));
        assert_eq!(faults.works(), None, "it has worked since");
        assert_eq!(faults.failed(0, now + QUIET), Say::Quietly, "one that comes and goes");
        assert_eq!(faults.failed(0, now + QUIET * 2), Say::Aloud, "a minute later");
        assert_eq!(faults.failed(GONE, now + QUIET * 9), Say::Quietly, "how watches work");
    }
}
