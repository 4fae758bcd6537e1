//! When the steps of a run began and ended, by this container's clock: for the trace, which nothing else rests on. What
//! can't be kept is left out.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{files, log, paths::Paths};
use crate::domain::layout;

/// Milliseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Begin and end of what ended just now after so long.
pub fn of(took: Duration) -> (u64, u64) {
    let now = now();
    (now.saturating_sub(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)), now)
}

/// Keeps when the clone began and ended where `telemetry` finds it, and the agent doesn't.
pub fn keep_clone(paths: &Paths, span: (u64, u64)) {
    let path = paths.at(layout::CLONED);
    let kept = serde_json::to_vec(&span).map_err(std::io::Error::from);
    if let Err(error) = kept.and_then(|it| files::write(&path, &it, 0o444)) {
        log::say(&format!("Left out of the trace when the clone was made: {path}: {error}"));
    }
}

/// When the clone began and ended.
pub fn clone(paths: &Paths) -> Option<(u64, u64)> {
    serde_json::from_slice(&fs::read(paths.at(layout::CLONED)).ok()?).ok()
}
