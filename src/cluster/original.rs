//! Waits until the Go original has stopped, and keeps it from beginning again, as `domain::original` says. Watches its
//! Lease; reads it where a watch does not prove enough, and writes it only by compare-and-swap.

use std::{pin::pin, time::Duration};

use futures::{Stream, StreamExt as _};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api,
    core::ObjectMeta,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use tokio::sync::watch;

use crate::{
    cluster::{
        clock::Moment, connect::Connection, leases, meters::Meters, now, ownership::Ownership,
        watch_faults::Fares, writing::Writer,
    },
    domain::original::{HOLDER, Memory, Record, Step, TIMES, Whose},
};

/// Longest time that one request may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Pause before a request is repeated that brought nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is said that we wait.
const REMINDER: Duration = Duration::from_secs(60);

/// The original's Lease, and what this process knows of it.
pub struct Original {
    api: Api<Lease>,
    writer: Writer,
    namespace: String,
    name: String,
    ownership: Ownership,
    meters: Meters,
    memory: Memory,
    /// The Lease as `memory` has it.
    lease: Option<Lease>,
    /// What was complained of last, so that it is not said again and again.
    complaint: Option<String>,
    reminded: Option<Moment>,
    stopped: watch::Sender<bool>,
}

impl Original {
    /// From here on `ownership` allows nothing before the original has stopped.
    pub fn new(
        connection: &Connection,
        (namespace, name): (&str, &str),
        ownership: Ownership,
        meters: Meters,
    ) -> Self {
        ownership.besides(None);
        Self {
            api: Api::namespaced(connection.leases.clone(), namespace),
            writer: connection.writer("the original's Lease"),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ownership,
            meters,
            memory: Memory::default(),
            lease: None,
            complaint: None,
            reminded: None,
            stopped: watch::Sender::new(false),
        }
    }

