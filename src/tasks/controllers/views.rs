//! Which Polecats and pods are watched: all while this replica is alone, else those of the shards that it has or is about to
//! get, by the label with their bucket, and besides those whose label names none. What no view shows is not acted on.

mod shown;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use tokio::{sync::watch, task::JoinHandle};

use self::shown::Shown;
use super::{Scope, watches::Watcher};
use crate::{
    cluster::{
        Cluster, Managed,
        cache::Key,
        labels,
        shards::Wanted,
        watching::{Buckets, Selection},
    },
    domain::{
        names,
        shard::{ShardId, bucket},
    },
    tasks::queue::Queue,
};

/// The views of one replica. Every clone is the same.
#[derive(Clone)]
pub struct Views(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    /// Empty: all namespaces. Some: each is watched as a whole, and no label is needed.
    namespaces: Vec<String>,
    watcher: Watcher,
    wakers: Vec<Waker>,
    state: Mutex<State>,
    shown: watch::Sender<Shown>,
}

/// Queues the objects of one kind that are so.
pub(super) type Waker = Box<dyn Fn(&Cluster, &dyn Fn(&Key) -> bool) + Send + Sync>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum View {
    All,
    Orphans,
    Shard(ShardId, Arc<BTreeSet<u16>>),
    Namespace(Box<str>),
}

#[derive(Default)]
struct State {
    sights: BTreeMap<View, Sight>,
    /// The view of a shard as it is wanted now; one of other buckets ends once this one was listed.
    wanted: BTreeMap<ShardId, View>,
}

/// What one view watches: of Polecats and of pods.
struct Sight {
    selections: Vec<[Selection; 2]>,
    tasks: Vec<JoinHandle<()>>,
}

impl Views {
    pub(super) fn new(
        cluster: &Cluster,
        scope: &Scope,
        watcher: Watcher,
        wakers: Vec<Waker>,
    ) -> Self {
        Self(Arc::new(Inner {
            cluster: cluster.clone(),
            namespaces: scope.namespaces.clone(),
            watcher,
            wakers,
            state: Mutex::default(),
            shown: watch::Sender::default(),
        }))
    }

    /// Begins to watch what is in a shard. One that is watched with other buckets is watched with these from then on.
    pub fn warm(&self, shard: ShardId, buckets: &BTreeSet<u16>) {
        let view = View::Shard(shard, Arc::new(buckets.clone()));
        let mut state = self.lock();
        self.begin(&mut state, &view);
        state.wanted.insert(shard, view);
        drop(state);
        self.end_succeeded(shard); // it may have been listed before
    }

    /// Whether all that is in a shard is in the caches, also of namespaces that are pinned to it.
    pub fn is_warm(&self, shard: ShardId) -> bool {
        let (wanted, map) =
            (self.lock().wanted.get(&shard).cloned(), self.0.cluster.ownership.map());
        let shown = self.0.shown.borrow();
        let pinned = |it: &str| shown.views.contains(&View::Namespace(it.into()));
        shown.views.contains(&View::All)
            || (shown.views.contains(&View::Orphans)
                && wanted.is_some_and(|it| shown.views.contains(&it))
                && map.is_none_or(|it| it.pinned(shard).all(pinned)))
    }

    /// Ends once it is, however long that takes: a caller that gives the shard up drops this.
    pub async fn warmed(&self, shard: ShardId) {
        let mut shown = self.0.shown.subscribe();
        while !self.is_warm(shard) {
            if shown.changed().await.is_err() {
                return;
            }
        }
    }

    /// Says which of the wanted shards are warm, each time that this changes.
    pub async fn report(
        &self,
        mut wanted: watch::Receiver<Wanted>,
        warm: watch::Sender<BTreeSet<ShardId>>,
    ) {
        let mut shown = self.0.shown.subscribe();
        loop {
            let all = wanted.borrow_and_update().shards.clone();
            shown.mark_unchanged();
            let now: BTreeSet<_> = all.into_iter().filter(|it| self.is_warm(*it)).collect();
            warm.send_if_modified(|it| std::mem::replace(it, now.clone()) != now);
            let ended = tokio::select! {
                it = wanted.changed() => it.is_err(),
                it = shown.changed() => it.is_err(),
            };
            if ended {
                return;
            }
        }
    }

    /// Watches a shard no more, and forgets what no other view shows.
    pub async fn cool(&self, shard: ShardId) {
        self.lock().wanted.remove(&shard);
        self.end(|it| matches!(it, View::Shard(of, _) if *of == shard)).await;
    }

