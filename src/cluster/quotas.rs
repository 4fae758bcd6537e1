//! `ResourceQuota` over the wire.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceQuota, apimachinery::pkg::api::resource::Quantity};
use kube::core::ObjectMeta;
use serde::Deserialize;

use crate::{
    cluster::wire::{Compact, Meta},
    domain::quota::{Quota, room},
};

/// A `ResourceQuota` as served. What its status says is what the API server goes by.
#[derive(Debug, Deserialize)]
pub struct QuotaWire {
    metadata: Meta,
    #[serde(default)]
    status: Counts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    hard: BTreeMap<String, Quantity>,
    used: BTreeMap<String, Quantity>,
}

impl Compact for Quota {
    type Kind = ResourceQuota;
    type Wire = QuotaWire;

    fn from_wire(QuotaWire { metadata, status: Counts { hard, used } }: QuotaWire) -> Self {
        let meta = ObjectMeta::from(metadata);
        let boxed = |it: Option<String>| it.unwrap_or_default().into();
        Self {
            namespace: boxed(meta.namespace),
            name: boxed(meta.name),
            uid: boxed(meta.uid),
            resource_version: boxed(meta.resource_version),
            room: room(&hard, &used),
        }
    }
    fn place(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}
