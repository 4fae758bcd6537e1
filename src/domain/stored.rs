//! Kinds whose controller is not in this release: their objects are accepted, stored, and say so. One mechanism for all
//! of them; a kind leaves it by its row here being dropped when its controller comes.

use k8s_openapi::jiff::Timestamp;
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::{
    api::{fleet, shared::Condition, v1beta1},
    domain::{
        conditions::{Conditions, Is, READY},
        plan::{Finalizer, Plan},
    },
};

/// Reason of the condition, and the word in the admission warning.
pub const REASON: &str = "ControllerNotInThisRelease";

/// A kind whose controller is not in this release.
pub trait Stored: kube::Resource<DynamicType = ()> + Send + Sync + 'static {
    /// The kind's name in metrics and logs.
    const CONTROLLER: &'static str;
    const SORT: Sort;
}

/// What there is to say of such a kind.
#[derive(Debug)]
pub struct Sort {
    pub kind: &'static str,
    /// What is there all the same, and what is to come.
    pub lacks: &'static str,
    /// Finalizer that the Go original puts on its objects; ours needs none and releases it.
    pub finalizer: Option<&'static str>,
}

impl Sort {
    /// The sentence for people, in the condition and in the admission warning.
    pub fn message(&self) -> String {
        format!(
            "the {} is stored, but its controller is not in this release: {}",
            self.kind, self.lacks
        )
    }
}

macro_rules! stored {
    ($($type:ty, $controller:literal, $kind:literal, $finalizer:expr, $lacks:literal;)*) => {$(
        impl Stored for $type {
            const CONTROLLER: &'static str = $controller;
            const SORT: Sort = Sort { kind: $kind, lacks: $lacks, finalizer: $finalizer };
        }
    )*};
}

stored! {
    v1beta1::Rig, "rig", "Rig", Some("gastown.io/rig-cleanup"),
        "Polecats are held to its rules; Witness, Refinery, counts, spec.settings, spec.beadsPrefix and its repository's address \
         have no effect yet";
    v1beta1::Convoy, "convoy", "Convoy", None,
        "no bead is followed, and spec.parallelism holds nobody back";
    v1beta1::Witness, "witness", "Witness", None,
        "no Polecat is looked after, and nobody is told of trouble";
    v1beta1::Refinery, "refinery", "Refinery", None, "nothing is tested or merged";
    v1beta1::BeadStore, "beadstore", "BeadStore", Some("gastown.io/beadstore-cleanup"),
        "no bead is read or written";
    fleet::ClientPod, "clientpod", "ClientPod", None, "no pod is made for its client";
}

/// The part of such an object's status that is ours; the rest is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What is kept of such an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub generation: Option<i64>,
    pub deleting: bool,
    pub finalizers: Vec<String>,
    pub status: Status,
}

impl Record {
    /// What is kept of an object.
    pub fn new(meta: ObjectMeta, status: Status) -> Self {
        let boxed = |it: Option<String>| it.unwrap_or_default().into();
        Self {
            namespace: boxed(meta.namespace),
            name: boxed(meta.name),
            uid: boxed(meta.uid),
            resource_version: boxed(meta.resource_version),
            generation: meta.generation,
            deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.unwrap_or_default(),
            status,
        }
    }

    /// The whole desired outcome: it says that nothing comes of it, and goes when it is deleted.
    pub fn decide(&self, sort: &Sort, now: Timestamp) -> Plan<Status> {
        let mut plan = Plan::only(self.status.clone());
        if self.deleting {
            let held = |it: &&str| self.finalizers.iter().any(|held| held == it);
            if let Some(finalizer) = sort.finalizer.filter(held) {
                plan.finalizer = Finalizer::Release(finalizer);
            }
            return plan;
        }
        plan.status.observed_generation = self.generation;
        let list = &mut plan.status.conditions;
        Conditions { list, generation: self.generation, now }.set(
            READY,
            Is::Unknown,
            REASON,
            &sort.message(),
        );
        plan
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn store(edit: impl FnOnce(&mut ObjectMeta)) -> Plan<Status> {
        let mut meta = ObjectMeta {
            name: Some("beads".into()),
            generation: Some(3),
            finalizers: Some(vec![
                "example.com/other".into(),
                "gastown.io/beadstore-cleanup".into(),
            ]),
            ..ObjectMeta::default()
        };
        edit(&mut meta);
        let now = Timestamp::from_second(1).unwrap();
        Record::new(meta, Status::default()).decide(&v1beta1::BeadStore::SORT, now)
    }

    #[test]
    fn it_says_that_nothing_comes_of_it() {
        let plan = store(|_| {});
        let ready = &plan.status.conditions[0];
        assert_eq!((&*ready.type_, &*ready.status, &*ready.reason), (READY, "Unknown", REASON));
        assert_eq!(
            (ready.observed_generation, plan.status.observed_generation),
            (Some(3), Some(3))
        );
        assert!(ready.message.contains("BeadStore"), "{}", ready.message);
        assert_eq!(plan.finalizer, Finalizer::Leave, "only a deletion releases it");
    }

    #[test]
    fn a_deletion_releases_the_originals_finalizer_and_no_other() {
        let deleted = |meta: &mut ObjectMeta| {
            meta.deletion_timestamp = Some(Time(Timestamp::from_second(1).unwrap()));
        };
        let plan = store(deleted);
        assert_eq!(plan.finalizer, Finalizer::Release("gastown.io/beadstore-cleanup"));
        assert_eq!(plan.status, Status::default(), "what goes gets no status any more");
        let foreign = store(|meta| {
            deleted(meta);
            meta.finalizers = Some(vec!["example.com/other".into()]);
        });
        assert_eq!(foreign.finalizer, Finalizer::Leave);
    }
}
