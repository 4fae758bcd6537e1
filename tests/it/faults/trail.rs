//! What the audit log says of the Leases of shards: who was given which epoch, and when.

use std::collections::BTreeMap;

use gastown_testbed::audit::Event;
use k8s_openapi::jiff::Timestamp;

use super::judge::is_unsure;
use crate::shards::Stamp;

/// Accepted writes of the Leases of shards that name an owner.
#[derive(Debug, Default)]
pub struct Trail(BTreeMap<u16, Vec<Given>>);

#[derive(Debug)]
pub struct Given {
    pub user: String,
    pub epoch: i32,
    pub came: Timestamp,
    /// When everybody could know; unset where the API server did not say so.
    pub answered: Option<Timestamp>,
}

impl Trail {
    /// Of these, those of replicas.
    pub fn of<'a>(writes: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut all = Self::default();
        for event in writes {
            let accepted = (1..300).contains(&event.code);
            let shard = event.name.strip_prefix("gastown-shard-").and_then(|it| it.parse().ok());
            let held = event.lease.as_ref().filter(|it| !it.holder.is_empty());
            if let (Some(shard), Some(held), true) =
                (shard, held, accepted || is_unsure(event.code))
            {
                all.0.entry(shard).or_default().push(Given {
                    user: event.user.clone(),
                    epoch: held.transitions,
                    came: event.time,
                    answered: accepted.then_some(event.done),
                });
            }
        }
        all
    }

    pub fn of_shard(&self, shard: u16) -> &[Given] {
        self.0.get(&shard).map_or(&[], Vec::as_slice)
    }

    /// Why a write was made before its owner could own the shard.
    pub fn early(&self, event: &Event, stamp: Stamp) -> Option<String> {
        let of = |it: &&Given| it.epoch == stamp.epoch && it.user == event.user;
        let given = self.of_shard(stamp.shard).iter().filter(of).map(|it| it.came).min();
        let Stamp { shard, epoch, .. } = stamp;
        given.is_none_or(|it| it > event.time).then(|| {
            format!("{} wrote in shard {shard} under {epoch} at {}, which it had asked for at {given:?}", event.user, event.time)
        })
    }

    /// Why a write came when the next owner had the shard.
    pub fn late(&self, event: &Event, stamp: Stamp) -> Option<String> {
        let next = self.of_shard(stamp.shard).iter().filter(|it| it.epoch > stamp.epoch);
        let next = next.filter_map(|it| it.answered).min().filter(|it| *it < event.time)?;
        let Stamp { shard, epoch, .. } = stamp;
        Some(format!(
            "{} wrote in shard {shard} under {epoch} at {}, the next was given at {next}",
            event.user, event.time
        ))
    }
}
