//! What is watched, and whom its news wakes.

use std::{
    collections::{HashMap, HashSet},
    future::pending,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Running, wake};
use crate::{
    cluster::{
        Caches, Cluster,
        cache::{Cache, Key},
        meters::Task,
        observe::stored::{Brief, Kept},
        plural,
        watching::Selection,
        wire::Compact,
    },
    domain::{brake, names, pod_brief::PodBrief, polecat, rig, tenancy::Rules},
    tasks::{queue::Queue, supervise},
};

impl Running {
    /// Keeps one watch going.
    pub(super) fn watch<C: Compact>(
        &mut self,
        cluster: &Cluster,
        cache: fn(&Caches) -> &Cache<C>,
        selection: Selection,
        news: impl Fn(&Cluster, &C, Key) + Send + Sync + 'static,
    ) {
        let task = Task { task: "watch", controller: plural::<C>() };
        let meters = cluster.meters.clone();
        let parts = Arc::new((cluster.clone(), selection, news, self.faults.stumbles()));
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
        self.watches.spawn(supervise::keep(task, meters, pending, begin));
    }

    pub(super) fn watch_polecats(
        &mut self,
        cluster: &Cluster,
        namespace: Option<String>,
        queue: Arc<Queue>,
    ) {
        let selection = Selection { namespace, ..Selection::default() };
        let news = move |cluster: &Cluster, polecat: &polecat::Brief, key: Key| {
            let next = cluster.note_polecat(&key, false);
            if polecat.begins() {
                queue.add_urgent(key);
            } else {
                queue.add(key);
            }
            wake(&queue, next);
        };
        self.watch(cluster, |it| &it.polecats, selection, news);
    }

    /// Pods wake the Polecat that owns them.
    pub(super) fn watch_pods(
        &mut self,
        cluster: &Cluster,
        namespace: Option<String>,
        queue: Arc<Queue>,
    ) {
        let labels = Some(names::POLECAT_LABEL.into());
        let selection = Selection { namespace, labels, ..Selection::default() };
        let news = move |cluster: &Cluster, pod: &PodBrief, key: Key| {
            let caches = &cluster.caches;
            if caches.pods.get(&key).is_none_or(|it| it.uid != pod.uid) {
                caches.departed.note(&key, pod);
            }
            wake(&queue, cluster.note_pod(&key));
            if let Some(owner) = pod.owner.as_ref().filter(|it| &*it.kind == "Polecat") {
                queue.add(Key { namespace: key.namespace, name: (&*owner.name).into() });
            }
        };
        self.watch(cluster, |it| &it.pods, selection, news);
    }

    /// A Rig whose pause begins or ends, or whose rules change, wakes its Polecats.
    pub(super) fn watch_rigs(
        &mut self,
        cluster: &Cluster,
        queue: Arc<Queue>,
        polecats: Arc<Queue>,
    ) {
        let known = Known::default();
        let news = move |cluster: &Cluster, _: &rig::Brief, key: Key| {
            let rig = cluster.caches.rigs.get(&key);
            if known.turned(&key, rig.map(|it| (it.paused, it.rules.clone()))) {
                wake(&polecats, cluster.concerned(|it| *it.rig == *key.name));
            }
            queue.add(key);
        };
        self.watch(cluster, |it| &it.rigs, Selection::default(), news);
    }

    /// A Namespace whose pause begins or ends wakes its Polecats; nothing else of Namespaces is of interest.
    pub(super) fn watch_namespaces(
        &mut self,
        cluster: &Cluster,
        name: Option<String>,
        queue: Arc<Queue>,
    ) {
        let paused = Paused::default();
        let selection = Selection { name, ..Selection::default() };
        let news = move |cluster: &Cluster, _: &brake::Namespace, key: Key| {
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
