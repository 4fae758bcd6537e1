//! What is seen of an object whose controller is not in this release: the time, to date a condition.

use std::{marker::PhantomData, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use crate::{
    api::{fleet::ClientPod, v1beta1},
    cluster::{
        Caches, Cluster, Error, Managed,
        cache::Cache,
        now,
        wire::{Compact, Meta},
    },
    domain::{
        failure::Cause,
        plan::Plan,
        stored::{Record, Status, Stored},
    },
};

/// Caches of the kinds whose controller is not in this release.
#[derive(Debug, Default)]
pub struct StoredCaches {
    convoys: Cache<Brief<v1beta1::Convoy>>,
    witnesses: Cache<Brief<v1beta1::Witness>>,
    refineries: Cache<Brief<v1beta1::Refinery>>,
    bead_stores: Cache<Brief<v1beta1::BeadStore>>,
    client_pods: Cache<Brief<ClientPod>>,
}

/// A kind that has a cache here.
pub trait Kept: Stored + Sized {
    fn cache(caches: &StoredCaches) -> &Cache<Brief<Self>>;
}

macro_rules! kept {
    ($($type:ty, $field:ident;)*) => {$(
        impl Kept for $type {
            fn cache(caches: &StoredCaches) -> &Cache<Brief<Self>> {
                &caches.$field
            }
        }
    )*};
}

kept! {
    v1beta1::Convoy, convoys;
    v1beta1::Witness, witnesses;
    v1beta1::Refinery, refineries;
    v1beta1::BeadStore, bead_stores;
    ClientPod, client_pods;
}

/// What is kept of one object of such a kind.
pub struct Brief<K> {
    record: Record,
    kind: PhantomData<fn() -> K>,
}

// By hand, because a derive would ask the same of the kind, of which nothing is kept.
impl<K> Clone for Brief<K> {
    fn clone(&self) -> Self {
        Self { record: self.record.clone(), kind: PhantomData }
    }
}

impl<K> PartialEq for Brief<K> {
    fn eq(&self, other: &Self) -> bool {
        self.record == other.record
    }
}

impl<K> std::fmt::Debug for Brief<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.record.fmt(f)
    }
}

/// Such an object as served. Its spec is not read, so no spec makes it unreadable.
#[derive(Debug, Deserialize)]
pub struct Wire {
    metadata: Meta,
    status: Option<Status>,
}

impl<K: Stored> Compact for Brief<K> {
    type Kind = K;
    type Wire = Wire;

    fn from_wire(wire: Wire) -> Self {
        let record = Record::new(wire.metadata.into(), wire.status.unwrap_or_default());
        Self { record, kind: PhantomData }
    }
    fn place(&self) -> (&str, &str) {
        (&self.record.namespace, &self.record.name)
    }
    fn uid(&self) -> &str {
        &self.record.uid
    }
    fn resource_version(&self) -> &str {
        &self.record.resource_version
    }
}

impl<K: Kept> Managed for Brief<K> {
    type Seen = Timestamp;
    type Status = Status;
    const CONTROLLER: &'static str = K::CONTROLLER;

    fn cache(caches: &Caches) -> &Cache<Self> {
        K::cache(&caches.stored)
    }

    fn status(&self) -> &Status {
        &self.record.status
    }

    async fn observe(self: &mut Arc<Self>, _: &Cluster) -> Result<Timestamp, Error> {
        Ok(now())
    }

    fn decide(&self, now: &Timestamp) -> Plan<Status> {
        self.record.decide(&K::SORT, *now)
    }

    fn refused(_: &mut Timestamp, _: Cause) {}
}
