//! What is seen of a Rig: the time, to date a condition.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::{
    api::v1alpha1::RigStatus,
    cluster::{Caches, Cluster, Error, Managed, cache::Cache, now},
    domain::{failure::Cause, plan::Plan, rig::Brief},
};

impl Managed for Brief {
    type Seen = Timestamp;
    type Status = RigStatus;
    const CONTROLLER: &'static str = "rig";

    fn cache(caches: &Caches) -> &Cache<Self> {
        &caches.rigs
    }

    fn status(&self) -> &RigStatus {
        &self.status
    }

    async fn observe(self: &mut Arc<Self>, _: &Cluster) -> Result<Timestamp, Error> {
        Ok(now())
    }

    fn decide(&self, now: &Timestamp) -> Plan<RigStatus> {
        self.decide(*now)
    }

    fn refused(_: &mut Timestamp, _: Cause) {}
}
