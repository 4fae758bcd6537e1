//! The map where there is none, and whether its Leases were ever there.

use std::time::Duration;

use kube::api::PostParams;

use super::{
    act::Done,
    door::{Answer, Door, LIMIT},
    keeper::Keeper,
    wire::MAP,
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
        let alone = self.view.shards.is_empty() && self.view.sessions.len() <= 1;
        let (door, maps) = (self.door.clone(), self.maps.clone());
        let (genesis, holder) = (self.settings.lease_name.clone(), self.own.holder.clone());
        let map = self.map.as_deref().cloned();
        let map = map.unwrap_or_else(|| Map::first(self.settings.shards));
        let map = ShardMap::new(MAP, ShardMapSpec::from(&map));
        self.ops.push(Box::pin(async move {
            let founder = alone && is_founder(&door, &genesis, &holder).await;
            let params = PostParams::default();
            if let Ok(Err(error)) = tokio::time::timeout(LIMIT, maps.create(&params, &map)).await {
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

/// Whether nobody was ever here: then the Lease that the installation brought is still free, and is ours from now on.
async fn is_founder(door: &Door, genesis: &str, holder: &str) -> bool {
    let Answer::Accepted(Some(mut lease)) = door.get(genesis).await else { return false };
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref().is_some_and(|it| !it.is_empty()) {
        return false;
    }
    spec.holder_identity = Some(holder.to_owned());
    lease.metadata.managed_fields = None;
    matches!(door.put(&lease).await, Answer::Accepted(_))
}
