//! Operators outside the cluster: their webhooks are reached through one Service, and only the live ones.

use std::time::Duration;

use gastown_testbed::{Operator, OperatorOptions, Testbed};
use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{fixtures, refuser, with_refusers};

async fn create_thing(client: &Client, namespace: &str) -> Result<(), String> {
    let kind = GroupVersionKind::gvk("testbed.gastown.io", "v1", "Thing");
    let api: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        namespace,
        &ApiResource::from_gvk_with_plural(&kind, "things"),
    );
    let thing = json!({
        "apiVersion": "testbed.gastown.io/v1", "kind": "Thing", "metadata": { "generateName": "thing-" }, "spec": {},
    });
    let thing = serde_json::from_value(thing).unwrap();
    api.create(&PostParams::default(), &thing).await.map(drop).map_err(|it| it.to_string())
}

/// Who refused, by its number.
fn refused_by(answer: &Result<(), String>) -> Option<usize> {
    let (_, number) = answer.as_ref().err()?.split_once("refused by operator-")?;
    number.chars().next()?.to_digit(10)?.try_into().ok()
}

async fn fails_over(plain: bool) {
    let testbed = Testbed::start(with_refusers(2, plain)).await.unwrap();
    let client = testbed.client("loadgen").await.unwrap();
    let asked = async {
        loop {
            if let Some(number) = refused_by(&create_thing(&client, "default").await) {
                break number;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // The API server keeps its connection, so the first to answer is the one that answers, until it dies.
    let first =
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("no replica answers");
    let pid = i32::try_from(testbed.replicas[first].pid).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let mut in_a_row = 0;
    for _ in 0..400 {
        let answered = refused_by(&create_thing(&client, "default").await);
        in_a_row = if answered == Some(1 - first) { in_a_row + 1 } else { 0 };
        if in_a_row == 30 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(in_a_row, 30, "a dead replica is still asked");
    let events = testbed.audit_events().await.unwrap();
    assert!(
        events.iter().any(|it| it.user == "loadgen" && it.resource == "things" && it.code == 403)
    );
    testbed.stop().await.unwrap();
}

#[tokio::test]
async fn webhooks_fail_over_behind_one_service() {
    fails_over(false).await;
}

#[tokio::test]
async fn webhooks_fail_over_behind_the_balancer() {
    fails_over(true).await;
}

#[tokio::test]
async fn one_operator_is_started_killed_and_started_again() {
    let testbed = Testbed::shared().await.unwrap();
    let client = testbed.client("admin").await.unwrap();
    let options = OperatorOptions {
        program: Some(refuser()),
        name: "operator-7".to_owned(),
        namespace: "restarts".to_owned(),
        ..OperatorOptions::default()
    };
    let first = Operator::start(testbed, options.clone()).await.unwrap();
    first.wait_ready().await.unwrap();
    let (status, body) = gastown_testbed::http_get(&first.metrics).await.unwrap();
    assert_eq!((status, body.as_str()), (200, "up 1\n"));
    first.kill9().await.unwrap();
    assert_eq!(first.ended(), Some(137));
    let second = Operator::start(testbed, options).await.unwrap();
    second.wait_ready().await.unwrap();
    gastown_testbed::manifests::apply_crds(&client, &fixtures().join("crds"), None).await.unwrap();
    let code = second.terminate(Duration::from_secs(10)).await.unwrap();
    assert_eq!(code, 143, "the stand-in does not catch SIGTERM");
}

#[tokio::test]
async fn an_operator_that_ends_early_is_reported_with_its_words() {
    let testbed = Testbed::shared().await.unwrap();
    let options = OperatorOptions {
        program: Some(refuser()),
        flags: vec!["--exit=9".to_owned()],
        ..OperatorOptions::default()
    };
    let operator = Operator::start(testbed, options).await.unwrap();
    let error = operator.wait_ready().await.unwrap_err().to_string();
    assert!(error.contains("ended with 9") && error.contains("asked to end with 9"), "{error}");
}

#[tokio::test]
async fn the_audit_log_tells_clients_apart() {
    let testbed = Testbed::shared().await.unwrap();
    for name in ["left", "right"] {
        let client = testbed.client(name).await.unwrap();
        client.list_core_api_versions().await.unwrap();
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client);
        nodes.list(&kube::api::ListParams::default()).await.unwrap();
    }
    let weak = testbed.client_in("weak", None).await.unwrap();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(weak);
    nodes.list(&kube::api::ListParams::default()).await.unwrap_err();
    let events = testbed.audit_events().await.unwrap();
    for (name, code) in [("left", 200), ("right", 200), ("weak", 403)] {
        let lists: Vec<_> =
            events.iter().filter(|it| it.user == name && it.resource == "nodes").collect();
        assert_eq!(lists.len(), 1, "{name}");
        assert_eq!((lists[0].verb.as_str(), lists[0].code), ("list", code));
    }
}
