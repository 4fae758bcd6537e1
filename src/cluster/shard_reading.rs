//! The map of shards and who owns them, for people; and the one write that changes the map, by compare-and-swap.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::{
    api::coordination::v1::Lease,
    jiff::{SignedDuration, Timestamp},
};
use kube::{
    Api,
    api::{ListParams, PartialObjectMeta},
};

use crate::{
    api::v1beta1::{PolecatObject, ShardMap},
    cluster::{
        reading::Reader,
        shards::wire::{self, KIND, MAP, Ours},
        their_clock,
    },
    domain::{
        lease::Times,
        shard::{
            Map, ShardId,
            seen::{Shard, View},
        },
    },
};

const PAGE: u32 = 500;

/// Who has not renewed himself for so much longer than others wait is said to be silent: clocks that differ by less are no news.
const SILENT: Duration = Duration::from_secs(60);

/// What the Lease of a shard says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// The session that owns it, and is there; none: nobody owns it, whomever the Lease names.
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
    /// Those of them that have not renewed themselves for long, and for how many seconds: a hint, by the API
    /// server's clock and theirs.
    pub silent: BTreeMap<String, i64>,
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
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let ours = leases.list(&ListParams::default().labels(KIND)).await?.items;
        let ahead = SignedDuration::from_secs(their_clock::ahead());
        let now = super::now().checked_add(ahead).unwrap_or_else(|_| super::now());
        let shards = Shards::of(object, &ours, now);
        shards
            .map(Some)
            .map_err(|it| anyhow!("ShardMap {MAP} in {namespace} can't be followed: {it}"))
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

impl Shards {
    /// What a map and all Leases of ours say at one time; `now` is that by the API server's clock. An error says what is wrong with the map.
    pub fn of(object: ShardMap, leases: &[Lease], now: Timestamp) -> Result<Self, String> {
        let map = Map::try_from(&object.spec)?;
        let mut shards = Self {
            object,
            map,
            owned: BTreeMap::new(),
            sessions: 0,
            degraded: BTreeMap::new(),
            silent: BTreeMap::new(),
            now,
        };
        let (mut view, mut gaps) = (View::default(), BTreeMap::new());
        for lease in leases {
            match wire::read(lease) {
                Some(Ours::Session(it)) => {
                    gaps.insert(it.holder().to_owned(), (wire::gaps(lease), it.objects.clone()));
                    shards.hears(lease, it.holder(), it.record.wait);
                    view.session(
                        lease.metadata.name.as_deref().unwrap_or_default(),
                        Some(it),
                        ONCE,
                    );
                }
                Some(Ours::Shard(id, it)) => {
                    shards.owned.insert(id, Owned::of(&it, lease));
                    view.shard(id, Some(it), ONCE);
                }
                None => {}
            }
        }
        for (id, it) in &mut shards.owned {
            it.holder = it.holder.take().filter(|_| view.has_owner(*id, ONCE, &Times::DEFAULT));
            let of_owner = it.holder.as_ref().and_then(|it| gaps.get(it));
            it.gap = of_owner.and_then(|it| it.0.get(id)).copied();
            it.objects = of_owner.and_then(|it| it.1.get(id)).copied();
        }
        Ok(shards)
    }

    /// Takes note of a session Lease; one that was declared dead is nobody's.
    fn hears(&mut self, lease: &Lease, holder: &str, wait: Duration) {
        if holder.is_empty() {
            return;
        }
        self.sessions += 1;
        let pod = wire::pod_of(holder);
        let degraded = wire::degraded(lease);
        if !degraded.is_empty() {
            self.degraded.insert(pod.to_owned(), degraded);
        }
        let renewed = lease.spec.as_ref().and_then(|it| it.renew_time.as_ref());
        let silent = renewed.map(|it| self.now.duration_since(it.0)).filter(|_| !wait.is_zero());
        // A clock that is ahead makes it negative.
        let long = |it: &SignedDuration| Duration::try_from(*it).is_ok_and(|it| it > wait + SILENT);
        self.silent.extend(silent.filter(long).map(|it| (pod.to_owned(), it.as_secs())));
    }

    /// Shards that have namespaces and no owner.
    pub fn unowned(&self) -> BTreeSet<ShardId> {
        let owned = |it: &ShardId| self.owned.get(it).is_some_and(|it| it.holder.is_some());
        self.map.active().filter(|it| !owned(it)).collect()
    }
}

/// All was read at one time.
const ONCE: Duration = Duration::ZERO;

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
