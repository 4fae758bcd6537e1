//! Two tenants, each with the cluster's aggregated `edit` in a namespace of his own and nothing else, and fifteen ways by which
//! one could come to the other, to the operator, or past what a platform admin said.

use std::{collections::BTreeSet, fs, path::Path};

use gastown::{
    api::{v1alpha1::Polecat, v1beta1},
    conversion::table::Version,
    domain::shard::bucket,
};
use gastown_testbed::watch::await_condition;
use http::Method;
use k8s_openapi::api::{
    core::v1::{Namespace, Pod},
    rbac::v1::{ClusterRole, RoleBinding},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::wait::conditions::is_deleted,
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    door::{Answer, Door, own_policies, send, without_policies},
    kubectl::Kubectl,
    world::{PATIENCE, World, condition, own, polecat, until},
};

/// Ada's namespace, and Bob's.
const HOME: &str = "tenants";
const AWAY: &str = "tenants-bob";
const ADA: &str = "tenant-ada";
const BOB: &str = "tenant-bob";
/// Ada's Rig alone, and one that both may use.
const HERS: &str = "tenants-hers";
const SHARED: &str = "tenants-shared";
const GROUP: &str = "/apis/gastown.gastown.io";
const FOREVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];

struct Town {
    door: Door,
    ada: Client,
    bob: Client,
    /// Ada's run, which nothing of this may touch, and its pod.
    hers: Polecat,
    pod: Pod,
    /// What the API server judges by itself.
    policies: Vec<String>,
}

impl Town {
    async fn new() -> Self {
        let watches = format!("--watch-namespaces={HOME},{AWAY}");
        let flags = [watches.as_str(), "--reference-access=enforce"];
        let world = World::with_flags(HOME, &FOREVER, &flags).await;
        world.bed.make_namespace(AWAY, &FOREVER).await.unwrap();
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        let heard = json!({"metadata": {"labels": {"testbed.gastown.io/webhook": HOME}}});
        namespaces.patch(AWAY, &PatchParams::default(), &Patch::Merge(heard)).await.unwrap();
        for (name, allowed) in [(HERS, json!([HOME])), (SHARED, json!([HOME, AWAY]))] {
            let rig = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Rig", "metadata": {"name": name}, "spec": {
                "repository": {"url": "git@git.example.com:town/greeter.git"}, "beadsPrefix": "gt",
                "allowedNamespaces": allowed, "serviceAccounts": ["agent"]}});
            let made =
                send(&world.client, Method::POST, &format!("{GROUP}/v1beta1/rigs"), &rig).await;
            assert_eq!(made.code, 201, "{}", made.body);
        }
        let policies = own_policies(&world, &[HOME, AWAY]).await;
        let (ada, bob) = (edits(&world, ADA, HOME).await, edits(&world, BOB, AWAY).await);
        let door = Door::before(world).await;
        let polecats: Api<Polecat> = Api::namespaced(ada.clone(), HOME);
        let made = create(&ada, HOME, &of(HERS, "max")).await;
        assert_eq!(made.code, 201, "{}", made.body);
        let runs = |it: &Polecat| condition(it, "Ready") == "True/PodRunning";
        let hers = until(&polecats, "max", "running pod", runs).await;
        let pod = door.world.pods().get("polecat-max").await.unwrap();
        Self { door, ada, bob, hers, pod, policies }
    }

    /// What Bob is told of a Polecat of his that he only asks about.
    async fn asks(&self, object: &Value) -> Answer {
        let version = object["apiVersion"].as_str().unwrap();
        let path = format!("/apis/{version}/namespaces/{AWAY}/polecats?dryRun=All");
        send(&self.bob, Method::POST, &path, object).await
    }

    /// What Bob is told where only the cluster's roles are asked.
    async fn forbidden(&self, method: Method, path: &str, object: &Value) {
        let told = send(&self.bob, method, path, object).await;
        assert_eq!(told.code, 403, "{path}: {}", told.body);
        assert!(told.message().contains(BOB), "{path}: {}", told.message());
    }

    /// His Polecat does not become the owner of this pod of his.
    async fn is_no_owner(&self, pod: &str, polecat: &Polecat, because: &str) {
        let owned = Patch::Merge(json!({"metadata": {"ownerReferences": owners(polecat)}}));
        let told = self.his_pods().patch(pod, &PatchParams::default(), &owned).await;
        let said = told.expect_err(because).to_string();
        assert!(said.contains("metadata.ownerReferences"), "{because}: {said}");
    }

    /// A pod of his that is on its way out goes, once he takes its finalizers away.
    async fn releases(&self, name: &str, pod: &Pod) {
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        self.his_pods().patch(name, &PatchParams::default(), &none).await.unwrap();
        let uid = pod.uid().unwrap();
        let gone = await_condition(self.his_pods(), name, is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone).await.expect("it goes").unwrap();
    }

    fn his(&self) -> Api<Polecat> {
        Api::namespaced(self.bob.clone(), AWAY)
    }

    fn his_pods(&self) -> Api<Pod> {
        Api::namespaced(self.bob.clone(), AWAY)
    }

    /// A Polecat of Bob's, made.
    async fn makes(&self, object: &Value) -> Polecat {
        let made = create(&self.bob, AWAY, object).await;
        assert_eq!(made.code, 201, "{}", made.body);
        serde_json::from_value(made.body).unwrap()
    }
}

