//! What is seen of a Rig: the time, to date a condition.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::api::GetParams;

use crate::{
    cluster::{
        Caches, Cluster, Error, Managed,
        cache::{Cache, Key},
        carry_out::requests,
        now,
        wire::Watched,
    },
    domain::{failure::Cause, plan::Plan, rig::Brief, stored::Status, tenancy::Rules},
};

impl Cluster {
    /// Counts the runs of a Rig from zero for as long as it is there: with a series that begins at its first event no rate sees
    /// that one, and of a Rig whose runs all fail an alert would miss the first of every replica.
    pub fn note_rig(&self, name: &str) {
        if self.caches.rigs.get(&Key::new("", name)).is_some() {
            self.meters.rig_begins(name);
        } else {
            self.meters.rig_goes(name);
        }
    }

    /// What a Rig says of its Polecats, by the API server's word; none: there is no such Rig. An API server that does not serve
    /// the hub yet says nothing of one.
    pub async fn rig_rules(&self, name: &str) -> Result<Option<Rules>, Error> {
        let built = requests::<Brief>("").get(name, &GetParams::default());
        match self.read::<Watched<Brief>>("rigs", || format!("read Rig {name}"), built).await {
            Ok(Watched { content: Ok(rig), .. }) => Ok(Some(rig.rules)),
            Ok(_) => Ok(None),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Managed for Brief {
    type Seen = Timestamp;
    type Status = Status;
    const CONTROLLER: &'static str = "rig";

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.rigs
    }

    fn status(&self) -> &Status {
        &self.record.status
    }

    async fn observe(self: &mut Arc<Self>, _: &Cluster) -> Result<Timestamp, Error> {
        Ok(now())
    }

    fn decide(&self, now: &Timestamp) -> Plan<Status> {
        self.decide(*now)
    }

    fn refused(_: &mut Timestamp, _: Cause) {}
}
