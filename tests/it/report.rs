//! `kubectl gt report`: of what was planted as a secret nothing is in the archive, and what somebody who helps needs is. The logs
//! come from a kubelet of this test's own, so that they say what no program of ours would.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{self, State},
    routing::get,
};
use axum_server::tls_rustls::RustlsConfig;
use gastown::{
    api::v1beta1::{PolecatObject, ShardMap, ShardMapSpec},
    domain::shard::Map,
};
use gastown_testbed::{Node, Testbed};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, Node as NodeObject, Pod},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    kubectl::Kubectl,
    world::{install_crds, own, until},
};

const HOME: &str = "reported";
/// Where the Polecat and its pod are in a report.
const POLECAT: &str = "objects/polecat.gastown.gastown.io/reported/max.yaml";
const POD: &str = "pods/reported/polecat-max";
/// In every secret that is planted, in one shape or another.
const CANARY: &str = "canary";
/// What the logs say, by container; the last lines are what somebody who helps looks for.
const LOGS: [(&str, &str); 4] = [
    (
        "git-init",
        "Cloning into https://oauth2:canary-log-a@git.example.com/town/greeter\nchecked out main\n",
    ),
    (
        "claude",
        "{\"level\":\"info\",\"password\":\"canary-log-b\",\"message\":\"begun\"}\n\
         export AWS_SECRET_ACCESS_KEY=canary/LOG/c\n\
         $ curl -H 'Authorization: Basic canary-log-d==' https://example.com\n\
         I was told: teach the canary of the greeter to sing in tune\n\
         and found canary-env-value in my environment\n\
         canaryBASE64ofAkey0123456789abcdefABCDEF0123456789abcdefABCDEF01\ncanary==\n-----END OPENSSH PRIVATE KEY-----\n\
         wrote greeter.txt\n",
    ),
    (
        "telemetry",
        "push --token canary-log-e refused, glpat-canary0123456789abc\npushed feature/gt-abc12\n",
    ),
    (
        "manager",
        "{\"fields\":{\"module\":\"AWS-LC\"},\"message\":\"Using cryptography\",\"groups\":\"secp256r1\"}\n\
         {\"message\":\"Connected\",\"proxy\":\"http://bob:canary-log-f@proxy:3128/\"}\n",
    ),
];

type Asked = Arc<Mutex<BTreeSet<String>>>;

/// Answers the API server for the logs of its pods.
struct Kubelet {
    port: u16,
    asked: Asked,
    task: JoinHandle<()>,
}

