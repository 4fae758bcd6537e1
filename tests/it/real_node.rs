//! One full run on a real node: containers, git over ssh, a pushed commit in the bare repository.

pub mod gate;
mod traces;

use std::{fs, process::Command};

use gastown::{
    api::{v1alpha1::Polecat, v1beta1::ImageDigests},
    domain::names,
};
use gastown_testbed::{
    Git, Node, Options, Testbed, audit, preconditions, repository::with_commit,
    watch::await_condition,
};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{Api, Client, ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::{
    door::Door,
    world::{World, condition, message, phase_of},
};

pub async fn world(test: &str, namespace: &str) -> Option<World> {
    world_with(test, namespace, &[]).await
}

/// The same with flags for its operator.
pub async fn world_with(test: &str, namespace: &str, flags: &[&str]) -> Option<World> {
    if !preconditions::allow(test, Node::Real).unwrap() {
        return None;
    }
    let bed = Testbed::shared_with(Node::Real).await.unwrap();
    Some(settle(bed, namespace, flags).await)
}

/// A namespace on a node that is this test's own, for what others would suffer from.
pub async fn world_apart(test: &str, namespace: &str) -> Option<World> {
    if !preconditions::allow(test, Node::Real).unwrap() {
        return None;
    }
    let options = Options { node: Node::Real, ..Options::default() };
    let bed: &'static Testbed = Box::leak(Box::new(Testbed::start(options).await.unwrap()));
    Some(settle(bed, namespace, &[]).await)
}

async fn settle(bed: &'static Testbed, namespace: &str, flags: &[&str]) -> World {
    let world = World::on(bed, namespace, flags).await;
    let git = bed.git.as_ref().unwrap();
    make_references(&world.client, namespace, git).await;
    world
}

/// The Secret and the ConfigMap that Polecats of the testbed's repositories name.
pub async fn make_references(client: &Client, namespace: &str, git: &Git) {
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "git-key"}, "stringData": {"ssh-privatekey": fs::read_to_string(&git.ssh_key).unwrap()},
    }))
    .unwrap();
    let hosts: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "hosts"}, "data": {"known_hosts": fs::read_to_string(&git.known_hosts).unwrap()},
    }))
    .unwrap();
    let secrets = Api::namespaced(client.clone(), namespace);
    secrets.create(&PostParams::default(), &secret).await.unwrap();
    let hosts_of = Api::namespaced(client.clone(), namespace);
    hosts_of.create(&PostParams::default(), &hosts).await.unwrap();
}

/// A bare repository with one commit.
pub fn repository(git: &Git, name: &str) {
    let seed = tempfile::tempdir().unwrap();
    let bare = git.repositories.join(format!("{name}.git"));
    let check = "#!/bin/sh\ngrep -q Hello greeting.txt\n";
    let files = [("greeting.txt", "Hello.\n"), ("check.sh", check)];
    with_commit(seed.path(), &bare, "first", &files).unwrap();
}

pub fn in_bare(git: &Git, name: &str, args: &[&str]) -> String {
    let bare = git.repositories.join(format!("{name}.git"));
    let output = Command::new("git").arg("--git-dir").arg(bare).args(args).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Points a Polecat at a repository of the testbed.
pub fn at(polecat: &mut Value, git: &Git, name: &str, task: &str) {
    let spec = &mut polecat["spec"];
    spec["taskDescription"] = json!(task);
    let it = &mut spec["kubernetes"];
    it["gitRepository"] = json!(format!("{}{name}.git", git.ssh));
    it["sshKnownHostsConfigMapRef"] = json!({"name": "hosts"});
    it["resources"] = json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}});
    it.as_object_mut().unwrap().remove("apiKeySecretRef");
}

#[tokio::test]
async fn an_agent_changes_a_repository_and_the_commit_is_pushed() {
    let Some(world) =
        world("an_agent_changes_a_repository_and_the_commit_is_pushed", "real-run").await
    else {
        return;
    };
    let door = Door::before(world).await;
    let world = &door.world;
    let git = world.bed.git.as_ref().unwrap();
    repository(git, "real-run");
    let task = "Append \"Good bye.\" to greeting.txt";
    world.create("max", |it| at(it, git, "real-run", task)).await;
    let done = world.condition("max", "Pushed", "True/Pushed").await;
    let status = done.status.clone().unwrap();
    assert_eq!((phase_of(&done), status.exit_code), ("Done", Some(0)));
    assert_eq!(status.task_sha256, Some(names::sha256(task)), "by which the task is known again");
    let commit = status.commit.clone().unwrap();
    assert_eq!(
        in_bare(git, "real-run", &["rev-parse", "feature/gt-abc12"]).trim(),
        commit,
        "the remote has it"
    );
    assert_eq!(
        in_bare(git, "real-run", &["show", &format!("{commit}:greeting.txt")]),
        "Hello.\nGood bye.\n"
    );
    let text = in_bare(git, "real-run", &["log", "-1", "--format=%an <%ae>%n%B", &commit]);
    assert!(
        text.contains("Gas Town Polecat <polecat@gastown.io>")
            && text.contains("Polecat: max\nPolecat-UID: ")
            && text.contains("\nBead: gt-abc12\nRequested-By: user-real-run\n"),
        "{text}"
    );
    let pod: Pod = world.pods().get("polecat-max").await.unwrap();
    let base = in_bare(git, "real-run", &["rev-parse", "main"]);
    assert_eq!(status.base_commit.as_deref(), Some(base.trim()), "what it began with");
    ran_these_images(status.image_digests.unwrap(), &pod);
    joined_by_uid(world, &done, &pod, &text).await;
    let spec = pod.spec.unwrap();
    assert_eq!(spec.automount_service_account_token, Some(false));
    let names: Vec<_> = spec.containers.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["claude", "telemetry"], "order and names of the original");
    door.close().await;
}

