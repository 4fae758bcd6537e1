//! What comes over the wire, read no further than needed: managed fields and everything else that no decision needs
//! is skipped while parsing, and one object that cannot be read is that object's problem alone.

use std::{borrow::Cow, collections::BTreeMap, fmt::Debug, sync::Arc};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Container, Pod, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
};
use kube::{Resource, core::ObjectMeta};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    api::{text::Texts, v1beta1},
    cluster::beginning::Whole,
    domain::{pod_brief::PodBrief, polecat, rig, stored, tenancy::Rules},
};

/// A compact struct of ours that stands for an object in the cache.
pub trait Compact: Clone + Debug + PartialEq + Send + Sync + Sized + 'static {
    /// The kind as the API server knows it.
    type Kind: Resource<DynamicType = ()>;
    /// What is read of it.
    type Wire: DeserializeOwned;
    /// Nothing but metadata is read, so nothing else is asked for.
    const METADATA_ONLY: bool = false;
    /// The bucket that its label names; none where it has no such label, or where that says something else.
    fn bucket(&self) -> Option<u16> {
        None
    }
    /// Reads it.
    fn from_wire(wire: Self::Wire) -> Self;
    /// Reads it, of an object whose JSON has that many bytes, and keeps it whole where that is what is wanted next.
    fn read(wire: Self::Wire, _bytes: usize) -> (Self, Option<Whole>) {
        (Self::from_wire(wire), None)
    }
    /// Has what many have in common but once.
    fn share(&mut self, _: &mut Texts) {}
    /// Namespace (empty for cluster-wide kinds) and name.
    fn place(&self) -> (&str, &str);
    fn uid(&self) -> &str;
    fn resource_version(&self) -> &str;
}

/// An object of a list, a watch or an answer: read, or its name and the reason why not.
#[derive(Clone, Debug)]
pub struct Watched<C> {
    meta: ObjectMeta,
    pub content: Result<C, String>,
    pub whole: Option<Whole>,
}

impl<C: Compact> Watched<C> {
    /// Namespace (empty for cluster-wide kinds) and name.
    pub fn place(&self) -> (&str, &str) {
        (
            self.meta.namespace.as_deref().unwrap_or_default(),
            self.meta.name.as_deref().unwrap_or_default(),
        )
    }

    /// The object's uid.
    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    /// The object's version; of one that has left, the version as of which it had.
    pub fn version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }
}

impl<'de, C: Compact> Deserialize<'de> for Watched<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let read = serde_json::from_str::<C::Wire>(raw.get())
            .map(|it| C::read(it, raw.get().len()))
            .map_err(|it| it.to_string());
        let (content, whole) = match read {
            Ok((content, whole)) => (Ok(content), whole),
            Err(why) => (Err(why), None),
        };
        let meta = match &content {
            Ok(it) => {
                let (namespace, name) = it.place();
                ObjectMeta {
                    namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
                    name: Some(name.to_owned()),
                    uid: Some(it.uid().to_owned()),
                    resource_version: Some(it.resource_version().to_owned()),
                    ..ObjectMeta::default()
                }
            }
            // Bookmarks come this way too: all that they carry is a resource version.
            Err(_) => serde_json::from_str::<Bare>(raw.get())
                .map(|it| it.metadata.into())
                .unwrap_or_default(),
        };
        Ok(Self { meta, content, whole })
    }
}

impl<C: Compact> Resource for Watched<C> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        C::Kind::kind(&())
    }
    fn group((): &()) -> Cow<'_, str> {
        C::Kind::group(&())
    }
    fn version((): &()) -> Cow<'_, str> {
        C::Kind::version(&())
    }
    fn plural((): &()) -> Cow<'_, str> {
        C::Kind::plural(&())
    }
    fn metadata_api() -> bool {
        C::METADATA_ONLY
    }
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

/// Metadata without managed fields and without what nobody here reads.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl From<Meta> for ObjectMeta {
    fn from(meta: Meta) -> Self {
        let Meta {
            namespace,
            name,
            uid,
            resource_version,
            generation,
            creation_timestamp,
            deletion_timestamp,
            labels,
            annotations,
            finalizers,
            owner_references,
        } = meta;
        Self {
            namespace,
            name,
            uid,
            resource_version,
            generation,
            creation_timestamp,
            deletion_timestamp,
            labels,
            annotations,
            finalizers,
            owner_references,
            ..Self::default()
        }
    }
}