impl Kubelet {
    fn start(bed: &Testbed) -> Self {
        let _ = gastown::tls::install_provider();
        let (certificate, key) = bed.kubelet_certificate().unwrap();
        let presented =
            gastown::tls::check::Presented::read(certificate.as_bytes(), key.as_bytes());
        let config = Arc::new(gastown::tls::server(presented.unwrap()).unwrap());
        let listener = TcpListener::bind((bed.host_address, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Asked::default();
        let routes = Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(say));
        let routes = routes.with_state(asked.clone());
        let serve =
            axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(config)).unwrap();
        let task =
            tokio::spawn(async move { serve.serve(routes.into_make_service()).await.unwrap() });
        Self { port, asked, task }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn say(
    State(asked): State<Asked>,
    extract::Path((_, _, container)): extract::Path<(String, String, String)>,
    extract::Query(query): extract::Query<BTreeMap<String, String>>,
) -> &'static str {
    let lines = query.get("tailLines").map_or("", String::as_str);
    asked.lock().unwrap().insert(format!("{container} {lines}"));
    LOGS.iter().find(|(name, _)| *name == container).map_or("", |(_, text)| text)
}

async fn make<K>(client: &Client, namespace: &str, object: Value) -> K
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

/// A node that takes no pods by itself, whose logs are this test's.
async fn make_node(client: &Client, bed: &Testbed, port: u16) -> Api<NodeObject> {
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let node = json!({"metadata": {"name": HOME}, "spec": {"unschedulable": true}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let ready = |it: &NodeObject| {
        let all = it.status.iter().flat_map(|it| it.conditions.iter().flatten());
        all.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
    };
    until(&nodes, HOME, "readiness", ready).await;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": bed.host_address.to_string()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    nodes.patch_status(HOME, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    nodes
}

/// A Polecat with secrets of every shape where people put them.
async fn plant_polecat(client: &Client) -> String {
    let polecat: PolecatObject = make(client, HOME, json!({
        "metadata": {"name": "max", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{\"spec\":{\"x\":\"canary-applied\"}}",
            "gastown.io/v1alpha1-fields": "Y2FuYXJ5canary",
            "example.com/webhook-secret": "canary-annotation",
        }},
        "spec": {
            "rig": "greeter",
            "beadID": "gt-abc12",
            "task": "Teach.\nteach the canary of the greeter to sing in tune",
            "repository": {"url": "https://git.example.com/town/greeter", "secretRef": {"name": "git-key"}},
            "agent": {
                "endpoint": "https://bob:canary-url@gateway.example.com/v1",
                "args": ["--api-key", "canary-argument", "--verbose"],
                "env": [{"name": "DEPLOY_TOKEN", "value": "canary-env-value"}, {"name": "COLOUR", "value": "green"}],
            },
        },
    }))
    .await;
    let key = "-----BEGIN OPENSSH PRIVATE KEY-----\ncanaryAAAA\n-----END OPENSSH PRIVATE KEY-----";
    let status = json!({"status": {"phase": "Stuck", "conditions": [{
        "type": "Ready", "status": "False", "reason": "CloneRefused", "lastTransitionTime": "2026-01-01T00:00:00Z",
        "message": format!("the host said: {key} and would not"),
    }]}});
    let polecats: Api<PolecatObject> = Api::namespaced(client.clone(), HOME);
    polecats.patch_status("max", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    polecat.metadata.uid.unwrap()
}

fn container(name: &str, env: &Value) -> Value {
    json!({"name": name, "image": "i", "env": env})
}

/// The same in its pod, and in an Event about that.
async fn plant_pod(client: &Client, uid: &str) {
    let owner = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "name": "max", "uid": uid});
    let pod: Pod = make(
        client,
        HOME,
        json!({
            "metadata": {
                "name": "polecat-max",
                "labels": {"gastown.io/polecat": "max"},
                "ownerReferences": [owner],
                "annotations": {"testbed.gastown.io/run-for": "never"},
            },
            "spec": {
                "nodeName": HOME,
                "initContainers": [container("git-init", &json!([]))],
                "containers": [
                    container("claude", &json!([
                        {"name": "GT_TASK_DESCRIPTION", "value": "canary-prompt"},
                        {"name": "DATABASE_URL", "value": "postgres://app:canary-dsn@db/x"},
                    ])),
                    container("telemetry", &json!([])),
                ],
            },
        }),
    )
    .await;
    let about =
        json!({"kind": "Pod", "namespace": HOME, "name": "polecat-max", "uid": pod.metadata.uid});
    make::<Event>(client, HOME, json!({
        "metadata": {"name": "polecat-max.1"}, "involvedObject": about, "type": "Warning", "reason": "Failed",
        "message": "pull refused: Authorization: Bearer canary-event",
    }))
    .await;
}

/// What the operator proves itself by to its collector.
fn collector() -> Value {
    json!({"name": "OTEL_EXPORTER_OTLP_HEADERS", "value": "x-team=canary_01hqk4k20cjeh63wca8vva5stw"})
}

/// A replica, what made it, and the map that it would have made.
async fn plant_operator(client: &Client) {
    make::<Pod>(client, &own(HOME), json!({
        "metadata": {
            "name": "manager-0",
            "labels": {"control-plane": "controller-manager", "app.kubernetes.io/name": "gastown-operator"},
            "annotations": {"testbed.gastown.io/run-for": "never"},
        },
        "spec": {"nodeName": HOME, "containers": [container("manager", &json!([collector()]))]},
    }))
    .await;
    let labels = json!({"control-plane": "controller-manager", "app.kubernetes.io/name": "gastown-operator"});
    make::<Deployment>(
        client,
        &own(HOME),
        json!({
            "metadata": {"name": "gastown-operator-controller-manager", "labels": labels},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container("manager", &json!([collector()]))]},
            }},
        }),
    )
    .await;
    let map = ShardMap::new("gastown", ShardMapSpec::from(&Map::first(2)));
    let maps: Api<ShardMap> = Api::namespaced(client.clone(), &own(HOME));
    maps.create(&PostParams::default(), &map).await.unwrap();
}

/// All of it, until both pods run.
async fn plant(client: &Client) {
    let uid = plant_polecat(client).await;
    plant_pod(client, &uid).await;
    plant_operator(client).await;
    let runs = |it: &Pod| it.status.iter().any(|it| it.phase.as_deref() == Some("Running"));
    for (namespace, name) in [(HOME, "polecat-max"), (&own(HOME), "manager-0")] {
        until(&Api::<Pod>::namespaced(client.clone(), namespace), name, "running", runs).await;
    }
}