/// What the status says along with the verdict is what the node says of each container.
fn ran_these_images(told: ImageDigests, pod: &Pod) {
    let status = pod.status.as_ref().unwrap();
    let all = || status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let of = [("git-init", told.git_init), ("claude", told.claude), ("telemetry", told.telemetry)];
    for (container, told) in of {
        let by_node = all().find(|it| it.name == container).unwrap().image_id.as_str();
        let told = told.unwrap_or_default();
        assert!(
            told.starts_with("sha256:") && by_node.ends_with(told.as_str()),
            "{container}: {by_node}"
        );
    }
}

/// The API server's audit log, the object, its pod and the commit that was pushed know the run by one uid.
async fn joined_by_uid(world: &World, polecat: &Polecat, pod: &Pod, commit: &str) {
    let uid = polecat.uid().unwrap();
    let log = world.bed.audit_events().await.unwrap();
    let created = |resource: &str, name: &str| {
        let stored = |it: &&audit::Event| {
            (it.verb.as_str(), it.code, it.namespace.as_str())
                == ("create", 201, world.namespace.as_str())
                && (it.resource.as_str(), it.subresource.as_str(), it.name.as_str())
                    == (resource, "", name)
                && !it.uri.contains("dryRun")
        };
        let found: Vec<_> = log.iter().filter(stored).collect();
        assert_eq!(found.len(), 1, "{resource} {name} is made once: {found:#?}");
        found[0].clone()
    };
    let asked = created("polecats", "max");
    assert_eq!(asked.noted("uid"), Some(uid.as_str()), "{:#?}", asked.annotations);
    assert_eq!(asked.noted("requested-by"), Some(asked.user.as_str()), "who asked");
    let made = created("pods", "polecat-max");
    assert_eq!(made.noted("polecat-uid"), Some(uid.as_str()), "{:#?}", made.annotations);
    assert_eq!(made.user, world.operator.name, "whom it is made by");
    assert_eq!(pod.owner_references()[0].uid, uid, "whose pod it is");
    assert!(commit.contains(&format!("\nPolecat-UID: {uid}\n")), "{commit}");
    assert!(commit.contains(&format!("\nRequested-By: {}\n", asked.user)), "{commit}");
}

#[tokio::test]
async fn a_missing_branch_says_which_and_what_to_do() {
    let Some(world) = world("a_missing_branch_says_which_and_what_to_do", "real-branch").await
    else {
        return;
    };
    let git = world.bed.git.as_ref().unwrap();
    repository(git, "real-branch");
    let edit = |it: &mut Value| {
        at(it, git, "real-branch", "Append \"x\" to greeting.txt");
        it["spec"]["kubernetes"]["gitBranch"] = json!("no-such-branch");
    };
    world.create("nux", edit).await;
    let stuck = world.condition("nux", "Ready", "False/BranchNotFound").await;
    let said = message(&stuck, "Ready");
    assert!(
        said.contains("no-such-branch") && said.contains("spec.kubernetes.gitBranch"),
        "{said}"
    );
    assert_eq!(stuck.status.unwrap().started_at, None, "the agent never ran");
}

#[tokio::test]
async fn idle_keeps_what_was_committed() {
    let Some(world) = world("idle_keeps_what_was_committed", "real-idle").await else { return };
    let git = world.bed.git.as_ref().unwrap();
    repository(git, "real-idle");
    let task = "Append \"Good bye.\" to greeting.txt; Commit; Sleep 600";
    world.create("max", |it| at(it, git, "real-idle", task)).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    let pods = world.pods();
    world.logged("polecat-max", "claude", "Committed").await;
    world.merge("max", json!({"spec": {"desiredState": "Idle"}})).await;
    let uid = pods.get("polecat-max").await.unwrap().metadata.uid.unwrap();
    let gone = kube::runtime::conditions::is_deleted(&uid);
    let waited = await_condition(pods, "polecat-max", gone);
    tokio::time::timeout(std::time::Duration::from_secs(80), waited)
        .await
        .expect("the pod goes")
        .unwrap();
    assert_eq!(
        in_bare(git, "real-idle", &["show", "feature/gt-abc12:greeting.txt"]),
        "Hello.\nGood bye.\n"
    );
    let idle = world.polecats().get("max").await.unwrap();
    assert_eq!(condition(&idle, "Ready"), "True/Idle");
}
