//! What each kind owns and watches: `start(scope) -> Running`, once for each replica. Polecats and their pods are watched by
//! [`views`], which follow the shards.

mod census;
mod labels;
mod leavings;
mod quotas;
pub mod storage;
pub mod views;
mod watches;

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use tokio::task::JoinSet;

use crate::{
    api::{fleet::ClientPod, v1beta1},
    cluster::{
        Caches, Class, Cluster, Managed, Told,
        cache::Key,
        meters,
        observe::stored::{Brief, Kept},
    },
    config::Faults,
    domain::{plan::Next, polecat, rig},
    tasks::{
        queue::{Queue, Turn},
        supervise,
    },
};
use views::{Views, waker};
use watches::Watcher;

/// A start that takes longer than this is said.
const SLOW_START: Duration = Duration::from_secs(10);
/// First pause after a failed pass, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// First pause of what is to be tried again although nothing failed, such as a pod that was refused; doubled likewise.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest of those.
const LAST_RETRY: Duration = Duration::from_secs(120);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// What is looked after.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Empty: all namespaces.
    pub namespaces: Vec<String>,
    /// Passes at a time, for each kind.
    pub concurrency: usize,
    /// What becomes of objects in an older version.
    pub upkeep: storage::Upkeep,
    /// Only ever asked for by a test.
    pub faults: Faults,
}

/// Controllers at work.
pub struct Running {
    queues: Vec<Arc<Queue>>,
    watches: JoinSet<()>,
    workers: JoinSet<()>,
    pauses: Pauses,
    faults: Faults,
    views: Views,
}

/// Starts watches, caches, queues and workers of one scope. Of Polecats and pods nothing is watched before its [`Views`] are
/// told what.
pub fn start(cluster: &Cluster, scope: &Scope) -> Running {
    let workers = scope.concurrency.max(1);
    let (polecats, rigs) = (Arc::new(Queue::for_workers(workers)), Arc::new(Queue::default()));
    let mut queues = vec![polecats.clone(), rigs.clone()];
    let mut queue = || {
        let queue = Arc::new(Queue::default());
        queues.push(queue.clone());
        queue
    };
    let watcher =
        Watcher { polecats: polecats.clone(), labels: queue(), faults: scope.faults.clone() };
    let labels = watcher.labels.clone();
    let (kept, definitions) = ([queue(), queue(), queue(), queue(), queue()], queue());
    let [convoys, witnesses, refineries, bead_stores, client_pods] = &kept;
    let wakers = vec![
        waker::<polecat::Brief>(polecats.clone()),
        waker::<rig::Brief>(rigs.clone()),
        waker::<Brief<v1beta1::Convoy>>(convoys.clone()),
        waker::<Brief<v1beta1::Witness>>(witnesses.clone()),
        waker::<Brief<v1beta1::Refinery>>(refineries.clone()),
        waker::<Brief<v1beta1::BeadStore>>(bead_stores.clone()),
        waker::<Brief<ClientPod>>(client_pods.clone()),
        storage::waker(definitions.clone()),
    ];
    let mut running = Running {
        views: Views::new(cluster, scope, watcher, wakers),
        queues,
        watches: JoinSet::new(),
        workers: JoinSet::new(),
        pauses: Pauses::default(),
        faults: scope.faults.clone(),
    };
    running.watches.spawn(leavings::give_back(
        cluster.caches.left.subscribe(),
        leavings::REST,
        leavings::trim,
    ));
    census::keep(cluster, [("polecat", &polecats), ("rig", &rigs)]);
    let selections = running.watch_all(cluster, scope, &rigs, &polecats);
    running.work_on_polecats(cluster, scope, &polecats, selections.len());
    running.correct(cluster, labels);
    let ready = |it: Arc<Caches>| async move { it.rigs.ready(1).await };
    running.work::<rig::Brief, _>(cluster, rigs, Faults::default(), ready, |_| true);
    let [convoys, witnesses, refineries, bead_stores, client_pods] = kept;
    running.store::<v1beta1::Convoy>(cluster, &selections, convoys);
    running.store::<v1beta1::Witness>(cluster, &selections, witnesses);
    running.store::<v1beta1::Refinery>(cluster, &selections, refineries);
    running.store::<v1beta1::BeadStore>(cluster, &selections, bead_stores);
    running.store::<ClientPod>(cluster, &selections, client_pods);
    running.keep_storage(cluster, scope.upkeep, definitions);
    running
}

