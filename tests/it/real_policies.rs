//! Network policies, enforced on the real node by kube-router (`GASTOWN_KUBE_ROUTER=program`; `make test-network` builds it): what is
//! shipped lets through all that the operator needs, and nothing else.

use std::path::PathBuf;

use gastown::manifests::NAMESPACE;
use gastown_testbed::{Node, Options, Testbed, preconditions};
use serde_json::{Value, json};

use crate::{
    asking::{answered, comes_true},
    kubectl::Kubectl,
    preconditions::{release_binary, skip},
    real_deployed::{makes, runs},
    real_node::make_references,
};

const IMAGE: &str = "localhost/gastown-operator:test";
const TOWN: &str = "walled";
/// A namespace that says it scrapes.
const SCRAPERS: &str = "scrapers";
/// Where the operator's labels let a pod speak to: a collector.
const COLLECTOR: u16 = 4318;
/// Where nothing of the operator has any business.
const ELSEWHERE: u16 = 9000;
/// Its own ports: webhooks, probes, metrics.
const WEBHOOKS: u16 = 9443;
const PROBES: u16 = 8081;
const METRICS: u16 = 8443;

/// A pod that speaks to others, or listens on these ports.
fn pod(name: &str, labels: &Value, listens: &[u16]) -> Value {
    let serve = |port| format!("/bin/busybox httpd -p {port}; ");
    let script = listens.iter().map(serve).collect::<String>() + "exec /bin/busybox sleep 3600";
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "it",
                "image": "localhost/agent:dev",
                "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "sh", "-c", script],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// Makes a pod, and waits until it runs; its address.
async fn started(kubectl: &Kubectl, namespace: &str, pod: &Value) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pod.json");
    std::fs::write(&file, pod.to_string()).unwrap();
    kubectl.said(&["-n", namespace, "apply", "-f", file.to_str().unwrap()]).await;
    let name = pod["metadata"]["name"].as_str().unwrap();
    let wait = ["-n", namespace, "wait", "--for=condition=Ready", "--timeout=60s", "pod", name];
    kubectl.said(&wait).await;
    let address = ["-n", namespace, "get", "pod", name, "-o", "jsonpath={.status.podIP}"];
    kubectl.said(&address).await
}

/// Whether somebody answers a pod there, within two seconds.
async fn reaches(kubectl: &Kubectl, (namespace, pod): (&str, &str), to: &str, port: u16) -> bool {
    let try_it = format!("/bin/busybox nc -w 2 {to} {port} </dev/null >/dev/null 2>&1");
    let exec = ["-n", namespace, "exec", pod, "--", "/bin/busybox", "sh", "-c", &try_it];
    kubectl.run(&exec).await.status.success()
}

/// Rules hold for a pod a moment after it has begun: until then all may speak. So what is shut comes first.
async fn holds(kubectl: &Kubectl, from: (&str, &str), shut: (&str, u16), open: &[(&str, u16)]) {
    let (to, port) = shut;
    comes_true(&format!("{}/{} not to reach {to}:{port}", from.0, from.1), async || {
        !reaches(kubectl, from, to, port).await
    })
    .await;
    for (to, port) in open {
        assert!(reaches(kubectl, from, to, *port).await, "{from:?} does not reach {to}:{port}");
    }
    assert!(!reaches(kubectl, from, to, port).await, "{from:?} reaches {to}:{port} again");
}

/// A release on a node that enforces policies, with towns beside it.
async fn deployed(bed: &Testbed, kubectl: &Kubectl) -> String {
    let runner = "RUNNER_IMG=localhost/gt-runner:dev";
    let images = [&format!("IMG={IMAGE}"), runner, "AGENT_IMG=localhost/agent:dev"];
    let deploy = [&["deploy", "--assume-old=manifests"], &images[..]].concat();
    let said = makes(bed, &deploy).await;
    assert!(said.contains("successfully rolled out"), "{said}");
    for namespace in [TOWN, SCRAPERS] {
        bed.make_namespace(namespace, &[]).await.unwrap();
    }
    kubectl.said(&["label", "namespace", SCRAPERS, "metrics=enabled"]).await;
    answered("the address of a replica", async || {
        let its = "control-plane=controller-manager";
        let path = "jsonpath={.items[0].status.podIP}";
        let said = kubectl.said(&["-n", NAMESPACE, "get", "pods", "-l", its, "-o", path]).await;
        Some(said).filter(|it| !it.is_empty())
    })
    .await
}

#[tokio::test]
async fn network_policies_let_through_what_the_operator_needs_and_nothing_else() {
    const TEST: &str = "network_policies_let_through_what_the_operator_needs_and_nothing_else";
    let enforcer = PathBuf::from(std::env::var("GASTOWN_KUBE_ROUTER").unwrap_or_default());
    if !enforcer.exists() {
        let why = "GASTOWN_KUBE_ROUTER names no program; `make test-network` builds it";
        return skip(TEST, "kube-router", why);
    }
    if !preconditions::allow(TEST, Node::Real).unwrap() {
        return;
    }
    let Some(program) = release_binary(TEST) else { return };
    let options = Options { node: Node::Real, enforcer: Some(enforcer), ..Options::default() };
    let bed = Testbed::start(options).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    bed.make_operator_image(&program, IMAGE).await.unwrap();
    let replica = deployed(&bed, &kubectl).await;

    // Into the operator: its webhooks and probes by everybody, its metrics by who says so.
    let none = json!({});
    let town = started(&kubectl, TOWN, &pod("town", &none, &[COLLECTOR, ELSEWHERE])).await;
    started(&kubectl, SCRAPERS, &pod("scraper", &none, &[])).await;
    let open = [(&*replica, WEBHOOKS), (&*replica, PROBES)];
    holds(&kubectl, (TOWN, "town"), (&replica, METRICS), &open).await;
    let metrics = [(&*replica, METRICS), (&*replica, WEBHOOKS)];
    holds(&kubectl, (SCRAPERS, "scraper"), (&replica, ELSEWHERE), &metrics).await;

    // Out of it: API servers and collectors, also past their Services.
    let its = json!({"app.kubernetes.io/name": "gastown-operator", "control-plane": "controller-manager"});
    started(&kubectl, NAMESPACE, &pod("beside-it", &its, &[])).await;
    let api = ["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"];
    let api = kubectl.said(&api).await;
    let out = [(&*api, 443), (&*town, COLLECTOR)];
    holds(&kubectl, (NAMESPACE, "beside-it"), (&town, ELSEWHERE), &out).await;
    let other = reaches(&kubectl, (TOWN, "town"), &town, ELSEWHERE).await;
    assert!(other, "somebody listens there: it was the policy that kept it away");

    // With these rules in force: let in, worked on, pushed.
    let client = bed.client("user-walled").await.unwrap();
    make_references(&client, TOWN, bed.git.as_ref().unwrap()).await;
    runs(&bed, &client, TOWN, "max").await;
    kubectl.said(&["-n", NAMESPACE, "delete", "pod", "beside-it"]).await;
    makes(&bed, &["undeploy"]).await;
    bed.stop().await.unwrap();
}