async fn report(bed: &Testbed, group: Option<&str>, args: &[&str], to: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(["-n", HOME, "report", "--operator-namespace", &own(HOME)]).args(args);
    let kubeconfig = bed.kubeconfig_for("report-person", group).unwrap();
    command.arg("-o").arg(to).env_clear().env("KUBECONFIG", kubeconfig);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// The same as must-gather asks for it: by the program's other name, into a folder.
async fn gathered(bed: &Testbed, folder: &Path) {
    let (program, into) = (folder.join("gather"), folder.join("must-gather"));
    gastown_testbed::program::copy(Path::new(env!("CARGO_BIN_EXE_kubectl-gt")), &program).unwrap();
    fs::create_dir(&into).unwrap();
    let mut command = Command::new(program);
    command.args(["-n", HOME, "--operator-namespace", &own(HOME), "-o"]).arg(&into);
    let kubeconfig = bed.kubeconfig_for("gatherer", Some("system:masters")).unwrap();
    command.env_clear().env("KUBECONFIG", kubeconfig);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all = files(&into.join("gastown-report"));
    has_no_secret(&all);
    has_what_helps(&all);
}

/// All files below a folder, by path, in one text each.
fn files(top: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(top).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn unpacked(archive: &Path) -> BTreeMap<String, String> {
    let into = PathBuf::from(format!("{}.d", archive.display()));
    let read = flate2::read::GzDecoder::new(fs::File::open(archive).unwrap());
    tar::Archive::new(read).unpack(&into).unwrap();
    files(&into.join("gastown-report"))
}

fn has_no_secret(files: &BTreeMap<String, String>) {
    for (name, text) in files {
        let lines = text.lines().filter(|it| it.to_lowercase().contains(CANARY));
        assert_eq!(lines.collect::<Vec<_>>(), [""; 0], "{name}");
    }
}

fn has_what_helps(all: &BTreeMap<String, String>) {
    for (file, want) in [
        (POLECAT, "CloneRefused"),
        (POLECAT, "the host said: [removed] and would not"),
        (POLECAT, "value: green"),
        (POLECAT, "--verbose"),
        (POLECAT, "name: git-key"),
        ("conditions.txt", "CloneRefused"),
        (&format!("events/{HOME}.yaml"), "pull refused: Authorization: [removed]"),
        (&format!("{POD}/pod.yaml"), "nodeName: reported"),
        (
            &format!("{POD}/git-init.log"),
            "https://[removed]@git.example.com/town/greeter\nchecked out main\n",
        ),
        (&format!("{POD}/claude.log"), "I was told: [removed]"),
        (&format!("{POD}/claude.log"), "wrote greeter.txt"),
        (&format!("{POD}/telemetry.log"), "pushed feature/gt-abc12"),
        (&format!("pods/{}/manager-0/manager.log", own(HOME)), "Connected"),
        (&format!("objects/shardmap.gastown.gastown.io/{}/gastown.yaml", own(HOME)), "0-511"),
        (
            &format!(
                "operator/deployment.apps/{}/gastown-operator-controller-manager.yaml",
                own(HOME)
            ),
            "OTEL_EXPORTER_OTLP_HEADERS",
        ),
        ("operator/shards.yaml", "512-1023"),
        ("operator/trusted.yaml", "polecats.gastown.gastown.io"),
        ("operator/crypto.yaml", "module: AWS-LC"),
        ("operator/crypto.yaml", "manager-0"),
        ("report.yaml", "gitVersion"),
    ] {
        let text = all.get(file).unwrap_or_else(|| panic!("{file} among {:?}", all.keys()));
        assert!(text.contains(want), "{file}: {want} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_has_what_helps_and_no_secret() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    install_crds(bed).await;
    for name in [HOME, &own(HOME)] {
        bed.make_namespace(name, &[]).await.unwrap();
    }
    let (client, kubelet) = (bed.client("reporter").await.unwrap(), Kubelet::start(bed));
    let nodes = make_node(&client, bed, kubelet.port).await;
    plant(&client).await;

    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("all.tgz");
    let output = report(bed, Some("system:masters"), &[], &to).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let all = unpacked(&to);
    has_no_secret(&all);
    has_what_helps(&all);
    assert_eq!(all["missing.txt"], "nothing\n", "somebody who may read everything misses nothing");
    let fingerprint = all["operator/trusted.yaml"].lines().any(|it| {
        let word = it.trim().trim_start_matches("- ");
        word.len() == 64 && word.bytes().all(|it| it.is_ascii_hexdigit())
    });
    assert!(fingerprint, "whom the converter is believed by: {}", all["operator/trusted.yaml"]);
    assert!(kubelet.asked.lock().unwrap().contains("claude 500"), "the last 500 lines");

    let one = folder.path().join("one.tgz");
    assert!(report(bed, Some("system:masters"), &["polecat/max"], &one).await.status.success());
    let one = unpacked(&one);
    has_no_secret(&one);
    assert!(one.contains_key(POLECAT) && one.contains_key(&format!("{POD}/claude.log")));
    gathered(bed, folder.path()).await;
    let nobody = folder.path().join("nobody.tgz");
    assert!(report(bed, None, &[], &nobody).await.status.success(), "it does what it can");
    let nobody = unpacked(&nobody);
    for want in [format!("polecats of {HOME}: "), format!("leases of {}: ", own(HOME))] {
        let line = nobody["missing.txt"].lines().find(|it| it.starts_with(&want));
        assert!(line.is_some_and(|it| it.contains("forbidden")), "{}", nobody["missing.txt"]);
    }
    Kubectl::admin(bed).said(&["delete", "namespace", HOME, &own(HOME), "--wait=false"]).await;
    nodes.delete(HOME, &DeleteParams::default()).await.unwrap();
}