impl Running {
    /// Ends intake, waits for the passes under way until it is `late`, ends the watches.
    pub async fn stop(mut self, late: impl Future<Output = ()>) {
        self.queues.iter().for_each(|it| it.close());
        let drained = async { while self.workers.join_next().await.is_some() {} };
        tokio::select! {
            biased;
            () = drained => {}
            () = late => tracing::warn!("Passes were still under way and were cut off"),
        }
        self.workers.shutdown().await;
        self.watches.shutdown().await;
        self.views.stop().await;
    }

    /// What is watched of Polecats and pods.
    pub fn views(&self) -> Views {
        self.views.clone()
    }

    fn work_on_polecats(
        &mut self,
        cluster: &Cluster,
        scope: &Scope,
        queue: &Arc<Queue>,
        count: usize,
    ) {
        // Before these are known, nobody knows what is paused.
        let ready = move |it: Arc<Caches>| async move {
            it.namespaces.ready(count).await;
            it.rigs.ready(1).await;
        };
        for _ in 0..scope.concurrency.max(1) {
            let (faults, views) = (scope.faults.clone(), self.views.clone());
            let shown = move |key: &Key| views.show(&key.namespace);
            self.work::<polecat::Brief, _>(cluster, queue.clone(), faults, ready, shown);
        }
    }

    /// Says what no pass can begin without, as long as it is missing: a right that was not granted, a CRD that is not there.
    fn watch_the_start(&mut self, cluster: &Cluster, count: usize) {
        let caches = cluster.caches.clone();
        self.watches.spawn(async move {
            loop {
                tokio::time::sleep(SLOW_START).await;
                let all = [
                    ("polecats", caches.polecats.is_ready(1)),
                    ("pods", caches.pods.is_ready(1)),
                    ("namespaces", caches.namespaces.is_ready(count)),
                    ("rigs", caches.rigs.is_ready(1)),
                ];
                let missing: Vec<_> =
                    all.iter().filter(|(_, ready)| !ready).map(|(name, _)| *name).collect();
                if missing.is_empty() {
                    return;
                }
                tracing::warn!(
                    ?missing,
                    "Nothing begins before these could be listed; are the CRDs and the ClusterRole of this release installed?"
                );
            }
        });
    }

    /// Everything for one kind whose controller is not in this release.
    fn store<K: Kept>(
        &mut self,
        cluster: &Cluster,
        selections: &[Option<String>],
        queue: Arc<Queue>,
    ) {
        for namespace in selections.iter().cloned() {
            self.watch_stored::<K>(cluster, namespace, queue.clone());
        }
        let count = selections.len();
        let ready = move |it: Arc<Caches>| async move { K::cache(&it.stored).ready(count).await };
        self.work::<Brief<K>, _>(cluster, queue, Faults::default(), ready, |_| true);
    }

    /// One worker: begins once the caches are complete, pauses while there is no leave to write. What is not `shown`, or not
    /// ours, comes back when it is.
    fn work<K: Managed, R: Future<Output = ()> + Send + 'static>(
        &mut self,
        cluster: &Cluster,
        queue: Arc<Queue>,
        faults: Faults,
        ready: impl Fn(Arc<Caches>) -> R + Send + Sync + 'static,
        shown: impl Fn(&Key) -> bool + Send + Sync + 'static,
    ) {
        let task = meters::Task { task: "worker", controller: K::CONTROLLER };
        let (meters, closed) = (cluster.meters.clone(), queue.clone());
        meters.controller_begins(K::CONTROLLER, &crate::cluster::Error::KINDS);
        let over = move || {
            let closed = closed.clone();
            async move { closed.until_closed().await }
        };
        let parts = (cluster.clone(), queue, self.pauses.clone(), faults, self.faults.stumbles());
        let parts = Arc::new((parts, ready, shown));
        let begin = move || {
            let parts = parts.clone();
            async move {
                let ((cluster, queue, pauses, faults, stumbles), ready, shown) = &*parts;
                tokio::select! {
                    () = ready(cluster.caches.clone()) => {}
                    () = queue.until_closed() => return,
                }
                while let Some(turn) = queue.next().await {
                    let under_way = UnderWay { queue, key: &turn.key.clone() };
                    tokio::select! {
                        () = cluster.ownership.allowed() => {}
                        () = queue.until_closed() => return,
                    }
                    stumbles.stumble();
                    let entered = shown(&turn.key).then(|| cluster.ownership.enter(&turn.key));
                    if let Some(entered) = entered.flatten() {
                        let failed = pauses.failed(&turn.key);
                        let cluster = cluster.under(entered.guard()).after(turn.waited, failed);
                        pass::<K>(&cluster, queue, pauses, faults, turn).await;
                    } else {
                        // What it has claimed here counts for nothing while somebody else acts on it.
                        let others = K::passed(cluster, &turn.key, false);
                        queue.done(&turn.key);
                        wake(queue, others);
                    }
                    under_way.done();
                }
            }
        };
        self.workers.spawn(supervise::keep(task, meters, over, begin));
    }
}

