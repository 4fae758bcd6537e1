//! How long the shards of who is gone wait for their next owner, by the audit log.

use std::collections::BTreeSet;

use gastown::domain::shard::ShardId;
use k8s_openapi::jiff::Timestamp;

use super::{are_long, town::Town, trail::Trail};

/// Whose shards are to be taken by others.
pub struct Gone {
    user: String,
    pub shards: BTreeSet<ShardId>,
    since: Timestamp,
}

impl Gone {
    /// This replica is about to be killed, or frozen.
    pub async fn now(town: &Town, replica: &str) -> Self {
        let (user, shards) = (town.user(replica), town.shards_of(replica).await);
        assert!(!shards.is_empty(), "{user} owns nothing");
        Self { user, shards, since: Timestamp::now() }
    }

    /// Each of its shards was given to another: prints the longest that took. Where faults last long, it is held to twice what a
    /// session counts as alive that says nothing: once is what it should be, the rest is for a busy machine.
    pub async fn was_succeeded(&self, town: &Town) {
        let events = town.bed.audit_events().await.unwrap();
        let own = town.user("");
        let of_town =
            events.iter().filter(|it| it.resource == "leases" && it.user.starts_with(&own));
        let trail = Trail::of(of_town);
        let next = |shard: &ShardId| {
            let all = trail.of_shard(shard.0).iter();
            let others = all.filter(|it| it.user != self.user && it.came > self.since);
            others
                .filter_map(|it| it.answered)
                .min()
                .unwrap_or_else(|| panic!("{shard} has no owner"))
        };
        let last = self.shards.iter().map(next).max().unwrap();
        let (took, most) = (last.duration_since(self.since), town.wait() * 2);
        println!("{}: {} shards were taken within {took:?}", self.user, self.shards.len());
        assert!(!are_long() || took.unsigned_abs() <= most, "{took:?}, and not {most:?}");
    }
}
