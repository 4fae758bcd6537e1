//! Keeps one cache true by list and watch. An object that cannot be read is counted, announced and skipped; it stops
//! nobody else.

use std::{
    collections::{BTreeSet, HashSet},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Resource as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    api::GROUP,
    cluster::{
        Cluster,
        cache::{Cache, Key},
        meters,
        unreadable::Announcer,
        wire::{Compact, Watched},
    },
    domain::shard::bucket,
};

/// A silently dropped watch goes unseen for this long, plus the watcher's idle window.
const WATCH_SECONDS: u32 = 120;

/// A selection by which every object is taken, since no name is like this. An API server whose cache of a kind has yet to be
/// filled answers a page of a list without a selection from storage, and for that has each object converted that lies there in
/// another version, once for every replica of ours; nobody could go on by a watch then. So it is to say that it is not ready.
const ANY_NAME: &str = "metadata.name!=-";

/// Lists that are under way at a time. Each holds a page of whole objects, up to some megabytes, and who is given many shards
/// lists them all.
const LISTS: usize = 4;
/// Objects in a page of a list: half of what clients usually ask for, since a pod has ten kB.
const PAGE: u32 = 250;
/// Whoever has waited so long for a turn goes without one: those before may be lists that nobody answers.
const TURN: Duration = Duration::from_secs(10);

/// Turns for lists.
#[derive(Clone, Debug)]
pub(super) struct Lists(Arc<Semaphore>);

impl Default for Lists {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LISTS)))
    }
}

impl Lists {
    /// Waits for one, if not for too long.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        timeout(TURN, self.0.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// Which objects.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `None`: all namespaces.
    pub namespace: Option<String>,
    /// Of those, the ones with this label.
    pub labels: Option<String>,
    /// Only the one of this name.
    pub name: Option<String>,
    pub buckets: Buckets,
}

/// Which objects, by the bucket that their label names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Buckets {
    #[default]
    All,
    These(Arc<BTreeSet<u16>>),
    /// Those whose label names none.
    Orphans,
}

impl Selection {
    /// Tells the selections of one cache apart.
    pub fn id(&self) -> String {
        let place = self.namespace.as_deref().or(self.name.as_deref()).unwrap_or_default();
        match &self.buckets {
            Buckets::All => place.to_owned(),
            Buckets::These(it) => format!("{place} {}", bucket::ranges(it).join(",")),
            Buckets::Orphans => format!("{place} orphans"),
        }
    }

    fn config<C: Compact>(&self) -> watcher::Config {
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
        let buckets = match &self.buckets {
            Buckets::All => None,
            Buckets::These(it) => Some(bucket::selector(it)),
            Buckets::Orphans => Some(bucket::orphans()),
        };
        let all: Vec<_> = self.labels.iter().cloned().chain(buckets).collect();
        config.label_selector = (!all.is_empty()).then(|| all.join(","));
        config.field_selector = self.name.as_ref().map(|it| format!("metadata.name={it}"));
        if C::Kind::group(&()) == GROUP && all.is_empty() {
            config.field_selector.get_or_insert_with(|| ANY_NAME.into());
        }
        config
    }

    fn api<C: Compact>(&self, client: kube::Client) -> Api<Watched<C>> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }

    /// Whether an object of the cache is one of these: by its label as it was seen, so that one whose label was changed
    /// leaves one selection and not the other.
    pub fn has<C: Compact>(&self, key: &Key, object: &C) -> bool {
        let is = |wanted: &Option<String>, have: &str| wanted.as_ref().is_none_or(|it| it == have);
        let bucket = object.bucket();
        is(&self.namespace, &key.namespace)
            && is(&self.name, &key.name)
            && match &self.buckets {
                Buckets::All => true,
                Buckets::These(it) => bucket.is_some_and(|bucket| it.contains(&bucket)),
                Buckets::Orphans => bucket.is_none(),
            }
    }
}

impl Cluster {
    /// Watches until it is dropped. `news` is told of every object that is new, changed or gone. A cache
    /// can hold several namespaces, each watched by a call of its own.
    pub async fn watch<C: Compact>(
        &self,
        cache: &Cache<C>,
        selection: Selection,
        news: impl Fn(&C, Key) + Send + Sync,
    ) {
        let (announcer, waiting) = Announcer::new();
        tokio::select! {
            () = self.follow(cache, &selection, &announcer, &news) => {}
            () = self.announce_unreadable::<C>(waiting) => {}
        }
    }

    async fn follow<C: Compact>(
        &self,
        cache: &Cache<C>,
        selection: &Selection,
        announcer: &Announcer,
        news: &(impl Fn(&C, Key) + Send + Sync),
    ) {
        let seat = self.watches.seat();
        let api = selection.api::<C>(seat.client.clone());
        let controller = meters::Controller { controller: super::carry_out::plural::<C>() };
        let mut fares = seat.fares(controller.controller);
        drop(self.meters.undecodable.get_or_create(&controller)); // counts from zero too
        let mut stream = pin!(watcher::watcher(api, selection.config::<C>()).default_backoff());
        let (mut listed, mut turn) = (HashSet::new(), None);
        // A watch that is begun anew tells of everything again: its predecessor may have ended before it had told.
        let mut first = true;
        cache.tell_leaving(news); // of what the one before had not told
        let take_in = |object, anew| self.take_in(cache, &object, announcer, (news, anew));
        while let Some(event) = stream.next().await {
            match event {
                Err(error) => {
                    drop(turn.take());
                    fares.failed(&error);
                    continue;
                }
                Ok(Event::Init) => {
                    listed.clear();
                    turn = self.lists.turn().await;
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    listed.insert(key_of(&object));
                    take_in(object, first);
                }
                Ok(Event::InitDone) => {
                    drop(turn.take());
                    let listed = std::mem::take(&mut listed);
                    cache.retain(|key, it| !selection.has(key, it) || listed.contains(key));
                    first = false;
                    cache.listed(&selection.id());
                    self.caches.left.send_replace(());
                }
                Ok(Event::Apply(object)) => take_in(object, false),
                Ok(Event::Delete(object)) => {
                    let (uid, version) = (object.uid().to_owned(), object.version().to_owned());
                    self.caches.beginning.forget(&uid);
                    cache.remove(&key_of(&object), &uid, &version, object.content.ok());
                }
            }
            cache.tell_leaving(news);
            fares.works();
            let objects = i64::try_from(cache.len()).unwrap_or(i64::MAX);
            self.meters.objects.get_or_create(&controller).set(objects);
        }
    }

    /// Takes in what a watch shows, and tells of it where it is news, or `anew`.
    fn take_in<C: Compact>(
        &self,
        cache: &Cache<C>,
        object: &Watched<C>,
        announcer: &Announcer,
        (news, anew): (&(impl Fn(&C, Key) + Send + Sync), bool),
    ) {
        match &object.content {
            Ok(it) => {
                if let Some(whole) = object.whole.clone() {
                    self.caches.beginning.keep(whole);
                }
                if cache.put(it.clone()) || anew {
                    news(it, key_of(object));
                }
            }
            Err(why) => announcer.skip(&self.meters, object, why),
        }
    }
}

fn key_of<C: Compact>(object: &Watched<C>) -> Key {
    let (namespace, name) = object.place();
    Key::new(namespace, name)
}

/// How long a watch may go unseen when it is dropped silently.
pub const fn longest_silence() -> Duration {
    Duration::from_secs(WATCH_SECONDS as u64 + 5)
}

#[cfg(test)]
mod tests;
