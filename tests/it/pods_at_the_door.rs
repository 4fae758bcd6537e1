//! Pods through the webhooks and the policy as they are installed: what a person reads, who may call a pod a Polecat's, and
//! that nothing else waits for us.

use gastown::{
    admission::pods::door, api::v1beta1::Rig, domain::tls_policy, manifests::pods as generated,
};
use gastown_testbed::watch::await_condition;
use gastown_testbed::{Node, Options, Testbed, manifests, manifests::Webhooks};
use http::Method;
use k8s_openapi::{
    api::core::v1::{Namespace, Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
    runtime::wait::conditions::is_crd_established,
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    door::{Answer, Door, own_policies, send, without_policies},
    kubectl::Kubectl,
    world::{PATIENCE, World, until},
};

fn pod(name: &str, context: &Value) -> Value {
    let main = json!({"name": "main", "image": "i", "securityContext": context});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [main]}})
}

async fn label(world: &World, value: &str) {
    let api: Api<Namespace> = Api::all(world.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {generated::NAMESPACE_LABEL: value}}}));
    api.patch(&world.namespace, &PatchParams::default(), &patch).await.unwrap();
}

async fn create(door: &Door, object: &Value) -> Answer {
    let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", door.world.namespace);
    send(&door.world.client, Method::POST, &path, object).await
}

#[tokio::test]
async fn a_labelled_namespace_lets_in_what_can_be_mended_and_refuses_the_rest_in_words() {
    let door = Door::open("pods-at-door", &[]).await;
    let bad = pod("bad", &json!({"privileged": true}));
    assert_eq!(create(&door, &bad).await.code, 201, "nobody labelled the namespace");
    label(&door.world, "restricted").await;
    comes_true("the label to be heeded", async || create(&door, &bad).await.code == 403).await;
    let answer = create(&door, &bad).await;
    let text = answer.message();
    assert!(
        text.contains("spec.containers[0].securityContext.privileged: container \"main\" is true"),
        "{text}"
    );
    assert!(!text.contains("runAsNonRoot"), "what nobody set was set: {text}");
    assert_eq!(answer.body["reason"], "Forbidden");
    let bare = create(&door, &pod("bare", &json!({}))).await;
    assert_eq!(bare.code, 201, "{:?}", bare.body);
    let spec = &bare.body["spec"];
    assert_eq!(
        spec["securityContext"],
        json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
    );
    let kubectl = Kubectl::admin(door.world.bed);
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(&file, bad.to_string()).unwrap();
    let args = [
        "-n",
        &door.world.namespace,
        "apply",
        "--dry-run=server",
        "-f",
        file.path().to_str().unwrap(),
    ];
    let said = String::from_utf8(kubectl.run(&args).await.stderr).unwrap();
    let said = said.replace(file.path().to_str().unwrap(), "FILE");
    insta::assert_snapshot!(said.trim_end(), @r#"
    Error from server (Forbidden): error when creating "FILE": admission webhook "vpod-of-namespace.kb.io" denied the request: 2 fields are not as this namespace's pods must be:
    spec.containers[0].securityContext.privileged: container "main" is true, must be unset or false (PSS restricted v1.37)
    spec.containers[0].securityContext.allowPrivilegeEscalation: container "main" is unset, must be false (PSS restricted v1.37)
    What one value mends, as a patch (kubectl patch --local -f FILE -o yaml -p PATCH):
    {"spec":{"containers":[{"name":"main","securityContext":{"allowPrivilegeEscalation":false,"privileged":null}}]}}
    "#);
    what_makes_pods_is_advised(&door, &bad).await;
    door.close().await;
}

/// Of each kind that makes pods: told what its pods would be refused for, and not of what is set on them by itself.
async fn what_makes_pods_is_advised(door: &Door, bad: &Value) {
    let bare = pod("bare", &json!({}));
    for (group, kind, plural, place) in [
        ("apps", "Deployment", "deployments", "spec.template."),
        ("apps", "StatefulSet", "statefulsets", "spec.template."),
        ("apps", "DaemonSet", "daemonsets", "spec.template."),
        ("apps", "ReplicaSet", "replicasets", "spec.template."),
        ("batch", "Job", "jobs", "spec.template."),
        ("batch", "CronJob", "cronjobs", "spec.jobTemplate.spec.template."),
    ] {
        let path =
            format!("/apis/{group}/v1/namespaces/{}/{plural}?dryRun=All", door.world.namespace);
        let made = async |pod: &Value| {
            let object = maker(group, kind, &pod["spec"]);
            let told = send(&door.world.client, Method::POST, &path, &object).await;
            assert_eq!(told.code, 201, "{kind}: what makes pods is advised: {:?}", told.body);
            told.warnings
        };
        let told = made(bad).await;
        assert_eq!(told.len(), 2, "{kind}: {told:?}");
        for field in ["privileged", "allowPrivilegeEscalation"] {
            let path = format!("{place}spec.containers[0].securityContext.{field}");
            assert!(told.iter().any(|it| it.contains(&path)), "{kind}: {path}: {told:?}");
        }
        assert_eq!(made(&bare).await, [""; 0], "{kind}: its pods are let in");
    }
}

/// An object that makes such pods.
fn maker(group: &str, kind: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    let labels = json!({"a": "b"});
    let mut inner = if group == "batch" {
        spec["restartPolicy"] = json!("Never");
        json!({"template": {"spec": spec}})
    } else {
        json!({"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}})
    };
    match kind {
        "CronJob" => inner = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": inner}}),
        "StatefulSet" => inner["serviceName"] = json!("s"),
        _ => {}
    }
    json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "maker"}, "spec": inner})
}

