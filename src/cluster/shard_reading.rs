//! The map of shards and who owns them, for people; and the one write that changes the map, by compare-and-swap.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api,
    api::{ListParams, PartialObjectMeta, PostParams},
};

use crate::{
    api::v1beta1::{PolecatObject, ShardMap},
    cluster::reading::Reader,
    domain::shard::{Map, ShardId},
};

/// Name of the one map.
const MAP: &str = "gastown";
const KIND: &str = "gastown.io/lease";
const VERSION: &str = "gastown.io/map-version";
const PREFIX: &str = "gastown-shard-";
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
}

/// Everything that is known of shards at one time.
pub struct Shards {
    object: ShardMap,
    pub map: Map,
    /// A shard without a Lease is not there.
    pub owned: BTreeMap<ShardId, Owned>,
    /// Replicas that take part.
    pub sessions: usize,
    pub now: Timestamp,
}

impl Reader {
    /// The map and the Leases of this namespace, the operator's.
    pub async fn shards(&self, namespace: &str) -> anyhow::Result<Shards> {
        let maps: Api<ShardMap> = Api::namespaced(self.client.clone(), namespace);
        let Some(object) = maps.get_opt(MAP).await? else {
            bail!(
                "there is no ShardMap {MAP} in namespace {namespace}: the operator makes it when it starts; if it runs \
                 elsewhere, name its namespace with -n"
            );
        };
        let map = Map::try_from(&object.spec);
        let map =
            map.map_err(|it| anyhow!("ShardMap {MAP} in {namespace} can't be followed: {it}"))?;
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let ours = leases.list(&ListParams::default().labels(KIND)).await?.items;
        let of = |kind: &str| {
            let kind = kind.to_owned();
            move |it: &&Lease| {
                it.metadata.labels.as_ref().and_then(|it| it.get(KIND)) == Some(&kind)
            }
        };
        let held = |it: &&Lease| holder(it).is_some();
        Ok(Shards {
            sessions: ours.iter().filter(of("session")).filter(held).count(),
            owned: ours.iter().filter(of("shard")).filter_map(owned).collect(),
            object,
            map,
            now: super::now(),
        })
    }

    /// Writes the next version over the one that was read, and over no other.
    pub async fn follow(&self, shards: Shards, next: &Map) -> anyhow::Result<()> {
        let Shards { mut object, map, .. } = shards;
        next.follows(&map).map_err(|it| anyhow!(it))?;
        object.spec = next.into();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let maps: Api<ShardMap> = Api::namespaced(self.client.clone(), &namespace);
        match maps.replace(MAP, &PostParams::default(), &object).await {
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

fn holder(lease: &Lease) -> Option<String> {
    lease.spec.as_ref()?.holder_identity.clone().filter(|it| !it.is_empty())
}

fn owned(lease: &Lease) -> Option<(ShardId, Owned)> {
    let id = lease.metadata.name.as_deref()?.strip_prefix(PREFIX)?.parse().ok()?;
    let spec = lease.spec.clone().unwrap_or_default();
    let version = lease.metadata.annotations.as_ref().and_then(|it| it.get(VERSION));
    let owned = Owned {
        holder: holder(lease),
        epoch: spec.lease_transitions.unwrap_or_default(),
        since: spec.acquire_time.map(|it| it.0),
        map: version.and_then(|it| it.parse().ok()).unwrap_or_default(),
    };
    Some((ShardId(id), owned))
}
