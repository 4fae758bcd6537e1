//! Lists as an API server sends them: objects with managed fields, what `kubectl apply` noted, a status with conditions.

use anyhow::{Result, anyhow};
use gastown::conversion;
use serde_json::{Value, json};

/// A kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Its fields have other places in the other version.
    Polecat,
    /// Its list has another shape in the other version.
    Convoy,
    /// A Polecat that says in each version what the other can't: it comes with an annotation, and goes with another.
    Annotated,
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
    pub const ALL: [Self; 3] = [Self::Polecat, Self::Convoy, Self::Annotated];

    /// Whether types without an annotation can say all of it.
    pub fn is_plain(self) -> bool {
        self != Self::Annotated
    }
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
            Sort::Polecat => polecat(number),
            Sort::Convoy => convoy(number),
            Sort::Annotated => annotated(number)?,
        };
        let filler = bytes.saturating_sub(object.to_string().len());
        let place = match sort {
            Sort::Polecat | Sort::Annotated => &mut object["spec"]["taskDescription"],
            Sort::Convoy => &mut object["spec"]["description"],
        };
        *place = json!(prose(filler, number));
        let written = object.to_string();
        if from == "v1alpha1" {
            text.push_str(&written);
        } else {
            convert(&written, from, &mut text)?;
        }
    }
    text.push_str("]}}");
    Ok(text)
}

fn convert(object: &str, version: &str, out: &mut String) -> Result<()> {
    let to = format!("{GROUP}/{version}");
    conversion::convert(conversion::kinds(), object, &to, out).map_err(|why| anyhow!("{why}"))
}

/// As v1alpha1 has it after somebody asked in v1beta1 for a push, of an object with two images, of which v1beta1 has one.
fn annotated(number: usize) -> Result<Value> {
    let mut old = polecat(number);
    old["spec"]["agentConfig"]["image"] = json!("registry.example.com/agents/claude:1.1");
    let (mut hub, mut back) = (String::new(), String::new());
    convert(&old.to_string(), "v1beta1", &mut hub)?;
    let mut hub: Value = serde_json::from_str(&hub)?;
    hub["spec"]["completion"] = json!("Push");
    convert(&hub.to_string(), "v1alpha1", &mut back)?;
    Ok(serde_json::from_str(&back)?)
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

fn polecat(number: usize) -> Value {
    let fields = json!({"f:rig": {}, "f:desiredState": {}, "f:beadID": {}, "f:taskDescription": {}, "f:agentConfig": {
        "f:provider": {}, "f:model": {}, "f:env": {}}, "f:kubernetes": {"f:gitRepository": {}, "f:gitSecretRef": {"f:name": {}},
        "f:image": {}, "f:resources": {"f:limits": {"f:cpu": {}, "f:memory": {}}}}});
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"), "kind": "Polecat", "metadata": metadata("Polecat", number, &fields),
        "spec": {
            "rig": "greeter", "desiredState": "Working", "beadID": format!("gt-{number}"), "taskDescription": "",
            "executionMode": "kubernetes", "agent": "claude-code", "ttlSecondsAfterFinished": 86400, "maxIdleSeconds": 900,
            "agentConfig": {"provider": "anthropic", "model": "claude-sonnet-4",
                "modelProvider": {"endpoint": "https://ai-gateway.example.com/v1",
                    "apiKeySecretRef": {"name": "gateway", "key": "token"}},
                "command": ["claude", "--print"], "env": [{"name": "LANG", "value": "C.UTF-8"}, {"name": "TEAM", "value": "a"}]},
            "kubernetes": {"gitRepository": "git@git.example.com:town/greeter.git", "gitBranch": "main",
                "workBranch": format!("feature/gt-{number}"), "gitSecretRef": {"name": "git-key"},
                "claudeCredsSecretRef": {"name": "claude"}, "image": "registry.example.com/agents/claude:1.2",
                "resources": {"limits": {"cpu": "2", "memory": "4Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
                "activeDeadlineSeconds": 3600, "sshStrictHostKeyChecking": "yes"},
        },
        "status": {"phase": "Done", "assignedBead": format!("gt-{number}"), "branch": format!("feature/gt-{number}"),
            "podName": format!("polecat-{number:05}-1"), "podActive": false, "attempt": 1,
            "startedAt": "2026-11-28T07:40:12Z", "finishedAt": "2026-11-28T07:52:40Z", "exitCode": 0, "pushed": true,
            "baseCommit": "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "commit": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
            "agent": "claude-code", "agentModel": "claude-sonnet-4", "lastActivity": "2026-11-28T07:40:12Z",
            "usage": {"agentMilliseconds": 748_000, "pushMilliseconds": 2100, "tokens": 120_000},
            "conditions": conditions()},
    })
}