/// A Polecat of a Rig.
fn of(rig: &str, name: &str) -> Value {
    let mut object = polecat(name);
    object["spec"]["rig"] = json!(rig);
    object
}

async fn create(client: &Client, namespace: &str, object: &Value) -> Answer {
    let path = format!("{GROUP}/v1alpha1/namespaces/{namespace}/polecats");
    send(client, Method::POST, &path, object).await
}

/// Someone who has the cluster's own `edit` in one namespace, as it has taken our kinds up.
async fn edits(world: &World, name: &str, namespace: &str) -> Client {
    Kubectl::admin(world.bed).said(&["apply", "-f", "deploy/rbac/people.yaml"]).await;
    let taken_up = |it: &ClusterRole| {
        let mut rules = it.rules.iter().flatten();
        rules.any(|it| it.resources.iter().flatten().any(|it| it == "polecats"))
    };
    let roles: Api<ClusterRole> = Api::all(world.client.clone());
    until(&roles, "edit", "rule for Polecats", taken_up).await;
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
    });
    let bindings: Api<RoleBinding> = Api::namespaced(world.client.clone(), namespace);
    bindings
        .create(&PostParams::default(), &serde_json::from_value(binding).unwrap())
        .await
        .unwrap();
    let client = world.bed.client_in(name, None).await.unwrap();
    let path = format!("{GROUP}/v1alpha1/namespaces/{namespace}/polecats?dryRun=All");
    comes_true("the role to be heeded", async || {
        send(&client, Method::POST, &path, &polecat("asks")).await.code != 403
    })
    .await;
    client
}

#[tokio::test]
async fn fifteen_ways_from_one_tenant_to_another_lead_nowhere() {
    let town = Town::new().await;
    rig(&town).await;
    secret(&town).await;
    service_account(&town).await;
    labels(&town).await;
    shard_pin(&town).await;
    trace_id(&town).await;
    let owned = owner_reference(&town).await;
    foreign_pod(&town).await;
    annotations(&town).await;
    conversion_delta(&town).await;
    requested_by(&town).await;
    finalizers(&town).await;
    status(&town).await;
    events(&town).await;
    quota(&town).await;
    let gone = await_condition(town.his(), "owned", is_deleted(&owned));
    tokio::time::timeout(PATIENCE, gone).await.expect("it is collected").unwrap();
    // Whatever Bob tried, Ada's run is what it was.
    let api: Api<Polecat> = Api::namespaced(town.ada.clone(), HOME);
    let now = api.get("max").await.unwrap();
    assert_eq!((&now.spec, &now.status), (&town.hers.spec, &town.hers.status));
    let pod = town.door.world.pods().get("polecat-max").await.unwrap();
    assert_eq!((pod.uid(), &pod.spec), (town.pod.uid(), &town.pod.spec), "her pod runs on");
    let world = &town.door.world;
    for name in [HERS, SHARED] {
        let api: Api<v1beta1::Rig> = Api::all(world.client.clone());
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    without_policies(world, &town.policies).await;
    town.door.close().await;
}

/// The page for people has a row for each of the ways, and for no other.
#[test]
fn the_page_tells_of_each_way() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(top.join("docs/tenancy.md")).unwrap();
    let rows = page
        .split("| part of the test |")
        .nth(1)
        .unwrap()
        .lines()
        .filter(|it| it.starts_with("| to "));
    let told: BTreeSet<_> = rows.map(|it| it.rsplit('`').nth(1).unwrap()).collect();
    let source = include_str!("crossings.rs");
    let test =
        source.split("fn fifteen_ways_from_one_tenant_to_another_lead_nowhere()").nth(1).unwrap();
    let calls =
        test.split("\n}").next().unwrap().lines().filter_map(|it| it.split_once("(&town).await"));
    let ways: BTreeSet<_> = calls.map(|it| it.0.rsplit(' ').next().unwrap()).collect();
    assert_eq!(told, ways);
    assert_eq!(ways.len(), 15);
}

