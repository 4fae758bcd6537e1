//! A run as OpenShift has it, on a real node: the operator leaves users, groups and levels out, and a policy of the API server's
//! sets, before any webhook is asked, what the constraint restricted-v2 would set in that namespace.

use gastown_testbed::audit;
use http::Method;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    door::{Door, send},
    real_node::{at, in_bare, repository, world_with},
    world::{World, phase_of},
};

const TOWN: &str = "real-openshift";
const POLICY: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const BINDING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";
/// The first user of the namespace's range, which is its first group as well, and its level.
const USER: i64 = 1_000_650_000;
const LEVEL: &str = "s0:c26,c5";

/// What restricted-v2 writes where nothing is set: a user for each container, a group for volumes, a level, seccomp twice.
fn defaulting() -> Value {
    let containers = |list: &str| {
        let of = format!("Object.spec.{list}");
        format!(
            "object.spec.{list}.map(c, {of}{{name: c.name, securityContext: {of}.securityContext{{runAsUser: {USER}, \
             runAsNonRoot: true, allowPrivilegeEscalation: false}}}})"
        )
    };
    let context = "Object.spec.securityContext";
    let expression = format!(
        "Object{{metadata: Object.metadata{{annotations: {{'openshift.io/scc': 'restricted-v2', \
         'seccomp.security.alpha.kubernetes.io/pod': 'runtime/default'}}}}, spec: Object.spec{{securityContext: {context}{{\
         fsGroup: {USER}, seLinuxOptions: {context}.seLinuxOptions{{level: '{LEVEL}'}}, seccompProfile: \
         {context}.seccompProfile{{type: 'RuntimeDefault'}}}}, initContainers: {}, containers: {}}}}}",
        containers("initContainers"),
        containers("containers"),
    );
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": TOWN},
        "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TOWN}},
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            },
            "matchConditions": [{"name": "has-both", "expression": "has(object.spec.initContainers)"}],
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        },
    })
}

/// The namespace as OpenShift annotates it, and what sets its defaults.
async fn becomes_openshift(world: &World) {
    let api: Api<Namespace> = Api::all(world.client.clone());
    let ranges = json!({"metadata": {"annotations": {
        "openshift.io/sa.scc.uid-range": format!("{USER}/10000"),
        "openshift.io/sa.scc.supplemental-groups": format!("{USER}/10000"),
        "openshift.io/sa.scc.mcs": LEVEL,
    }}});
    api.patch(TOWN, &PatchParams::default(), &Patch::Merge(&ranges)).await.unwrap();
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": TOWN}, "spec": {"policyName": TOWN},
    });
    for (path, object) in [(POLICY, defaulting()), (BINDING, binding)] {
        let made = send(&world.client, Method::POST, path, &object).await;
        assert_eq!(made.code, 201, "{}", made.body);
    }
    let container = json!({"name": "a", "image": "i"});
    let bare = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"},
        "spec": {"initContainers": [{"name": "b", "image": "i"}], "containers": [container]}});
    let path = format!("/api/v1/namespaces/{TOWN}/pods?dryRun=All");
    comes_true("the defaults to be set", async || {
        let made = send(&world.client, Method::POST, &path, &bare).await;
        made.body["spec"]["containers"][0]["securityContext"]["runAsUser"] == json!(USER)
    })
    .await;
}

/// What the node was told.
fn is_as_the_constraint_made_it(pod: &Pod) {
    let spec = serde_json::to_value(pod.spec.as_ref().unwrap()).unwrap();
    let context = &spec["securityContext"];
    assert_eq!(context["fsGroup"], json!(USER), "{context}");
    assert_eq!(context["seLinuxOptions"], json!({"level": LEVEL}), "{context}");
    for list in ["initContainers", "containers"] {
        for it in spec[list].as_array().unwrap() {
            let own = &it["securityContext"];
            assert_eq!(
                (&own["runAsUser"], own.get("runAsGroup")),
                (&json!(USER), None),
                "group 0: {it}"
            );
        }
    }
    assert!(context.get("runAsUser").is_none() && context.get("runAsGroup").is_none(), "{context}");
}

#[tokio::test]
async fn a_run_works_with_what_restricted_v2_sets_and_is_let_in_by_it() {
    let test = "a_run_works_with_what_restricted_v2_sets_and_is_let_in_by_it";
    let Some(world) = world_with(test, TOWN, &["--platform=openshift"]).await else { return };
    becomes_openshift(&world).await;
    let door = Door::before(world).await;
    let world = &door.world;
    let git = world.bed.git.as_ref().unwrap();
    repository(git, TOWN);
    world.create("max", |it| at(it, git, TOWN, "Append \"Good bye.\" to greeting.txt")).await;
    let done = world.condition("max", "Pushed", "True/Pushed").await;
    let status = done.status.as_ref().unwrap();
    assert_eq!((phase_of(&done), status.exit_code), ("Done", Some(0)));
    let commit = status.commit.clone().unwrap();
    let changed = in_bare(git, TOWN, &["show", &format!("{commit}:greeting.txt")]);
    assert_eq!(changed, "Hello.\nGood bye.\n");
    is_as_the_constraint_made_it(&world.pods().get("polecat-max").await.unwrap());
    let events = world.bed.audit_events().await.unwrap();
    let made = |it: &&audit::Event| {
        (it.verb.as_str(), it.code, it.resource.as_str(), it.namespace.as_str(), it.name.as_str())
            == ("create", 201, "pods", TOWN, "polecat-max")
    };
    let noted = events.iter().find(made).and_then(|it| it.noted("scc"));
    assert_eq!(noted, Some("restricted-v2"), "the constraint that we say would be chosen");
    for (path, name) in [(BINDING, TOWN), (POLICY, TOWN)] {
        let gone = send(&world.client, Method::DELETE, &format!("{path}/{name}"), &json!({})).await;
        assert_eq!(gone.code, 200, "{}", gone.body);
    }
    door.close().await;
}