#[tokio::test]
async fn nobody_but_the_operator_calls_a_pod_a_polecats() {
    let door = Door::open("pods-label", &[]).await;
    let mut forged = pod("forged", &json!({}));
    forged["metadata"]["labels"] = json!({"gastown.io/polecat": "max"});
    let answer = create(&door, &forged).await;
    assert_eq!(answer.code, 403, "{:?}", answer.body);
    assert!(
        answer.message().contains("metadata.labels[gastown.io/polecat]"),
        "{}",
        answer.message()
    );
    door.world.create("max", |_| {}).await;
    until(&door.world.pods(), "polecat-max", "pod", |_: &Pod| true).await;
    let path = format!("/api/v1/namespaces/{}/pods/polecat-max", door.world.namespace);
    let untouched = json!({"metadata": {"annotations": {"a": "b"}}});
    let api: Api<Pod> = door.world.pods();
    api.patch("polecat-max", &PatchParams::default(), &Patch::Merge(&untouched)).await.unwrap();
    let taken = json!({"metadata": {"labels": {"gastown.io/polecat": null}}});
    let refused = api.patch("polecat-max", &PatchParams::default(), &Patch::Merge(&taken)).await;
    assert!(refused.unwrap_err().to_string().contains("only the operator"), "{path}");
    // By its bucket, a shard's owner watches it.
    let moved = json!({"metadata": {"labels": {"gastown.io/bucket": "7"}}});
    let refused = api.patch("polecat-max", &PatchParams::default(), &Patch::Merge(&moved)).await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("metadata.labels[gastown.io/bucket]"), "{said}");
    door.close().await;
}