    /// Begins to watch a pinned namespace.
    pub fn pin(&self, namespace: &str) {
        self.begin(&mut self.lock(), &View::Namespace(namespace.into()));
    }

    /// Watches it no more.
    pub async fn unpin(&self, namespace: &str) {
        self.end(|it| matches!(it, View::Namespace(of) if **of == *namespace)).await;
    }

    /// Begins to watch everything, for a replica that is alone.
    pub fn show_all(&self) {
        self.begin(&mut self.lock(), &View::All);
    }

    /// Watches everything by one watch of each kind, and by that alone once it was listed.
    pub async fn widen(&self) {
        self.show_all();
        let mut shown = self.0.shown.subscribe();
        let _ = shown.wait_for(|it| it.views.contains(&View::All)).await;
        self.0.cluster.caches.by_label.store(false, Ordering::Relaxed);
        self.end(|it| *it != View::All).await;
    }

    /// Watches by shards alone, once these were listed.
    pub async fn narrow(&self, shards: &BTreeMap<ShardId, BTreeSet<u16>>) {
        let by_label = self.0.namespaces.is_empty();
        self.0.cluster.caches.by_label.store(by_label, Ordering::Relaxed);
        self.begin(&mut self.lock(), &View::Orphans);
        for (shard, buckets) in shards {
            self.warm(*shard, buckets);
        }
        let mut wanted: BTreeSet<_> = [View::Orphans].into();
        wanted.extend(self.lock().wanted.values().cloned());
        let mut shown = self.0.shown.subscribe();
        let _ = shown.wait_for(|it| wanted.is_subset(&it.views)).await;
        self.end(|it| *it == View::All).await;
    }

    /// Whether all that is in a namespace is in the caches, so that what is not there is not there.
    pub fn show(&self, place: &str) -> bool {
        self.0.shown.borrow().has(place)
    }

    /// Queues every object of a shard, of every kind.
    pub fn wake(&self, shard: ShardId) {
        if let Some(map) = self.0.cluster.ownership.map() {
            self.wake_where(|key| map.shard_of(key.place()) == Some(shard));
        }
    }

    fn wake_where(&self, is: impl Fn(&Key) -> bool) {
        let cluster = &self.0.cluster;
        for waker in &self.0.wakers {
            waker(cluster, &is);
        }
        if cluster.caches.by_label.load(Ordering::Relaxed) {
            // Whose label names a bucket of ours may be in a namespace of somebody else's.
            for it in cluster.caches.polecats.find(|_, it| !labels::missing(it).is_empty()) {
                self.0.watcher.labels.add(it);
            }
        }
    }

    /// Ends all of them.
    pub(super) async fn stop(&self) {
        let sights = std::mem::take(&mut self.lock().sights);
        for mut it in sights.into_values() {
            it.stop().await;
        }
    }

    fn begin(&self, state: &mut State, view: &View) {
        if state.sights.contains_key(view) {
            return;
        }
        let selections = self.selections(view);
        let Inner { cluster, watcher, .. } = &*self.0;
        let mut tasks = Vec::new();
        for [polecats, pods] in &selections {
            tasks.push(tokio::spawn(watcher.polecats(cluster, polecats.clone())));
            tasks.push(tokio::spawn(watcher.pods(cluster, pods.clone())));
        }
        tasks.push(tokio::spawn(self.clone().list(view.clone(), selections.clone())));
        state.sights.insert(view.clone(), Sight { selections, tasks });
    }

    fn selections(&self, view: &View) -> Vec<[Selection; 2]> {
        let within = |namespace: Option<&str>, buckets: Buckets| {
            let polecats = Selection {
                namespace: namespace.map(Into::into),
                buckets: buckets.clone(),
                ..Selection::default()
            };
            // By its bucket alone, a pod is seen that lost the other label.
            let labels =
                (!matches!(buckets, Buckets::These(_))).then(|| names::POLECAT_LABEL.into());
            [polecats.clone(), Selection { labels, ..polecats }]
        };
        let all = &self.0.namespaces;
        let each = |is: &dyn Fn(&str) -> bool| {
            let some = all.iter().filter(|it| is(it));
            some.map(|it| within(Some(it), Buckets::All)).collect()
        };
        match view {
            View::All if all.is_empty() => vec![within(None, Buckets::All)],
            View::Orphans if all.is_empty() => vec![within(None, Buckets::Orphans)],
            View::Shard(_, buckets) if all.is_empty() => {
                vec![within(None, Buckets::These(buckets.clone()))]
            }
            View::Namespace(it) if all.is_empty() => vec![within(Some(it), Buckets::All)],
            View::All => each(&|_| true),
            View::Orphans => Vec::new(),
            View::Shard(_, buckets) => each(&|it| buckets.contains(&bucket::of(it))),
            View::Namespace(only) => each(&|it| *it == **only),
        }
    }

