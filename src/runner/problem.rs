//! What keeps a part of the runner from its work: a stable word, and a sentence that says what to do.

use std::io;

use crate::domain::verdict::{Failure, reason};

/// A failure that a user can read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Problem {
    /// One of [`reason`].
    pub reason: &'static str,
    pub message: String,
}

impl Problem {
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A file of ours that can't be read or written.
    pub fn volume(doing: &str, path: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull
            || error.kind() == io::ErrorKind::QuotaExceeded
        {
            let message =
                format!("failed to {doing} {path}: {error}; give the volume a larger size limit");
            return Self::new(reason::VOLUME_FULL, message);
        }
        let message = format!(
            "failed to {doing} {path}: {error}; check that the volume is mounted there, and that the \
             pod's user or fsGroup may use it"
        );
        Self::new(reason::VOLUME_UNUSABLE, message)
    }

    pub fn failure(&self) -> Failure {
        Failure::new(self.reason, self.message.clone())
    }
}