/// A Rig's `allowedImages` do not end at the Polecat: whoever may write its pod brings no other image in, by no road.
#[tokio::test]
async fn no_image_comes_into_a_polecats_pod_that_its_rig_does_not_allow() {
    const RIG: &str = "pods-images";
    let door = Door::open("pods-images", &[]).await;
    let Door { world, .. } = &door;
    let rig = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Rig", "metadata": {"name": RIG}, "spec": {
        "repository": {"url": "git@git.example.com:town/greeter.git"}, "beadsPrefix": "gt",
        "allowedImages": ["registry.example.com/agents/*"]}});
    let made = door.create(&rig).await;
    assert_eq!(made.code, 201, "{}", made.body);
    world.create("max", |it| it["spec"]["rig"] = json!(RIG)).await;
    until(&world.pods(), "polecat-max", "pod", |_: &Pod| true).await;
    let api: Api<Pod> = world.pods();
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let image = |it: &str| {
        Patch::Strategic(json!({"spec": {"containers": [{"name": "claude", "image": it}]}}))
    };
    let debug = |it: &str| {
        Patch::Strategic(json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": it}]}}))
    };
    for (fine, it) in [(true, "registry.example.com/agents/claude:2"), (false, "evil:1")] {
        let changed = api.patch("polecat-max", &dry, &image(it)).await;
        let added =
            api.patch_subresource("ephemeralcontainers", "polecat-max", &dry, &debug(it)).await;
        for told in [changed, added] {
            let said = told.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert_eq!(told.is_ok(), fine, "{it}: {said}");
            let why = "must be one of the allowedImages of Rig pods-images: registry.example.com/agents/*";
            assert_eq!(said.contains(why), !fine, "{said}");
        }
    }
    let other = json!({"metadata": {"labels": {"gastown.io/rig": "another"}}});
    let refused = api.patch("polecat-max", &dry, &Patch::Merge(&other)).await.unwrap_err();
    assert!(refused.to_string().contains("which Rig a Polecat's pod is of"), "{refused}");
    let rigs: Api<Rig> = Api::all(world.client.clone());
    rigs.delete(RIG, &DeleteParams::default()).await.unwrap();
    let told = api.patch("polecat-max", &dry, &image("evil:1")).await;
    assert!(told.is_ok(), "a Rig that is not there allows what it always did: {told:?}");
    door.close().await;
}

/// `pods/resize` is no way past the rules, though no webhook is asked about it: the API server takes resources from it alone.
#[tokio::test]
async fn a_resize_changes_nothing_that_is_judged() {
    let door = Door::open("pods-resize", &[]).await;
    door.world.create("max", |_| {}).await;
    until(&door.world.pods(), "polecat-max", "pod", |_: &Pod| true).await;
    let api: Api<Pod> = door.world.pods();
    let before = api.get("polecat-max").await.unwrap();
    let container = json!({
        "name": "claude", "image": "other:1", "securityContext": {"privileged": true, "runAsUser": 0},
        "resources": {"limits": {"cpu": "3"}, "requests": {"cpu": "3"}},
    });
    let resize = json!({
        "metadata": {"labels": {"gastown.io/polecat": null}},
        "spec": {"hostNetwork": true, "nodeName": "n", "containers": [container]},
    });
    let params = PatchParams::default();
    let resize = Patch::Strategic(resize);
    let answer = api.patch_subresource("resize", "polecat-max", &params, &resize).await;
    println!("the API server said {:?}", answer.map(|it| it.spec));
    let mut after = api.get("polecat-max").await.unwrap();
    let had = |it: &Pod| it.spec.clone().unwrap().containers;
    for (after, before) in after.spec.as_mut().unwrap().containers.iter_mut().zip(had(&before)) {
        after.resources = before.resources;
    }
    after.spec.as_mut().unwrap().node_name = before.spec.as_ref().unwrap().node_name.clone();
    assert_eq!(after.spec, before.spec, "nothing but resources");
    assert_eq!(after.metadata.labels, before.metadata.labels);
    door.close().await;
}

