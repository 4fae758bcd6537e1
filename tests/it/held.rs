//! What comes through v1alpha1 with the annotation is held to the rules of v1beta1, and what was immutable in the original
//! stays what it was: on the real API server, with the webhook in front.

use gastown::{api::v1beta1::PolecatObject, conversion::table::Version, kinds::KINDS};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    door::Door,
    versions::{api, object},
    world::{World, polecat},
};

const ANNOTATION: &str = Version::V1beta1.annotation();

/// A Polecat in v1alpha1 whose annotation names a service account.
fn with_account(name: &str, account: &str) -> Value {
    let mut it = polecat(name);
    it["spec"]["desiredState"] = json!("Idle");
    it["metadata"]["annotations"] = json!({ANNOTATION: bring(account)});
    it
}

fn bring(account: &str) -> String {
    json!({"add": {"/spec/agent/serviceAccountName": account}}).to_string()
}

#[tokio::test]
async fn what_an_annotation_brings_is_held_to_the_hubs_rules_and_what_was_there_is_not() {
    let world = World::new("held", &[]).await;
    let polecats = KINDS.iter().find(|it| it.kind == "Polecat").unwrap();
    let old = api(&world.client, "held", polecats, "v1alpha1");
    let there = serde_json::from_value(with_account("there", "A B")).unwrap();
    old.create(&PostParams::default(), &there).await.unwrap();
    let hub: Api<PolecatObject> = Api::namespaced(world.client.clone(), "held");
    let account = async |name: &str| hub.get(name).await.unwrap().spec.agent.service_account_name;
    assert_eq!(account("there").await.as_deref(), Some("A B"), "no webhook was asked yet");

    let door = Door::before(world).await;
    let told = door.create(&with_account("new", "A B")).await;
    assert_eq!(told.code, 422, "{}", told.body);
    let words = told.message();
    for part in [ANNOTATION, "spec.agent.serviceAccountName", "use the name of a service account"] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(door.create(&with_account("new", "agent")).await.code, 201);
    assert_eq!(account("new").await.as_deref(), Some("agent"));

    let edit = async |change: Value| {
        old.patch("there", &PatchParams::default(), &Patch::Merge(change)).await
    };
    edit(json!({"spec": {"taskDescription": "another"}})).await.expect("what was there stays");
    assert_eq!(account("there").await.as_deref(), Some("A B"));
    let worse = edit(json!({"metadata": {"annotations": {ANNOTATION: bring("C D")}}})).await;
    let words = worse.unwrap_err().to_string();
    assert!(words.contains("spec.agent.serviceAccountName"), "{words}");
    edit(json!({"metadata": {"annotations": {ANNOTATION: bring("agent")}}})).await.unwrap();
    assert_eq!(account("there").await.as_deref(), Some("agent"), "it is mended");
    door.close().await;
}

#[tokio::test]
async fn what_the_originals_webhook_kept_as_it_was_stays_in_both_versions() {
    let world = World::new("held-fixed", &[]).await;
    let rig = json!({"gitURL": "git@git.example.com:town/greeter.git", "beadsPrefix": "gt"});
    let rows = [
        ("Polecat", json!({"rig": "greeter"}), json!({"rig": "other"}), "a Polecat stays with"),
        ("Rig", rig, json!({"beadsPrefix": "mp"}), "create another Rig for another prefix"),
    ];
    for (kind, spec, change, want) in rows {
        let kind = KINDS.iter().find(|it| it.kind == kind).unwrap();
        let old = api(&world.client, "held-fixed", kind, "v1alpha1");
        let made = object(kind, "v1alpha1", "held-fixed", &spec);
        old.create(&PostParams::default(), &made).await.unwrap();
        for version in ["v1alpha1", "v1beta1"] {
            let there = api(&world.client, "held-fixed", kind, version);
            let edit = Patch::Merge(json!({"spec": change}));
            let told = there.patch("held-fixed", &PatchParams::default(), &edit).await;
            let words = told.unwrap_err().to_string();
            assert!(words.contains(want), "{version}: {words}");
        }
        old.delete("held-fixed", &DeleteParams::default()).await.unwrap();
    }
}

/// Most that an API server takes of all annotations of an object, in bytes.
const MOST: usize = 256 * 1024;

/// What only v1beta1 can say needs room in an annotation, so an object may be stored that v1alpha1 can't be made of. Then nobody
/// could list its kind in v1alpha1, in any namespace.
#[tokio::test]
async fn no_object_keeps_others_from_reading_its_kind_in_the_other_version() {
    let world = World::new("held-read", &[]).await;
    let polecats = KINDS.iter().find(|it| it.kind == "Polecat").unwrap();
    let [old, new] =
        ["v1alpha1", "v1beta1"].map(|it| api(&world.client, "held-read", polecats, it));
    let door = Door::before(world).await;
    let odd = |name: &str, note: String| {
        let spec = json!({"rig": "greeter", "desiredState": "Idle", "completion": "Push"});
        let mut it = object(polecats, "v1beta1", name, &spec);
        it.metadata.annotations = Some([("note".to_owned(), note)].into());
        it.metadata.finalizers = Some(vec!["example.com/held".into()]);
        it
    };
    let params = PostParams::default();
    // In a review each of these takes six bytes.
    new.create(&params, &odd("odd", "<".repeat(60_000))).await.expect("it fits");
    let shown = old.get("odd").await.expect("and is read in the other version");
    assert_eq!(shown.metadata.annotations.unwrap()["note"].len(), 60_000);
    assert_eq!(old.list(&ListParams::default()).await.unwrap().items.len(), 1);

    let full = new.create(&params, &odd("full", "x".repeat(262_100))).await.unwrap_err();
    assert!(full.to_string().contains("can't be served as v1alpha1"), "{full}");

    // What is on its way out is judged by nobody.
    new.delete("odd", &DeleteParams::default()).await.unwrap();
    let edit = async |metadata: Value| {
        let patch = Patch::Merge(json!({"metadata": metadata}));
        new.patch("odd", &PatchParams::default(), &patch).await.expect("it is let through")
    };
    let others = new.get("odd").await.unwrap().metadata.annotations.unwrap();
    let others = others.iter().filter(|it| it.0 != "note");
    let taken: usize = others.map(|(name, value)| name.len() + value.len()).sum();
    edit(json!({"annotations": {"note": "x".repeat(MOST - taken - "note".len())}})).await;
    let all = old.list(&ListParams::default()).await.expect("others are read").items;
    assert_eq!(all.len(), 1);
    edit(json!({"finalizers": null})).await;
    door.close().await;
}
