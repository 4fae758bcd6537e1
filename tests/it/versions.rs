//! Two versions of a kind on the real API server: what is written in one is read in the other, whichever way, and what
//! only one of them can say is not lost.

use futures::StreamExt as _;
use gastown::kinds::{KINDS, Kind};
use gastown_testbed::{Node, Testbed, watch};
use http::Method;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
    runtime::watcher,
};
use serde_json::{Value, json};

use crate::{
    door::{Door, send},
    samples,
    world::{PATIENCE, install_crds},
};

/// What speaks to objects of a kind in one version, where they live.
pub fn api(client: &Client, namespace: &str, kind: &Kind, version: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(kind.group, version, kind.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
    if (kind.crd)().spec.scope == "Cluster" {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

/// The kinds that are served in two versions.
pub fn both() -> Vec<&'static Kind> {
    let all: Vec<_> = KINDS.iter().filter(|it| it.versions().len() == 2).collect();
    assert!(!all.is_empty());
    all
}

/// An object of this kind under a name.
pub fn object(kind: &Kind, version: &str, name: &str, spec: &Value) -> DynamicObject {
    from(json!({
        "apiVersion": format!("{}/{version}", kind.group), "kind": kind.kind,
        "metadata": {"name": name}, "spec": spec,
    }))
}

fn from(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn store(name: &str, spec: &Value) -> DynamicObject {
    object(bead_store(), "v1alpha1", name, spec)
}

pub fn bead_store() -> &'static Kind {
    KINDS.iter().find(|it| it.kind == "BeadStore").unwrap()
}

async fn town(name: &str) -> (&'static Testbed, Client) {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    install_crds(bed).await;
    bed.make_namespace(name, &[]).await.unwrap();
    (bed, bed.client(&format!("user-{name}")).await.unwrap())
}

#[tokio::test]
async fn every_kind_is_written_in_one_version_and_read_in_the_other() {
    let (_, client) = town("versions").await;
    for kind in both() {
        let old = api(&client, "versions", kind, "v1alpha1");
        let new = api(&client, "versions", kind, "v1beta1");
        let sample = samples::samples().into_iter().find(|it| it["kind"] == kind.kind).unwrap();
        let first = object(kind, "v1alpha1", "versions-old", &sample["spec"]);
        let made = old.create(&PostParams::default(), &first).await.unwrap();
        let seen = new.get("versions-old").await.unwrap();
        assert_ne!(seen.data["spec"], made.data["spec"], "{}: it says it otherwise", kind.kind);
        // Only what was written is compared: an operator of another test may write a status meanwhile.
        let back = old.get("versions-old").await.unwrap();
        assert_eq!(back.data["spec"], made.data["spec"], "{}: and back", kind.kind);
        assert_eq!(back.metadata.annotations, made.metadata.annotations, "{}: and back", kind.kind);

        let second = object(kind, "v1beta1", "versions-new", &seen.data["spec"]);
        let second = new.create(&PostParams::default(), &second).await.unwrap();
        assert_eq!(second.data["spec"], seen.data["spec"], "{}", kind.kind);
        let read = old.get("versions-new").await.unwrap();
        assert_eq!(read.data["spec"], made.data["spec"], "{}: the same in v1alpha1", kind.kind);

        for there in [&old, &new] {
            let again = replace_as_it_is(there, "versions-new").await;
            assert_eq!(again.metadata.generation, Some(1), "{}: it changed", kind.kind);
        }
        for name in ["versions-old", "versions-new"] {
            old.delete(name, &DeleteParams::default()).await.unwrap();
        }
    }
}

/// Writes an object back as it was read. Operators of other tests write the status of what belongs to the whole cluster.
async fn replace_as_it_is(there: &Api<DynamicObject>, name: &str) -> DynamicObject {
    loop {
        let read = there.get(name).await.unwrap();
        match there.replace(name, &PostParams::default(), &read).await {
            Err(kube::Error::Api(it)) if it.code == 409 => {}
            other => return other.unwrap(),
        }
    }
}

#[tokio::test]
async fn what_the_older_version_cannot_say_survives_an_edit_in_it() {
    let (_, client) = town("versions-edit").await;
    let (old, new) = (
        api(&client, "versions-edit", bead_store(), "v1alpha1"),
        api(&client, "versions-edit", bead_store(), "v1beta1"),
    );
    // Two and a half hours in v1alpha1's own words, which v1beta1 knows as seconds alone.
    let words = json!({"rigRef": "greeter", "prefix": "gt-", "syncInterval": "2h30m"});
    old.create(&PostParams::default(), &store("beads", &words)).await.unwrap();
    let seen = new.get("beads").await.unwrap();
    assert_eq!(seen.data["spec"]["syncIntervalSeconds"], 9000);
    let edit = Patch::Merge(json!({"spec": {"prefix": "mp-"}}));
    new.patch("beads", &PatchParams::default(), &edit).await.unwrap();
    let back = old.get("beads").await.unwrap();
    assert_eq!(back.data["spec"]["syncInterval"], "2h30m", "its words are still there");
    assert_eq!(back.data["spec"]["prefix"], "mp-", "and so is the edit");
    let edit = Patch::Merge(json!({"spec": {"syncIntervalSeconds": 60}}));
    new.patch("beads", &PatchParams::default(), &edit).await.unwrap();
    let back = old.get("beads").await.unwrap();
    assert_eq!(back.data["spec"]["syncInterval"], "1m", "an edit of the same thing wins");
    assert_eq!(back.metadata.annotations, None, "and nothing is left of what it was");
}

#[tokio::test]
async fn defaults_are_filled_in_and_unknown_fields_pruned_in_either_version() {
    let (_, client) = town("versions-defaults").await;
    let name = "versions-defaults";
    let (old, new) =
        (api(&client, name, bead_store(), "v1alpha1"), api(&client, name, bead_store(), "v1beta1"));
    let least = json!({"rigRef": "greeter", "prefix": "gt-", "gone": 1});
    old.create(&PostParams::default(), &store("old", &least)).await.unwrap();
    let seen = new.get("old").await.unwrap();
    let want = json!({"rigRef": {"name": "greeter"}, "prefix": "gt-", "syncIntervalSeconds": 300});
    assert_eq!(seen.data["spec"], want);
    assert_eq!(seen.metadata.annotations, None, "a default is no news");
    let least = json!({"rigRef": {"name": "greeter", "gone": 1}, "prefix": "gt-"});
    let made = object(bead_store(), "v1beta1", "new", &least);
    new.create(&PostParams::default(), &made).await.unwrap();
    let want = json!({"rigRef": "greeter", "prefix": "gt-", "syncInterval": "5m"});
    assert_eq!(old.get("new").await.unwrap().data["spec"], want);
}

#[tokio::test]
async fn a_watch_in_one_version_sees_writes_in_the_other() {
    let (_, client) = town("versions-watch").await;
    let name = "versions-watch";
    let (old, new) =
        (api(&client, name, bead_store(), "v1alpha1"), api(&client, name, bead_store(), "v1beta1"));
    let mut seen = std::pin::pin!(watch::watcher(old, watcher::Config::default()));
    let mut next = async || loop {
        match tokio::time::timeout(PATIENCE, seen.next()).await.unwrap().unwrap().unwrap() {
            watcher::Event::Apply(it) => {
                return ("written", it.data["spec"]["syncInterval"].clone());
            }
            watcher::Event::Delete(it) => return ("gone", it.data["spec"]["syncInterval"].clone()),
            watcher::Event::InitDone => return ("begun", Value::Null),
            _ => {}
        }
    };
    assert_eq!(next().await.0, "begun");
    let spec = json!({"rigRef": {"name": "greeter"}, "prefix": "gt-", "syncIntervalSeconds": 60});
    let made = object(bead_store(), "v1beta1", "beads", &spec);
    new.create(&PostParams::default(), &made).await.unwrap();
    assert_eq!(next().await, ("written", json!("1m")));
    let edit = Patch::Merge(json!({"spec": {"syncIntervalSeconds": 7}}));
    new.patch("beads", &PatchParams::default(), &edit).await.unwrap();
    assert_eq!(next().await, ("written", json!("7s")));
    new.delete("beads", &DeleteParams::default()).await.unwrap();
    assert_eq!(next().await, ("gone", json!("7s")));
}

#[tokio::test]
async fn two_managers_apply_across_versions_and_each_keeps_its_fields() {
    let (_, client) = town("versions-apply").await;
    let name = "versions-apply";
    let (old, new) =
        (api(&client, name, bead_store(), "v1alpha1"), api(&client, name, bead_store(), "v1beta1"));
    let first = store("beads", &json!({"rigRef": "greeter", "prefix": "gt-"}));
    old.patch("beads", &PatchParams::apply("old"), &Patch::Apply(&first)).await.unwrap();
    let key =
        json!({"gitSecretRef": {"name": "key"}, "rigRef": {"name": "greeter"}, "prefix": "gt-"});
    let second = object(bead_store(), "v1beta1", "beads", &key);
    let both =
        new.patch("beads", &PatchParams::apply("new"), &Patch::Apply(&second)).await.unwrap();
    assert_eq!(both.data["spec"]["gitSecretRef"]["name"], "key");
    let same = old.patch("beads", &PatchParams::apply("old"), &Patch::Apply(&first)).await.unwrap();
    assert_eq!(same.data["spec"]["gitSecretRef"]["name"], "key", "the other's field stays");
    assert_eq!(same.metadata.resource_version, both.metadata.resource_version, "nothing changed");
    let other = object(
        bead_store(),
        "v1beta1",
        "beads",
        &json!({"prefix": "mp-", "rigRef": {"name": "greeter"}}),
    );
    let refused = new.patch("beads", &PatchParams::apply("new"), &Patch::Apply(&other)).await;
    let words = refused.unwrap_err().to_string();
    assert!(words.contains("conflict") && words.contains("spec.prefix"), "{words}");
    let without = object(
        bead_store(),
        "v1beta1",
        "beads",
        &json!({"prefix": "gt-", "rigRef": {"name": "greeter"}}),
    );
    let rest =
        new.patch("beads", &PatchParams::apply("new"), &Patch::Apply(&without)).await.unwrap();
    assert_eq!(rest.data["spec"].get("gitSecretRef"), None, "what its only owner drops goes");
}

#[tokio::test]
async fn an_old_object_beyond_the_new_bounds_lives_on_and_is_mended_step_by_step() {
    let (_, client) = town("versions-bounds").await;
    let kind = KINDS.iter().find(|it| it.kind == "Convoy").unwrap();
    let name = "versions-bounds";
    let (old, new) = (api(&client, name, kind, "v1alpha1"), api(&client, name, kind, "v1beta1"));
    let long = "x".repeat(5000);
    let spec = json!({"description": long, "trackedBeads": ["gt-1", "gt-1", "not an id"], "parallelism": 2});
    let made = object(kind, "v1alpha1", "old", &spec);
    old.create(&PostParams::default(), &made).await.unwrap();
    assert_eq!(new.get("old").await.unwrap().data["spec"]["description"], json!(long));
    let word = Patch::Merge(json!({"status": {"progress": "0/2"}}));
    new.patch_status("old", &PatchParams::default(), &word).await.unwrap();
    let edit = Patch::Merge(json!({"spec": {"parallelism": 3}}));
    new.patch("old", &PatchParams::default(), &edit).await.unwrap();
    let worse = Patch::Merge(json!({"spec": {"description": "y".repeat(5001)}}));
    let refused = new.patch("old", &PatchParams::default(), &worse).await.unwrap_err().to_string();
    assert!(refused.contains("spec.description") && refused.contains("4096"), "{refused}");
    let mended = Patch::Merge(json!({"spec": {"description": "short"}}));
    new.patch("old", &PatchParams::default(), &mended).await.unwrap();
    let back = old.get("old").await.unwrap();
    assert_eq!(back.data["spec"]["trackedBeads"], spec["trackedBeads"], "the rest is as it was");
    assert_eq!(back.data["spec"]["parallelism"], 3);
}

/// A path that leads nowhere would select nothing, and nobody would be told.
#[tokio::test]
async fn every_selectable_field_of_every_version_selects() {
    let (_, client) = town("versions-select").await;
    for kind in KINDS.iter().filter(|it| !it.inner) {
        let first = api(&client, "versions-select", kind, kind.version);
        let made = object(kind, kind.version, "versions-select", &samples::of(kind.kind)["spec"]);
        first.create(&PostParams::default(), &made).await.unwrap();
        let phase = Patch::Merge(json!({"status": {"phase": a_phase(kind)}}));
        first.patch_status("versions-select", &PatchParams::default(), &phase).await.unwrap();
        for version in kind.definition().spec.versions {
            let there = api(&client, "versions-select", kind, &version.name);
            let whole = there.get("versions-select").await.unwrap();
            let fields = version.selectable_fields.unwrap_or_default();
            assert!(fields.iter().any(|it| it.json_path == ".status.phase"), "{}", kind.kind);
            for field in fields {
                let path = field.json_path.trim_start_matches('.');
                let value = whole.data.pointer(&format!("/{}", path.replace('.', "/")));
                let value = value.and_then(Value::as_str).unwrap_or_else(|| panic!("no {path}"));
                for (selector, want) in
                    [(format!("{path}={value}"), true), (format!("{path}={value}-not"), false)]
                {
                    let params = ListParams::default().fields(&selector);
                    let found = there.list(&params).await.unwrap().items;
                    let found = found.iter().any(|it| it.metadata.name == whole.metadata.name);
                    assert_eq!(found, want, "{} {}: {selector}", kind.kind, version.name);
                }
            }
        }
        first.delete("versions-select", &DeleteParams::default()).await.unwrap();
    }
}

/// One that objects of this kind can have.
fn a_phase(kind: &Kind) -> Value {
    let crd = serde_json::to_value((kind.crd)()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let phase = &schema["properties"]["status"]["properties"]["phase"];
    phase["enum"].as_array().map_or_else(|| json!("Running"), |it| it[0].clone())
}

/// Its rule is about two fields at once, so it hangs on the whole spec.
#[tokio::test]
async fn an_old_witness_beyond_the_new_rule_is_edited_beside_it() {
    let (_, client) = town("versions-witness").await;
    let kind = KINDS.iter().find(|it| it.kind == "Witness").unwrap();
    let name = "versions-witness";
    let (old, new) = (api(&client, name, kind, "v1alpha1"), api(&client, name, kind, "v1beta1"));
    let spec = json!({"rigRef": "greeter", "healthCheckInterval": "30m"});
    old.create(&PostParams::default(), &object(kind, "v1alpha1", "old", &spec)).await.unwrap();
    let edit = async |change: Value| {
        let change = Patch::Merge(json!({"spec": change}));
        new.patch("old", &PatchParams::default(), &change).await
    };
    let beside = edit(json!({"escalationTarget": "slack", "rigRef": {"name": "other"}})).await;
    assert_eq!(beside.unwrap().data["spec"]["stuckThresholdSeconds"], 900, "it is as it was");
    let held = "stuckThresholdSeconds must be at least healthCheckIntervalSeconds";
    for worse in
        [json!({"stuckThresholdSeconds": 901}), json!({"healthCheckIntervalSeconds": 1799})]
    {
        let refused = edit(worse).await.unwrap_err().to_string();
        assert!(refused.contains(held), "what is edited is held to it: {refused}");
    }
    edit(json!({"stuckThresholdSeconds": 1800})).await.unwrap();
    let worse = edit(json!({"stuckThresholdSeconds": 900})).await.unwrap_err().to_string();
    assert!(worse.contains(held), "once it is mended it stays so: {worse}");
    let both = json!({"rigRef": {"name": "greeter"}, "healthCheckIntervalSeconds": 1800});
    let made = object(kind, "v1beta1", "new", &both);
    let refused = new.create(&PostParams::default(), &made).await.unwrap_err().to_string();
    assert!(refused.contains(held), "a new object is held to it: {refused}");
}

#[tokio::test]
async fn a_refusal_names_the_field_as_it_was_written() {
    let door = Door::open("versions-door", &[]).await;
    let old = {
        let mut it = crate::world::polecat("max");
        it["spec"]["kubernetes"]["apiKeySecretRef"]["name"] = json!("git-key");
        it
    };
    let new = json!({
        "apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": "max"},
        "spec": {"rig": "greeter", "desiredState": "Working",
            "repository": {"url": "git@git.example.com:town/greeter.git", "secretRef": {"name": "git-key"}},
            "agent": {"anthropicKeySecretRef": {"name": "git-key", "key": "k"}}},
    });
    for (object, field) in
        [(old, "spec.kubernetes.apiKeySecretRef"), (new, "spec.agent.anthropicKeySecretRef")]
    {
        let answer = door.dry_run(&object).await;
        assert_eq!(answer.code, 422, "{}", answer.body);
        let fields = &answer.body["details"]["causes"];
        assert_eq!(fields[0]["field"], field, "{}", answer.message());
    }
    let idle = json!({
        "apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": "max"},
        "spec": {"rig": "greeter", "desiredState": "Working"},
    });
    let answer = door.dry_run(&idle).await;
    let said = |it: &String| it.contains("spec.repository is missing");
    assert!(answer.warnings.iter().any(said), "{:?}", answer.warnings);
    door.close().await;
}

#[tokio::test]
async fn what_could_not_be_read_in_the_other_version_is_refused() {
    let door = Door::open("versions-annotations", &[]).await;
    // What v1alpha1 can't say of this one needs an annotation, and there is no room left for it.
    let object = json!({
        "apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat",
        "metadata": {"name": "max", "annotations": {"filler": "x".repeat(262_100)}},
        "spec": {"rig": "greeter", "completion": "Push"},
    });
    let answer = door.dry_run(&object).await;
    assert_eq!(answer.code, 422, "{}", answer.message());
    let words = answer.message();
    assert!(words.contains("metadata.annotations") && words.contains("v1alpha1"), "{words}");
    door.close().await;
}

#[tokio::test]
async fn a_replace_that_drops_what_only_the_hub_says_is_warned_about() {
    let door = Door::open("versions-replace", &[]).await;
    let new = json!({
        "apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": "max"},
        "spec": {"rig": "greeter", "completion": "Push"},
    });
    assert_eq!(door.create(&new).await.code, 201);
    let kind = KINDS.iter().find(|it| it.kind == "Polecat").unwrap();
    let old = api(&door.world.client, "versions-replace", kind, "v1alpha1");
    let path =
        "/apis/gastown.gastown.io/v1alpha1/namespaces/versions-replace/polecats/max?dryRun=All";
    let put = async |without: bool| {
        // The operator writes the status beside us.
        loop {
            let mut read = old.get("max").await.unwrap();
            if without {
                read.metadata.annotations = None;
            }
            let body = serde_json::to_value(&read).unwrap();
            let answer = send(&door.world.client, Method::PUT, path, &body).await;
            if answer.code != 409 {
                assert_eq!(answer.code, 200, "{}", answer.message());
                return answer.warnings;
            }
        }
    };
    let warned = |all: &[String]| all.iter().any(|it| it.contains("gastown.io/v1beta1-fields"));
    assert!(!warned(&put(false).await), "it is kept");
    let words = put(true).await;
    assert!(warned(&words) && words.iter().all(|it| it.len() <= 256), "{words:?}");
    door.close().await;
}
