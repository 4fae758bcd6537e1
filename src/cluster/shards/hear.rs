//! What is heard: Leases by one watch, so that their changes come in the order in which they were made, and the map.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    runtime::{
        WatchStreamExt as _,
        utils::Backoff,
        watcher::{self, Event, watcher},
    },
};

use super::{
    keeper::{Keeper, clock},
    session::News,
    wire::{self, KIND, MAP, Ours, SESSION, SHARD},
};
use crate::{
    api::v1beta1::ShardMap,
    cluster::{
        cache,
        degraded::{Matter, Why},
        housekeeper::weights_of,
        leases::record,
        watch_faults::Fares,
    },
    domain::{
        lease::Record,
        shard::{Map, ShardId, map::Move, seen::Shard},
    },
};

/// A watch that is dropped silently goes unseen for this long, plus five seconds.
const WATCH_SECONDS: u32 = 30;

/// News of our Leases.
#[derive(Debug)]
pub enum LeaseNews {
    /// All that there are.
    All(Vec<Lease>),
    Put(Box<Lease>),
    Gone(Box<Lease>),
}

/// News of the map.
#[derive(Debug)]
pub enum MapNews {
    Put(Box<ShardMap>),
    /// There is none.
    None,
}

/// Soon again: nothing of the API server's is spared by waiting longer than a second with one watch.
#[derive(Debug, Default)]
struct Soon(u32);

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0 = self.0.saturating_add(1);
        Some(Duration::from_millis(100) * 2_u32.saturating_pow(self.0.min(4)) / 2)
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Watches our Leases for ever, which fares so.
pub fn leases(api: Api<Lease>, mut fares: Fares) -> impl Stream<Item = LeaseNews> {
    let config = watcher::Config::default()
        .labels(&format!("{KIND} in ({SESSION},{SHARD})"))
        .timeout(WATCH_SECONDS);
    let events = watcher(api, config).backoff(Soon::default());
    let listed = move |listed: &mut Vec<Lease>, event: Result<_, _>| {
        if event.is_ok() {
            fares.works();
        }
        let news = match event {
            Ok(Event::Init) => {
                listed.clear();
                None
            }
            Ok(Event::InitApply(it)) => {
                listed.push(it);
                None
            }
            Ok(Event::InitDone) => Some(LeaseNews::All(std::mem::take(listed))),
            Ok(Event::Apply(it)) => Some(LeaseNews::Put(Box::new(it))),
            Ok(Event::Delete(it)) => Some(LeaseNews::Gone(Box::new(it))),
            Err(error) => {
                fares.failed(&error);
                None
            }
        };
        std::future::ready(Some(news))
    };
    events.scan(Vec::new(), listed).flat_map(stream::iter)
}

/// Watches the map for ever, which fares so.
pub fn maps(api: Api<ShardMap>, mut fares: Fares) -> impl Stream<Item = MapNews> {
    let config =
        watcher::Config::default().fields(&format!("metadata.name={MAP}")).timeout(WATCH_SECONDS);
    let events = watcher(api, config).backoff(Soon::default());
    let there = move |there: &mut bool, event: Result<_, _>| {
        if event.is_ok() {
            fares.works();
        }
        let news = match event {
            Ok(Event::Init) => {
                *there = false;
                None
            }
            Ok(Event::InitApply(it) | Event::Apply(it)) => {
                *there = true;
                Some(MapNews::Put(Box::new(it)))
            }
            Ok(Event::InitDone) => (!*there).then_some(MapNews::None),
            Ok(Event::Delete(_)) => Some(MapNews::None),
            Err(error) => {
                fares.failed(&error);
                None
            }
        };
        std::future::ready(Some(news))
    };
    events.scan(false, there).flat_map(stream::iter)
}

