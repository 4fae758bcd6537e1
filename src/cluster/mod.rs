//! Effects: the only holder of `kube::Client`. Looks, lets the domain decide, carries out.
#![expect(clippy::disallowed_types, reason = "this is where the client lives")]

pub mod access;
mod beginning;
mod brakes;
pub mod cache;
mod carry_out;
pub mod certificates;
mod clients;
pub mod clock;
pub mod cluster_tls;
pub mod connect;
pub mod counted;
mod crowd;
pub mod definitions;
pub mod degraded;
mod departed;
mod error;
pub mod examining;
pub mod gathering;
pub mod guard;
pub mod housekeeper;
mod inquiries;
pub mod labels;
pub mod leases;
pub mod live;
pub mod log_level;
pub mod meters;
pub mod observe;
pub mod original;
pub mod ownership;
pub mod pausing;
mod platform;
pub mod policies;
mod quotas;
pub mod reading;
mod report;
mod request;
pub mod shard_reading;
pub mod shards;
pub mod spans;
pub mod storage;
mod strangers;
mod telling;
mod their_clock;
mod unreadable;
pub mod watch_clients;
mod watch_faults;
pub mod watching;
pub mod wire;
mod writing;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::domain::{
    brake,
    failure::Cause,
    plan::{Next, Plan},
    pod::PodSettings,
    pod_brief::PodBrief,
    polecat, quota, rig,
    storage::Definition,
    trace,
};
use cache::{Cache, Key};
pub use carry_out::plural;
use connect::Clients;
use definitions::Definitions;
pub use error::{Class, Error};
use guard::Guard;
use meters::Meters;
use ownership::Ownership;
use spans::Pass;
use telling::UnderWay;
use watch_clients::Watches;
use wire::Compact;

/// The caches of one scope.
#[derive(Debug, Default)]
pub struct Caches {
    /// Objects are watched by the label with their bucket, so that those with another are corrected.
    pub by_label: AtomicBool,
    pub polecats: Cache<polecat::Brief>,
    pub pods: Cache<PodBrief>,
    pub rigs: Cache<rig::Brief>,
    pub strangers: strangers::Strangers,
    pub inquiries: inquiries::Inquiries,
    pub(crate) crowd: crowd::Crowd,
    pub(crate) credentials: brakes::Credentials,
    pub beginning: beginning::Beginning,
    pub departed: departed::Departed,
    pub namespaces: Cache<brake::Namespace>,
    /// A Namespace has changed, and with it perhaps in which shard it wishes to be.
    pub wished: tokio::sync::watch::Sender<()>,
    /// Much memory was let go: that of a list, or of objects that are not watched any more.
    pub left: tokio::sync::watch::Sender<()>,
    pub quotas: Cache<quota::Quota>,
    pub definitions: Cache<Definition>,
    pub stored: observe::stored::StoredCaches,
}

/// The API server as one pass sees it, or as those see it who only read: caches, leave to write, settings.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    /// Turns for requests of passes: one each.
    turns: Arc<Semaphore>,
    watches: Watches,
    lists: watching::Lists,
    definitions: Definitions,
    pub ownership: Ownership,
    guard: Guard,
    pub caches: Arc<Caches>,
    pub settings: Arc<PodSettings>,
    pub meters: Meters,
    slots: Arc<brakes::Book>,
    pub spans: spans::Spans,
    /// How long the object of a pass waited for it.
    waited: Duration,
    /// How many passes over it have failed in a row before.
    failed_before: u32,
}

/// A kind that is reconciled.
pub trait Managed: Compact {
    /// What is seen of the world around one object.
    type Seen: Send + Sync;
    type Status: Serialize + Clone + PartialEq + Send + Sync;
    /// The controller's name in metrics and logs.
    const CONTROLLER: &'static str;

    fn cache(caches: &Caches) -> &Cache<Self>;
    fn status(&self) -> &Self::Status;
    /// Looks: reads only, and nothing that the caches have.
    fn observe(
        self: &mut Arc<Self>,
        cluster: &Cluster,
    ) -> impl Future<Output = Result<Self::Seen, Error>> + Send;
    fn decide(&self, seen: &Self::Seen) -> Plan<Self::Status>;
    /// Tells of a child that the API server refused.
    fn refused(seen: &mut Self::Seen, cause: Cause);
    /// Hears that a pass over the object of this key has ended, `open` where an error left open what was written. Returns
    /// who is to be looked at because of it.
    fn passed(_: &Cluster, _: &Key, _open: bool) -> Vec<Key> {
        Vec::new()
    }
    /// Corrects what its labels say of where it belongs; `None` where there is nothing to correct.
    fn relabelled(&self, _: &Cluster) -> impl Future<Output = Result<Option<Self>, Error>> + Send {
        async { Ok(None) }
    }
    /// Whether somebody waits for it to begin.
    fn urgent(&self) -> bool {
        false
    }
    /// The trace of what it does.
    fn run(&self) -> Option<trace::Run> {
        None
    }
    /// What is to be told of it once it has ended; nothing before, nor where that was told.
    fn ended(&self, _: &Self::Seen, _: &Cluster) -> impl Future<Output = Vec<trace::Span>> + Send {
        async { Vec::new() }
    }
    /// Counts what came to an end with a write of its status, which was this before.
    fn count(_: &Cluster, _before: &Self, _after: &Self::Status) {}
    /// Hears that this status is written over its own.
    fn written_over(&self, _: &Self::Status, _: &Cluster) {}
    /// Names of the pods in the cache that this object owns.
    fn pods(&self, _: &Caches) -> Vec<Arc<PodBrief>> {
        Vec::new()
    }
}