/// An object whose pass is under way. Should the worker not live to end it, the object is looked at again: nobody else
/// would be given it.
struct UnderWay<'a> {
    queue: &'a Queue,
    key: &'a Key,
}

impl UnderWay<'_> {
    /// The pass has said itself that it has ended.
    fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.queue.done(self.key);
        self.queue.add_after(self.key.clone(), FIRST_PAUSE);
    }
}

/// One pass over one object. A panic in it is that pass's failure.
async fn pass<K: Managed>(
    cluster: &Cluster,
    queue: &Queue,
    pauses: &Pauses,
    faults: &Faults,
    turn: Turn,
) {
    let Turn { key, waited, behind_others, alone } = turn;
    let controller = meters::Controller { controller: K::CONTROLLER };
    cluster.meters.queue_wait.get_or_create(&controller).observe(waited.as_secs_f64());
    cluster.meters.behind_others.get_or_create(&controller).observe(behind_others.as_secs_f64());
    if alone {
        cluster.meters.waited_alone.get_or_create(&controller).observe(waited.as_secs_f64());
    }
    let depth = i64::try_from(queue.len()).unwrap_or(i64::MAX);
    cluster.meters.queue_depth.get_or_create(&controller).set(depth);
    let (begun, mut told) = (Instant::now(), Told::default());
    let looked = async {
        faults.strike(&key.name);
        cluster.reconcile::<K>(&key, &mut told).await
    };
    let answer = AssertUnwindSafe(looked).catch_unwind().await;
    cluster.meters.pass_took(K::CONTROLLER, begun.elapsed(), told.trace);
    let open = !matches!(answer, Ok(Ok(_)));
    let (result, next) = match answer {
        Ok(Ok(Next::Retry)) => ("requeue", Next::After(pauses.retry(&key))),
        Ok(Ok(next)) => {
            pauses.forget(&key);
            (if next == Next::OnChange { "success" } else { "requeue" }, next)
        }
        Ok(Err(error)) => {
            let fault = meters::Fault { controller: K::CONTROLLER, error_type: error.kind() };
            cluster.meters.faults.get_or_create(&fault).inc();
            let pause = match error.class() {
                Class::Conflict | Class::AlreadyExists => pauses.next(&key) / 4,
                Class::Fenced => FIRST_PAUSE,
                _ => pauses.next(&key),
            };
            told.span.in_scope(|| log(&key, &error, pause));
            ("error", Next::After(pause))
        }
        Err(_) => {
            cluster.meters.panics.get_or_create(&controller).inc();
            cluster.tell_of_panic::<K>(&key, &told);
            let (namespace, name) = (&*key.namespace, &*key.name);
            told.span.in_scope(|| {
                tracing::error!(controller = K::CONTROLLER, namespace, name, "A pass panicked");
            });
            ("error", Next::After(pauses.next(&key)))
        }
    };
    cluster.meters.passes.get_or_create(&meters::Pass { controller: K::CONTROLLER, result }).inc();
    // Before the next pass over it can begin: what that one claims is not this one's to give back.
    let others = K::passed(cluster, &key, open);
    queue.done(&key);
    wake(queue, others);
    if let Next::After(delay) = next {
        queue.add_after(key, delay);
    }
}

/// Queues those that may begin, in their order.
fn wake(queue: &Queue, keys: Vec<Key>) {
    for key in keys {
        queue.add_urgent(key);
    }
}

fn log(key: &Key, error: &crate::cluster::Error, pause: Duration) {
    let source = std::error::Error::source(error).map(ToString::to_string);
    let (namespace, name, seconds) = (&*key.namespace, &*key.name, pause.as_secs_f64());
    if matches!(error.class(), Class::Conflict | Class::Fenced | Class::AlreadyExists) {
        tracing::debug!(namespace, name, %error, source, seconds, "Pass to be repeated");
    } else {
        tracing::warn!(namespace, name, %error, source, seconds, "Pass failed");
    }
}

