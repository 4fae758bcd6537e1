//! Claims, renews and gives back a Lease, as `domain::lease` says: every write is a PUT on exactly the version that was
//! judged, and validity counts from the moment a write was sent. Each write carries a mark, so that one whose answer was
//! lost is known again: it neither ends the hold nor counts as another one.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, api::PostParams, core::ObjectMeta};
use tokio::sync::watch;

use crate::{
    cluster::{clock::Moment, meters::Meters, now, ownership::Ownership},
    domain::lease::{Held, Identity, Mark, Memory, Open, Record, Step, Times, step},
};

/// Longest time that one Lease request may take.
const LIMIT: Duration = Duration::from_millis(1500);
/// Where a write says which one of its process it is, under which epoch.
const MARK: &str = "gastown.io/lease-write";
/// Pause before a request is repeated that brought nothing.
const PAUSE: Duration = Duration::from_millis(200);

/// One Lease and this replica's part in it.
pub struct Elector {
    api: Api<Lease>,
    name: String,
    me: Identity,
    times: Times,
    ownership: Ownership,
    meters: Meters,
    memory: Memory,
    /// Writes sent so far.
    writes: u64,
    held: watch::Sender<Option<i32>>,
}

impl Elector {
    pub fn new(
        client: kube::Client,
        (namespace, name): (&str, &str),
        me: Identity,
        times: Times,
        ownership: Ownership,
        meters: Meters,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me,
            times,
            ownership,
            meters,
            memory: Memory::default(),
            writes: 0,
            held: watch::Sender::new(None),
        }
    }

    /// The epoch under which this replica holds the Lease. It stays while the API server can't be reached (the ownership
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
        let least = if self.memory.seen.is_none() { PAUSE } else { Duration::from_millis(20) };
        let wait = match step(&self.memory, &self.me, clock(), &self.times) {
            Step::Wait(wait) => wait.max(least),
            Step::Claim { over, epoch } => self.write(over, epoch).await,
            Step::Renew { over } => {
                let epoch = over.transitions;
                self.write(Some(over), epoch).await
            }
        };
        self.publish();
        wait
    }

    /// Reads the Lease, and lets the ownership follow: no leave where somebody else wrote, and the leave of our own write
    /// where that is what is found.
    async fn read(&mut self) {
        let had = self.memory.held.clone();
        match tokio::time::timeout(LIMIT, self.api.get_opt(&self.name)).await {
            Ok(Ok(lease)) => self.memory.note(lease.as_ref().map(record), clock()),
            Ok(Err(error)) => {
                self.complain(&error, "Lease can't be read");
                self.memory.blind();
            }
            Err(_) => self.memory.blind(),
        }
        match &self.memory.held {
            None if had.is_some() => self.ownership.valid_until(None),
            Some(held) if had.as_ref() != Some(held) => {
                tracing::info!(
                    lease = self.name,
                    "The write whose answer was lost had been accepted"
                );
                self.allow(held);
            }
            _ => {}
        }
    }

    async fn write(&mut self, over: Option<Record>, epoch: i32) -> Duration {
        self.writes += 1;
        let mark = Mark { epoch, number: self.writes };
        let holder = self.me.holder();
        let lease = self.lease(over.as_ref(), holder.clone(), mark);
        let sent = clock();
        self.memory.sends(Open { holder, mark, sent });
        let put = put(&self.api, &self.name, &lease, over.is_some());
        let answer = tokio::time::timeout(LIMIT, put).await;
        match answer {
            Ok(Ok(lease)) => {
                self.memory.wrote(record(&lease), sent, clock());
                if let Some(held) = &self.memory.held {
                    self.allow(held);
                }
                Duration::from_millis(20)
            }
            // Somebody wrote: stop at once, then look who. It may have been ourselves, by a write whose answer was lost.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                self.ownership.valid_until(None);
                self.read().await;
                Duration::from_millis(20)
            }
            // The write may have been accepted: only a reading tells.
            unknown => {
                if let Ok(Err(error)) = unknown {
                    self.complain(&error, "Lease not written");
                }
                self.read().await;
                PAUSE
            }
        }
    }

    fn allow(&self, held: &Held) {
        let until = Moment::after_start(held.sent) + self.times.valid;
        self.ownership.hold_everything(until, held.epoch);
    }

    fn complain(&self, error: &kube::Error, what: &str) {
        tracing::warn!(error = error as &dyn std::error::Error, lease = self.name, "{what}");
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
        self.meters.leading.set(i64::from(self.ownership.is_valid()));
        if let Some(epoch) = epoch {
            self.meters.epoch.set(epoch.into());
        }
    }

    /// Gives the Lease back, once all work under it has stopped.
    pub async fn release(mut self) {
        self.ownership.valid_until(None);
        let Some((record, _)) = self.memory.seen.take().filter(|_| self.memory.held.is_some())
        else {
            return;
        };
        let epoch = record.transitions;
        let mark = Mark { epoch, number: self.writes + 1 };
        let lease = self.lease(Some(&record), String::new(), mark);
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

    fn lease(&self, over: Option<&Record>, holder: String, mark: Mark) -> Lease {
        let labels =
            BTreeMap::from([("app.kubernetes.io/name".to_owned(), "gastown-operator".to_owned())]);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                uid: over.map(|it| it.uid.clone()),
                resource_version: over.map(|it| it.resource_version.clone()),
                labels: Some(labels),
                annotations: Some(BTreeMap::from([(MARK.to_owned(), mark.to_string())])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder),
                lease_duration_seconds: i32::try_from(self.times.wait.as_secs()).ok(),
                lease_transitions: Some(mark.epoch),
                renew_time: Some(MicroTime(now())),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// The time that the protocol counts in.
fn clock() -> Duration {
    Moment::now().since_start()
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let mark = lease.metadata.annotations.as_ref().and_then(|it| Mark::parse(it.get(MARK)?));
    let marked = mark.map_or(0, |it| it.epoch);
    Record {
        uid: lease.metadata.uid.clone().unwrap_or_default(),
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.holder_identity,
        transitions: spec.lease_transitions.unwrap_or_default().max(marked),
        mark,
    }
}

/// Writes a Lease: over the very version that it carries, or where there is none.
pub(super) async fn put(
    api: &Api<Lease>,
    name: &str,
    lease: &Lease,
    there: bool,
) -> kube::Result<Lease> {
    let params = PostParams::default();
    if there { api.replace(name, &params, lease).await } else { api.create(&params, lease).await }
}

#[cfg(test)]
mod tests;
