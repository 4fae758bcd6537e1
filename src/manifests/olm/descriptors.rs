//! The definitions that a CSV owns: each served version, with a descriptor of every field at the top of spec and status.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::kinds::{KINDS, Kind};

/// Every version of every kind.
pub fn owned() -> anyhow::Result<Value> {
    let mut all = Vec::new();
    for kind in KINDS {
        let definition = serde_json::to_value(kind.definition())?;
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
        for version in versions.context("a definition has versions")? {
            all.push(entry(kind, version));
        }
    }
    Ok(all.into())
}

fn entry(kind: &Kind, version: &Value) -> Value {
    json!({
        "name": format!("{}.{}", kind.plural, kind.group),
        "kind": kind.kind,
        "version": version.get("name"),
        "displayName": words(kind.kind),
        "description": kind.doc,
        "resources": resources(kind),
        "specDescriptors": of(version, "spec"),
        "statusDescriptors": of(version, "status"),
    })
}

/// What the operator makes for objects of a kind.
fn resources(kind: &Kind) -> Value {
    let one = |kind: &str, version: &str| json!({"kind": kind, "name": "", "version": version});
    match kind.kind {
        "Polecat" => json!([one("Pod", "v1"), one("Event", "v1")]),
        "ShardMap" => json!([one("Lease", "coordination.k8s.io/v1")]),
        _ => json!([one("Event", "v1")]),
    }
}

/// Descriptors of the fields at the top of a part, in the words of the schema.
fn of(version: &Value, part: &str) -> Value {
    let path = format!("/schema/openAPIV3Schema/properties/{part}/properties");
    let fields = version.pointer(&path).and_then(Value::as_object).into_iter().flatten();
    let descriptor = |(name, field): (&String, &Value)| {
        let description = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let first = description.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        let (path, shown) = console(part, name);
        let mut it = json!({"path": path, "displayName": words(name), "description": first});
        if let (Some(map), Some(shown)) = (it.as_object_mut(), shown) {
            map.insert("x-descriptors".into(), json!([format!("urn:alm:descriptor:{shown}")]));
        }
        it
    };
    fields.map(descriptor).collect()
}

/// Which part of a field OpenShift's console shows, and as what, where it knows better than text.
fn console<'a>(part: &str, name: &'a str) -> (&'a str, Option<&'static str>) {
    match (part, name) {
        ("status", "phase") => (name, Some("io.kubernetes.phase")),
        ("status", "conditions") => (name, Some("io.kubernetes.conditions")),
        ("status", "trace") => ("trace.url", Some("org.w3:link")),
        _ => (name, None),
    }
}

/// `beadStore` and `BeadStore` as `Bead Store`; what is written in capitals stays together.
fn words(name: &str) -> String {
    let mut words = String::new();
    let mut before = ' ';
    for it in name.chars() {
        if it.is_uppercase() && before.is_lowercase() {
            words.push(' ');
        }
        let first = words.is_empty();
        words.extend(if first { it.to_uppercase().collect::<Vec<_>>() } else { vec![it] });
        before = it;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_words() {
        for (name, want) in [
            ("desiredState", "Desired State"),
            ("beadID", "Bead ID"),
            ("BeadStore", "Bead Store"),
            ("gitURL", "Git URL"),
        ] {
            assert_eq!(words(name), want);
        }
    }
}