impl Keeper {
    pub(super) fn hear(&mut self, news: LeaseNews) {
        match news {
            LeaseNews::Put(lease) => self.see(&lease),
            LeaseNews::Gone(lease) => self.miss(&lease),
            LeaseNews::All(mut all) => {
                // Sessions first: a shard's owner has one, or has lost it.
                all.sort_by_key(|it| wire::shard_of(name(it)).is_some());
                self.miss_all_but(&all);
                for it in &all {
                    self.see(it);
                }
                self.listed = true;
                self.view.tidy();
            }
        }
    }

    /// Takes in a Lease, from the watch or as the answer to a write of ours. One that is older than what was seen is no news.
    pub(super) fn see(&mut self, lease: &Lease) {
        let now = clock();
        match wire::read(lease) {
            Some(Ours::Session(it)) => {
                let old = self.view.sessions.get(name(lease)).map(|it| &it.it.record);
                if old.is_some_and(|old| !newer(&it.record, old)) {
                    return;
                }
                if *name(lease) == *self.session.lease() && !self.session.made(&it.record) {
                    self.doubt();
                }
                self.view.session(name(lease), Some(it), now);
            }
            Some(Ours::Shard(id, it)) => {
                let old = self.view.shards.get(&id).map(|it| &it.it.record);
                if old.is_some_and(|old| !newer(&it.record, old)) {
                    return;
                }
                self.compare(id, &it);
                self.view.shard(id, Some(it), now);
                self.own.heard(&self.view, id);
            }
            None => {}
        }
    }

    /// Somebody else's write of our session ends what it allowed, until a reading says otherwise.
    fn doubt(&mut self) {
        if self.session.begun() {
            self.session.doubt();
            self.heed(News::Doubtful);
        }
    }

    /// Compares news of a shard with what we own.
    fn compare(&mut self, id: ShardId, shard: &Shard) {
        let mark = shard.record.mark;
        let held = self.own.held.get(&id);
        let other = held.is_some_and(|it| it.version != shard.record.resource_version);
        // While a write of ours is under way, its answer tells.
        if other && (mark.is_none() || self.pending.get(&id) != mark.as_ref()) {
            self.lose(id);
        }
    }

    fn miss(&mut self, lease: &Lease) {
        let gone = record(lease);
        // The deletion may be older than what was seen since.
        if self.last(name(lease)).is_none_or(|old| old.uid == gone.uid) {
            self.miss_named(name(lease));
        }
    }

    /// A Lease as it was seen last.
    fn last(&self, name: &str) -> Option<&Record> {
        match wire::shard_of(name) {
            Some(id) => self.view.shards.get(&id).map(|it| &it.it.record),
            None => self.view.sessions.get(name).map(|it| &it.it.record),
        }
    }

    /// The version of a Lease that was seen last.
    pub(super) fn known(&self, name: &str) -> Option<String> {
        self.last(name).map(|it| it.resource_version.clone())
    }

    /// A Lease is gone.
    pub(super) fn miss_named(&mut self, name: &str) {
        let now = clock();
        if let Some(id) = wire::shard_of(name) {
            self.view.shard(id, None, now);
            if self.own.held.contains_key(&id) {
                self.lose(id);
            }
            return;
        }
        self.view.session(name, None, now);
        if *name == *self.session.lease() {
            self.doubt();
        }
    }

    /// What a complete list lacks is gone.
    fn miss_all_but(&mut self, all: &[Lease]) {
        let there: BTreeSet<&str> = all.iter().map(name).collect();
        let sessions: Vec<_> = self.view.sessions.keys().cloned().collect();
        let gone = sessions.iter().map(ToString::to_string).filter(|it| !there.contains(&**it));
        let lacking = |it: &String| !there.contains(&**it);
        let shards = self.view.shards.keys().map(|it| wire::shard_name(*it)).filter(lacking);
        let gone: Vec<String> = gone.chain(shards).collect();
        for name in &gone {
            self.miss_named(name);
        }
        if self.session.begun() && !there.contains(&*self.session.lease()) {
            self.doubt();
        }
        self.note_missing();
    }

    /// Shards of the map that have no Lease.
    pub(super) fn note_missing(&mut self) {
        if let Some(map) = self.map.clone() {
            // Also of one that was retired: what it gave away waits until somebody has acknowledged that.
            self.view.without(map.shards().keys().copied(), clock());
        }
    }

