//! What is seen of a Rig: the time, to date a condition.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::{
    cluster::{Caches, Cluster, Error, Managed, cache::Cache, now},
    domain::{failure::Cause, plan::Plan, rig::Brief, stored::Status},
};

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
