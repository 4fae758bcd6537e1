//! The git credential of one Polecat is no variable of another's agent, and nobody keeps others from a Secret by naming it.

use gastown::api::v1alpha1::Polecat;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, condition, message, phase_of};

fn pushes_with(it: &mut Value, secret: &str) {
    it["spec"]["kubernetes"]["gitSecretRef"] = json!({"name": secret});
}

#[tokio::test]
async fn the_git_credential_of_another_polecat_reaches_no_agent() {
    let world = World::new("borrowed", &[("testbed.gastown.io/run-for", "never")]).await;
    world.create("pusher", |_| {}).await; // with git-key
    world.condition("pusher", "Ready", "True/PodRunning").await;
    // It only names what is not its own: never cloned with.
    world
        .create("namer", |it| {
            pushes_with(it, "llm");
            it["spec"]["kubernetes"]["apiKeySecretRef"] = json!({"name": "other", "key": "key"});
            it["spec"]["desiredState"] = json!("Idle");
        })
        .await;
    world.condition("namer", "Ready", "True/Idle").await;

    // By the status alone: whoever takes over knows it too.
    world.operator.terminate(PATIENCE).await.unwrap();
    let second = world.another("second").await;
    let wants = |key: &str| {
        let key =
            json!({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": key, "key": "key"}}});
        move |it: &mut Value| {
            pushes_with(it, "own");
            it["spec"]["agentConfig"] = json!({"env": [key]});
        }
    };
    world.create("thief", wants("git-key")).await;
    let stuck: Polecat = world.condition("thief", "Ready", "False/PodBuildFailed").await;
    let said = message(&stuck, "Ready");
    assert_eq!(phase_of(&stuck), "Stuck", "{said}");
    for part in ["spec.agentConfig.env[0].valueFrom.secretKeyRef", "git-key", "Polecat pusher"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    world.event("thief", "PodBuildFailed").await;
    assert!(world.pods().get_opt("polecat-thief").await.unwrap().is_none(), "and no pod");
    world.create("honest", wants("llm")).await;
    let runs = world.condition("honest", "Ready", "True/PodRunning").await;
    assert_eq!(condition(&runs, "Degraded"), "False/Healthy", "a name alone keeps nobody away");

    // It is nobody's any more, as far as this namespace knows.
    world.polecats().delete("pusher", &DeleteParams::default()).await.unwrap();
    world.condition("thief", "Ready", "True/PodRunning").await;
    second.terminate(PATIENCE).await.unwrap();
}