async fn rig(town: &Town) {
    let told = town.asks(&of(HERS, "rig")).await;
    assert_eq!(told.code, 422, "{}", told.body);
    for part in ["spec.rig", HERS, "allowedNamespaces do not hold tenants-bob"] {
        assert!(told.message().contains(part), "{part}: {}", told.message());
    }
    let open = json!({"spec": {"allowedNamespaces": ["*"]}});
    let path = format!("{GROUP}/v1beta1/rigs/{HERS}");
    town.forbidden(Method::PUT, &path, &open).await;
    let fine = town.asks(&of(SHARED, "rig")).await;
    assert_eq!(fine.code, 201, "the Rig of both: {}", fine.body);
}

/// Names are of his own namespace: no name leads out of it.
async fn secret(town: &Town) {
    let there = format!("{GROUP}/v1alpha1/namespaces/{HOME}/polecats?dryRun=All");
    town.forbidden(Method::POST, &there, &of(HERS, "secret")).await;
    let mut hers = of(SHARED, "secret");
    hers["spec"]["kubernetes"]["gitSecretRef"]["name"] = json!(format!("{HOME}/git-key"));
    let told = town.asks(&hers).await;
    assert_eq!(told.code, 422, "{}", told.body);
    for part in ["spec.kubernetes.gitSecretRef", "the name of one in this namespace"] {
        assert!(told.message().contains(part), "{part}: {}", told.message());
    }
}

async fn service_account(town: &Town) {
    let mut object = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": "account"},
        "spec": {"rig": SHARED, "desiredState": "Idle", "agent": {"serviceAccountName": "builder"}}});
    let told = town.asks(&object).await;
    assert_eq!(told.code, 422, "{}", told.body);
    for part in ["spec.agent.serviceAccountName", "serviceAccounts of Rig tenants-shared"] {
        assert!(told.message().contains(part), "{part}: {}", told.message());
    }
    object["spec"]["agent"]["serviceAccountName"] = json!("agent");
    let told = town.asks(&object).await;
    assert_eq!(told.code, 201, "who has edit may run as the Rig's account: {}", told.body);
}

async fn labels(town: &Town) {
    let mut forged = of(SHARED, "labels");
    forged["metadata"]["labels"] = json!({"gastown.io/rig": HERS, "gastown.io/polecat": "max"});
    let made = town.asks(&forged).await;
    let labels = &made.body["metadata"]["labels"];
    assert_eq!(
        (&labels["gastown.io/rig"], &labels["gastown.io/polecat"]),
        (&json!(SHARED), &json!("labels"))
    );
}

