//! `v1alpha1` is what the Go original serves: the same fields, types, defaults, bounds and columns. What ours adds is
//! optional and in the status.

use std::{collections::BTreeSet, fmt::Write as _};

use gastown::kinds::KINDS;
use serde_json::{Value, json};

/// Served by the original, and otherwise by ours, which means the same or accepts more.
const OTHERWISE: [(&str, &str); 4] = [
    // The API server fills a default in before it asks for what is required.
    (
        r#"Polecat spec.desiredState string required default="Idle" enum=["Idle","Working","Terminated"]"#,
        r#"Polecat spec.desiredState string default="Idle" enum=["Idle","Working","Terminated"]"#,
    ),
    // What a list is that says nothing, ours says.
    (
        "Convoy status.completedBeads array",
        r#"Convoy status.completedBeads array x-kubernetes-list-type="atomic""#,
    ),
    (
        "Convoy status.pendingBeads array",
        r#"Convoy status.pendingBeads array x-kubernetes-list-type="atomic""#,
    ),
    // Ours takes ports, `~` and `ssh://` as well.
    (
        r#"Polecat spec.kubernetes.gitRepository string required pattern="^(git@[a-zA-Z0-9._-]+:|https?://[a-zA-Z0-9._-]+/)[a-zA-Z0-9._/-]+(\\.git)?$""#,
        r#"Polecat spec.kubernetes.gitRepository string required pattern="^(git@[a-zA-Z0-9._-]+:|https?://[a-zA-Z0-9._-]+(:[0-9]+)?/|ssh://([a-zA-Z0-9._-]+@)?[a-zA-Z0-9._-]+(:[0-9]+)?/)[a-zA-Z0-9._~/-]+(\\.git)?$""#,
    ),
];

#[test]
fn v1alpha1_is_what_the_original_serves() {
    let original: BTreeSet<String> = include_str!("original.txt")
        .lines()
        .filter(|it| !it.starts_with('#'))
        .map(|line| {
            let ours = OTHERWISE.iter().find(|(theirs, _)| *theirs == line);
            ours.map_or(line, |(_, ours)| ours).to_owned()
        })
        .collect();
    let ours = ours();
    let lost: Vec<_> = original.difference(&ours).collect();
    assert!(lost.is_empty(), "the original has these, and ours has not: {lost:#?}");
    let added: Vec<_> = ours.difference(&original).collect();
    for line in &added {
        let optional = line.contains(" status.") && !line.contains(" required");
        assert!(optional, "an addition to v1alpha1 must be optional and in the status: {line}");
    }
    assert!(added.iter().any(|it| it.starts_with("Polecat status.attempt")), "{added:?}");
}

/// What the original's webhook did not let anybody change; all that it refused beside that, ours takes.
const KEPT: [&str; 4] = [
    "Polecat : !has(oldSelf.spec) || has(self.spec)",
    "Polecat spec.rig: self == oldSelf",
    "Rig : !has(oldSelf.spec) || has(self.spec)",
    "Rig spec.beadsPrefix: self == oldSelf",
];

#[test]
fn v1alpha1_has_no_rule_but_that_what_was_immutable_stays_what_it_was() {
    let mut found = Vec::new();
    for (kind, version) in served() {
        rules(&version["schema"]["openAPIV3Schema"], kind, "", &mut found);
    }
    assert_eq!(found, KEPT);
}

fn rules(schema: &Value, kind: &str, path: &str, found: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        found.push(format!(
            "{kind} {}: {}",
            path.trim_matches('.'),
            rule["rule"].as_str().unwrap()
        ));
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        rules(inner, kind, &format!("{path}.{name}"), found);
    }
    for inner in ["items", "additionalProperties"].map(|it| &schema[it]) {
        if inner.is_object() {
            rules(inner, kind, &format!("{path}[]"), found);
        }
    }
}

/// Every kind as served in v1alpha1.
fn served() -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    for kind in KINDS {
        let crd = serde_json::to_value(kind.definition()).unwrap();
        let versions = crd["spec"]["versions"].as_array().unwrap().iter();
        all.extend(
            versions.filter(|it| it["name"] == "v1alpha1").map(|it| (kind.kind, it.clone())),
        );
    }
    all
}

fn ours() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (kind, version) in served() {
        flatten(kind, &version["schema"]["openAPIV3Schema"], "", false, &mut lines);
        for column in version["additionalPrinterColumns"].as_array().unwrap() {
            let text = |key: &str| column[key].as_str().unwrap().to_owned();
            lines.insert(format!(
                "{kind} column {} {} {} priority={}",
                text("name"),
                text("type"),
                text("jsonPath"),
                column.get("priority").unwrap_or(&json!(0))
            ));
        }
    }
    lines
}

/// A line for each field: kind, path, type, and everything that bounds it, in the order of its name.
fn flatten(kind: &str, schema: &Value, path: &str, required: bool, lines: &mut BTreeSet<String>) {
    const STRUCTURE: [&str; 9] = [
        "description",
        "x-kubernetes-validations",
        "properties",
        "items",
        "required",
        "type",
        "format",
        "additionalProperties",
        "anyOf",
    ];
    let text = |key: &str| schema[key].as_str().map(ToOwned::to_owned);
    let format = text("format").map(|it| format!("/{it}")).unwrap_or_default();
    let type_ = text("type").unwrap_or_else(|| "any".into());
    let shown = if path.is_empty() { "." } else { path };
    let mut line = format!("{kind} {shown} {type_}{format}");
    if required {
        line.push_str(" required");
    }
    for (key, value) in schema.as_object().unwrap() {
        if !STRUCTURE.contains(&key.as_str()) {
            let _ = write!(line, " {key}={}", whole(value));
        }
    }
    lines.insert(line);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let inner_path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let required = schema["required"].as_array().is_some_and(|it| it.contains(&json!(name)));
        flatten(kind, inner, &inner_path, required, lines);
    }
    if schema["items"].is_object() {
        flatten(kind, &schema["items"], &format!("{path}[]"), false, lines);
    }
    if schema["additionalProperties"].is_object() {
        flatten(kind, &schema["additionalProperties"], &format!("{path}{{}}"), false, lines);
    }
}

/// `1.0` as `1`.
fn whole(value: &Value) -> String {
    let text = value.to_string();
    if value.is_f64() { text.trim_end_matches(".0").to_owned() } else { text }
}
