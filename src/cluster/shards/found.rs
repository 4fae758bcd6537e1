//! The map where there is none, and whether its Leases were ever there.

use std::time::Duration;

use kube::api::PostParams;

use super::{
    act::Done,
    door::{Answer, Door, LIMIT},
    keeper::Keeper,
    wire::{self, MAP},
};
use crate::{
    api::v1beta1::{ShardMap, ShardMapSpec},
    domain::shard::Map,
};

/// Pause before it is tried again to make the map.
const AGAIN: Duration = Duration::from_secs(1);

impl Keeper {
    /// Makes the map where there is none: the first, or the one that was deleted by hand. Returns when to try again.
    pub(super) fn found(&mut self, now: Duration) -> Duration {
        if !self.listed || !self.session.begun() {
            return now + AGAIN;
        }
        if now < self.founds {
            return self.founds;
        }
        self.founds = now + AGAIN;
        let untouched = self.view.untouched();
        let (door, maps, writer) = (self.door.clone(), self.maps.clone(), self.writer.clone());
        let (genesis, holder) = (self.settings.lease_name.clone(), self.own.holder.clone());
        let map = self.map.as_deref().cloned();
        let map = map.unwrap_or_else(|| Map::first(self.settings.shards));
        let map = ShardMap::new(MAP, ShardMapSpec::from(&map));
        self.ops.push(Box::pin(async move {
            let founder = untouched
                && match is_founder(&door, &genesis, &holder).await {
                    Answer::Accepted(it) => it,
                    Answer::Refused => false,
                    // Whoever made the map now would have everybody wait, should the Lease be his after all.
                    Answer::Unknown(_) => return Done::Founded { founder: false },
                };
            let params = PostParams::default();
            let made = writer.create(&maps, &params, &map);
            if let Ok(Err(error)) = tokio::time::timeout(LIMIT, made).await {
                tracing::info!(
                    error = &error as &dyn std::error::Error,
                    "The ShardMap was not made"
                );
            }
            Done::Founded { founder }
        }));
        self.founds
    }
}

/// Whether nobody was ever here: then the Lease that the installation brought is still free, and is ours from now on. Of several
/// replicas that start together one gets it; the others wait for what it takes.
async fn is_founder(door: &Door, genesis: &str, holder: &str) -> Answer<bool> {
    let mut lease = match door.get(genesis).await {
        Answer::Accepted(Some(it)) => it,
        Answer::Accepted(None) | Answer::Refused => return Answer::Accepted(false),
        Answer::Unknown(why) => return Answer::Unknown(why),
    };
    let spec = lease.spec.get_or_insert_default();
    let by = spec.holder_identity.as_deref().unwrap_or_default();
    let ours = *by == *holder; // by a write whose answer was lost
    if !by.is_empty() && !ours {
        return Answer::Accepted(false);
    }
    if !ours {
        spec.holder_identity = Some(holder.to_owned());
        lease.metadata.managed_fields = None;
        match door.put(&lease).await {
            Answer::Accepted(_) => {}
            Answer::Refused => return Answer::Accepted(false),
            Answer::Unknown(why) => return Answer::Unknown(why),
        }
    }
    // The watch may be late.
    let Answer::Accepted(sessions) = door.sessions().await else {
        return Answer::Accepted(false);
    };
    let none = sessions.iter().all(|it| wire::session(it).says.holds.is_empty());
    Answer::Accepted(none)
}