/// Whose shard it is: by no label, by no wish, by no map.
async fn shard_pin(town: &Town) {
    let mut forged = of(SHARED, "pin");
    forged["metadata"]["labels"] = json!({"gastown.io/bucket": bucket::label(HOME)});
    let made = town.asks(&forged).await;
    assert_eq!(made.body["metadata"]["labels"]["gastown.io/bucket"], bucket::label(AWAY));
    let wish = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": AWAY,
        "annotations": {"gastown.io/shard": "1"}}});
    town.forbidden(Method::PUT, &format!("/api/v1/namespaces/{AWAY}"), &wish).await;
    let map = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "ShardMap", "metadata": {"name": "gastown"}});
    for namespace in [AWAY.to_owned(), own(HOME)] {
        let path = format!("{GROUP}/v1beta1/namespaces/{namespace}/shardmaps");
        town.forbidden(Method::POST, &path, &map).await;
    }
}

async fn trace_id(town: &Town) {
    let hers = &town.hers.annotations()["gastown.io/traceparent"];
    let mut forged = of(SHARED, "trace");
    forged["metadata"]["annotations"] = json!({"gastown.io/traceparent": hers});
    let made = town.asks(&forged).await;
    let his = made.body["metadata"]["annotations"]["gastown.io/traceparent"].as_str().unwrap();
    assert_ne!(his.split('-').nth(1), hers.split('-').nth(1), "a trace of his own");
    let told = made.warnings.iter().any(|it| it.contains("--trace-callers"));
    assert!(told, "{:?}", made.warnings);
}

/// It goes with an owner that his namespace does not have, and hers stays. The collector looks when it likes: the uid of what is to
/// be gone in the end.
async fn owner_reference(town: &Town) -> String {
    let mut forged = of(SHARED, "owned");
    forged["spec"]["desiredState"] = json!("Idle");
    forged["metadata"]["ownerReferences"] = json!([{"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat",
        "name": "max", "uid": town.hers.uid(), "controller": true, "blockOwnerDeletion": true}]);
    town.makes(&forged).await.uid().unwrap()
}

/// A pod as he makes it himself: neither by a label nor by an owner is it a Polecat's, and one of a Polecat's name is left alone.
async fn foreign_pod(town: &Town) {
    let mut idle = of(SHARED, "foreign");
    idle["spec"]["desiredState"] = json!("Idle");
    let his = town.makes(&idle).await;
    let (pods, name) = (format!("/api/v1/namespaces/{AWAY}/pods"), "polecat-foreign");
    let plain = bare(&json!({"name": name}));
    for (metadata, says) in [
        (
            json!({"name": name, "labels": {"gastown.io/polecat": "foreign"}}),
            "metadata.labels[gastown.io/polecat]",
        ),
        (json!({"name": name, "ownerReferences": owners(&his)}), "metadata.ownerReferences"),
        (json!({"name": name, "ownerReferences": owners(&town.hers)}), "metadata.ownerReferences"),
    ] {
        let told = send(&town.bob, Method::POST, &pods, &bare(&metadata)).await;
        assert_eq!(told.code, 403, "{says}: {}", told.body);
        let said = told.message();
        assert!(said.contains(says) && said.contains("operator"), "{says}: {said}");
    }
    town.forbidden(Method::POST, &format!("/api/v1/namespaces/{HOME}/pods"), &plain).await;
    let made = send(&town.bob, Method::POST, &pods, &plain).await;
    assert_eq!(made.code, 201, "{}", made.body);
    town.is_no_owner(name, &his, "nor later").await;
    // Where no webhook looks, a role is in the way.
    let node = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": "n"}});
    town.forbidden(Method::PUT, &format!("{pods}/{name}/status"), &plain).await;
    town.forbidden(Method::POST, &format!("{pods}/{name}/binding"), &node).await;
    let works = Patch::Merge(json!({"spec": {"desiredState": "Working"}}));
    town.his().patch("foreign", &PatchParams::default(), &works).await.unwrap();
    let taken = |it: &Polecat| condition(it, "Ready") == "False/PodNameTaken";
    until(&town.his(), "foreign", "pod of its name", taken).await;
    let left = town.his_pods().get(name).await.unwrap();
    assert!(!left.labels().contains_key("gastown.io/polecat"), "{:?}", left.labels());
    Box::pin(its_uid_under_another_kind_first(town, &his)).await;
    Box::pin(one_that_is_on_its_way_out(town, &his)).await;
    town.his().delete("foreign", &DeleteParams::default()).await.unwrap();
    town.his_pods().delete(name, &DeleteParams::default()).await.unwrap();
}

