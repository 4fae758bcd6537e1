//! What one Rig is to do. Its own controller (children, counts) is not part of this release; the object is accepted
//! and says so.

use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;

use crate::{
    api::v1alpha1::RigStatus,
    domain::{
        brake,
        conditions::{Conditions, Is, READY},
        plan::{Finalizer, Plan},
    },
};

/// What is kept of a Rig.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brief {
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub generation: Option<i64>,
    pub deleting: bool,
    pub original_finalizer: bool,
    /// Its Polecats do not begin.
    pub paused: bool,
    pub status: RigStatus,
}

/// Finalizer that the Go original puts on Rigs; ours needs none and releases it.
pub const ORIGINAL_FINALIZER: &str = "gastown.io/rig-cleanup";

impl Brief {
    /// What is kept of a Rig.
    pub fn new(meta: &ObjectMeta, status: RigStatus) -> Self {
        let boxed = |it: &Option<String>| it.as_deref().unwrap_or_default().into();
        Self {
            name: boxed(&meta.name),
            uid: boxed(&meta.uid),
            resource_version: boxed(&meta.resource_version),
            generation: meta.generation,
            deleting: meta.deletion_timestamp.is_some(),
            original_finalizer: meta.finalizers.iter().flatten().any(|it| it == ORIGINAL_FINALIZER),
            paused: brake::pauses(meta.annotations.as_ref()),
            status,
        }
    }

    /// The whole desired outcome for this Rig.
    pub fn decide(&self, now: Timestamp) -> Plan<RigStatus> {
        let mut plan = Plan::only(self.status.clone());
        if self.deleting {
            if self.original_finalizer {
                plan.finalizer = Finalizer::Release(ORIGINAL_FINALIZER);
            }
            return plan;
        }
        let list = &mut plan.status.conditions;
        Conditions { list, generation: self.generation, now }.set(
            READY,
            Is::Unknown,
            "ControllerNotInThisRelease",
            "the Rig is stored and Polecats may name it; its Witness, Refinery and counts come with a later release",
        );
        plan
    }
}