/// `pods/status` is no way round the label, though no webhook is asked about it: the API server takes labels from there, and sees by
/// itself that nobody but the operator changes ours. Nodes tell of their pods as ever.
#[tokio::test]
async fn no_status_says_whose_a_pod_is() {
    let door = Door::open("pods-status", &[("testbed.gastown.io/run-for", "never")]).await;
    let Door { world, .. } = &door;
    let policies = own_policies(world, &[&world.namespace]).await;
    let path = format!("/api/v1/namespaces/{}/pods", world.namespace);
    let made = send(&world.client, Method::POST, &path, &pod("plain", &json!({}))).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let api = world.pods();
    // Why it is refused, if it is.
    let said = async |name: &str, status: Value| {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let told = api.patch_subresource("status", name, &dry, &Patch::Merge(status)).await;
        told.err().map(|it| it.to_string()).unwrap_or_default()
    };
    let why = "the operator alone says";
    let mark = |list: &str, key: &str, value: Value| json!({"metadata": {list: {key: value}}});
    let (ours, own) = ("gastown.io/polecat", "labels");
    comes_true("the policy to be heeded", async || {
        said("plain", mark(own, ours, json!("max"))).await.contains(why)
    })
    .await;
    world.create("max", |_| {}).await;
    let runs =
        |it: &Pod| it.status.as_ref().is_some_and(|it| it.phase.as_deref() == Some("Running"));
    until(&api, "polecat-max", "word of its node, which is heard", runs).await;
    for (list, key, what) in door::MARKS.into_iter().chain(door::MARKS_OF_POLECATS) {
        let told = said("polecat-max", mark(list, key, json!("other"))).await;
        assert!(told.contains(why), "{what}: {list} {key}: {told}");
    }
    let told = said("polecat-max", mark(own, ours, Value::Null)).await;
    assert!(told.contains(why), "it is one no more: {told}");
    let tells = || json!({"status": {"message": "here I am"}});
    for (name, status, because) in [
        ("polecat-max", tells(), "it says nothing of that"),
        ("polecat-max", mark(own, "team", json!("red")), "anybody's label"),
        ("plain", tells(), "it has no label at all"),
        ("plain", mark(own, "gastown.io/bucket", json!("7")), "it is no Polecat's"),
    ] {
        assert_eq!(said(name, status).await, "", "{because}");
    }
    without_policies(world, &policies).await;
    door.close().await;
}

/// What changes nothing of a pod that is judged waits for nobody.
async fn of_what_runs_only_what_is_judged_waits(pods: &Api<Pod>) {
    let change = async |patch: &Value| {
        let done = pods.patch("before", &PatchParams::default(), &Patch::Merge(patch)).await;
        done.map(|_| ()).map_err(|it| it.to_string())
    };
    let counted = json!({"metadata": {
        "labels": {"seen": "yes"}, "finalizers": ["batch.kubernetes.io/job-tracking"],
    }});
    assert_eq!(change(&counted).await, Ok(()));
    assert_eq!(change(&json!({"metadata": {"finalizers": null}})).await, Ok(()));
    for judged in [
        json!({"spec": {"activeDeadlineSeconds": 60}}),
        json!({"metadata": {"annotations": {"any": "other"}}}),
    ] {
        let refused = change(&judged).await.unwrap_err();
        assert!(refused.contains("failed calling webhook"), "{judged}: {refused}");
    }
}

