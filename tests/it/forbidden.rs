//! An operator whose role was cut: what it may not do is said where a user looks, and done once it may.

use gastown_testbed::{Node, Operator, OperatorOptions, Options, Testbed};
use k8s_openapi::api::{
    coordination::v1::Lease,
    rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    world::{World, make_namespaces, message, own, phase_of},
};

const TOWN: &str = "forbidden";
const GROUP: &str = "forbidden:operators";

/// The operator's own role as it is installed, with or without leave to create pods.
fn role(creates_pods: bool) -> Value {
    let files = gastown::manifests::files().unwrap();
    let (_, text) = files.iter().find(|(path, _)| path == "deploy/rbac/role.yaml").unwrap();
    let whole = text.split("---\n").next().unwrap();
    let mut role: Value = serde_saphyr::from_str(whole).unwrap();
    role["metadata"]["name"] = json!(TOWN);
    let rules = role["rules"].as_array_mut().unwrap();
    let pods = rules.iter_mut().find(|it| it["resources"] == json!(["pods"])).unwrap();
    let verbs = pods["verbs"].as_array_mut().unwrap();
    assert!(verbs.contains(&json!("create")), "it is what is taken away: {verbs:?}");
    verbs.retain(|it| creates_pods || it != "create");
    role
}

/// Gives the group that role, and what every operator has in its own namespace.
async fn bind(client: &Client) {
    let subjects =
        json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": GROUP}]);
    let binding = |kind: &str, role: &str| {
        json!({"metadata": {"name": TOWN}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}})
    };
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let cut = serde_json::from_value(role(false)).unwrap();
    roles.create(&PostParams::default(), &cut).await.unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let whole = serde_json::from_value(binding("ClusterRole", TOWN)).unwrap();
    bindings.create(&PostParams::default(), &whole).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), &own(TOWN));
    let inner = binding("Role", "gastown-operator-leader-election-role");
    let inner = serde_json::from_value(inner).unwrap();
    bindings.create(&PostParams::default(), &inner).await.unwrap();
}

#[tokio::test]
async fn an_operator_that_may_not_create_pods_says_so_and_goes_on_once_it_may() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let script = [("testbed.gastown.io/run-for", "never")];
    make_namespaces(bed, TOWN, &script).await;
    let client = bed.client("admin").await.unwrap();
    bind(&client).await;
    let world = World::in_group(TOWN, &script, GROUP).await;
    world.create("max", |_| {}).await;
    let stuck = world.condition("max", "Ready", "False/PodCreateFailed").await;
    let said = message(&stuck, "Ready");
    assert!(said.contains("cannot create resource \"pods\""), "the API server's words: {said}");
    assert_eq!(phase_of(&stuck), "Stuck");
    world.event("max", "PodCreateFailed").await;
    let roles: Api<ClusterRole> = Api::all(client);
    let whole = Patch::Merge(json!({"rules": role(true)["rules"]}));
    roles.patch(TOWN, &PatchParams::default(), &whole).await.unwrap();
    world.condition("max", "Ready", "True/PodRunning").await;
}

/// As `make run` by an administrator would, had it not made the namespace: who may write there is told by no role.
#[tokio::test]
async fn an_operator_without_its_namespace_says_so_and_goes_on_once_it_is_there() {
    const MISSING: &str = "homeless-nowhere";
    let bed = Testbed::start(Options::default()).await.unwrap();
    bed.install_crds().await.unwrap();
    let client = bed.client("admin").await.unwrap();
    let variables = ["GASTOWN_NAMESPACE", "POD_NAMESPACE"];
    let options = OperatorOptions {
        name: "operator-homeless".into(),
        namespace: "homeless".into(),
        group: "system:masters".into(),
        flags: ["--watch-namespaces=homeless", "--failover=fast", "--shards=4"]
            .map(ToOwned::to_owned)
            .into(),
        environment: variables.map(|it| (it.to_owned(), MISSING.to_owned())).into(),
        ..OperatorOptions::default()
    };
    let operator = Operator::start(&bed, options).await.unwrap();
    comes_true("a word about the namespace", async || {
        let log = std::fs::read_to_string(&operator.log).unwrap();
        log.contains("own namespace is not there")
            && log.contains("kubectl create namespace homeless-nowhere")
    })
    .await;
    bed.make_namespace(MISSING, &[]).await.unwrap();
    let leases: Api<Lease> = Api::namespaced(client, MISSING);
    let shards = ListParams::default().labels("gastown.io/lease=shard");
    comes_true("owned shards", async || leases.list(&shards).await.unwrap().items.len() == 4).await;
    bed.stop().await.unwrap();
}