    /// Waits until a view was listed; from then on what is in it is acted on.
    async fn list(self, view: View, selections: Vec<[Selection; 2]>) {
        let caches = &self.0.cluster.caches;
        for [polecats, pods] in &selections {
            caches.polecats.has_listed(&polecats.id()).await;
            caches.pods.has_listed(&pods.id()).await;
        }
        {
            let state = self.lock();
            if !state.sights.contains_key(&view) {
                return;
            }
            self.0.shown.send_modify(|it| it.add(view.clone()));
        }
        self.wake_where(|key| view.has(key.place()));
        if let View::Shard(shard, _) = view {
            self.end_succeeded(shard);
        }
    }

    /// Ends the views of a shard that another one has succeeded, on its own: the end of a view would cut off who lists it.
    fn end_succeeded(&self, shard: ShardId) {
        let views = self.clone();
        tokio::spawn(async move {
            let shown = views.0.shown.subscribe();
            let over = |state: &State, it: &View| {
                let wanted =
                    state.wanted.get(&shard).filter(|it| shown.borrow().views.contains(it));
                matches!(it, View::Shard(of, _) if *of == shard)
                    && wanted.is_some_and(|by| by != it)
            };
            views.end_where(over).await;
        });
    }

    /// Ends views, and forgets what no other shows.
    async fn end(&self, which: impl Fn(&View) -> bool) {
        self.end_where(|_, it| which(it)).await;
    }

    async fn end_where(&self, which: impl Fn(&State, &View) -> bool) {
        let mut ended: Vec<(View, Sight)> = {
            let mut state = self.lock();
            let all = state.sights.keys();
            let views: Vec<_> = all.filter(|it| which(&state, it)).cloned().collect();
            // Within the lock: one of them may be begun and listed again at once.
            self.0.shown.send_if_modified(|it| {
                for view in &views {
                    it.remove(view);
                }
                !views.is_empty()
            });
            views.into_iter().filter_map(|it| state.sights.remove_entry(&it)).collect()
        };
        if ended.is_empty() {
            return;
        }
        for (_, it) in &mut ended {
            it.stop().await;
        }
        let state = self.lock();
        let caches = &self.0.cluster.caches;
        let gone: Vec<_> = ended.iter().flat_map(|(_, it)| &it.selections).collect();
        let kept: Vec<_> = state.sights.values().flat_map(|it| &it.selections).collect();
        caches.polecats.forget(|key, it| {
            gone.iter().any(|[of, _]| of.has(key, it))
                && !kept.iter().any(|[of, _]| of.has(key, it))
        });
        caches.pods.forget(|key, it| {
            gone.iter().any(|[_, of]| of.has(key, it))
                && !kept.iter().any(|[_, of]| of.has(key, it))
        });
        let same = |id: &str| kept.iter().any(|[it, _]| it.id() == id);
        for id in gone.iter().map(|[it, _]| it.id()).filter(|it| !same(it)) {
            caches.polecats.dropped(&id);
            caches.pods.dropped(&id);
        }
        let mut watched = Shown::default();
        state.sights.keys().for_each(|it| watched.add(it.clone()));
        self.0.cluster.forget_namespaces(|it| !watched.has(it));
        caches.departed.forget(|key| !watched.has(key.place()));
        caches.left.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// Whether this may be in it, going by where it stands.
    fn has(&self, place: &str) -> bool {
        match self {
            Self::All | Self::Orphans => true,
            Self::Shard(_, buckets) => buckets.contains(&bucket::of(place)),
            Self::Namespace(only) => **only == *place,
        }
    }
}

impl Sight {
    async fn stop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        for it in self.tasks.drain(..) {
            let _ = it.await; // aborted, and nothing else
        }
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What queues the objects of one kind.
pub(super) fn waker<K: Managed>(queue: Arc<Queue>) -> Waker {
    Box::new(move |cluster, is| {
        let cache = K::cache(&cluster.caches);
        for key in cache.find(|key, _| is(key)) {
            if cache.get(&key).is_some_and(|it| it.urgent()) {
                queue.add_urgent(key);
            } else {
                queue.add(key);
            }
        }
    })
}
