//! What an examination goes by: everything that was read, so that judging it needs nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use crate::{
    cluster::examining::{Look, Tried},
    kinds::Kind,
};

/// Everything that was read and tried.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The operator's.
    pub namespace: String,
    /// Nothing is installed yet, or another release is about to be.
    pub before: bool,
    /// Seconds since 1970.
    pub now: i64,
    pub version: Look,
    /// One for each kind.
    pub definitions: Vec<Definition>,
    /// All of the cluster, as arrays.
    pub mutating: Look,
    pub validating: Look,
    /// Services that webhooks of others lead to, by namespace and name.
    pub services: BTreeMap<(String, String), Look>,
    /// All of the cluster, as an array.
    pub namespaces: Look,
    /// Namespaces with Polecats; or why that can't be known.
    pub homes: Homes,
    pub deployment: Look,
    /// Certificate chain and authorities of the Secret, without its key.
    pub certificate: Look,
    pub rights: Vec<Right>,
    /// A Polecat's pod, tried in namespaces with Polecats.
    pub pods: Vec<(String, Tried)>,
    /// What OpenShift's review says of whom; `None`: this is none.
    pub constraints: Option<Vec<(String, Look)>>,
    /// A Polecat of each version, tried in the operator's namespace.
    pub calls: Vec<(String, Tried)>,
    /// The Go original's Lease.
    pub original: Look,
    pub shards: Holders,
    /// What would be installed, tried.
    pub installing: Vec<(String, Tried)>,
}

/// One of our definitions.
#[derive(Clone)]
pub struct Definition {
    pub kind: &'static Kind,
    pub found: Look,
    /// An apply of ours over it.
    pub tried: Option<Tried>,
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}, {:?}", self.name(), self.found, self.tried)
    }
}

impl Definition {
    /// Its name.
    pub fn name(&self) -> String {
        format!("{}.{}", self.kind.plural, self.kind.group)
    }

    /// What a finding is about.
    pub fn place(&self) -> String {
        format!("CustomResourceDefinition {}", self.name())
    }
}

/// Where there are Polecats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Homes {
    Known(BTreeSet<String>),
    Untold(String),
}

impl Default for Homes {
    fn default() -> Self {
        Self::Known(BTreeSet::new())
    }
}

/// Who owns shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Holders {
    Known {
        replicas: usize,
        /// Active shards that nobody owns, and how many there are.
        unowned: Vec<String>,
        shards: usize,
        /// Replicas that go by the last good state of something: their pods, and what they say of it, a line each.
        degraded: BTreeMap<String, Vec<String>>,
        /// Replicas that have not renewed their sessions for long: their pods, and for how many seconds.
        silent: BTreeMap<String, i64>,
    },
    /// There is no map: no replica has begun yet.
    #[default]
    NoMap,
    Untold(String),
}

/// Something that somebody must be allowed to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Right {
    /// As the review asks for it.
    pub attributes: Value,
    pub allowed: Look,
}

/// The definitions of all kinds, as they are found by a name.
#[cfg(test)]
pub fn definitions(found: impl Fn(&str) -> (Look, Option<Tried>)) -> Vec<Definition> {
    let one = |kind: &'static Kind| {
        let (found, tried) = found(&format!("{}.{}", kind.plural, kind.group));
        Definition { kind, found, tried }
    };
    crate::kinds::KINDS.iter().map(one).collect()
}

/// A text at a JSON pointer; empty where there is none.
pub fn text<'a>(object: &'a Value, at: &str) -> &'a str {
    object.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// The texts of an array at a JSON pointer.
pub fn texts<'a>(object: &'a Value, at: &str) -> Vec<&'a str> {
    let all = object.pointer(at).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}

/// The objects of an array at a JSON pointer.
pub fn each<'a>(object: &'a Value, at: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(at).and_then(Value::as_array).into_iter().flatten()
}
