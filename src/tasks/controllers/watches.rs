//! What is watched, and whom its news wakes.

use std::{
    collections::{HashMap, HashSet},
    future::pending,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use super::{Running, Scope, wake};
use crate::{
    cluster::{
        Caches, Cluster,
        cache::{Cache, Key},
        labels,
        meters::Task,
        observe::stored::{Brief, Kept},
        plural,
        watching::Selection,
        wire::Compact,
    },
    config::Faults,
    domain::{brake, pod_brief::PodBrief, polecat, rig, tenancy::Rules},
    tasks::{queue::Queue, supervise},
};

impl Running {
    /// Watches what is watched whole by every replica. Returns what was selected of it.
    pub(super) fn watch_all(
        &mut self,
        cluster: &Cluster,
        scope: &Scope,
        rigs: &Arc<Queue>,
        polecats: &Arc<Queue>,
    ) -> Vec<Option<String>> {
        let selections: Vec<Option<String>> = match &scope.namespaces[..] {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        for it in &selections {
            self.watch_quotas(cluster, it.clone(), polecats.clone());
            self.watch_namespaces(cluster, it.clone(), polecats.clone());
        }
        self.watch_rigs(cluster, rigs.clone(), polecats.clone());
        self.watch_the_start(cluster, selections.len());
        selections
    }

    /// Keeps one watch going.
    pub(super) fn watch<C: Compact>(
        &mut self,
        cluster: &Cluster,
        cache: fn(&Caches) -> &Cache<C>,
        selection: Selection,
        news: impl Fn(&Cluster, &C, Key) + Send + Sync + 'static,
    ) {
        let watch = watching(cluster, &self.faults, cache, selection, news);
        self.watches.spawn(watch);
    }

    /// A Rig whose pause begins or ends, or whose rules change, wakes its Polecats. What becomes of their runs is counted while it
    /// is there.
    pub(super) fn watch_rigs(
        &mut self,
        cluster: &Cluster,
        queue: Arc<Queue>,
        polecats: Arc<Queue>,
    ) {
        let known = Known::default();
        let news = move |cluster: &Cluster, _: &rig::Brief, key: Key| {
            cluster.note_rig(&key.name);
            let rig = cluster.caches.rigs.get(&key);
            if known.turned(&key, rig.map(|it| (it.paused, it.rules.clone()))) {
                wake(&polecats, cluster.concerned(|it| *it.rig == *key.name));
            }
            queue.add(key);
        };
        self.watch(cluster, |it| &it.rigs, Selection::default(), news);
    }

    /// A Namespace whose pause begins or ends wakes its Polecats; whoever keeps house looks at what each wishes.
    pub(super) fn watch_namespaces(
        &mut self,
        cluster: &Cluster,
        name: Option<String>,
        queue: Arc<Queue>,
    ) {
        let paused = Paused::default();
        let selection = Selection { name, ..Selection::default() };
        let news = move |cluster: &Cluster, _: &brake::Namespace, key: Key| {
            cluster.caches.wished.send_replace(());
            let now = cluster.caches.namespaces.get(&key).is_some_and(|it| it.paused);
            if paused.turned(&key, now) {
                wake(&queue, cluster.concerned(|it| *it.namespace == *key.name));
            }
        };
        self.watch(cluster, |it| &it.namespaces, selection, news);
    }

    /// Objects of a kind whose controller is not in this release.
    pub(super) fn watch_stored<K: Kept>(
        &mut self,
        cluster: &Cluster,
        namespace: Option<String>,
        queue: Arc<Queue>,
    ) {
        let selection = Selection { namespace, ..Selection::default() };
        let news = move |_: &Cluster, _: &Brief<K>, key: Key| queue.add(key);
        self.watch(cluster, |it| K::cache(&it.stored), selection, news);
    }
}

/// Keeps one watch going.
fn watching<C: Compact>(
    cluster: &Cluster,
    faults: &Faults,
    cache: fn(&Caches) -> &Cache<C>,
    selection: Selection,
    news: impl Fn(&Cluster, &C, Key) + Send + Sync + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let task = Task { task: "watch", controller: plural::<C>() };
    let meters = cluster.meters.clone();
    let parts = Arc::new((cluster.clone(), selection, news, faults.stumbles()));
    let begin = move || {
        let parts = parts.clone();
        async move {
            let (cluster, selection, news, stumbles) = &*parts;
            let news = |it: &C, key: Key| {
                stumbles.stumble();
                news(cluster, it, key);
            };
            cluster.watch(cache(&cluster.caches), selection.clone(), news).await;
        }
    };
    supervise::keep(task, meters, pending, begin)
}

/// What Polecats and pods are watched with, whatever part of them.
pub(super) struct Watcher {
    pub(super) polecats: Arc<Queue>,
    /// Those whose labels are to be corrected.
    pub(super) labels: Arc<Queue>,
    pub(super) faults: Faults,
}

impl Watcher {
    pub(super) fn polecats(
        &self,
        cluster: &Cluster,
        selection: Selection,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (queue, labels) = (self.polecats.clone(), self.labels.clone());
        let news = move |cluster: &Cluster, polecat: &polecat::Brief, key: Key| {
            let gone = cluster.caches.polecats.get(&key).is_none_or(|it| it.uid != polecat.uid);
            // One whose label is wrong has left a watch, and perhaps nothing else.
            if gone && !is_wrong(cluster, polecat) {
                cluster.tell_of_deletion(polecat);
            }
            let mut next = cluster.note_credential(&key);
            next.extend(cluster.note_polecat(&key, false));
            // Those of our namespaces are corrected by their next pass.
            if is_wrong(cluster, polecat) && !cluster.ownership.owns(&key.namespace) {
                labels.add(key.clone());
            }
            if polecat.begins() {
                queue.add_urgent(key);
            } else {
                queue.add(key);
            }
            wake(&queue, next);
        };
        watching(cluster, &self.faults, |it| &it.polecats, selection, news)
    }

    /// Pods wake the Polecat that owns them.
    pub(super) fn pods(
        &self,
        cluster: &Cluster,
        selection: Selection,
    ) -> impl Future<Output = ()> + Send + 'static {
        let queue = self.polecats.clone();
        let news = move |cluster: &Cluster, pod: &PodBrief, key: Key| {
            let caches = &cluster.caches;
            if caches.pods.get(&key).is_none_or(|it| it.uid != pod.uid) {
                caches.departed.note(&key, pod, cluster.ownership.under(key.place()));
            }
            wake(&queue, cluster.note_pod(&key));
            if let Some(owner) = pod.owner.as_ref().filter(|it| &*it.kind == "Polecat") {
                queue.add(Key { namespace: key.namespace, name: (&*owner.name).into() });
            }
        };
        watching(cluster, &self.faults, |it| &it.pods, selection, news)
    }
}

/// Whether the labels of this object are to be corrected.
fn is_wrong(cluster: &Cluster, object: &polecat::Brief) -> bool {
    cluster.caches.by_label.load(Ordering::Relaxed) && !labels::missing(object).is_empty()
}

/// What Rigs say of their Polecats, to tell the news from what was so before.
#[derive(Debug, Default)]
struct Known(Mutex<HashMap<Key, (bool, Rules)>>);

impl Known {
    /// Says whether that is news.
    fn turned(&self, key: &Key, now: Option<(bool, Rules)>) -> bool {
        let now = now.filter(|it| *it != (false, Rules::default()));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match now.clone() {
            Some(it) => all.insert(key.clone(), it),
            None => all.remove(key),
        };
        before != now
    }
}

/// Which Namespaces are paused, to tell the news from what was so before.
#[derive(Debug, Default)]
struct Paused(Mutex<HashSet<Key>>);

impl Paused {
    /// Says whether that is news.
    fn turned(&self, key: &Key, paused: bool) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paused { all.insert(key.clone()) } else { all.remove(key) }
    }
}