    /// Whether it has stopped, and is kept from beginning. That stays while the API server can't be reached (the guard
    /// alone decides about writes), and goes once somebody else was seen to hold the Lease.
    pub fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.subscribe()
    }

    /// Goes on until `stop`. The Lease is not given back, since others of ours may rely on it; it lapses.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut news = pin!(self.news());
        while !*stop.borrow() {
            let wait = self.turn().await;
            self.publish();
            let heard = tokio::select! {
                _ = stop.wait_for(|it| *it) => None,
                Some(lease) = news.next() => Some(lease),
                () = tokio::time::sleep(wait) => None,
            };
            if let Some(lease) = heard {
                self.hear(lease).await;
                self.publish();
            }
        }
    }

    /// The Lease each time that it changes. A watch that fails is begun anew; until then time alone wakes us.
    fn news(&self) -> impl Stream<Item = Option<Lease>> + use<> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let events = watcher(self.api.clone(), config).default_backoff();
        let mut fares = Fares::of(&self.meters.watch_faults, "leases");
        events.filter_map(move |event| {
            if event.is_ok() {
                fares.works();
            }
            std::future::ready(match event {
                Ok(watcher::Event::InitApply(it) | watcher::Event::Apply(it)) => Some(Some(it)),
                Ok(watcher::Event::Delete(_)) => Some(None),
                Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
                Err(error) => {
                    fares.failed(&error);
                    None
                }
            })
        })
    }

    /// One step; returns how long to wait for the next.
    async fn turn(&mut self) -> Duration {
        match self.memory.step(clock()) {
            Step::Wait(wait) => wait,
            Step::Look => self.look().await,
            Step::Claim { over } => self.claim(over).await,
        }
    }

    /// A watch may be late. So it never gives leave to write, and what we hold is only lost by a reading that says so.
    async fn hear(&mut self, lease: Option<Lease>) {
        let heard = lease.as_ref().map(record);
        let ours =
            |it: Option<&Record>| it.is_some_and(|record| matches!(record.whose(), Whose::Ours));
        if heard.as_ref() == self.memory.record() {
            return;
        }
        if ours(heard.as_ref()) || ours(self.memory.record()) {
            self.look().await;
        } else {
            self.memory.hear(heard, clock());
            self.lease = lease;
        }
    }

    async fn look(&mut self) -> Duration {
        let sent = clock();
        match tokio::time::timeout(LIMIT, self.api.get_opt(&self.name)).await {
            Ok(Ok(lease)) => {
                self.complaint = None;
                self.memory.note(lease.as_ref().map(record), sent, clock());
                self.lease = lease;
                Duration::ZERO
            }
            Ok(Err(error)) => {
                self.complain(&error, "read");
                PAUSE
            }
            Err(_) => PAUSE,
        }
    }

    async fn claim(&mut self, over: Option<Record>) -> Duration {
        let lease = self.claimed();
        let sent = clock();
        let put = leases::put((&self.api, &self.writer), &self.name, &lease, over.is_some());
        let answer = tokio::time::timeout(LIMIT, put).await;
        match answer {
            Ok(Ok(lease)) => {
                self.complaint = None;
                self.memory.wrote(record(&lease), sent, clock());
                self.lease = Some(lease);
                self.say_taken(over.as_ref());
                Duration::ZERO
            }
            Ok(Err(error)) if leases::lacks_namespace(&error, over.is_some()) => {
                self.say_homeless();
                PAUSE
            }
            // It changed meanwhile: whoever acts by it goes on.
            Ok(Err(kube::Error::Api(it))) if matches!(it.code, 404 | 409) => self.look().await,
            unknown => {
                if let Ok(Err(error)) = unknown {
                    self.complain(&error, "written");
                }
                self.look().await.max(PAUSE)
            }
        }
    }

    /// The Lease as it is, held by us from now on.
    fn claimed(&self) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            ..Lease::default()
        });
        let spec = lease.spec.get_or_insert_default();
        let now = MicroTime(now());
        if spec.holder_identity.as_deref() != Some(HOLDER) {
            spec.holder_identity = Some(HOLDER.to_owned());
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions =
                Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
        }
        spec.lease_duration_seconds = i32::try_from(TIMES.wait.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }

    fn say_taken(&mut self, over: Option<&Record>) {
        let (namespace, lease) = (&*self.namespace, &*self.name);
        match over.map(|it| (it.whose(), it.duration().as_secs())) {
            Some((Whose::Theirs(holder), seconds)) => {
                self.reminded = None;
                tracing::info!(
                    namespace,
                    lease,
                    holder,
                    "The Go original has stopped: its Lease was unchanged for {seconds} s; it is held from now on, so that it \
                     waits if it is started again"
                );
            }
            Some((Whose::Ours, _)) => {}
            None | Some((Whose::Nobodys, _)) => {
                self.reminded = None;
                tracing::info!(
                    namespace,
                    lease,
                    "No Go original acts; its Lease is held from now on, so that it waits if it is started"
                );
            }
        }
    }

    /// Whether it is time to say again why we wait.
    fn is_due(&mut self) -> bool {
        let now = Moment::now();
        let due = self.reminded.is_none_or(|last| (last + REMINDER).left(now).is_zero());
        if due {
            self.reminded = Some(now);
        }
        due
    }

    /// Says that there is nowhere to write to, and what to do; again every minute.
    fn say_homeless(&mut self) {
        if self.is_due() {
            let namespace = &*self.namespace;
            tracing::warn!(
                namespace,
                "The operator's own namespace is not there: nothing is reconciled before it is. Make it: kubectl create namespace \
                 {namespace}; or name another by GASTOWN_NAMESPACE"
            );
        }
    }

    /// Says that we wait, and what to do; again every minute.
    fn remind(&mut self) {
        if self.memory.theirs().is_none() || !self.is_due() {
            return;
        }
        let Some(holder) = self.memory.theirs() else { return };
        let (namespace, lease) = (&*self.namespace, &*self.name);
        let seconds = self.memory.record().map_or(0, |it| it.duration().as_secs());
        tracing::warn!(
            namespace,
            lease,
            holder,
            "The Go original acts: webhooks are served, with certificates where they are our own; nothing is reconciled, and nothing \
             else written, until its Lease has been unchanged for {seconds} s. To go on, stop it: kubectl -n {namespace} scale deployment NAME --replicas=0 \
             (docs/upgrade.md)"
        );
    }

    fn complain(&mut self, error: &kube::Error, what: &str) {
        let complaint = error.to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            let error = error as &dyn std::error::Error;
            let (namespace, lease) = (&*self.namespace, &*self.name);
            tracing::warn!(
                error,
                namespace,
                lease,
                "The Go original's Lease can't be {what}; nothing is reconciled before it can be"
            );
        }
        self.complaint = Some(complaint);
    }

    fn publish(&mut self) {
        let until = self.memory.valid_until();
        self.ownership.besides(until.map(Moment::after_start));
        let acts = self.memory.theirs().is_some();
        self.meters.original_acts.set(i64::from(acts));
        self.remind();
        self.stopped.send_if_modified(|stopped| {
            let next = !acts && (*stopped || until.is_some_and(|it| it > clock()));
            std::mem::replace(stopped, next) != next
        });
    }
}

/// The time that the protocol counts in.
fn clock() -> Duration {
    Moment::now().since_start()
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        uid: lease.metadata.uid.clone().unwrap_or_default(),
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity,
        duration_seconds: spec.lease_duration_seconds,
    }
}
