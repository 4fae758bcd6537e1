//! Input that attacks: refused at the door naming the field, or harmless as data. Where the door is open, the operator
//! itself makes no pod of it.

use gastown::api::v1alpha1::Polecat;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::asking::comes_true;
use crate::world::{World, condition, message, phase_of, polecat};

const LABEL: (&str, &str) = ("testbed.gastown.io/webhook-hostile", "on");

type Edit = fn(&mut Value);

/// What is refused, the field that the refusal names, and what it tries.
#[rustfmt::skip]
const REFUSED: [(Edit, &str, &str); 15] = [
    (|it| it["metadata"]["name"] = json!("a".repeat(300)), "metadata.name", "300 characters"),
    (|it| it["metadata"]["name"] = json!("a\nb"), "metadata.name", "a new line"),
    (|it| it["metadata"]["name"] = json!("größe"), "metadata.name", "no name of Kubernetes"),
    (|it| it["spec"]["kubernetes"]["gitRepository"] = json!("--upload-pack=touch /x"), "spec.kubernetes.gitRepository", "an option of git"),
    (|it| it["spec"]["kubernetes"]["gitRepository"] = json!("git@-oProxyCommand=x:r"), "spec.kubernetes.gitRepository", "an option of ssh"),
    (|it| it["spec"]["kubernetes"]["gitRepository"] = json!("https://host/a/../b"), "spec.kubernetes.gitRepository", "upwards"),
    (|it| it["spec"]["kubernetes"]["gitRepository"] = json!("https://host/a\nb"), "spec.kubernetes.gitRepository", "a new line"),
    (|it| it["spec"]["kubernetes"]["gitBranch"] = json!("../main"), "spec.kubernetes.gitBranch", "upwards"),
    (|it| it["spec"]["kubernetes"]["gitBranch"] = json!("-d"), "spec.kubernetes.gitBranch", "an option"),
    (|it| it["spec"]["kubernetes"]["workBranch"] = json!("--force"), "spec.kubernetes.workBranch", "an option"),
    (|it| it["spec"]["kubernetes"]["workBranch"] = json!("a/../b"), "spec.kubernetes.workBranch", "upwards"),
    (|it| it["spec"]["beadID"] = json!("b".repeat(300)), "spec.beadID", "a branch of 300 characters"),
    (|it| it["spec"]["beadID"] = json!("gt-1\ngt-2"), "spec.beadID", "a new line in a branch"),
    (|it| it["spec"]["agentConfig"] = json!({"env": [{"name": "LD_PRELOAD", "value": "/x"}]}), "spec.agentConfig.env[0].name", "the dynamic linker"),
    (|it| it["spec"]["kubernetes"]["activeDeadlineSeconds"] = json!(7201), "spec.kubernetes.activeDeadlineSeconds", "above --max-active-deadline"),
];

fn hostile(edit: Edit) -> Polecat {
    let mut object = polecat("max");
    edit(&mut object);
    serde_json::from_value(object).unwrap()
}

#[tokio::test]
async fn hostile_input_is_refused_naming_the_field_or_harmless() {
    let script = [("testbed.gastown.io/run-for", "300ms")];
    let world = World::with_flags("hostile", &script, &["--max-active-deadline=7200"]).await;
    // No webhook yet, as while it is down: the operator's own parser stands behind it.
    world.create("early", |it| it["spec"]["kubernetes"]["gitBranch"] = json!("-d")).await;
    let stuck = world.condition("early", "Ready", "False/PodBuildFailed").await;
    assert_eq!(phase_of(&stuck), "Stuck");
    assert!(message(&stuck, "Ready").contains("spec.kubernetes.gitBranch"), "names the field");
    assert!(world.pods().get_opt("polecat-early").await.unwrap().is_none(), "and no pod");
    world.event("early", "PodBuildFailed").await;

    let names = open_door(&world).await;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for (edit, field, because) in REFUSED {
        let said = match world.polecats().create(&dry, &hostile(edit)).await {
            Err(kube::Error::Api(it)) => it.message,
            other => panic!("{because}: {other:?}"),
        };
        assert!(said.contains(field), "{because}: {said}");
    }
    // An update that leaves what was there alone goes through; one that brings it does not.
    world.merge("early", json!({"metadata": {"labels": {"touched": "yes"}}})).await;
    harmless(&world).await;
    world.operator.unregister_webhooks(world.bed, &names).await.unwrap();
}

/// Registers the webhooks, and waits until they are asked: a configuration takes effect a moment after it is stored.
async fn open_door(world: &World) -> Vec<String> {
    let names = world.operator.register_webhooks(world.bed, "hostile", LABEL).await.unwrap();
    let api: Api<Namespace> = Api::all(world.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {LABEL.0: LABEL.1}}}));
    api.patch(&world.namespace, &PatchParams::default(), &patch).await.unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let probe = hostile(|it| it["spec"]["kubernetes"]["gitBranch"] = json!("-d"));
    comes_true("the webhook to be asked", async || {
        world.polecats().create(&dry, &probe).await.is_err()
    })
    .await;
    names
}

/// Texts that no label can hold run, and stand whole in annotations of the Polecat and of its pod.
async fn harmless(world: &World) {
    let (rig, bead) = ("r".repeat(300), "--upload-pack=größe; $(reboot)");
    let made = world
        .create("odd", |it| {
            it["spec"]["rig"] = json!(rig);
            it["spec"]["beadID"] = json!(bead);
            it["spec"]["taskDescription"] = json!("line\nline $(HOME) `id` \u{202e}");
            it["spec"]["kubernetes"]["workBranch"] = json!("work");
        })
        .await;
    let done = world.phase("odd", "Done").await;
    assert_eq!(condition(&done, "Ready"), "True/PodSucceeded");
    let pod = world.pods().get("polecat-odd").await.unwrap();
    for (kind, labels, annotations) in
        [("Polecat", made.labels(), made.annotations()), ("pod", pod.labels(), pod.annotations())]
    {
        for (key, truth) in [("gastown.io/rig", rig.as_str()), ("gastown.io/bead", bead)] {
            let label = &labels[key];
            assert!(label.len() <= 63 && label != truth, "{kind} {key}: {label}");
            assert_eq!(annotations[key], truth, "{kind} {key}: the truth stands in an annotation");
        }
        assert_eq!(labels["gastown.io/polecat"], "odd", "{kind}: what fits stays as it is");
    }
    assert_eq!(made.labels()["gastown.io/rig"], pod.labels()["gastown.io/rig"], "one function");
    let safe = "cluster-autoscaler.kubernetes.io/safe-to-evict";
    assert_eq!(pod.annotations()[safe], "false", "the autoscaler leaves a working agent's node");
}
