//! What a real kubelet says of Secrets that are missing, and that a pod starts once they are there.

use std::fs;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    real_node::{at, repository, world},
    world::{condition, message, phase_of, until},
};

/// The git Secret is mounted, the agent's key is a variable: the first only Events tell of, the second the pod's status.
#[tokio::test]
async fn missing_secrets_are_named_and_once_they_are_there_the_run_goes_on() {
    let test = "missing_secrets_are_named_and_once_they_are_there_the_run_goes_on";
    let Some(world) = world(test, "real-pending").await else { return };
    let git = world.bed.git.as_ref().unwrap();
    repository(git, "real-pending");
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    secrets.delete("git-key", &DeleteParams::default()).await.unwrap();
    let edit = |it: &mut Value| {
        at(it, git, "real-pending", "Append \"Good bye.\" to greeting.txt");
        it["spec"]["kubernetes"]["apiKeySecretRef"] = json!({"name": "llm", "key": "token"});
    };
    world.create("max", edit).await;
    let says = |part: &'static str| {
        move |it: &gastown::api::v1alpha1::Polecat| {
            condition(it, "Ready") == "False/SecretMissing" && message(it, "Ready").contains(part)
        }
    };
    let polecats = world.polecats();
    let waits =
        until(&polecats, "max", "git Secret missing", says("Secret git-key is not there")).await;
    assert_eq!(phase_of(&waits), "Working", "it waits");
    assert!(message(&waits, "Ready").contains("create it"), "says what to do");

    let create = PostParams::default();
    let key = fs::read_to_string(&git.ssh_key).unwrap();
    let secret = json!({"metadata": {"name": "git-key"}, "stringData": {"ssh-privatekey": key}});
    secrets.create(&create, &serde_json::from_value(secret).unwrap()).await.unwrap();
    until(&polecats, "max", "agent's Secret missing", says("Secret llm is not there")).await;
    let secret = json!({"metadata": {"name": "llm"}, "stringData": {"other": "x"}});
    secrets.create(&create, &serde_json::from_value(secret).unwrap()).await.unwrap();
    until(&polecats, "max", "agent's key missing", says("Secret llm has no key token")).await;
    let patch = Patch::Merge(json!({"stringData": {"token": "not-a-real-key"}}));
    secrets.patch("llm", &PatchParams::default(), &patch).await.unwrap();
    let done = world.condition("max", "Pushed", "True/Pushed").await;
    assert_eq!(phase_of(&done), "Done");

    // Nobody here has the right to read a Secret, and nobody asked.
    let asked = world.requests_of(&world.operator.name).await;
    assert!(asked.iter().all(|it| it.resource != "secrets"), "the operator reads no Secret");
}