/// As OLM installs them: the entry for Polecat pods with no namespaceSelector, and nobody who answers.
#[tokio::test]
async fn with_every_replica_gone_only_polecat_pods_wait_and_the_floor_still_refuses() {
    let bed = Testbed::start(Options { node: Node::None, ..Options::default() }).await.unwrap();
    let client = bed.client("admin").await.unwrap();
    for name in ["town", "other"] {
        bed.make_namespace(name, &[]).await.unwrap();
    }
    // One that the policy lets in, since it is asked before the webhooks are.
    let fine = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    let pods = "/api/v1/namespaces/town/pods";
    let answer = send(&client, Method::POST, pods, &pod("before", &fine)).await;
    assert_eq!(answer.code, 201, "{:?}", answer.body);
    let folder = manifests::project(None).unwrap();
    // A port that nobody listens on.
    let nobody = Webhooks::Url("https://127.0.0.1:9".into());
    manifests::apply_webhooks(&client, &folder.join("webhooks"), &nobody, "", None).await.unwrap();
    Kubectl::admin(&bed).said(&["apply", "-f", "deploy/policies/pods.yaml"]).await;
    let api: Api<Namespace> = Api::all(client.clone());
    let labelled = json!({"metadata": {"labels": {generated::NAMESPACE_LABEL: "restricted"}}});
    for name in ["town", "kube-system"] {
        api.patch(name, &PatchParams::default(), &Patch::Merge(&labelled)).await.unwrap();
    }
    let post = async |namespace: &str, object: &Value| {
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        send(&client, Method::POST, &path, object).await
    };
    let plain = pod("plain", &json!({}));
    let mut ours = pod("ours", &fine);
    ours["metadata"]["labels"] = json!({"gastown.io/polecat": "max"});
    let waits = |it: &Answer| it.code == 500 && it.message().contains("failed calling webhook");
    comes_true("the webhooks to be called", async || waits(&post("town", &ours).await)).await;
    for namespace in ["kube-system", "other"] {
        let answer = post(namespace, &plain).await;
        assert_eq!(answer.code, 201, "{namespace} does not wait for us: {:?}", answer.body);
    }
    comes_true("the policy to be heeded", async || {
        let answer = post("town", &plain).await;
        answer.code == 403 && answer.message().contains("PSS restricted")
    })
    .await;
    of_what_runs_only_what_is_judged_waits(&Api::namespaced(client.clone(), "town")).await;
    // What a TLS policy wants is in the floor too, for the pods that the operator said it of.
    ours["metadata"]["annotations"] = json!({tls_policy::ANNOTATION: "fips"});
    let refused = |it: &Answer| it.code == 403 && it.message().contains("ours.tlsPolicy");
    let answer = post("town", &ours).await;
    assert!(refused(&answer), "{:?}", answer.body);
    let (tools, each) = (tls_policy::MOUNT, tls_policy::VARIABLES.into_iter());
    let container = &mut ours["spec"]["containers"][0];
    container["env"] = each.map(|(name, value)| json!({"name": name, "value": value})).collect();
    container["volumeMounts"] = json!([{"name": tools.volume, "mountPath": tools.path}]);
    ours["spec"]["volumes"] = json!([{"name": tools.volume, "emptyDir": {}}]);
    let answer = post("town", &ours).await;
    assert!(waits(&answer), "it has all of them: {:?}", answer.body);
    ours["spec"]["containers"][0]["env"][0]["value"] = json!("fips140=off");
    let answer = post("town", &ours).await;
    assert!(refused(&answer), "{:?}", answer.body);
    bed.stop().await.unwrap();
}

/// What tells OpenShift from other clusters is a group that it serves.
#[tokio::test]
async fn on_openshift_users_of_agent_pods_are_left_to_the_platform() {
    let bed = Testbed::start(Options { node: Node::Kwok, ..Options::default() }).await.unwrap();
    // Ends with this process; the test of a testbed's end is its own.
    let bed: &'static Testbed = Box::leak(Box::new(bed));
    let client = bed.client("admin").await.unwrap();
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "securitycontextconstraints.security.openshift.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved"}},
        "spec": {
            "group": "security.openshift.io", "scope": "Cluster",
            "names": {"kind": "SecurityContextConstraints", "plural": "securitycontextconstraints"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = send(&client, Method::POST, path, &definition).await;
    assert_eq!(made.code, 201, "{:?}", made.body);
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = "securitycontextconstraints.security.openshift.io";
    tokio::time::timeout(PATIENCE, await_condition(api, name, is_crd_established()))
        .await
        .unwrap()
        .unwrap();
    let world = World::on(bed, "openshift", &["--platform=auto"]).await;
    world.create("max", |_| {}).await;
    let pod = until(&world.pods(), "polecat-max", "pod", |_: &Pod| true).await;
    let text = serde_json::to_string(&pod.spec).unwrap();
    assert!(!text.contains("runAsUser") && !text.contains("fsGroup"), "{text}");
    assert!(text.contains("runAsNonRoot"), "{text}");
}
