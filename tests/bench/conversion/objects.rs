//! Lists as an API server sends them: objects with managed fields, what `kubectl apply` noted, a status with conditions.

use anyhow::{Result, anyhow};
use gastown::conversion;
use serde_json::{Value, json};

/// A kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Its list has another shape in the other version.
    Convoy,
}

/// From which version to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// v1alpha1 to v1beta1.
    Up,
    /// v1beta1 to v1alpha1.
    Down,
}

impl Sort {
    pub const ALL: [Self; 1] = [Self::Convoy];
}

const GROUP: &str = "gastown.gastown.io";

/// A review of so many objects of so many bytes each.
pub fn review(sort: Sort, direction: Direction, count: usize, bytes: usize) -> Result<String> {
    let (from, to) = match direction {
        Direction::Up => ("v1alpha1", "v1beta1"),
        Direction::Down => ("v1beta1", "v1alpha1"),
    };
    let mut text = format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{{"uid":"7c1f6a2e","desiredAPIVersion":"{GROUP}/{to}","objects":["#
    );
    for number in 0..count {
        if number > 0 {
            text.push(',');
        }
        let mut object = match sort {
            Sort::Convoy => convoy(number),
        };
        let filler = bytes.saturating_sub(object.to_string().len());
        let place = match sort {
            Sort::Convoy => &mut object["spec"]["description"],
        };
        *place = json!(prose(filler, number));
        let written = object.to_string();
        if from == "v1alpha1" {
            text.push_str(&written);
        } else {
            let to = format!("{GROUP}/{from}");
            conversion::convert(conversion::kinds(), &written, &to, &mut text)
                .map_err(|why| anyhow!("{why}"))?;
        }
    }
    text.push_str("]}}");
    Ok(text)
}

/// Text with quotation marks and line breaks, as tasks have them.
fn prose(bytes: usize, number: usize) -> String {
    let line =
        format!("Bead {number}: make \"hello\" greet\nin every language that the team speaks. ");
    let mut text = line.repeat(bytes / line.len() + 1);
    // What has to be escaped takes two bytes.
    text.truncate(bytes - bytes / 28);
    text
}

fn metadata(kind: &str, number: usize, fields: &Value) -> Value {
    json!({
        "name": format!("{}-{number:05}", kind.to_lowercase()), "namespace": format!("town-{}", number % 50),
        "uid": format!("7c1f6a2e-52d5-4b0a-9d3f-{number:012}"), "resourceVersion": (100_000 + number).to_string(),
        "generation": 3, "creationTimestamp": "2026-11-28T07:39:33Z",
        "labels": {"gastown.io/bucket": (number % 1024).to_string(), "app.kubernetes.io/part-of": "greeter"},
        "annotations": {"example.com/owner": "team-a", "example.com/ticket": format!("GT-{number}")},
        "managedFields": [
            {"manager": "kubectl", "operation": "Apply", "apiVersion": format!("{GROUP}/v1alpha1"),
             "time": "2026-11-28T07:39:33Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}},
            {"manager": "gastown-operator", "operation": "Update", "apiVersion": format!("{GROUP}/v1alpha1"),
             "time": "2026-11-28T07:40:12Z", "fieldsType": "FieldsV1", "subresource": "status",
             "fieldsV1": {"f:status": {"f:phase": {}, "f:conditions": {"k:{\"type\":\"Ready\"}": {".": {}, "f:status": {}}}}}},
        ],
    })
}

fn conditions() -> Value {
    let one = |type_: &str| {
        json!({"type": type_, "status": "True", "reason": "AsWanted", "observedGeneration": 3,
            "message": "everything that was asked for is there", "lastTransitionTime": "2026-11-28T07:40:12Z"})
    };
    json!([one("Ready"), one("Complete")])
}

fn convoy(number: usize) -> Value {
    let beads: Vec<String> = (0..40).map(|it| format!("gt-{}", number * 40 + it)).collect();
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "Convoy",
        "metadata": metadata("Convoy", number, &json!({"f:description": {}, "f:trackedBeads": {}, "f:rigRef": {}})),
        "spec": {"description": "", "trackedBeads": beads, "parallelism": number % 4, "rigRef": "greeter"},
        "status": {"phase": "InProgress", "progress": "20/40", "observedGeneration": 3,
            "completedBeads": beads[..20], "pendingBeads": beads[20..],
            "startedAt": "2026-11-28T07:40:12Z", "conditions": conditions()},
    })
}