#[derive(Debug, Deserialize)]
struct Bare {
    metadata: Meta,
}

/// A Polecat as served. An object without a spec passes the schema, as in the original: it asks for nothing.
#[derive(Debug, Deserialize)]
pub struct PolecatWire {
    metadata: Meta,
    spec: Option<v1beta1::PolecatSpec>,
    status: Option<v1beta1::PolecatStatus>,
}

impl From<PolecatWire> for v1beta1::Polecat {
    fn from(wire: PolecatWire) -> Self {
        Self {
            metadata: wire.metadata.into(),
            spec: wire.spec.unwrap_or_default(),
            status: wire.status.unwrap_or_default(),
        }
    }
}

impl Compact for polecat::Brief {
    type Kind = v1beta1::PolecatObject;
    type Wire = PolecatWire;

    fn from_wire(wire: PolecatWire) -> Self {
        Self::from(&v1beta1::Polecat::from(wire))
    }
    fn read(wire: PolecatWire, bytes: usize) -> (Self, Option<Whole>) {
        let polecat = v1beta1::Polecat::from(wire);
        let brief = Self::from(&polecat);
        let whole = brief.begins().then(|| Whole { polecat: Arc::new(polecat), bytes });
        (brief, whole)
    }
    fn bucket(&self) -> Option<u16> {
        self.bucket
    }
    fn share(&mut self, texts: &mut Texts) {
        Self::share(self, texts);
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

/// A Rig as served.
#[derive(Debug, Deserialize)]
pub struct RigWire {
    metadata: Meta,
    spec: Option<Rules>,
    status: Option<stored::Status>,
}

impl Compact for rig::Brief {
    type Kind = v1beta1::Rig;
    type Wire = RigWire;

    fn from_wire(wire: RigWire) -> Self {
        let rules = wire.spec.unwrap_or_default();
        Self::new(wire.metadata.into(), rules, wire.status.unwrap_or_default())
    }
    fn place(&self) -> (&str, &str) {
        ("", &self.record.name)
    }
    fn uid(&self) -> &str {
        &self.record.uid
    }
    fn resource_version(&self) -> &str {
        &self.record.resource_version
    }
}

/// A pod, without its volumes, its environment and its managed fields.
#[derive(Debug, Deserialize)]
pub struct PodWire {
    metadata: Meta,
    #[serde(default)]
    spec: PodSpecWire,
    status: Option<PodStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpecWire {
    node_name: Option<String>,
    containers: Vec<ContainerWire>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerWire {
    name: String,
    image: Option<String>,
}

impl Compact for PodBrief {
    type Kind = Pod;
    type Wire = PodWire;

    fn from_wire(wire: PodWire) -> Self {
        let container = |it: ContainerWire| Container {
            name: it.name,
            image: it.image,
            ..Container::default()
        };
        let spec = PodSpec {
            node_name: wire.spec.node_name,
            containers: wire.spec.containers.into_iter().map(container).collect(),
            ..PodSpec::default()
        };
        Self::from(&Pod { metadata: wire.metadata.into(), spec: Some(spec), status: wire.status })
    }
    fn bucket(&self) -> Option<u16> {
        self.bucket
    }
    fn share(&mut self, texts: &mut Texts) {
        Self::share(self, texts);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_cannot_be_read_keeps_its_name_and_says_why() {
        let text = r#"{"metadata":{"name":"max","namespace":"town","uid":"1"},"spec":{"rig":7,"desiredState":"Working"}}"#;
        let it: Watched<polecat::Brief> = serde_json::from_str(text).unwrap();
        assert_eq!(it.place(), ("town", "max"));
        assert!(it.content.unwrap_err().contains("expected a string"));
    }

    #[test]
    fn an_object_without_a_spec_asks_for_nothing() {
        let it: Watched<polecat::Brief> =
            serde_json::from_str(r#"{"metadata":{"name":"max"}}"#).unwrap();
        assert!(!it.content.unwrap().runnable);
    }
}