/// A pod that nobody told what to do.
fn bare(metadata: &Value) -> Value {
    let main = json!({"name": "claude", "image": "i"});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [main]}})
}

/// A Polecat as what owns a pod.
fn owners(of: &Polecat) -> Value {
    json!([{"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "name": of.name_any(), "uid": of.uid(),
        "controller": true}])
}

/// Of a kind that nobody serves, so that the collector can't tell whether that is gone.
async fn its_uid_under_another_kind_first(town: &Town, his: &Polecat) {
    for (kind, name) in [("Foo", "its-uid"), ("Polecat", "its-uid-and-kind")] {
        let mut owner = owners(his);
        owner[0]["apiVersion"] = json!("x.example.com/v1");
        owner[0]["kind"] = json!(kind);
        let pod = bare(&json!({"name": name, "ownerReferences": owner}));
        let path = format!("/api/v1/namespaces/{AWAY}/pods");
        let made = send(&town.bob, Method::POST, &path, &pod).await;
        assert_eq!(made.code, 201, "{kind}: {}", made.body);
        town.is_no_owner(name, his, "it was of another kind").await;
        town.his_pods().delete(name, &DeleteParams::default()).await.unwrap();
    }
}

/// What is on its way out is let go; it gets no owner on that way, who would hear its last words.
async fn one_that_is_on_its_way_out(town: &Town, his: &Polecat) {
    let pod = bare(&json!({"name": "goes", "finalizers": ["example.com/hold"]}));
    let path = format!("/api/v1/namespaces/{AWAY}/pods");
    let made = send(&town.bob, Method::POST, &path, &pod).await;
    assert_eq!(made.code, 201, "{}", made.body);
    town.his_pods().delete("goes", &DeleteParams::default()).await.unwrap();
    let going = |it: &Pod| it.metadata.deletion_timestamp.is_some();
    let it = until(&town.his_pods(), "goes", "word that it is to go", going).await;
    town.is_no_owner("goes", his, "it is on its way out").await;
    town.releases("goes", &it).await;
}

async fn annotations(town: &Town) {
    let mut forged = of(SHARED, "annotations");
    forged["metadata"]["annotations"] = json!({"gastown.io/restored-from": "Done 1"});
    let made = town.asks(&forged).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(made.body["metadata"]["annotations"].get("gastown.io/restored-from"), None);
    let paused = json!({"metadata": {"name": HERS, "annotations": {"gastown.io/paused": "true"}}});
    town.forbidden(Method::PUT, &format!("{GROUP}/v1beta1/rigs/{HERS}"), &paused).await;
    town.forbidden(Method::PUT, &format!("/api/v1/namespaces/{HOME}"), &paused).await;
}

/// What only v1beta1 can say, brought along in the annotation of a v1alpha1 object, is held to the Rig all the same.
async fn conversion_delta(town: &Town) {
    let mut delta = of(SHARED, "delta");
    let brings =
        |what: Value| json!({Version::V1beta1.annotation(): json!({"add": what}).to_string()});
    delta["metadata"]["annotations"] = brings(json!({"/spec/agent/serviceAccountName": "builder"}));
    let told = town.asks(&delta).await;
    assert_eq!(told.code, 422, "{}", told.body);
    assert!(told.message().contains("serviceAccounts of Rig tenants-shared"), "{}", told.message());
    delta["metadata"]["annotations"] = brings(json!({"/spec/rig": HERS}));
    let made = town.asks(&delta).await;
    let rig = &made.body["spec"]["rig"];
    assert!(made.code == 422 || rig == SHARED, "no Rig but the one it says: {}", made.body);
}

async fn requested_by(town: &Town) {
    let mut forged = of(SHARED, "asker");
    forged["metadata"]["annotations"] = json!({"gastown.io/requested-by": ADA, "gastown.io/requested-by-uid": "1",
        "gastown.io/requested-by-groups": "system:masters"});
    let made = town.asks(&forged).await;
    let said = &made.body["metadata"]["annotations"];
    assert_eq!(said["gastown.io/requested-by"], BOB);
    assert_ne!(said["gastown.io/requested-by-uid"], "1");
    assert_ne!(said["gastown.io/requested-by-groups"], "system:masters");
}

