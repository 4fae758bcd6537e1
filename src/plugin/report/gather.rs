//! Which objects go into a report. What can't be read is noted, and the rest goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::{Value, json};

use crate::{
    cluster::{
        gathering::{Sort, Which},
        reading::Reader,
    },
    domain::names::{POLECAT_LABEL, label_value},
    kinds::{KINDS, Kind},
};

const POD: Sort<'_> = Sort { group: "", version: "v1", kind: "Pod", plural: "pods" };
const EVENT: Sort<'_> = Sort { group: "", version: "v1", kind: "Event", plural: "events" };
/// By which the operator's pods are found, on every road of installing.
const REPLICAS: &str = "control-plane=controller-manager,app.kubernetes.io/name=gastown-operator";

/// What a report is about, beside the operator itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    One { namespace: String, name: String },
    Namespace(String),
    All,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One { namespace, name } => write!(f, "Polecat {namespace}/{name}"),
            Self::Namespace(it) => write!(f, "namespace {it}"),
            Self::All => f.write_str("everything"),
        }
    }
}

impl Scope {
    /// None: all.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::One { namespace, .. } | Self::Namespace(namespace) => Some(namespace),
            Self::All => None,
        }
    }
}

/// What is being gathered.
pub struct Gathering<'a> {
    pub reader: &'a Reader,
    pub scope: Scope,
    pub operator: &'a str,
    /// What could not be had, a sentence each.
    pub missing: Vec<String>,
}

impl<'a> Gathering<'a> {
    pub const fn new(reader: &'a Reader, scope: Scope, operator: &'a str) -> Self {
        Self { reader, scope, operator, missing: Vec::new() }
    }

    /// What there is, or what was there of it and a note.
    pub fn have<T: Default>(&mut self, what: &str, outcome: anyhow::Result<T>) -> T {
        outcome.unwrap_or_else(|error| {
            self.missing.push(format!("{what}: {error:#}"));
            T::default()
        })
    }

    pub async fn gather(&mut self, sort: Sort<'_>, which: &Which) -> Vec<Value> {
        let outcome = self.reader.gather(sort, which).await;
        let of = which.namespace.as_deref().map_or(String::new(), |it| format!(" of {it}"));
        self.have(&format!("{}{of}", sort.plural), outcome)
    }

    /// Objects of our kinds. A Polecat that is asked for and not there is an error.
    pub async fn objects(&mut self) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        if let Scope::One { namespace, name } = self.scope.clone() {
            let polecat = serde_json::to_value(self.reader.polecat(&namespace, &name).await?)?;
            let rig = polecat.pointer("/spec/rig").and_then(Value::as_str).unwrap_or_default();
            let fields = format!("metadata.name={rig}");
            let which = Which { fields, ..Which::default() };
            let rigs = KINDS.iter().filter(|it| it.kind == "Rig");
            for kind in rigs.filter(|_| !rig.is_empty()) {
                let (versions, which) = (kind.versions(), which.clone());
                all.extend(self.gather(sort(kind, &versions), &which).await);
            }
            all.push(polecat);
            return Ok(all);
        }
        for kind in KINDS {
            let wide = (kind.crd)().spec.scope == "Cluster";
            let namespace = if kind.inner {
                Some(self.operator)
            } else {
                self.scope.namespace().filter(|_| !wide)
            };
            let which = Which { namespace: namespace.map(Into::into), ..Which::default() };
            let versions = kind.versions();
            all.extend(self.gather(sort(kind, &versions), &which).await);
        }
        Ok(all)
    }

    /// Pods of Polecats.
    pub async fn pods(&mut self, objects: &[Value]) -> Vec<Value> {
        let (labels, uid) = match &self.scope {
            Scope::One { name, .. } => {
                let polecat = objects.iter().find(|it| text(it, "/kind") == "Polecat");
                let uid = polecat.map(|it| text(it, "/metadata/uid").to_owned());
                (format!("{POLECAT_LABEL}={}", label_value(name)), uid)
            }
            _ => (POLECAT_LABEL.to_owned(), None),
        };
        let namespace = self.scope.namespace().map(Into::into);
        let which = Which { namespace, labels, ..Which::default() };
        let mut pods = self.gather(POD, &which).await;
        // Two names may have one label value.
        pods.retain(|it| uid.as_ref().is_none_or(|uid| owned(it, uid)));
        pods
    }

    /// The operator's own pods.
    pub async fn replicas(&mut self) -> Vec<Value> {
        let namespace = Some(self.operator.to_owned());
        let which = Which { namespace, labels: REPLICAS.into(), ..Which::default() };
        let found = self.gather(POD, &which).await;
        if found.is_empty() {
            self.missing.push(format!(
                "replicas: no pod of the operator in namespace {}; name it with --operator-namespace",
                self.operator
            ));
        }
        found
    }

    /// Events about these objects and pods, and all of the operator's namespace, by namespace.
    pub async fn events(&mut self, objects: &[Value], pods: &[Value]) -> BTreeMap<String, Value> {
        let uids: BTreeSet<_> =
            objects.iter().chain(pods).map(|it| text(it, "/metadata/uid")).collect();
        let namespace: Option<String> = self.scope.namespace().map(Into::into);
        let which = Which { namespace: namespace.clone(), ..Which::default() };
        let mut all = self.gather(EVENT, &which).await;
        let everything = matches!(self.scope, Scope::All | Scope::Namespace(_));
        let ours =
            |it: &Value| KINDS.iter().any(|kind| kind.kind == text(it, "/involvedObject/kind"));
        // Of an object that is gone its Events may be all that there is.
        all.retain(|it| uids.contains(text(it, "/involvedObject/uid")) || (everything && ours(it)));
        if namespace.as_deref() != Some(self.operator) {
            let which = Which { namespace: Some(self.operator.into()), ..Which::default() };
            all.extend(self.gather(EVENT, &which).await);
        }
        let mut by_namespace: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for it in all {
            by_namespace.entry(text(&it, "/metadata/namespace").into()).or_default().push(it);
        }
        by_namespace.into_iter().map(|(namespace, all)| (namespace, json!(all))).collect()
    }

    pub async fn version(&mut self) -> Value {
        let outcome = self.reader.version().await;
        self.have("version of the API server", outcome)
    }

    /// A line each, or a word.
    pub fn missing(&self) -> String {
        if self.missing.is_empty() {
            return "nothing\n".into();
        }
        let mut lines: Vec<_> = self.missing.iter().map(|it| it.replace('\n', " ")).collect();
        lines.sort();
        lines.dedup();
        lines.join("\n") + "\n"
    }
}

fn sort<'k>(kind: &'k Kind, versions: &'k [String]) -> Sort<'k> {
    let version = versions.first().map_or(kind.version, String::as_str);
    Sort { group: kind.group, version, kind: kind.kind, plural: kind.plural }
}

fn owned(pod: &Value, uid: &str) -> bool {
    let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|it| text(it, "/uid") == uid)
}

pub fn text<'v>(it: &'v Value, at: &str) -> &'v str {
    it.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// Where an object is written.
pub fn path(folder: &str, it: &Value) -> String {
    let (group, _) = text(it, "/apiVersion").split_once('/').unwrap_or_default();
    let namespace = Some(text(it, "/metadata/namespace")).filter(|it| !it.is_empty());
    let kind = text(it, "/kind").to_lowercase();
    let name = text(it, "/metadata/name");
    format!("{folder}/{kind}.{group}/{}/{name}.yaml", namespace.unwrap_or("_cluster"))
}
