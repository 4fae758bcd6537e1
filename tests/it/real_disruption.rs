//! What a cluster does to a running pod, by its own scheduler, taint controller and kubelet: each has its word, and what was
//! committed is pushed. On a node of this test's own.

use gastown_testbed::watch::await_condition;
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod},
    scheduling::v1::PriorityClass,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::conditions::is_deleted,
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    real_node::{at, in_bare, repository, world_apart},
    world::{PATIENCE, World, condition, message, phase_of},
};

/// What one of them asks for: three quarters of the node, so that there is no room for another.
async fn most_of_the_node(world: &World) -> String {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let node = nodes.list(&kube::api::ListParams::default()).await.unwrap().items.remove(0);
    let cpu = node.status.unwrap().allocatable.unwrap()["cpu"].0.clone();
    let cpus: u32 = cpu.parse().unwrap_or_else(|_| panic!("{cpu} processors"));
    format!("{}m", cpus * 750)
}

async fn works(world: &World, name: &str, cpu: &str) {
    let git = world.bed.git.as_ref().unwrap();
    repository(git, name);
    let task = "Append \"Good bye.\" to greeting.txt; Commit; Sleep 600";
    let edit = |it: &mut Value| {
        at(it, git, name, task);
        it["spec"]["kubernetes"]["resources"]["requests"]["cpu"] = json!(cpu);
        it["spec"]["kubernetes"]["resources"]["limits"]["cpu"] = json!(cpu);
    };
    world.create(name, edit).await;
    world.condition(name, "Ready", "True/PodRunning").await;
    world.logged(&format!("polecat-{name}"), "claude", "Committed").await;
}

async fn reads(world: &World, name: &str, reason: &'static str, part: &str) {
    let told = world.condition(name, "Pushed", "True/Pushed").await;
    assert_eq!((phase_of(&told), condition(&told, "Ready").as_str()), ("Stuck", reason));
    let said = message(&told, "Ready");
    assert!(said.contains(part) && !said.contains("may be lost"), "{name}: {said}");
    is_pushed(world, name);
}

fn is_pushed(world: &World, name: &str) {
    let git = world.bed.git.as_ref().unwrap();
    let file = in_bare(git, name, &["show", "feature/gt-abc12:greeting.txt"]);
    assert_eq!(file, "Hello.\nGood bye.\n", "{name}");
}

/// Waits until the node has ended the pod of this Polecat.
async fn ends(world: &World, name: &str, uid: &str) {
    let name = format!("polecat-{name}");
    let gone = await_condition(world.pods(), &name, is_deleted(uid));
    tokio::time::timeout(PATIENCE, gone).await.expect("the pod ends").unwrap();
}

async fn uid(world: &World, name: &str) -> String {
    let pod = world.pods().get(&format!("polecat-{name}")).await.unwrap();
    pod.metadata.uid.unwrap()
}

#[tokio::test]
async fn preemption_and_a_taint_have_their_words_and_keep_what_was_committed() {
    let test = "preemption_and_a_taint_have_their_words_and_keep_what_was_committed";
    let Some(world) = world_apart(test, "real-disruption").await else { return };
    let cpu = most_of_the_node(&world).await;

    works(&world, "preempted", &cpu).await;
    let urgent =
        json!({"metadata": {"name": "urgent"}, "value": 1000, "description": "comes first"});
    let classes: Api<PriorityClass> = Api::all(world.client.clone());
    let class = serde_json::from_value(urgent).unwrap();
    classes.create(&PostParams::default(), &class).await.unwrap();
    let vip: Pod = serde_json::from_value(json!({"metadata": {"name": "vip"}, "spec": {
        "priorityClassName": "urgent", "terminationGracePeriodSeconds": 0, "containers": [{"name": "a",
        "image": "localhost/pause:1", "resources": {"requests": {"cpu": cpu}}}]}}))
    .unwrap();
    // Its admission hears of a class by a watch.
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let knows = async || world.pods().create(&dry_run, &vip).await.is_ok();
    comes_true("the API server to know the class", knows).await;
    let vip = world.pods().create(&PostParams::default(), &vip).await.unwrap();
    reads(&world, "preempted", "False/Preempted", "higher priority").await;
    world.pods().delete("vip", &DeleteParams::default()).await.unwrap();
    let vip_uid = vip.metadata.uid.unwrap();
    let gone = await_condition(world.pods(), "vip", is_deleted(&vip_uid));
    tokio::time::timeout(PATIENCE, gone).await.expect("the other pod goes").unwrap();

    works(&world, "tainted", &cpu).await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    let node = nodes.list(&kube::api::ListParams::default()).await.unwrap().items.remove(0);
    let taint = json!({"spec": {"taints": [{"key": "town", "value": "x", "effect": "NoExecute"}]}});
    let name = node.metadata.name.unwrap();
    nodes.patch(&name, &PatchParams::default(), &Patch::Merge(taint)).await.unwrap();
    reads(&world, "tainted", "False/NodeLost", "tainted").await;
}

/// Whoever deletes work that runs, or all that is around it, gets what was committed, though nobody is left to tell of it.
#[tokio::test]
async fn a_deleted_polecat_and_a_deleted_namespace_keep_what_was_committed() {
    let test = "a_deleted_polecat_and_a_deleted_namespace_keep_what_was_committed";
    let Some(world) = world_apart(test, "real-deleted").await else { return };
    works(&world, "deleted", "500m").await;
    let pod = uid(&world, "deleted").await;
    world.polecats().delete("deleted", &DeleteParams::default()).await.unwrap();
    ends(&world, "deleted", &pod).await;
    is_pushed(&world, "deleted");

    works(&world, "evacuated", "500m").await;
    let pod = uid(&world, "evacuated").await;
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    ends(&world, "evacuated", &pod).await;
    is_pushed(&world, "evacuated");
}
