//! The pod in an object: its metadata and spec as they were sent, and all of its containers in one order.

use serde_json::Value;

/// The lists of containers of a pod.
pub const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// What a container is, which decides what the API lets it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Init,
    /// An init container that goes on beside the others.
    Sidecar,
    Regular,
    Ephemeral,
}

/// A container, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    pub kind: Kind,
    pub list: &'static str,
    pub index: usize,
    /// Empty where it has none.
    pub name: &'a str,
    pub json: &'a Value,
}

/// A pod, or the template of one.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Path of the pod's metadata and spec in the object; empty for a pod.
    pub prefix: &'static str,
    pub metadata: &'a Value,
    pub spec: &'a Value,
    pub containers: Vec<Container<'a>>,
}

/// Where an object of a kind holds its pod.
fn prefix(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "Pod" => "",
        "PodTemplate" => "template.",
        "CronJob" => "spec.jobTemplate.spec.template.",
        "Deployment"
        | "ReplicaSet"
        | "StatefulSet"
        | "DaemonSet"
        | "Job"
        | "ReplicationController" => "spec.template.",
        _ => return None,
    })
}

impl<'a> Subject<'a> {
    /// The pod in an object of this kind; `None` where the kind holds none.
    ///
    /// # Errors
    /// Says which part is not of the shape that it must have, and what that is.
    pub fn of(kind: &str, object: &'a Value) -> Result<Option<Self>, String> {
        let Some(prefix) = prefix(kind) else { return Ok(None) };
        let mut here = object;
        for part in prefix.split('.').filter(|it| !it.is_empty()) {
            match here.get(part) {
                // A ReplicationController may leave its template out.
                None | Some(Value::Null) if kind == "ReplicationController" => return Ok(None),
                Some(next) if next.is_object() => here = next,
                _ => {
                    return Err(format!("{prefix}spec is missing: it must be the spec of a pod"));
                }
            }
        }
        let spec = here.get("spec").filter(|it| it.is_object());
        let spec =
            spec.ok_or_else(|| format!("{prefix}spec is missing: it must be the spec of a pod"))?;
        let metadata = here.get("metadata").unwrap_or(&Value::Null);
        let mut containers = Vec::new();
        for list in LISTS {
            containers_of(prefix, list, spec, &mut containers)?;
        }
        if containers.is_empty() {
            return Err(format!(
                "{prefix}spec.containers is missing: a pod has at least one container"
            ));
        }
        Ok(Some(Self { prefix, metadata, spec, containers }))
    }

    /// The pod is for nodes that run Windows.
    pub fn is_windows(&self) -> bool {
        self.spec.pointer("/os/name").is_some_and(|it| it == "windows")
    }

    /// The pod has users of its own, so that root in it is nobody on the node.
    pub fn has_own_users(&self) -> bool {
        self.spec.get("hostUsers") == Some(&Value::Bool(false))
    }

    /// Every annotation.
    pub fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let map = self.metadata.get("annotations").and_then(Value::as_object);
        map.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }
}

fn containers_of<'a>(
    prefix: &str,
    list: &'static str,
    spec: &'a Value,
    found: &mut Vec<Container<'a>>,
) -> Result<(), String> {
    let all = match spec.get(list) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(all)) => all,
        Some(_) => {
            return Err(format!("{prefix}spec.{list} is no list: it must be a list of containers"));
        }
    };
    for (index, json) in all.iter().enumerate() {
        if !json.is_object() {
            return Err(format!(
                "{prefix}spec.{list}[{index}] is no object: it must be a container"
            ));
        }
        let sidecar = json.get("restartPolicy").is_some_and(|it| it == "Always");
        let kind = match list {
            "initContainers" if sidecar => Kind::Sidecar,
            "initContainers" => Kind::Init,
            "ephemeralContainers" => Kind::Ephemeral,
            _ => Kind::Regular,
        };
        let name = json.get("name").and_then(Value::as_str).unwrap_or_default();
        found.push(Container { kind, list, index, name, json });
    }
    Ok(())
}
