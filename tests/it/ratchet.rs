//! What v1alpha1 lets in and v1beta1 would not: it runs all the same, and who edits something else is not refused.

use gastown::api::v1beta1::PolecatObject;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn what_only_v1alpha1_lets_in_runs_and_is_edited_beside_it() {
    let world = World::new("ratchet", &[("testbed.gastown.io/run-for", "300ms")]).await;
    let bead = "b".repeat(300);
    let created = world.create("max", |it| {
        it["spec"]["rig"] = json!("Not A Name");
        it["spec"]["beadID"] = json!(bead);
        it["spec"]["kubernetes"]["workBranch"] = json!("work");
        let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
        it["spec"]["agentConfig"] = json!({"env": twice});
    });
    created.await;
    let done = world.condition("max", "Ready", "True/PodSucceeded").await;
    let assigned = done.status.as_ref().and_then(|it| it.assigned_bead.as_deref());
    assert_eq!(assigned, Some(&*bead), "the status has room for it");

    let hub: Api<PolecatObject> = Api::namespaced(world.client.clone(), &world.namespace);
    let edit = |change| {
        let (hub, change) = (hub.clone(), Patch::Merge(change));
        async move { hub.patch("max", &PatchParams::default(), &change).await }
    };
    let beside =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"limits": {"maxIdleSeconds": 60}}});
    let edited = edit(beside).await.unwrap();
    assert_eq!(edited.spec.limits.max_idle_seconds, Some(60), "the rest is as it was before");
    let told = edit(json!({"spec": {"beadID": "c".repeat(300)}})).await.unwrap_err().to_string();
    assert!(told.contains("spec.beadID"), "what is edited is held to the bounds: {told}");

    let mut anew = edited;
    anew.metadata = kube::core::ObjectMeta { name: Some("nux".into()), ..Default::default() };
    let create = |object: PolecatObject| {
        let hub = hub.clone();
        async move { hub.create(&PostParams::default(), &object).await.unwrap_err().to_string() }
    };
    let told = create(anew.clone()).await;
    assert!(told.contains("spec.beadID"), "a new object is held to the bounds: {told}");
    anew.spec.bead_id = None;
    let told = create(anew).await;
    for field in ["spec.rig", "spec.agent.env"] {
        assert!(told.contains(field), "a new object is held to the rules of {field}: {told}");
    }
}
