//! Faults that tests of the very binary ask for.

use std::sync::atomic::{AtomicU64, Ordering};

/// Faults that a test asks for: the release binary is tested as it is shipped, so the switch is in it, and off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The process kills itself before the write of this number, as SIGKILL would.
    pub kill_before_write: Option<u64>,
    /// A pass or a review of an object of this name panics.
    pub panic_on: Option<String>,
    /// Every watch panics so many times when it has news, and every worker when it has something to do.
    pub task_panics: u64,
    /// Thousandths of a second that pass in a second, by the clock that validity is judged by.
    pub clock_rate: Option<u32>,
    /// Seconds by which the time of day is wrong.
    pub clock_ahead: i64,
}

/// The panics of one task that are still to come.
#[derive(Debug)]
pub struct Stumbles(AtomicU64);

impl Stumbles {
    /// Panics as long as that was asked for.
    pub fn stumble(&self) {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
        assert!(left.is_err(), "asked for by --test-faults");
    }
}

impl Faults {
    /// Panics where a test asked for it by this object's name.
    pub fn strike(&self, name: &str) {
        assert!(self.panic_on.as_deref() != Some(name), "asked for by --test-faults");
    }

    /// The panics of one more task.
    pub const fn stumbles(&self) -> Stumbles {
        Stumbles(AtomicU64::new(self.task_panics))
    }
}

impl std::str::FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
        let mut faults = Self::default();
        for part in text.split(',').filter(|it| !it.is_empty()) {
            match part.split_once('=') {
                Some(("kill-before-write", it)) => faults.kill_before_write = Some(number(it)?),
                Some(("panic-on", name)) => faults.panic_on = Some(name.to_owned()),
                Some(("task-panics", it)) => faults.task_panics = number(it)?,
                Some(("clock-rate", it)) => {
                    faults.clock_rate =
                        Some(u32::try_from(number(it)?).map_err(|it| it.to_string())?);
                }
                Some(("clock-ahead", it)) => {
                    let seconds = it.parse().map_err(|_| format!("{it:?} is no number"))?;
                    faults.clock_ahead = seconds;
                }
                _ => {
                    let known = "kill-before-write=N, panic-on=NAME, task-panics=N, clock-rate=THOUSANDTHS, \
                                 clock-ahead=SECONDS";
                    return Err(format!("{part:?} is no fault; there are {known}"));
                }
            }
        }
        Ok(faults)
    }
}
