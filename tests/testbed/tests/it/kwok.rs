//! kwok plays pods by the script in their annotations.

use std::{collections::BTreeMap, time::Duration};

use gastown_testbed::{Node, Testbed};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::{await_condition, conditions::is_deleted},
};
use serde_json::json;

use crate::support::allow;

/// Makes a pod of an agent's shape with this script.
async fn play(client: &Client, name: &str, script: &[(&str, &str)]) -> Api<Pod> {
    let annotations: BTreeMap<_, _> =
        script.iter().map(|(k, v)| (format!("testbed.gastown.io/{k}"), *v)).collect();
    let pod = json!({
        "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "restartPolicy": "Never",
            "initContainers": [{ "name": "git-init", "image": "runner" }],
            "containers": [{ "name": "claude", "image": "agent" }, { "name": "telemetry", "image": "runner" }],
        },
    });
    let api: Api<Pod> = Api::namespaced(client.clone(), "default");
    api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    api
}

async fn until_phase(api: &Api<Pod>, name: &str, phase: &'static str) -> Pod {
    let is = move |pod: Option<&Pod>| phase_of(pod) == Some(phase);
    let waited =
        tokio::time::timeout(Duration::from_secs(20), await_condition(api.clone(), name, is)).await;
    waited.unwrap_or_else(|_| panic!("{name} is not {phase} within 20 s")).unwrap().unwrap()
}

fn phase_of(pod: Option<&Pod>) -> Option<&str> {
    pod?.status.as_ref()?.phase.as_deref()
}

/// Exit code, reason and message of a container that has ended.
fn end_of(pod: &Pod, container: &str) -> Option<(i32, String, String)> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let ContainerState { terminated, .. } =
        all.into_iter().find(|it| it.name == container)?.state.clone()?;
    let end = terminated?;
    Some((end.exit_code, end.reason.unwrap_or_default(), end.message.unwrap_or_default()))
}

fn end(code: i32, reason: &str, message: &str) -> (i32, String, String) {
    (code, reason.to_owned(), message.to_owned())
}

#[tokio::test]
async fn pods_play_their_scripts() {
    if !allow("pods_play_their_scripts", Node::Kwok) {
        return;
    }
    let testbed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let client = testbed.client("player").await.unwrap();

    let api = play(&client, "plain", &[]).await;
    let pod = until_phase(&api, "plain", "Running").await;
    assert!(pod.status.as_ref().unwrap().pod_ip.is_some());
    let pod = until_phase(&api, "plain", "Succeeded").await;
    assert_eq!(end_of(&pod, "git-init"), Some(end(0, "Completed", "")));
    assert_eq!(end_of(&pod, "claude"), Some(end(0, "Completed", "")));
    assert_eq!(end_of(&pod, "telemetry"), Some(end(0, "Completed", "")));

    let message =
        r#"{"v":1,"pushed":true,"reason":"Pushed","message":"quotes \" and\nlines: fine"}"#;
    let script = [
        ("run-for", "50ms"),
        ("exit-code", "3"),
        ("message", message),
        ("reason.claude", "OOMKilled"),
    ];
    let api = play(&client, "failing", &script).await;
    let pod = until_phase(&api, "failing", "Failed").await;
    assert_eq!(end_of(&pod, "claude"), Some(end(3, "OOMKilled", "")));
    assert_eq!(end_of(&pod, "telemetry"), Some(end(0, "Completed", message)));

    let script =
        [("init-run-for", "300ms"), ("init-exit-code", "4"), ("init-message", "no such branch")];
    let api = play(&client, "init-failing", &script).await;
    let pod = until_phase(&api, "init-failing", "Failed").await;
    assert_eq!(end_of(&pod, "git-init"), Some(end(4, "Error", "no such branch")));
    assert_eq!(end_of(&pod, "claude"), None);
}

#[tokio::test]
async fn a_namespace_has_a_script_for_all_its_pods() {
    if !allow("a_namespace_has_a_script_for_all_its_pods", Node::Kwok) {
        return;
    }
    let testbed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let client = testbed.client("player").await.unwrap();
    let script = [("testbed.gastown.io/run-for", "never"), ("testbed.gastown.io/exit-code", "5")];
    testbed.make_namespace("scripted", &script).await.unwrap();
    let api: Api<Pod> = Api::namespaced(client, "scripted");
    let pod = json!({
        "metadata": { "name": "p", "annotations": { "testbed.gastown.io/exit-code": "6" } },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "claude", "image": "agent" }] },
    });
    let pod =
        api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let annotations = pod.metadata.annotations.unwrap();
    assert_eq!(annotations["testbed.gastown.io/run-for"], "never");
    assert_eq!(annotations["testbed.gastown.io/exit-code"], "6", "what the pod says itself wins");
    until_phase(&api, "p", "Running").await;
    let now = json!({ "metadata": { "annotations": { "testbed.gastown.io/run-for": "0s" } } });
    api.patch("p", &PatchParams::default(), &Patch::Merge(now)).await.unwrap();
    let pod = until_phase(&api, "p", "Failed").await;
    assert_eq!(end_of(&pod, "claude"), Some(end(6, "Error", "")));
}

#[tokio::test]
async fn telemetry_lingers_and_pods_wait() {
    if !allow("telemetry_lingers_and_pods_wait", Node::Kwok) {
        return;
    }
    let testbed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let client = testbed.client("player").await.unwrap();

    let script = [("run-for", "50ms"), ("linger", "never"), ("exit-code.claude", "0")];
    let api = play(&client, "lingering", &script).await;
    let ended = |pod: Option<&Pod>| pod.is_some_and(|it| end_of(it, "claude").is_some());
    let waited = tokio::time::timeout(
        Duration::from_secs(20),
        await_condition(api.clone(), "lingering", ended),
    )
    .await;
    let pod = waited.expect("claude does not end").unwrap().unwrap();
    assert_eq!(phase_of(Some(&pod)), Some("Running"));
    assert_eq!(end_of(&pod, "telemetry"), None);

    let api = play(
        &client,
        "lingering-a-bit",
        &[("run-for", "50ms"), ("linger", "100ms"), ("exit-code", "1")],
    )
    .await;
    let pod = until_phase(&api, "lingering-a-bit", "Failed").await;
    assert_eq!(end_of(&pod, "claude"), Some(end(1, "Error", "")));
    assert_eq!(end_of(&pod, "telemetry"), Some(end(0, "Completed", "")));

    let api = play(&client, "endless", &[("run-for", "never")]).await;
    let pod = until_phase(&api, "endless", "Running").await;
    let uid = pod.metadata.uid.unwrap();
    api.delete("endless", &DeleteParams::default()).await.unwrap();
    let gone = tokio::time::timeout(
        Duration::from_secs(20),
        await_condition(api, "endless", is_deleted(&uid)),
    )
    .await;
    gone.expect("a deleted pod stays").unwrap();
}