/// A finalizer of his keeps his object, and neither its pod, unless it has one of its own, nor anything of hers; the original's is
/// released.
async fn finalizers(town: &Town) {
    let mut held = of(SHARED, "held");
    held["metadata"]["finalizers"] = json!(["example.com/hold", "gastown.io/polecat-cleanup"]);
    town.makes(&held).await;
    let runs = |it: &Polecat| condition(it, "Ready") == "True/PodRunning";
    until(&town.his(), "held", "running pod", runs).await;
    let path = format!("{GROUP}/v1alpha1/namespaces/{AWAY}/polecats/held/finalizers");
    town.forbidden(Method::PUT, &path, &held).await;
    let stays = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold"]}}));
    town.his_pods().patch("polecat-held", &PatchParams::default(), &stays).await.unwrap();
    town.his().delete("held", &DeleteParams::default()).await.unwrap();
    let going = |it: &Pod| it.metadata.deletion_timestamp.is_some();
    let pod = until(&town.his_pods(), "polecat-held", "word that it is to go", going).await;
    town.releases("polecat-held", &pod).await;
    let released = |it: &Polecat| it.finalizers() == ["example.com/hold"];
    let it = until(&town.his(), "held", "release of the original's finalizer", released).await;
    let uid = it.uid().unwrap();
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    town.his().patch("held", &PatchParams::default(), &none).await.unwrap();
    let gone = await_condition(town.his(), "held", is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await.expect("then it goes").unwrap();
}

async fn status(town: &Town) {
    let mut forged = of(SHARED, "status");
    forged["spec"]["desiredState"] = json!("Idle");
    forged["status"] = json!({"phase": "Done", "commit": "0".repeat(40), "pushed": true});
    let made = town.makes(&forged).await;
    assert!(made.status.is_none_or(|it| it.commit.is_none()), "a status by the back door");
    let path = format!("{GROUP}/v1alpha1/namespaces/{AWAY}/polecats/status");
    town.forbidden(Method::PUT, &format!("{path}/status"), &forged).await;
    let hers = format!("{GROUP}/v1alpha1/namespaces/{HOME}/polecats/max/status");
    town.forbidden(Method::PUT, &hers, &forged).await;
    town.his().delete("status", &DeleteParams::default()).await.unwrap();
}

/// In his own namespace he may tell of what he likes, and of nothing in another.
async fn events(town: &Town) {
    let event = |namespace: &str| {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "forged"}, "reason": "Scheduled",
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "polecat-max", "namespace": namespace}})
    };
    let (here, there) = [AWAY, HOME].map(|it| format!("/api/v1/namespaces/{it}/events")).into();
    town.forbidden(Method::POST, &there, &event(HOME)).await;
    let told = send(&town.bob, Method::POST, &here, &event(HOME)).await;
    assert_eq!(told.code, 422, "{}", told.body);
    assert!(told.message().contains("involvedObject.namespace"), "{}", told.message());
}

/// What his namespace may hold binds the pods that the operator makes for him.
async fn quota(town: &Town) {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    let path = format!("/api/v1/namespaces/{AWAY}/resourcequotas");
    let made = send(&town.door.world.client, Method::POST, &path, &quota).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let plain = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"},
        "spec": {"containers": [{"name": "main", "image": "i"}]}});
    let own = format!("/api/v1/namespaces/{AWAY}/pods?dryRun=All");
    comes_true("the quota to be heeded", async || {
        let told = send(&town.bob, Method::POST, &own, &plain).await;
        told.code == 403 && told.message().contains("exceeded quota")
    })
    .await;
    for (method, path) in
        [(Method::PUT, format!("{path}/none")), (Method::DELETE, format!("{path}/none"))]
    {
        town.forbidden(method, &path, &quota).await;
    }
    town.makes(&of(SHARED, "quota")).await;
    let waits = |it: &Polecat| condition(it, "Ready") == "False/QuotaExceeded";
    until(&town.his(), "quota", "wait for room", waits).await;
}