    pub(super) fn hear_map(&mut self, news: MapNews) {
        let map = match news {
            MapNews::None => {
                self.founding = true;
                self.object = None;
                return;
            }
            MapNews::Put(it) => {
                self.told.about(&it);
                self.view.weights = it.status.as_ref().map(weights_of).unwrap_or_default();
                let map = Map::try_from(&it.spec);
                self.object = Some(Arc::new(*it));
                map
            }
        };
        if let Ok(map) = &map
            && self.is_displaced_by(map)
        {
            return;
        }
        match map {
            Err(why) => tracing::error!(
                why,
                "The ShardMap can't be used; the last one stays in use. Mend it with kubectl gt shards"
            ),
            Ok(map) if self.map.as_ref().is_none_or(|old| old.version() < map.version()) => {
                self.founding = false;
                self.go_by(Arc::new(map));
            }
            Ok(_) => self.founding = false,
        }
    }

    /// Whether somebody put a map in the place of ours that does not come after it. Whoever begins now goes by that one, and
    /// what was acknowledged of ours says nothing of it: so nothing is acted on until ours is back, or a newer one there.
    fn is_displaced_by(&mut self, map: &Map) -> bool {
        let why = self.map.as_ref().and_then(|known| map.displaces(known));
        self.displaced = why.is_some();
        if self.displaced {
            (self.founding, self.object) = (false, None);
            self.ownership.valid_until(None);
        }
        let why = why.map(|text| Why { reason: "PutBack", text });
        self.degraded.say(Matter::ShardMap, why);
        self.displaced
    }

    /// From now on by this map.
    fn go_by(&mut self, map: Arc<Map>) {
        tracing::info!(version = map.version(), shards = map.active().count(), "Map of shards");
        self.map = Some(map.clone());
        let shut = |it: &Move| {
            let of = it.clone();
            let part = move |place: &str| of.takes(place);
            (map.version(), it.clone(), self.ownership.shut(it.to, part))
        };
        // Also what an earlier version moved that was not acknowledged.
        let moved: Vec<_> = map.moves().iter().map(shut).collect();
        self.held_back.extend(moved);
        self.own.unsaid.extend(map.givers().into_iter().map(|it| (it, map.version())));
        self.ownership.use_map(map);
        if self.listed {
            self.note_missing();
        }
    }
}

pub(super) fn name(lease: &Lease) -> &str {
    lease.metadata.name.as_deref().unwrap_or_default()
}

/// Whether one version of a Lease comes after another.
fn newer(record: &Record, than: &Record) -> bool {
    cache::newer(&record.resource_version, &than.resource_version)
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;
    use crate::cluster::{
        meters::Meters,
        watch_faults::testing::{refusing, tried_again},
    };

    #[tokio::test]
    async fn watches_of_leases_and_of_the_map_that_fail_are_counted_where_a_scrape_finds_it() {
        let (meters, mut registry) = (Meters::default(), Registry::default());
        meters.register(&mut registry);
        let fares = |resource| Fares::of(&meters.watch_faults, resource);
        let (client, asked) = refusing();
        let mut leases = Box::pin(leases(Api::namespaced(client, "town"), fares("leases")));
        tokio::select! {
            news = leases.next() => panic!("{news:?}"),
            () = tried_again(&asked) => {}
        }
        let (client, asked) = refusing();
        let mut maps = Box::pin(maps(Api::namespaced(client, "town"), fares("shardmaps")));
        tokio::select! {
            news = maps.next() => panic!("{news:?}"),
            () = tried_again(&asked) => {}
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for it in ["leases", "shardmaps"] {
            let line = format!("gastown_watch_errors_total{{controller=\"{it}\"}} ");
            let counted = text.lines().find_map(|it| it.strip_prefix(&line));
            assert!(counted.is_some_and(|it| it != "0"), "{it}: {counted:?}");
        }
    }
}
