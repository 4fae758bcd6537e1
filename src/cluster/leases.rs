//! Claims, renews and gives back a Lease, as `domain::lease` says: every write is a PUT on exactly the version that was
//! judged, and validity counts from the moment a write was sent.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, api::PostParams, core::ObjectMeta};
use tokio::sync::watch;

use crate::{
    cluster::{guard::Guard, meters::Meters, now},
    domain::lease::{Identity, Memory, Record, Step, Times, step},
};

/// Longest time that one Lease request may take.
const LIMIT: Duration = Duration::from_millis(1500);

/// One Lease and this replica's part in it.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    me: Identity,
    times: Times,
    guard: Guard,
    meters: Meters,
    began: Instant,
    memory: Memory,
    held: watch::Sender<Option<i32>>,
}

impl Elector {
    pub fn new(
        client: kube::Client,
        (namespace, name): (&str, &str),
        me: Identity,
        times: Times,
        guard: Guard,
        meters: Meters,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me,
            times,
            guard,
            meters,
            began: Instant::now(),
            memory: Memory::default(),
            held: watch::Sender::new(None),
        }
    }

    /// The epoch under which this replica holds the Lease. It stays while the API server can't be reached (the guard
    /// alone decides about writes), and goes once somebody else was seen to hold it.
    pub fn held(&self) -> watch::Receiver<Option<i32>> {
        self.held.subscribe()
    }

    /// Takes part until `stop`; then the caller stops its work and calls [`Self::release`].
    pub async fn run(&mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let wait = self.turn().await;
            let ended = stop.wait_for(|it| *it);
            let _ = tokio::time::timeout(wait, ended).await;
        }
    }

    /// One step; returns how long to wait for the next.
    async fn turn(&mut self) -> Duration {
        // Also a holder that was blind for a while has to look before it can renew.
        if self.memory.held.is_none() || self.memory.seen.is_none() {
            self.read().await;
        }
        let least = Duration::from_millis(if self.memory.seen.is_none() { 200 } else { 20 });
        let wait = match step(&self.memory, &self.me, self.began.elapsed(), &self.times) {
            Step::Wait(wait) => wait.max(least),
            Step::Claim { over, epoch } => self.write(over, self.me.holder(), epoch).await,
            Step::Renew { over } => {
                let epoch = over.transitions;
                self.write(Some(over), self.me.holder(), epoch).await
            }
        };
        self.publish();
        wait
    }

    async fn read(&mut self) {
        let had = self.memory.held.is_some();
        self.look().await;
        if had && self.memory.held.is_none() {
            self.guard.revoke();
        }
    }

    async fn look(&mut self) {
        match tokio::time::timeout(LIMIT, self.api.get_opt(&self.name)).await {
            Ok(Ok(lease)) => self.memory.note(lease.as_ref().map(record), self.began.elapsed()),
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    lease = self.name,
                    "Lease can't be read"
                );
                self.memory.blind();
            }
            Err(_) => self.memory.blind(),
        }
    }

    async fn write(&mut self, over: Option<Record>, holder: String, epoch: i32) -> Duration {
        let lease = self.lease(over.as_ref(), holder, epoch);
        let sent = self.began.elapsed();
        let params = PostParams::default();
        let answer = tokio::time::timeout(LIMIT, async {
            match &over {
                Some(_) => self.api.replace(&self.name, &params, &lease).await,
                None => self.api.create(&params, &lease).await,
            }
        })
        .await;
        match answer {
            Ok(Ok(lease)) => {
                self.memory.wrote(record(&lease), sent, self.began.elapsed());
                self.guard.allow(self.began + sent + self.times.valid, epoch);
                Duration::from_millis(20)
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                // Somebody else wrote: stop at once, then look.
                self.memory.held = None;
                self.guard.revoke();
                Duration::ZERO
            }
            // The write may have been accepted: only a reading tells.
            unknown => {
                if let Ok(Err(error)) = unknown {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        lease = self.name,
                        "Lease not written"
                    );
                }
                self.read().await;
                Duration::from_millis(200)
            }
        }
    }

    fn publish(&self) {
        let other = self.memory.seen.as_ref().is_some_and(|_| self.memory.held.is_none());
        let epoch = self.memory.held.as_ref().map(|it| it.epoch);
        self.held.send_if_modified(|held| {
            let next = if other { None } else { epoch.or(*held) };
            let changed = *held != next;
            if changed {
                tracing::info!(
                    lease = self.name,
                    epoch = next,
                    "Lease {}",
                    if next.is_some() { "held" } else { "not held" }
                );
            }
            *held = next;
            changed
        });
        self.meters.leading.set(i64::from(self.guard.check().is_ok()));
        if let Some(epoch) = epoch {
            self.meters.epoch.set(epoch.into());
        }
    }

    /// Gives the Lease back, once all work under it has stopped.
    pub async fn release(mut self) {
        self.guard.revoke();
        let Some((record, _)) = self.memory.seen.take().filter(|_| self.memory.held.is_some())
        else {
            return;
        };
        let epoch = record.transitions;
        let lease = self.lease(Some(&record), String::new(), epoch);
        let params = PostParams::default();
        let answer =
            tokio::time::timeout(LIMIT, self.api.replace(&self.name, &params, &lease)).await;
        if matches!(answer, Ok(Ok(_))) {
            tracing::info!(lease = self.name, epoch, "Lease given back");
        } else {
            tracing::warn!(
                lease = self.name,
                "Lease not given back; others wait until it has lapsed"
            );
        }
    }

    fn lease(&self, over: Option<&Record>, holder: String, epoch: i32) -> Lease {
        let labels =
            BTreeMap::from([("app.kubernetes.io/name".to_owned(), "gastown-operator".to_owned())]);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                uid: over.map(|it| it.uid.clone()),
                resource_version: over.map(|it| it.resource_version.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder),
                lease_duration_seconds: i32::try_from(self.times.wait.as_secs()).ok(),
                lease_transitions: Some(epoch),
                renew_time: Some(MicroTime(now())),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        uid: lease.metadata.uid.clone().unwrap_or_default(),
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity,
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
