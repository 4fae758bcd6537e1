//! The one question before every write: may this replica still act? A guard belongs to one pass, refuses once its leave has
//! gone, and stamps every write with who made it, in which shard, under which epoch and map.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderValue;

use crate::cluster::{
    clock::Moment,
    ownership::{Ownership, Pass, Writing},
};

/// Least time that must be left before a write is begun.
pub(super) const MARGIN: Duration = Duration::from_millis(250);

/// Leave for the writes of one pass; or none at all, for what only reads.
#[derive(Clone, Debug, Default)]
pub struct Guard(Option<(Ownership, Arc<Pass>)>);

/// Whether somebody who is none of our replicas must have stopped as well.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Besides {
    #[default]
    Nobody,
    MayAct,
    HasStopped {
        until: Moment,
    },
}

/// What a write carries: the User-Agent that the audit log shows, how long the write may take, and what keeps its shard from
/// being given away until it has been answered.
#[derive(Debug)]
pub struct Stamp {
    pub user_agent: HeaderValue,
    pub left: Duration,
    pub(super) writing: Writing,
}

/// Why there is no leave to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lapsed {
    #[error("the session of this replica does not let it act at the moment")]
    Session,
    #[error("this replica does not hold the shard of this object at the moment")]
    Lost,
    #[error("this replica gives the shard of this object to another one")]
    GivenAway,
}

impl Guard {
    pub(super) fn of(ownership: Ownership, pass: Arc<Pass>) -> Self {
        Self(Some((ownership, pass)))
    }

    /// Leave for one write, or not. Asked before every single one.
    pub fn check(&self) -> Result<Stamp, Lapsed> {
        self.check_at(Moment::now())
    }

    pub(super) fn check_at(&self, now: Moment) -> Result<Stamp, Lapsed> {
        let (ownership, pass) = self.0.as_ref().ok_or(Lapsed::Lost)?;
        ownership.check(pass, now)
    }

    /// Under which name a pass tells of what it has done when its shard is being given away.
    pub(super) fn late(&self) -> Result<HeaderValue, Lapsed> {
        let (ownership, _) = self.0.as_ref().ok_or(Lapsed::Lost)?;
        Ok(ownership.agent(format_args!("told late")))
    }

    /// The shard that the pass acts in, and its owner's epoch.
    pub(super) fn place(&self) -> Option<(String, i32)> {
        self.0.as_ref().map(|(_, pass)| pass.place())
    }

    /// Burns the fuse of a test by one write of an object or a pod.
    pub(super) fn burn(&self) {
        if let Some((ownership, _)) = &self.0 {
            ownership.burn();
        }
    }
}

/// Who writes, for the audit log.
pub(super) fn user_agent(replica: &str, scope: fmt::Arguments<'_>) -> HeaderValue {
    let text = format!("gastown/{} ({replica}; {scope})", env!("CARGO_PKG_VERSION"));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("gastown"))
}
