//! Polecats for people: a list, and one in full.

use kube::{ResourceExt as _, core::DynamicObject};
use serde_json::Value;

use super::{Output, table};

/// The list: a table, an array of JSON, or a YAML list.
pub fn list(all: &[DynamicObject], with_namespace: bool, output: Output) -> anyhow::Result<String> {
    if output != Output::Table {
        return encode(&serde_json::to_value(all)?, output);
    }
    if all.is_empty() {
        return Ok("No Polecats found.\n".into());
    }
    let mut header = vec!["NAME", "RIG", "PHASE", "READY", "BEAD", "POD"];
    if with_namespace {
        header.insert(0, "NAMESPACE");
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|it| {
            let (ready, _) = condition(it, "Ready").unwrap_or_default();
            let mut row = vec![
                it.name_any(),
                text(it, "/spec/rig"),
                text(it, "/status/phase"),
                ready,
                text(it, "/status/assignedBead"),
                text(it, "/status/podName"),
            ];
            if with_namespace {
                row.insert(0, it.namespace().unwrap_or_default());
            }
            row
        })
        .collect();
    Ok(table::render(&header, &rows))
}

/// One in full: what it is, why, and what became of its commits.
pub fn status(it: &DynamicObject, output: Output) -> anyhow::Result<String> {
    if output != Output::Table {
        return encode(&serde_json::to_value(it)?, output);
    }
    let mut lines =
        vec![format!("{:<10} {}/{}", "Polecat", it.namespace().unwrap_or_default(), it.name_any())];
    let facts = [
        ("Rig", "/spec/rig"),
        ("Wanted", "/spec/desiredState"),
        ("Phase", "/status/phase"),
        ("Attempt", "/status/attempt"),
        ("Pod", "/status/podName"),
        ("Branch", "/status/branch"),
        ("Commit", "/status/commit"),
    ];
    let known = facts
        .into_iter()
        .map(|(name, at)| (name, text(it, at)))
        .filter(|(_, value)| !value.is_empty());
    lines.extend(known.map(|(name, value)| format!("{name:<10} {value}")));
    for type_ in ["Ready", "Pushed"] {
        if let Some((reason, message)) = condition(it, type_) {
            lines.push(format!("{type_:<10} {reason}: {message}"));
        }
    }
    Ok(lines.join("\n") + "\n")
}

pub fn encode(value: &Value, output: Output) -> anyhow::Result<String> {
    Ok(match output {
        Output::Yaml => serde_saphyr::to_string(value)?,
        _ => serde_json::to_string_pretty(value)? + "\n",
    })
}

fn text(it: &DynamicObject, at: &str) -> String {
    match it.data.pointer(at) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Reason and message of a condition.
fn condition(it: &DynamicObject, type_: &str) -> Option<(String, String)> {
    let all = it.data.pointer("/status/conditions")?.as_array()?;
    let found = all.iter().find(|it| it.get("type").is_some_and(|it| it == type_))?;
    let part = |key: &str| found.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some((part("reason"), part("message")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn polecat() -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat",
            "metadata": {"name": "nux", "namespace": "town"},
            "spec": {"rig": "greeter", "desiredState": "Working"},
            "status": {"phase": "Stuck", "attempt": 1, "conditions": [
                {"type": "Ready", "reason": "BranchNotFound", "message": "no branch nope"},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_list_is_a_table_or_an_array() {
        let table = list(&[polecat()], false, Output::Table).unwrap();
        assert!(table.contains("nux") && table.contains("BranchNotFound"), "{table}");
        let json: Value = serde_json::from_str(&list(&[], false, Output::Json).unwrap()).unwrap();
        assert_eq!(json, json!([]), "empty, and still an array");
    }

    #[test]
    fn a_stuck_one_says_why() {
        let text = status(&polecat(), Output::Table).unwrap();
        assert!(text.contains("BranchNotFound: no branch nope"), "{text}");
        assert!(!text.contains("Commit"), "what is not known is left out");
    }
}
