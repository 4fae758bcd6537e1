//! What each kind owns and watches: `start(scope) -> Running`, once for everything today, once per shard later.

mod quotas;
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
        Caches, Class, Cluster, Managed,
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
}

/// Starts watches, caches, queues and workers of one scope.
pub fn start(cluster: &Cluster, scope: &Scope) -> Running {
    let workers = scope.concurrency.max(1);
    let (polecats, rigs) = (Arc::new(Queue::for_workers(workers)), Arc::new(Queue::default()));
    let mut running = Running {
        queues: vec![polecats.clone(), rigs.clone()],
        watches: JoinSet::new(),
        workers: JoinSet::new(),
        pauses: Pauses::default(),
        faults: scope.faults.clone(),
    };
    let selections: Vec<Option<String>> = match &scope.namespaces[..] {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    for namespace in &selections {
        running.watch_polecats(cluster, namespace.clone(), polecats.clone());
        running.watch_pods(cluster, namespace.clone(), polecats.clone());
        running.watch_quotas(cluster, namespace.clone(), polecats.clone());
    }
    running.watch_rigs(cluster, rigs.clone(), polecats.clone());
    for name in &selections {
        running.watch_namespaces(cluster, name.clone(), polecats.clone());
    }
    let count = selections.len();
    running.watch_the_start(cluster, count);
    for _ in 0..scope.concurrency.max(1) {
        let faults = scope.faults.clone();
        running.work::<polecat::Brief, _>(
            cluster,
            polecats.clone(),
            faults,
            move |it| async move {
                it.polecats.ready(count).await;
                it.pods.ready(count).await;
                // Before these are known, nobody knows what is paused.
                it.namespaces.ready(count).await;
                it.rigs.ready(1).await;
            },
        );
    }
    running.work::<rig::Brief, _>(cluster, rigs, Faults::default(), |it| async move {
        it.rigs.ready(1).await;
    });
    running.store::<v1beta1::Convoy>(cluster, &selections);
    running.store::<v1beta1::Witness>(cluster, &selections);
    running.store::<v1beta1::Refinery>(cluster, &selections);
    running.store::<v1beta1::BeadStore>(cluster, &selections);
    running.store::<ClientPod>(cluster, &selections);
    running
}

impl Running {
    /// Ends intake, waits for the passes under way (at most `limit`), ends the watches.
    pub async fn stop(mut self, limit: Duration) {
        self.queues.iter().for_each(|it| it.close());
        let drained = tokio::time::timeout(limit, async {
            while self.workers.join_next().await.is_some() {}
        })
        .await;
        if drained.is_err() {
            tracing::warn!(
                seconds = limit.as_secs(),
                "Passes were still under way and were cut off"
            );
        }
        self.workers.shutdown().await;
        self.watches.shutdown().await;
    }

    /// Says what no pass can begin without, as long as it is missing: a right that was not granted, a CRD that is not there.
    fn watch_the_start(&mut self, cluster: &Cluster, count: usize) {
        let caches = cluster.caches.clone();
        self.watches.spawn(async move {
            loop {
                tokio::time::sleep(SLOW_START).await;
                let all = [
                    ("polecats", caches.polecats.is_ready(count)),
                    ("pods", caches.pods.is_ready(count)),
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
    fn store<K: Kept>(&mut self, cluster: &Cluster, selections: &[Option<String>]) {
        let queue = Arc::new(Queue::default());
        self.queues.push(queue.clone());
        for namespace in selections.iter().cloned() {
            self.watch_stored::<K>(cluster, namespace, queue.clone());
        }
        let count = selections.len();
        self.work::<Brief<K>, _>(cluster, queue, Faults::default(), move |it| async move {
            K::cache(&it.stored).ready(count).await;
        });
    }

    /// One worker: begins once the caches are complete, pauses while there is no leave to write.
    fn work<K: Managed, R: Future<Output = ()> + Send + 'static>(
        &mut self,
        cluster: &Cluster,
        queue: Arc<Queue>,
        faults: Faults,
        ready: impl Fn(Arc<Caches>) -> R + Send + Sync + 'static,
    ) {
        let task = meters::Task { task: "worker", controller: K::CONTROLLER };
        let (meters, closed) = (cluster.meters.clone(), queue.clone());
        let over = move || {
            let closed = closed.clone();
            async move { closed.until_closed().await }
        };
        let parts = (cluster.clone(), queue, self.pauses.clone(), faults, self.faults.stumbles());
        let parts = Arc::new((parts, ready));
        let begin = move || {
            let parts = parts.clone();
            async move {
                let ((cluster, queue, pauses, faults, stumbles), ready) = &*parts;
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
                    match cluster.ownership.enter(&turn.key) {
                        Some(entered) => {
                            let cluster = cluster.under(entered.guard());
                            pass::<K>(&cluster, queue, pauses, faults, turn).await;
                        }
                        // It comes back when its shard is opened.
                        None => queue.done(&turn.key),
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
    let Turn { key, waited, behind_others } = turn;
    let controller = meters::Controller { controller: K::CONTROLLER };
    cluster.meters.queue_wait.get_or_create(&controller).observe(waited.as_secs_f64());
    cluster.meters.behind_others.get_or_create(&controller).observe(behind_others.as_secs_f64());
    cluster
        .meters
        .queue_depth
        .get_or_create(&controller)
        .set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
    let begun = Instant::now();
    let looked = async {
        faults.strike(&key.name);
        cluster.reconcile::<K>(&key).await
    };
    let answer = AssertUnwindSafe(looked).catch_unwind().await;
    cluster.meters.duration.get_or_create(&controller).observe(begun.elapsed().as_secs_f64());
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
            log(&key, &error, pause);
            ("error", Next::After(pause))
        }
        Err(_) => {
            cluster.meters.panics.get_or_create(&controller).inc();
            let (namespace, name) = (&*key.namespace, &*key.name);
            tracing::error!(controller = K::CONTROLLER, namespace, name, "A pass panicked");
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

    fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