/// Where a pass is told of.
#[derive(Clone, Debug)]
pub struct Told {
    /// Lines of the log about it belong here, also once it has ended.
    pub span: tracing::Span,
    pub trace: Option<trace::TraceId>,
    under_way: Option<UnderWay>,
}

impl Default for Told {
    fn default() -> Self {
        Self { span: tracing::Span::none(), trace: None, under_way: None }
    }
}

impl Cluster {
    /// Reads; writes only [`Self::under`] the guard of a pass.
    pub fn new(
        clients: impl Into<Clients>,
        ownership: Ownership,
        settings: Arc<PodSettings>,
        meters: Meters,
    ) -> Self {
        let Clients { work: client, watches, definitions } = clients.into();
        Self {
            client,
            turns: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            watches,
            lists: watching::Lists::default(),
            definitions,
            ownership,
            guard: Guard::default(),
            caches: Arc::default(),
            settings,
            meters,
            slots: Arc::default(),
            spans: spans::Spans::default(),
            waited: Duration::ZERO,
            failed_before: 0,
        }
    }

    /// The same, with this many requests of passes at a time. Each takes a connection.
    #[must_use]
    pub fn asking_at_most(self, requests: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(requests)), ..self }
    }

    /// The same for one pass.
    #[must_use]
    pub fn under(&self, guard: Guard) -> Self {
        Self { guard, ..self.clone() }
    }

    /// The same, telling what it does.
    #[must_use]
    pub fn telling(self, spans: spans::Spans) -> Self {
        Self { spans, ..self }
    }

    /// The same for a pass whose object waited so long, after so many that failed in a row.
    #[must_use]
    pub fn after(self, waited: Duration, failed_before: u32) -> Self {
        Self { waited, failed_before, ..self }
    }

    /// Looks, decides, acts. Every kind comes through here, so all are logged, counted and retried alike.
    /// `told` is given the place of that in the log, and in a trace where it is recorded.
    pub async fn reconcile<K: Managed>(&self, key: &Key, told: &mut Told) -> Result<Next, Error> {
        let Some(object) = K::cache(&self.caches).get(key) else { return Ok(Next::OnChange) };
        // The ids of a run are digests: they are made only where somebody is told of them.
        let run = self.spans.sampler().and_then(|_| object.run());
        let traced = run.and_then(|run| Some((run, self.spans.begin(&run)?)));
        let span = tracing::info_span!(
            target: live::PASS,
            "reconcile",
            kind = K::CONTROLLER,
            namespace = &*key.namespace,
            name = &*key.name,
            trace_id = tracing::field::Empty,
            span_id = tracing::field::Empty,
        );
        told.span = span.clone();
        let Some((run, pass)) = traced else {
            return self.act(key, object).instrument(span).await;
        };
        told.trace = Some(pass.context.trace);
        span.record("trace_id", tracing::field::display(pass.context.trace));
        span.record("span_id", tracing::field::display(pass.context.span));
        let under_way = UnderWay { run, pass: pass.clone() };
        told.under_way = Some(under_way.clone());
        let outcome = pass.of(self.act(key, object).instrument(span)).await;
        self.tell_of_pass::<K>(key, &under_way, outcome.as_ref().err());
        told.under_way = None;
        outcome
    }

    async fn act<K: Managed>(&self, key: &Key, mut object: Arc<K>) -> Result<Next, Error> {
        if self.caches.by_label.load(Ordering::Relaxed)
            && let Some(it) = object.relabelled(self).await?
        {
            object = Arc::new(it);
        }
        let mut seen = Pass::step("look", object.observe(self)).await?;
        let plan = Pass::step("decide", async { object.decide(&seen) }).await;
        match Pass::step("carry out", self.carry_out(&*object, plan)).await? {
            carry_out::Outcome::Done(next) => {
                self.tell_of_end(key, &*object, &seen).await;
                Ok(next)
            }
            carry_out::Outcome::Refused(cause) => {
                tracing::warn!(
                    reason = cause.reason,
                    why = cause.message,
                    "The API server refused a child"
                );
                let object = K::cache(&self.caches).get(key).unwrap_or(object);
                K::refused(&mut seen, cause);
                let plan = object.decide(&seen);
                match Pass::step("carry out", self.carry_out(&*object, plan)).await? {
                    carry_out::Outcome::Done(next) => Ok(next),
                    carry_out::Outcome::Refused(_) => Ok(Next::Retry),
                }
            }
        }
    }
}

/// The time of day, for status and Events only; no lease is judged by it.
#[expect(clippy::disallowed_methods, reason = "this is where the clock lives")]
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    let ahead = clock::ahead();
    if ahead == 0 {
        now
    } else {
        now.saturating_add(SignedDuration::from_secs(ahead)).unwrap_or(now)
    }
}
