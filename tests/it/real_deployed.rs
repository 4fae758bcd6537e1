//! The installation that is shipped, as a person applies it: three replicas in pods, under restricted Pod Security, with
//! certificates that they make themselves; then a rolling update, and the way out.

use std::collections::{BTreeMap, BTreeSet};

use gastown::{
    api::v1alpha1::Polecat,
    manifests::{NAMESPACE, own_user},
};
use gastown_testbed::{Node, Options, Testbed, preconditions};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};

use crate::{
    kubectl::Kubectl,
    make::{make_on, words},
    preconditions::release_binary,
    real_node::{at, in_bare, make_references, repository},
    rights::forbidden,
    world::{condition, polecat, until},
};

const IMAGE: &str = "localhost/gastown-operator:test";
const TOWN: &str = "deployed";

/// Epochs of the shards, by Lease.
async fn epochs(client: &Client) -> BTreeMap<String, i32> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let params = ListParams::default().labels("gastown.io/lease=shard");
    let shards = leases.list(&params).await.unwrap().items.into_iter();
    let epoch = |it: Lease| {
        (it.metadata.name.unwrap(), it.spec.and_then(|it| it.lease_transitions).unwrap_or_default())
    };
    shards.map(epoch).collect()
}

/// Runs a target against a testbed; what it says.
pub async fn makes(bed: &Testbed, arguments: &[&str]) -> String {
    let output = make_on(bed, arguments).await;
    assert!(output.status.success(), "make {}: {}", arguments.join(" "), words(&output));
    words(&output)
}

/// One run in v1alpha1, which takes the webhooks: stamped, converted, done, pushed.
pub async fn runs(bed: &Testbed, client: &Client, town: &str, name: &str) {
    let git = bed.git.as_ref().unwrap();
    repository(git, name);
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), town);
    let mut asked = polecat(name);
    at(&mut asked, git, name, "Append \"Good bye.\" to greeting.txt");
    let asked = serde_json::from_value(asked).unwrap();
    polecats.create(&PostParams::default(), &asked).await.unwrap();
    let pushed = |it: &Polecat| condition(it, "Pushed") == "True/Pushed";
    let done = until(&polecats, name, "pushed commit", pushed).await;
    let commit = done.status.unwrap().commit.unwrap();
    assert_eq!(in_bare(git, name, &["rev-parse", "feature/gt-abc12"]).trim(), commit);
}

/// The account of the operator's pods was refused nothing: what it asks for is what the manifests let it.
pub async fn asks_for_what_it_may(bed: &Testbed) {
    let account = own_user(NAMESPACE);
    let all = bed.audit_events().await.unwrap();
    let asked: Vec<_> = all.iter().filter(|it| it.user == account).collect();
    assert!(asked.iter().any(|it| it.resource == "pods" && it.verb == "create"), "it is who acts");
    let refused = forbidden(&all, |user| user == account);
    assert!(refused.is_empty(), "asked without a right: {refused:#?}");
}

/// The Lease of every session is owned by the pod whose session it is.
async fn sessions_go_with_their_pods(client: &Client) {
    let sessions: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let params = ListParams::default().labels("gastown.io/lease=session");
    let uids = pods.list_metadata(&ListParams::default()).await.unwrap().items;
    let uids: BTreeSet<_> = uids.into_iter().filter_map(|it| it.metadata.uid).collect();
    let sessions = sessions.list(&params).await.unwrap().items;
    assert_eq!(sessions.len(), 3, "{sessions:?}");
    for it in sessions {
        let owners = it.metadata.owner_references.unwrap_or_default();
        let its_pod = owners.iter().any(|it| it.kind == "Pod" && uids.contains(&it.uid));
        assert!(its_pod, "{:?} is owned by {owners:?}", it.metadata.name);
    }
}

#[tokio::test]
async fn make_deploy_brings_three_replicas_that_update_and_go_without_a_trace() {
    const TEST: &str = "make_deploy_brings_three_replicas_that_update_and_go_without_a_trace";
    if !preconditions::allow(TEST, Node::Real).unwrap() {
        return;
    }
    let Some(program) = release_binary(TEST) else { return };
    let options = Options { node: Node::Real, ..Options::default() };
    let bed = Testbed::start(options).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    bed.make_operator_image(&program, IMAGE).await.unwrap();
    let images = [
        &format!("IMG={IMAGE}"),
        "RUNNER_IMG=localhost/gt-runner:dev",
        "AGENT_IMG=localhost/agent:dev",
    ];
    let deploy = [&["deploy", "--assume-old=manifests"], &images[..]].concat();
    let said = makes(&bed, &deploy).await;
    assert!(said.contains("successfully rolled out"), "{said}");

    let client = bed.client("user-deployed").await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    make_references(&client, TOWN, bed.git.as_ref().unwrap()).await;
    runs(&bed, &client, TOWN, "max").await;
    let before = epochs(&client).await;
    assert_eq!(before.len(), 64, "every shard has an owner: {before:?}");
    sessions_go_with_their_pods(&client).await;

    // The ReplicaSet's own order: all new replicas, then all old ones go.
    kubectl.said(&["-n", NAMESPACE, "rollout", "restart", "deployment"]).await;
    let wait = ["-n", NAMESPACE, "rollout", "status", "deployment", "--timeout=120s"];
    kubectl.said(&wait).await;
    runs(&bed, &client, TOWN, "nux").await;
    for (shard, epoch) in epochs(&client).await {
        let moves = epoch - before.get(&shard).copied().unwrap_or_default();
        assert!(moves <= 1, "{shard} moved {moves} times in one rolling update");
    }

    // Applied again, it changes nothing that matters; taken away, what people have stays and can be read.
    makes(&bed, &deploy).await;
    asks_for_what_it_may(&bed).await;
    let undeployed = makes(&bed, &["undeploy"]).await;
    for version in ["v1alpha1", "v1beta1"] {
        let kind = format!("polecats.{version}.gastown.gastown.io");
        let left = kubectl.said(&["-n", TOWN, "get", &kind, "-o", "name"]).await;
        assert_eq!(left.lines().count(), 2, "{version}: {left}");
    }
    let asks = "mutatingwebhookconfigurations,validatingwebhookconfigurations,namespaces,priorityclasses,flowschemas";
    let left = kubectl.said(&["get", asks, "-o", "name"]).await;
    let ours: Vec<_> = left.lines().filter(|it| it.contains("gastown-operator")).collect();
    assert!(ours.is_empty(), "left to ask or to be asked: {ours:?}, after\n{undeployed}");
    kubectl.said(&["delete", "namespace", TOWN, "--timeout=60s"]).await;
    bed.stop().await.unwrap();
}
