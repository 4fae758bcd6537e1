//! The operator as a process: killed between two writes, stopped, succeeded by another, started with flags.

use std::{
    process::{Command, Output},
    time::Duration,
};

use gastown_testbed::{Node, Operator, OperatorOptions, Testbed, http_get};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::{
    asking::{comes_true, scraped},
    world::{PATIENCE, World, phase_of},
};

const QUICK: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "300ms")];
const FOREVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];

/// Writes of one Polecat's life: intent, pod, Running, end.
const WRITES: u64 = 4;

#[tokio::test]
async fn killed_before_any_write_it_leaves_one_pod_and_the_right_phase() {
    for number in 1..=WRITES {
        let name = format!("killed-before-{number}");
        let world = World::with_flags(
            &name,
            &FOREVER,
            &[&format!("--test-faults=kill-before-write={number}")],
        )
        .await;
        world.create("max", |_| {}).await;
        if number == WRITES {
            world.end_once_seen("max").await;
        }
        let end = world.operator.wait_end(PATIENCE).await.unwrap();
        assert_eq!(end, 128 + 9, "write {number}: it died as by SIGKILL");
        let next = world.another_with("operator", &[]).await;
        if number < WRITES {
            world.end_once_seen("max").await;
        }
        let done = world.phase("max", "Done").await;
        assert_eq!(done.status.unwrap().attempt, Some(1), "write {number}");
        assert_eq!(
            pods_made(&world, &[&world.operator, &next]).await,
            1,
            "write {number}: exactly one pod"
        );
    }
}

/// Pods that these operators made, by the audit log.
pub async fn pods_made(world: &World, operators: &[&Operator]) -> usize {
    let mut users: Vec<_> = operators.iter().map(|it| it.name.as_str()).collect();
    users.dedup();
    let all = world.bed.audit_events().await.unwrap();
    let made =
        all.iter().filter(|it| it.verb == "create" && it.resource == "pods" && it.code == 201);
    made.filter(|it| users.contains(&it.user.as_str())).count()
}

#[tokio::test]
async fn a_stopped_replica_drains_gives_its_lease_back_and_the_next_takes_over_at_once() {
    let world = World::new("hand-over", &FOREVER).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    let second = world.another("second").await;
    assert_eq!(world.operator.terminate(Duration::from_secs(30)).await.unwrap(), 0, "a clean end");
    scraped(&second, |it| it == "gastown_shards_owned 4").await;
    world.create("nux", |_| {}).await;
    world.condition("nux", "Ready", "True/PodRunning").await;
    assert_eq!(
        pods_made(&world, &[&world.operator, &second]).await,
        2,
        "one pod each, and none twice"
    );
    let writes = world.requests_of(&second.name).await;
    let stamped = writes.iter().find(|it| it.is_write() && it.resource == "pods").unwrap();
    assert!(stamped.user_agent.contains("; shard="), "{}", stamped.user_agent);
}

#[tokio::test]
async fn a_killed_replica_is_succeeded_after_the_wait() {
    let world = World::new("taken-over", &FOREVER).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    let second = world.another("second").await;
    world.operator.kill9().await.unwrap();
    world.create("nux", |_| {}).await;
    world.condition("nux", "Ready", "True/PodRunning").await;
    assert_eq!(pods_made(&world, &[&world.operator, &second]).await, 2);
}

/// Two replicas from the start, many Polecats: never two pods for one.
#[tokio::test]
async fn two_replicas_make_one_pod_each() {
    let world = World::new("two-replicas", &QUICK).await;
    let second = world.another("second").await;
    for number in 0..20 {
        world.create(&format!("max-{number}"), |_| {}).await;
    }
    for number in 0..20 {
        world.phase(&format!("max-{number}"), "Done").await;
    }
    assert_eq!(pods_made(&world, &[&world.operator, &second]).await, 20);
}

#[tokio::test]
async fn a_panic_is_one_passes_failure_in_the_release_binary() {
    let Some(release) =
        crate::preconditions::release_binary("a_panic_is_one_passes_failure_in_the_release_binary")
    else {
        return;
    };
    let world = World::release("panic", &QUICK, &["--test-faults=panic-on=boom"], release).await;
    world.create("boom", |_| {}).await;
    world.create("max", |_| {}).await;
    world.phase("max", "Done").await;
    let (_, text) = http_get(&world.operator.metrics).await.unwrap();
    assert!(
        text.contains("controller_runtime_reconcile_panics_total{controller=\"polecat\"}"),
        "{text}"
    );
    assert_eq!(phase_of(&world.polecats().get("boom").await.unwrap()), "", "its own pass failed");
    assert_eq!(world.operator.ended(), None, "the process lives");
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "operation": "CREATE", "name": "boom", "namespace": "panic", "userInfo": {},
        "kind": {"group": "gastown.gastown.io", "version": "v1alpha1", "kind": "Polecat"},
        "resource": {"group": "gastown.gastown.io", "version": "v1alpha1", "resource": "polecats"},
        "object": {"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat", "metadata": {"name": "boom"}},
    }});
    assert_eq!(reviewed(&world.operator, review.to_string()).await, 500, "one request's failure");
    let fine = review.to_string().replace("boom", "fine");
    assert_eq!(reviewed(&world.operator, fine).await, 200, "the next one is answered");
}

