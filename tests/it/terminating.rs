//! A namespace that is being deleted takes no pod. On a control plane of its own, whose controllers stand still: nobody removes
//! what is in it.

use gastown_testbed::{Node, Options, Testbed};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use serde_json::json;

use crate::world::{World, condition, message, phase_of};

#[tokio::test]
async fn in_a_namespace_that_is_being_deleted_nothing_begins_and_it_is_said() {
    let bed = Testbed::start(Options { node: Node::Kwok, ..Options::default() }).await.unwrap();
    // Ends with this process; the test of a testbed's end is its own.
    let bed: &'static Testbed = Box::leak(Box::new(bed));
    let world = World::apart(bed, "terminating", &[]).await;
    world.create("max", |it| it["spec"]["desiredState"] = json!("Idle")).await;
    world.condition("max", "Ready", "True/Idle").await;
    bed.stop_program("kube-controller-manager").await.unwrap();
    let all: Api<Namespace> = Api::all(world.client.clone());
    all.delete("terminating", &DeleteParams::default()).await.unwrap();
    world.merge("max", json!({"spec": {"desiredState": "Working"}})).await;
    let stuck = world.condition("max", "Ready", "False/NamespaceTerminating").await;
    let said = message(&stuck, "Ready");
    assert!(phase_of(&stuck) == "Stuck" && said.contains("create the Polecat elsewhere"), "{said}");
    assert_eq!(condition(&stuck, "Degraded"), "True/NamespaceTerminating");
    assert!(world.pods().get_opt("polecat-max").await.unwrap().is_none());
}