/// How often an object has failed in a row, and the pause that follows from it.
#[derive(Clone, Debug, Default)]
struct Pauses(Arc<Mutex<HashMap<Key, u32>>>);

impl Pauses {
    fn next(&self, key: &Key) -> Duration {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = failed.entry(key.clone()).or_default();
        *times += 1;
        FIRST_PAUSE.saturating_mul(1 << (*times - 1).min(16)).min(LAST_PAUSE)
    }

    fn retry(&self, key: &Key) -> Duration {
        let pause = self.next(key);
        let times = u32::try_from(pause.as_millis() / FIRST_PAUSE.as_millis()).unwrap_or(u32::MAX);
        FIRST_RETRY.saturating_mul(times).min(LAST_RETRY)
    }

    /// How often it has failed in a row.
    fn failed(&self, key: &Key) -> u32 {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get(key).copied().unwrap_or_default()
    }

    fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Response;

    use super::*;
    use crate::{
        api::v1beta1::{DesiredState, Phase, PolecatStatus},
        cluster::{connect::Connection, meters::Meters, ownership::Ownership, spans::Spans},
        domain::trace::{Sampler, Value, attributes as name},
    };

    /// Polecat max at work, before an API server that panics when it is asked for the pod, and what is told of it.
    #[tokio::test]
    async fn a_pass_that_panicked_is_a_span_that_says_so() {
        let (meters, faults) = (Meters::default(), Faults::default());
        let struck = Faults { panic_on: Some("max".into()), ..faults.clone() };
        let answer = move |_| {
            let struck = struck.clone();
            async move {
                struck.strike("max");
                Response::new(Body::empty())
            }
        };
        let connection = Connection::played(answer, &meters);
        let of = ("me", "nonce");
        let (spans, mut told) = Spans::new(9, Sampler::default(), of, meters.clone());
        let ownership = Ownership::new("me");
        let cluster = Cluster::new(&connection, ownership, Arc::default(), meters).telling(spans);
        let pod_name = Some("polecat-max".into());
        let (phase, attempt) = (Phase::Working, Some(1));
        let (namespace, uid) = ("town".into(), "u".into());
        let (desired, runnable) = (DesiredState::Working, true);
        let status = PolecatStatus { phase, pod_name, attempt, ..PolecatStatus::default() };
        let max = polecat::Brief {
            namespace,
            name: "max".into(),
            uid,
            desired,
            runnable,
            status,
            ..Default::default()
        };
        cluster.caches.polecats.put(max);
        let (queue, pauses) = (Queue::default(), Pauses::default());
        let key = Key::new("town", "max");
        let mut passed = async || {
            queue.add(key.clone());
            let turn = queue.next().await.unwrap();
            let cluster = cluster.clone().after(turn.waited, pauses.failed(&key));
            Box::pin(pass::<polecat::Brief>(&cluster, &queue, &pauses, &faults, turn)).await;
            let all = std::iter::from_fn(|| told.try_recv().ok());
            format!("{:?}", all.collect::<Vec<_>>())
        };
        let first = passed().await;
        for part in ["reconcile", "error.type", "\"panic\"", "the pass panicked"] {
            assert!(first.contains(part), "{part} is told: {first}");
        }
        assert!(!first.contains(name::RETRIES), "it is the first try: {first}");
        let second = passed().await;
        assert!(second.contains(&format!("{:?}", (name::RETRIES, Value::from(1)))), "{second}");
        let controller = meters::Controller { controller: "polecat" };
        assert_eq!(cluster.meters.panics.get_or_create(&controller).get(), 2);
    }

    #[test]
    fn pauses_grow_and_are_forgotten() {
        let (pauses, key) = (Pauses::default(), Key::new("town", "max"));
        let first: Vec<_> = (0..3).map(|_| pauses.next(&key).as_millis()).collect();
        assert_eq!(first, [200, 400, 800]);
        for _ in 0..40 {
            pauses.next(&key);
        }
        assert_eq!(pauses.next(&key), LAST_PAUSE);
        pauses.forget(&key);
        assert_eq!(pauses.next(&key), FIRST_PAUSE);
        pauses.forget(&key);
        let retries: Vec<_> = (0..9).map(|_| pauses.retry(&key).as_secs()).collect();
        assert_eq!(retries, [1, 2, 4, 8, 16, 32, 64, 120, 120], "they grow, and are bounded");
    }
}
