//! How work in a shard, or in some namespaces of it, ends: at rest if that comes soon, and else before the next write of what is
//! under way. Only writes that were sent are waited for: a pass that goes on after that may write nothing, ever.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Held, Ownership, Pass, State};
use crate::{cluster::clock::Moment, domain::shard::ShardId};

/// Some namespaces of a shard.
pub(super) type Part = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// Passes begin in it.
    No,
    /// As soon as none is under way; meanwhile they begin.
    AtRest,
    /// The same; none begins, those under way go on.
    Ending,
    /// No pass begins any more, and those under way write nothing more.
    Now { since: Moment },
}

/// Namespaces of a shard in which no pass begins and none writes until this is dropped.
#[must_use = "dropping it lets passes begin again"]
pub struct Shut {
    ownership: Ownership,
    number: u64,
    shard: ShardId,
    part: Part,
}

/// A write of a pass, until this is dropped.
#[must_use = "dropping it says that the write has been answered, or never will be"]
pub(in crate::cluster) struct Writing {
    pub(super) ownership: Ownership,
    pub(super) number: u64,
}

impl Ownership {
    /// Closes a shard in the first moment in which no pass is under way in it, so that none is cut off; after `patience` at
    /// once. Returns that moment, from which others may begin to wait; `None`: it is not held.
    pub async fn close_at_rest(&self, shard: ShardId, patience: Duration) -> Option<Moment> {
        self.close_by(shard, Closing::AtRest, patience).await
    }

    /// The same, where nobody waits for the shard: no pass begins any more, and those under way may end within `patience`.
    pub async fn close_once_ended(&self, shard: ShardId, patience: Duration) -> Option<Moment> {
        self.close_by(shard, Closing::Ending, patience).await
    }

    async fn close_by(&self, shard: ShardId, how: Closing, patience: Duration) -> Option<Moment> {
        self.closes(shard, how);
        let mut left = self.0.left.subscribe();
        let closed = async {
            while self.lock().shards.get(&shard).is_some_and(|it| it.closing == how) {
                if left.changed().await.is_err() {
                    return;
                }
            }
        };
        if timeout(patience, closed).await.is_err() {
            self.closes(shard, Closing::Now { since: Moment::now() });
        }
        match self.lock().shards.get(&shard)?.closing {
            Closing::Now { since } => Some(since),
            Closing::No | Closing::AtRest | Closing::Ending => None,
        }
    }

    /// No pass begins in this shard any more, and those under way write nothing more. Ends, with the shard closed, once every
    /// write of theirs was answered.
    pub async fn close(&self, shard: ShardId) {
        let epoch = self.closes(shard, Closing::Now { since: Moment::now() });
        self.until_none(|it| it.shard == shard).await;
        let mut state = self.lock();
        // It may have been opened anew meanwhile.
        let closes = |it: &Held| !it.lets_write() && Some(it.epoch) == epoch;
        if state.shards.get(&shard).is_some_and(closes) {
            state.shards.remove(&shard);
            state.passes.retain(|_, it| it.shard != shard);
        }
    }

    /// Its epoch, if the shard is held.
    fn closes(&self, shard: ShardId, how: Closing) -> Option<i32> {
        let mut state = self.lock();
        let held = state.shards.get_mut(&shard)?;
        let epoch = held.epoch;
        if held.lets_write() {
            held.closing = how;
        }
        state.rest(shard);
        Some(epoch)
    }

    /// No pass begins and none writes in these namespaces of a shard until what is returned is dropped.
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

    /// The same; those under way write nothing more. Ends once every write of theirs was answered.
    pub async fn close_parts(
        &self,
        shard: ShardId,
        part: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Shut {
        let shut = self.shut(shard, part);
        shut.drained().await;
        shut
    }

    /// Ends once no write of these passes is under way.
    async fn until_none(&self, which: impl Fn(&Pass) -> bool) {
        let mut left = self.0.left.subscribe();
        while self.lock().writes.values().any(|it| which(it)) {
            if left.changed().await.is_err() {
                return;
            }
        }
    }
}

impl State {
    /// Closes a shard that waits for the end of passes, if there is none.
    pub(super) fn rest(&mut self, shard: ShardId) {
        if let Some(held) = self.shards.get_mut(&shard)
            && matches!(held.closing, Closing::AtRest | Closing::Ending)
            && self.passes.values().all(|it| it.shard != shard)
        {
            held.closing = Closing::Now { since: Moment::now() };
        }
    }
}

impl Shut {
    /// Ends once no write is under way in these namespaces.
    pub async fn drained(&self) {
        let (shard, part) = (self.shard, self.part.clone());
        self.ownership.until_none(|it| it.shard == shard && part(&it.place)).await;
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.ownership.lock().writes.remove(&self.number);
        self.ownership.0.left.send_replace(());
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("number", &self.number).finish_non_exhaustive()
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
