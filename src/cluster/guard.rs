//! The one question before every write: may this replica still act? A guard refuses once its Lease has lapsed, and
//! stamps every write with who made it, under which epoch.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use tokio::sync::watch;

use crate::cluster::clock::Moment;

/// Least time that must be left before a write is begun.
const MARGIN: Duration = Duration::from_millis(250);

/// Leave to write, for a scope. Cloned into everything that writes for that scope.
#[derive(Clone, Debug)]
pub struct Guard {
    replica: Arc<str>,
    scope: Arc<str>,
    state: Arc<Mutex<Leave>>,
    besides: Arc<Mutex<Besides>>,
    changed: watch::Sender<u64>,
    /// For tests of a process that dies between two writes.
    fuse: Option<Arc<AtomicU64>>,
}

/// Until when, and under which epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Leave {
    until: Option<Moment>,
    epoch: i32,
}

/// Whether somebody who is none of our replicas must have stopped as well.
#[derive(Clone, Copy, Debug, Default)]
enum Besides {
    #[default]
    Nobody,
    MayAct,
    HasStopped {
        until: Moment,
    },
}

/// What a write carries: the User-Agent that the audit log shows, and how long the write may take.
#[derive(Clone, Debug)]
pub struct Stamp {
    pub user_agent: HeaderValue,
    pub left: Duration,
}

/// The Lease has lapsed, or was never held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not hold the lease at the moment")]
pub struct Lapsed;

impl Guard {
    /// A guard that allows nothing yet. `scope` is a short word for the audit log, such as `all`.
    pub fn new(replica: &str, scope: &str) -> Self {
        Self {
            replica: replica.into(),
            scope: scope.into(),
            state: Arc::default(),
            besides: Arc::default(),
            changed: watch::Sender::new(0),
            fuse: None,
        }
    }

    /// A guard whose process dies before the write of this number, from 1: only ever asked for by a test.
    #[must_use]
    pub fn with_fuse(self, number: Option<u64>) -> Self {
        Self { fuse: number.map(|it| Arc::new(AtomicU64::new(it))), ..self }
    }

    /// Burns the fuse by one write of an object or a pod.
    pub(super) fn burn(&self) {
        let last = self.fuse.as_ref().is_some_and(|it| it.fetch_sub(1, Ordering::SeqCst) == 1);
        if last {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
        }
    }

    /// Gives leave to write until then.
    pub fn allow(&self, until: Moment, epoch: i32) {
        self.put(Leave { until: Some(until), epoch });
    }

    /// Takes the leave away at once.
    pub fn revoke(&self) {
        let epoch = self.leave().epoch;
        self.put(Leave { until: None, epoch });
    }

    /// Says until when somebody who is not among our replicas is known not to act; `None`: it may. From the first call on,
    /// every write needs this as well.
    pub fn besides(&self, until: Option<Moment>) {
        let besides = until.map_or(Besides::MayAct, |until| Besides::HasStopped { until });
        *self.besides.lock().unwrap_or_else(PoisonError::into_inner) = besides;
        self.changed.send_modify(|it| *it = it.wrapping_add(1));
    }

    /// Leave for one write, or not. Asked before every single one.
    pub fn check(&self) -> Result<Stamp, Lapsed> {
        self.check_at(Moment::now())
    }

    fn check_at(&self, now: Moment) -> Result<Stamp, Lapsed> {
        let leave = self.leave();
        let mut left = leave.until.ok_or(Lapsed)?.left(now);
        match *self.besides.lock().unwrap_or_else(PoisonError::into_inner) {
            Besides::Nobody => {}
            Besides::MayAct => return Err(Lapsed),
            Besides::HasStopped { until } => left = left.min(until.left(now)),
        }
        if left < MARGIN {
            return Err(Lapsed);
        }
        let text = format!(
            "gastown/{} ({}; shard={}; epoch={})",
            env!("CARGO_PKG_VERSION"),
            self.replica,
            self.scope,
            leave.epoch
        );
        let user_agent =
            HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("gastown"));
        Ok(Stamp { user_agent, left })
    }

    /// Ends when there is leave to write.
    pub async fn allowed(&self) {
        let mut changed = self.changed.subscribe();
        while self.check().is_err() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn leave(&self) -> Leave {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, leave: Leave) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = leave;
        self.changed.send_modify(|it| *it = it.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lapsed_guard_refuses() {
        let guard = Guard::new("operator-0", "all");
        let now = Moment::now();
        assert_eq!(guard.check_at(now).unwrap_err(), Lapsed, "never allowed");
        guard.allow(now + Duration::from_secs(5), 3);
        let stamp = guard.check_at(now).unwrap();
        assert!(stamp.user_agent.to_str().unwrap().ends_with("(operator-0; shard=all; epoch=3)"));
        assert_eq!(stamp.left, Duration::from_secs(5), "a write may not outlast it");
        assert!(guard.check_at(now + Duration::from_millis(4_800)).is_err(), "too little is left");
        assert!(guard.check_at(now + Duration::from_secs(3600)).is_err(), "suspended for an hour");
        guard.revoke();
        assert!(guard.check_at(now).is_err());
    }

    #[test]
    fn who_must_have_stopped_besides_is_asked_for_every_write() {
        let guard = Guard::new("operator-0", "all");
        let (now, copy) = (Moment::now(), guard.clone());
        guard.allow(now + Duration::from_secs(5), 3);
        copy.besides(None);
        assert_eq!(guard.check_at(now).unwrap_err(), Lapsed, "somebody else may act");
        copy.besides(Some(now + Duration::from_secs(2)));
        assert_eq!(guard.check_at(now).unwrap().left, Duration::from_secs(2), "the shorter one");
        copy.besides(Some(now + Duration::from_secs(60)));
        assert_eq!(guard.check_at(now).unwrap().left, Duration::from_secs(5), "and no longer");
        guard.revoke();
        assert!(guard.check_at(now).is_err(), "it gives no leave by itself");
    }
}
