//! How work in a shard, or in some namespaces of it, ends: at rest if that comes soon, so that nobody waits for a pass, and
//! before the next write of what is under way otherwise.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Held, Ownership, Pass, State};
use crate::domain::shard::ShardId;

/// Some namespaces of a shard.
pub(super) type Part = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// Passes begin in it.
    No,
    /// As soon as none is under way.
    AtRest,
    /// No pass begins any more, and those under way write nothing more.
    Now,
}

/// Namespaces of a shard in which no pass begins until this is dropped.
#[must_use = "dropping it lets passes begin again"]
pub struct Shut {
    ownership: Ownership,
    number: u64,
    shard: ShardId,
    part: Part,
}

impl Ownership {
    /// Closes a shard in the first moment in which no pass is under way in it, so that nobody waits for the end of one; after
    /// `patience` at once. Ends when no pass begins in it any more: others may begin to wait then.
    pub async fn close_at_rest(&self, shard: ShardId, patience: Duration) {
        self.closes(shard, Closing::AtRest);
        let mut left = self.0.left.subscribe();
        let closed = async {
            while self.lock().shards.get(&shard).is_some_and(|it| it.closing == Closing::AtRest) {
                if left.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout(patience, closed).await.is_err() {
            self.closes(shard, Closing::Now);
        }
    }

    /// No pass begins in this shard any more; those under way end before their next write. Ends, with the shard closed, once
    /// none is.
    pub async fn close(&self, shard: ShardId) {
        let epoch = self.closes(shard, Closing::Now);
        self.until_none(|it| it.shard == shard).await;
        let mut state = self.lock();
        // It may have been opened anew meanwhile.
        let closes = |it: &Held| it.closing == Closing::Now && Some(it.epoch) == epoch;
        if state.shards.get(&shard).is_some_and(closes) {
            state.shards.remove(&shard);
        }
    }

    /// Its epoch, if the shard is held.
    fn closes(&self, shard: ShardId, how: Closing) -> Option<i32> {
        let mut state = self.lock();
        let held = state.shards.get_mut(&shard)?;
        let epoch = held.epoch;
        if held.closing != Closing::Now {
            held.closing = how;
        }
        state.rest(shard);
        Some(epoch)
    }

    /// No pass begins in these namespaces of a shard until what is returned is dropped.
    pub fn shut(
        &self,
        shard: ShardId,
        part: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Shut {
        let part: Part = Arc::new(part);
        let mut state = self.lock();
        let number = state.number();
        state.shut.insert(number, (shard, part.clone()));
        drop(state);
        Shut { ownership: self.clone(), number, shard, part }
    }

    /// The same; ends once no pass is under way in them.
    pub async fn close_parts(
        &self,
        shard: ShardId,
        part: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Shut {
        let shut = self.shut(shard, part);
        shut.drained().await;
        shut
    }

    /// Ends once none of these passes is under way.
    async fn until_none(&self, which: impl Fn(&Pass) -> bool) {
        let mut left = self.0.left.subscribe();
        while self.lock().passes.values().any(|it| which(it)) {
            if left.changed().await.is_err() {
                return;
            }
        }
    }
}

impl State {
    /// Closes a shard that closes at rest, if it is.
    pub(super) fn rest(&mut self, shard: ShardId) {
        if let Some(held) = self.shards.get_mut(&shard)
            && held.closing == Closing::AtRest
            && self.passes.values().all(|it| it.shard != shard)
        {
            held.closing = Closing::Now;
        }
    }
}

impl Shut {
    /// Ends once no pass is under way in these namespaces.
    pub async fn drained(&self) {
        let (shard, part) = (self.shard, self.part.clone());
        self.ownership.until_none(|it| it.shard == shard && part(&it.place)).await;
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        self.ownership.lock().shut.remove(&self.number);
    }
}

impl fmt::Debug for Shut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shut").field("shard", &self.shard).finish_non_exhaustive()
    }
}