/// Every watch and every worker panics twice in the midst of its work.
#[tokio::test]
async fn a_watch_or_worker_that_panics_is_begun_anew_in_the_release_binary() {
    let name = "a_watch_or_worker_that_panics_is_begun_anew_in_the_release_binary";
    let Some(release) = crate::preconditions::release_binary(name) else { return };
    let flags = ["--test-faults=task-panics=2", "--concurrency=1"];
    let world = World::release("stumbling", &QUICK, &flags, release).await;
    world.create("max", |_| {}).await;
    world.phase("max", "Done").await;
    let (_, text) = http_get(&world.operator.metrics).await.unwrap();
    for (task, of) in [("watch", "polecats"), ("watch", "pods"), ("worker", "polecat")] {
        let line = format!("gastown_task_restarts_total{{task=\"{task}\",controller=\"{of}\"}} 2");
        assert!(text.contains(&line), "{line}: {text}");
    }
    let log = std::fs::read_to_string(&world.operator.log).unwrap();
    assert!(log.contains("A task panicked, and is begun anew"), "{log}");
    assert_eq!(pods_made(&world, &[&world.operator]).await, 1);
}

/// Sends a review as the API server would; the status of the answer.
async fn reviewed(operator: &Operator, review: String) -> u16 {
    let mut config = kube::Config::new(operator.webhook.parse().unwrap());
    config.accept_invalid_certs = true;
    config.default_retry = false;
    let client = kube::Client::try_from(config).unwrap();
    let request = http::Request::post("/mutate").header("content-type", "application/json");
    client.send(request.body(review.into_bytes().into()).unwrap()).await.unwrap().status().as_u16()
}

fn run(args: &[&str]) -> Output {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_gastown-operator"));
    Command::new(program).args(args).env_clear().output().unwrap()
}

#[test]
fn what_comes_later_or_cannot_be_ends_the_start_with_a_word() {
    let table: [(&[&str], &str); 6] = [
        (&["--metrics-cert-name=a.crt"], "--metrics-cert-path"),
        (&["--metrics-bind-address=:8443", "--metrics-secure=false"], "everybody who reaches"),
        (&["--health-probe-bind-address=here"], "--health-probe-bind-address"),
        (&["--webhook-cert-path=/nowhere", "--health-probe-bind-address=0"], "--webhook-cert-path"),
        (&["--no-such-flag"], "--no-such-flag"),
        (
            &["--disable-webhooks", "--health-probe-bind-address=0", "--kubeconfig=/nowhere"],
            "/nowhere",
        ),
    ];
    for (args, want) in table {
        let output = run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(want), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn a_replica_whose_webhooks_do_not_answer_itself_is_not_ready_and_says_why() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let options = OperatorOptions {
        name: "unrehearsed".into(),
        namespace: "unrehearsed".into(),
        flags: vec!["--test-faults=panic-on=rehearsal".into()],
        ..OperatorOptions::default()
    };
    let operator = Operator::start(bed, options).await.unwrap();
    comes_true("a line of the log", async || {
        let log = std::fs::read_to_string(&operator.log).unwrap_or_default();
        log.contains("Not ready: the webhooks") && log.contains("/mutate answers 500")
    })
    .await;
    for (path, want) in [("livez", 200), ("readyz", 503)] {
        let address = format!("{}/{path}", operator.health.trim_end_matches('/'));
        assert_eq!(http_get(&address).await.unwrap().0, want, "{path}");
    }
    assert_eq!(operator.terminate(PATIENCE).await.unwrap(), 0, "and ends when it is told to");
}

#[tokio::test]
async fn health_endpoints_answer() {
    let world = World::new("health", &[]).await;
    for path in ["livez", "readyz", "healthz"] {
        let (code, text) =
            http_get(&format!("{}/{path}", world.operator.health.trim_end_matches('/')))
                .await
                .unwrap();
        assert_eq!((code, text.trim()), (200, "ok"), "{path}");
    }
    let left = Api::<Pod>::namespaced(world.client.clone(), "health")
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(left.items.is_empty());
}
