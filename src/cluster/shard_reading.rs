//! The map of shards and who owns them, for people; and the one write that changes the map, by compare-and-swap.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api,
    api::{ListParams, PartialObjectMeta},
};

use crate::{
    api::v1beta1::{PolecatObject, ShardMap},
    cluster::{
        reading::Reader,
        shards::wire::{self, KIND, MAP, Ours},
    },
    domain::shard::{Map, ShardId, seen::Shard},
};

const PAGE: u32 = 500;

/// What the Lease of a shard says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// The session that owns it; none: nobody does.
    pub holder: Option<String>,
    pub epoch: i32,
    pub since: Option<Timestamp>,
    /// The version of the map that its owner has acknowledged.
    pub map: i64,
    /// How long nobody worked in it at the most before its owner took it, as far as that one saw.
    pub gap: Option<Duration>,
    /// Polecats in it, as its owner counted them a while ago.
    pub objects: Option<u32>,
}

/// Everything that is known of shards at one time.
pub struct Shards {
    object: ShardMap,
    pub map: Map,
    /// A shard without a Lease is not there.
    pub owned: BTreeMap<ShardId, Owned>,
    /// Replicas that take part.
    pub sessions: usize,
    /// What is degraded in which of them, by pod, a line each.
    pub degraded: BTreeMap<String, Vec<String>>,
    pub now: Timestamp,
}

impl Reader {
    /// The map and the Leases of this namespace, the operator's.
    pub async fn shards(&self, namespace: &str) -> anyhow::Result<Shards> {
        self.shards_if_any(namespace).await?.ok_or_else(|| {
            anyhow!(
                "there is no ShardMap {MAP} in namespace {namespace}: the operator makes it when it starts; if it runs \
                 elsewhere, name its namespace with -n"
            )
        })
    }

    /// The same; none where there is no map.
    pub async fn shards_if_any(&self, namespace: &str) -> anyhow::Result<Option<Shards>> {
        let maps: Api<ShardMap> = Api::namespaced(self.client.clone(), namespace);
        let Some(object) = maps.get_opt(MAP).await? else { return Ok(None) };
        let map = Map::try_from(&object.spec);
        let map =
            map.map_err(|it| anyhow!("ShardMap {MAP} in {namespace} can't be followed: {it}"))?;
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let ours = leases.list(&ListParams::default().labels(KIND)).await?.items;
        let (mut sessions, mut owned, mut gaps) = (0, BTreeMap::new(), BTreeMap::new());
        let mut degraded = BTreeMap::new();
        for lease in &ours {
            match wire::read(lease) {
                Some(Ours::Session(it)) if it.holder().is_empty() => {}
                Some(Ours::Session(it)) => {
                    sessions += 1;
                    gaps.insert(it.holder().to_owned(), (wire::gaps(lease), it.objects.clone()));
                    let pod = wire::pod_of(it.holder()).to_owned();
                    degraded.insert(pod, wire::degraded(lease));
                }
                Some(Ours::Shard(id, it)) => drop(owned.insert(id, Owned::of(&it, lease))),
                None => {}
            }
        }
        for (id, it) in &mut owned {
            let of_owner = it.holder.as_ref().and_then(|it| gaps.get(it));
            it.gap = of_owner.and_then(|it| it.0.get(id)).copied();
            it.objects = of_owner.and_then(|it| it.1.get(id)).copied();
        }
        degraded.retain(|_, lines| !lines.is_empty());
        Ok(Some(Shards { sessions, degraded, owned, object, map, now: super::now() }))
    }

    /// Writes the next version over the one that was read, and over no other.
    pub async fn follow(&self, shards: Shards, next: &Map) -> anyhow::Result<()> {
        let Shards { mut object, map, .. } = shards;
        next.follows(&map).map_err(|it| anyhow!(it))?;
        object.spec = next.into();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let maps: Api<ShardMap> = Api::namespaced(self.client.clone(), &namespace);
        match self.writer.replace(&maps, MAP, &object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(it)) if it.code == 409 => {
                bail!(
                    "the map changed meanwhile, and nothing was written: look at it and try again"
                )
            }
            Err(kube::Error::Api(it)) => bail!("failed to write ShardMap {MAP}: {}", it.message),
            Err(error) => Err(error).with_context(|| format!("failed to write ShardMap {MAP}")),
        }
    }

    /// How many Polecats there are in each namespace.
    pub async fn polecats_by_namespace(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let api: Api<PartialObjectMeta<PolecatObject>> = Api::all(self.client.clone());
        let mut params = ListParams::default().limit(PAGE);
        let mut counts = BTreeMap::new();
        loop {
            let page = api.list_metadata(&params).await?;
            for it in page.items {
                *counts.entry(it.metadata.namespace.unwrap_or_default()).or_default() += 1;
            }
            match page.metadata.continue_.filter(|it| !it.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(counts),
            }
        }
    }
}

impl Owned {
    fn of(shard: &Shard, lease: &Lease) -> Self {
        let acquired = lease.spec.as_ref().and_then(|it| it.acquire_time.as_ref());
        Self {
            holder: Some(shard.holder().to_owned()).filter(|it| !it.is_empty()),
            epoch: shard.record.transitions,
            since: acquired.map(|it| it.0),
            map: shard.map,
            gap: None,
            objects: None,
        }
    }
}
