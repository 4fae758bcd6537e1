//! What one Rig is to do. Its own controller (children, counts) is not part of this release; the object is accepted
//! and says so.

use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;

use crate::{
    api::v1beta1::Rig,
    domain::{
        brake,
        plan::Plan,
        stored::{Record, Status, Stored as _},
        tenancy::Rules,
    },
};

/// What is kept of a Rig.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brief {
    pub record: Record,
    /// Its Polecats do not begin.
    pub paused: bool,
    /// What they are held to.
    pub rules: Rules,
}

impl Brief {
    /// What is kept of a Rig.
    pub fn new(meta: ObjectMeta, rules: Rules, status: Status) -> Self {
        let paused = brake::pauses(meta.annotations.as_ref());
        Self { record: Record::new(meta, status), paused, rules }
    }

    /// The whole desired outcome for this Rig.
    pub fn decide(&self, now: Timestamp) -> Plan<Status> {
        self.record.decide(&Rig::SORT, now)
    }
}
