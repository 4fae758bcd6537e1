//! Pods of a given size, and the reviews that an API server would send of them.

use serde_json::{Value, json};

/// Where both servers are asked about pods.
pub const NAMESPACE: &str = "held";

/// A pod that restricted Pod Security lets in, of about so many bytes: as many containers as fit, then variables.
pub fn pod(bytes: usize) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "max-1", "namespace": NAMESPACE, "labels": {"app": "greeter"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [container("init")],
            "containers": [],
            "volumes": [
                {"name": "work", "emptyDir": {"sizeLimit": "10Gi"}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}},
                {"name": "key", "secret": {"secretName": "git", "defaultMode": 256}},
            ],
        },
    });
    let mut count = 0;
    while count == 0 || pod.to_string().len() + 900 < bytes {
        push(&mut pod["spec"]["containers"], container(&format!("agent-{count}")));
        count += 1;
    }
    let mut count = 0;
    while pod.to_string().len() + 40 < bytes {
        let variable = json!({"name": format!("GT_VARIABLE_{count}"), "value": "a-value-of-it"});
        push(&mut pod["spec"]["containers"][0]["env"], variable);
        count += 1;
    }
    pod
}

/// The same with one field that is refused.
pub fn privileged(bytes: usize) -> Value {
    let mut pod = pod(bytes);
    pod["spec"]["containers"][0]["securityContext"]["privileged"] = json!(true);
    pod
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

fn container(name: &str) -> Value {
    json!({
        "name": name, "image": "registry.example.com/town/agent:1.2.3",
        "command": ["/gastown/tools/gt-runner", "claude", "--deadline-seconds", "3600", "--"],
        "env": [{"name": "HOME", "value": "/home/nonroot"}, {"name": "GT_RIG", "value": "greeter"}],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
        "securityContext": {
            "runAsNonRoot": true, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "work", "mountPath": "/workspace"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    })
}

pub fn review(pod: &Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "max-1", "namespace": NAMESPACE, "operation": "CREATE",
            "userInfo": {"username": "ada", "groups": ["system:authenticated"]},
            "object": pod, "oldObject": null, "dryRun": false,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        },
    })
    .to_string()
}
