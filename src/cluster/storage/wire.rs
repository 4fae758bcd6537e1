//! Definitions and lists as they come over the wire, read no further than needed: of a definition no schema, of an object
//! nothing but its place and version.

use std::collections::BTreeMap;

use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ListMeta,
};
use kube::core::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{
    cluster::wire::{Compact, Meta},
    domain::{certificates::consumers::INJECTORS, storage::Definition},
};

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct List<T> {
    #[serde(default)]
    pub metadata: ListMeta,
    /// Where there is none, a list of metadata says null.
    #[serde(deserialize_with = "nullable")]
    pub items: Vec<T>,
}

fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

impl<T> List<T> {
    /// Where the next page begins.
    pub fn next(&self) -> Option<String> {
        self.metadata.continue_.clone().filter(|it| !it.is_empty())
    }
}

/// An object, of which the metadata alone is asked for.
#[derive(Debug, Deserialize)]
pub struct Item {
    pub metadata: Place,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    pub namespace: Option<String>,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

/// A definition as served.
#[derive(Debug, Deserialize)]
pub struct DefinitionWire {
    metadata: Meta,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
struct Spec {
    group: String,
    scope: String,
    names: Names,
    versions: Vec<Version>,
    #[serde(default)]
    conversion: Value,
}

#[derive(Debug, Deserialize)]
struct Names {
    plural: String,
}

#[derive(Debug, Deserialize)]
struct Version {
    name: String,
    storage: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    stored_versions: Option<Vec<String>>,
    conditions: Option<Vec<Value>>,
}

/// Of the annotations, those: what an apply leaves there is as large as the definition.
fn injectors(annotations: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let all = annotations.unwrap_or_default().into_iter();
    all.filter(|(key, _)| INJECTORS.contains(&key.as_str())).collect()
}

impl Compact for Definition {
    type Kind = CustomResourceDefinition;
    type Wire = DefinitionWire;

    fn from_wire(wire: DefinitionWire) -> Self {
        let meta = ObjectMeta::from(wire.metadata);
        let boxed = |it: Option<String>| it.unwrap_or_default().into();
        let storage = wire.spec.versions.iter().find(|it| it.storage);
        Self {
            name: boxed(meta.name),
            uid: boxed(meta.uid),
            resource_version: boxed(meta.resource_version),
            generation: meta.generation.unwrap_or_default(),
            group: wire.spec.group,
            plural: wire.spec.names.plural,
            namespaced: wire.spec.scope == "Namespaced",
            storage: storage.map(|it| it.name.clone()).unwrap_or_default(),
            versions: wire.spec.versions.into_iter().map(|it| it.name).collect(),
            stored: wire.status.stored_versions.unwrap_or_default(),
            converted: wire.spec.conversion.get("strategy").is_some_and(|it| it == "Webhook"),
            conversion: wire.spec.conversion,
            injectors: injectors(meta.annotations),
            conditions: wire.status.conditions.unwrap_or_default(),
        }
    }
    fn place(&self) -> (&str, &str) {
        ("", &self.name)
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}
