//! The operator's rights, held against what it asks for: replicas that have the generated roles and nothing else walk the main
//! roads, and the audit log judges. Nothing that they ask is forbidden, and a right that nobody used has a reason to be there.

use std::{collections::BTreeSet, fs};

use gastown::{
    api::v1alpha1::Polecat,
    cluster::certificates::WISH,
    manifests::{self, NAMESPACE},
};
use gastown_testbed::{Options, Testbed, audit::Event, watch::await_condition};
use k8s_openapi::{
    api::core::v1::{Pod, ResourceQuota, Secret},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
    runtime::conditions::is_deleted,
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    generated::top,
    preconditions::skip,
    samples,
    versions::{api, bead_store, both, object},
    world::{PATIENCE, condition, polecat, until},
};

/// Group, resource with subresource, and verb.
type Right = (String, String, String);

const QUICK: &str = "rights";
/// One that moves to another shard.
const STILL: &str = "rights-still";
const REPLICAS: u32 = 2;

/// What no main road takes: group, resource, verb, and why it is granted. A reason that ends in a test's name, in brackets, is
/// shown there by operators with the same roles.
const NOT_WALKED: &[(&str, &str, &str, &str)] = &[
    (
        "gastown.gastown.io",
        "polecats/finalizers",
        "update",
        "no request: the API server asks for it where owners of pods block their deletion, by an admission plugin of OpenShift",
    ),
    (
        "gastown.gastown.io",
        "conversions",
        "serve",
        "no request: the policy below the webhook asks whether there is an operator \
         (without_the_operator_nothing_is_written_and_everything_can_be_deleted)",
    ),
    (
        "",
        "namespaces",
        "get",
        "OpenShift's ranges, for pods at the door (on_openshift_users_of_agent_pods_are_left_to_the_platform)",
    ),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions/status",
        "patch",
        "where the API server migrates, its controller may trim the stored versions before us \
         (a_migration_that_is_killed_goes_on_where_it_was_and_trims_at_the_end_alone)",
    ),
    (
        "authentication.k8s.io",
        "tokenreviews",
        "create",
        "metrics are plain here (metrics_are_read_by_who_may_and_by_nobody_else)",
    ),
    (
        "config.openshift.io",
        "apiservers",
        "list",
        "OpenShift's profile (the_clusters_tls_profile_is_followed_while_calls_go_on)",
    ),
    (
        "config.openshift.io",
        "apiservers",
        "watch",
        "the same (the_clusters_tls_profile_is_followed_while_calls_go_on)",
    ),
    (
        "coordination.k8s.io",
        "leases",
        "delete",
        "a replica that ends takes its session along (a_replica_that_is_told_to_end_hands_each_shard_over_once)",
    ),
];

struct Town {
    bed: Testbed,
    client: Client,
}

impl Town {
    /// None where Services lead nowhere, so that nobody would be asked.
    async fn open(test: &str) -> Option<Self> {
        let flags = [
            "--webhook-cert-source=own",
            "--storage-migration=Auto",
            "--runner-image=localhost/gt-runner:dev",
            "--agent-image=localhost/agent:dev",
            "--failover=fast",
            "--shards=4",
        ];
        let options = Options {
            replicas: REPLICAS,
            storage_migration: true,
            operator_flags: flags.map(ToOwned::to_owned).into(),
            ..Options::default()
        };
        let bed = Testbed::start(options).await.unwrap();
        if !bed.enclosed {
            skip(test, "root", "without namespaces of its own a Service leads nowhere");
            return None;
        }
        for name in [QUICK, STILL] {
            bed.make_namespace(name, &[]).await.unwrap();
        }
        let client = bed.client("person").await.unwrap();
        let town = Self { bed, client };
        let mut bad = polecat("asks");
        bad["spec"]["kubernetes"]["gitBranch"] = json!("-d");
        let bad: Polecat = serde_json::from_value(bad).unwrap();
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        comes_true("the webhooks to be asked", async || {
            let told = town.polecats(QUICK).create(&dry, &bad).await;
            matches!(told, Err(kube::Error::Api(it)) if it.code == 422)
        })
        .await;
        Some(town)
    }

    fn polecats(&self, namespace: &str) -> Api<Polecat> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Says of a Polecat's pod what a node would: there is none here.
    async fn plays(&self, namespace: &str, name: &str, phase: &str, state: Value) {
        let (pods, pod) = (self.pods(namespace), format!("polecat-{name}"));
        let there = await_condition(pods.clone(), &pod, |it: Option<&Pod>| it.is_some());
        tokio::time::timeout(PATIENCE, there).await.expect("its pod").unwrap();
        let of = |name: &str| json!({"name": name, "image": "i", "imageID": "", "ready": phase == "Running", "restartCount": 0, "state": state});
        let all = ["claude", "telemetry"].map(of);
        let says = json!({"status": {"phase": phase, "containerStatuses": all}});
        pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(says)).await.unwrap();
    }

    /// Its agent has done its work.
    async fn ends(&self, namespace: &str, name: &str) {
        let over = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        self.plays(namespace, name, "Succeeded", over).await;
    }

    async fn make(&self, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) -> Polecat {
        let mut it = polecat(name);
        edit(&mut it);
        let it = serde_json::from_value(it).unwrap();
        self.polecats(namespace).create(&PostParams::default(), &it).await.unwrap()
    }

    /// Waits until a Polecat's condition `Ready` says so.
    async fn ready(&self, namespace: &str, name: &str, want: &'static str) {
        let is = move |it: &Polecat| condition(it, "Ready") == want;
        until(&self.polecats(namespace), name, want, is).await;
    }

    async fn gone(&self, namespace: &str, of: &Polecat) {
        let (name, uid) = (of.metadata.name.as_ref().unwrap(), of.metadata.uid.as_ref().unwrap());
        let gone = await_condition(self.polecats(namespace), name, is_deleted(uid));
        tokio::time::timeout(PATIENCE, gone).await.expect("it goes").unwrap();
    }
}

/// A run to its end, after which the Polecat goes by itself.
async fn a_run_ends(town: &Town) {
    let short = |it: &mut Value| it["spec"]["ttlSecondsAfterFinished"] = json!(1);
    let made = town.make(QUICK, "max", short).await;
    town.ends(QUICK, "max").await;
    town.gone(QUICK, &made).await;
}

/// One run is ended, one loses its pod.
async fn runs_are_ended(town: &Town) {
    for name in ["ended", "lost"] {
        town.make(STILL, name, |_| {}).await;
        town.plays(STILL, name, "Running", json!({"running": {}})).await;
        town.ready(STILL, name, "True/PodRunning").await;
    }
    let over = Patch::Merge(json!({"spec": {"desiredState": "Terminated"}}));
    town.polecats(STILL).patch("ended", &PatchParams::default(), &over).await.unwrap();
    let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    town.pods(STILL).delete("polecat-lost", &now).await.unwrap();
    town.ready(STILL, "lost", "False/PodLost").await;
    let going = |it: Option<&Pod>| it.is_none_or(|it| it.metadata.deletion_timestamp.is_some());
    let gone = await_condition(town.pods(STILL), "polecat-ended", going);
    tokio::time::timeout(PATIENCE, gone).await.expect("its pod goes").unwrap();
}

/// A pod that a quota refuses is made once there is room.
async fn a_quota_is_waited_for(town: &Town) {
    let api: Api<ResourceQuota> = Api::namespaced(town.client.clone(), QUICK);
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    api.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let counted = |it: &ResourceQuota| it.status.as_ref().is_some_and(|it| it.hard.is_some());
    until(&api, "none", "status", counted).await;
    town.make(QUICK, "nux", |_| {}).await;
    town.ready(QUICK, "nux", "False/QuotaExceeded").await;
    let room = Patch::Merge(json!({"spec": {"hard": {"pods": "10"}}}));
    api.patch("none", &PatchParams::default(), &room).await.unwrap();
    town.ends(QUICK, "nux").await;
    town.ready(QUICK, "nux", "True/PodSucceeded").await;
}

/// An object of every kind gets a status; the Go original's finalizers come off, one that is somebody else's stays.
async fn every_kind_is_said_something_of(town: &Town) {
    for kind in both() {
        let sample = samples::samples().into_iter().find(|it| it["kind"] == kind.kind).unwrap();
        let mut asked = object(kind, "v1alpha1", "rights", &sample["spec"]);
        asked.metadata.finalizers =
            Some(vec![format!("gastown.io/{}-cleanup", kind.kind.to_lowercase())]);
        let there = api(&town.client, QUICK, kind, "v1alpha1");
        let made = there.create(&PostParams::default(), &asked).await.unwrap();
        let said = |it: &DynamicObject| it.data.pointer("/status/conditions/0").is_some();
        until(&there, "rights", kind.kind, said).await;
        there.delete("rights", &DeleteParams::default()).await.unwrap();
        if !["Polecat", "Rig", "BeadStore"].contains(&kind.kind) {
            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            there.patch("rights", &PatchParams::default(), &free).await.unwrap();
        }
        let uid = made.metadata.uid.unwrap();
        let gone = await_condition(there, "rights", is_deleted(&uid));
        tokio::time::timeout(PATIENCE, gone).await.expect(kind.kind).unwrap();
    }
    let fleet = samples::samples().into_iter().find(|it| it["kind"] == "ClientPod").unwrap();
    let kind = gastown::kinds::KINDS.iter().find(|it| it.kind == "ClientPod").unwrap();
    let there = api(&town.client, QUICK, kind, kind.version);
    let asked = object(kind, kind.version, "rights", &fleet["spec"]);
    there.create(&PostParams::default(), &asked).await.unwrap();
    let said = |it: &DynamicObject| it.data.pointer("/status/conditions/0").is_some();
    until(&there, "rights", "ClientPod", said).await;
}

/// The next authority is made, published and trimmed as far as that is asked; a Secret that is deleted is made again.
async fn certificates_are_made_anew(town: &Town) {
    let secrets: Api<Secret> = Api::namespaced(town.client.clone(), NAMESPACE);
    let before = secrets.get(manifests::CERTIFICATES).await.unwrap();
    let wish = Patch::Merge(json!({"metadata": {"annotations": {WISH: "1"}}}));
    secrets.patch(manifests::CERTIFICATES, &PatchParams::default(), &wish).await.unwrap();
    let old = before.data.clone().unwrap_or_default().remove("ca.crt");
    let two = move |it: &Secret| it.data.as_ref().and_then(|it| it.get("ca.crt")) != old.as_ref();
    until(&secrets, manifests::CERTIFICATES, "another authority", two).await;
    secrets.delete(manifests::CERTIFICATES, &DeleteParams::default()).await.unwrap();
    let uid = before.metadata.uid;
    let anew = move |it: &Secret| it.metadata.uid != uid;
    until(&secrets, manifests::CERTIFICATES, "another Secret", anew).await;
}

/// Objects of a kind are said to lie in two versions: the API server is asked to migrate them, in the place of one that was
/// asked before.
async fn storage_is_migrated(town: &Town) {
    let kind = bead_store();
    let of = |name: &str| format!("gastown-operator.{name}");
    let earlier = json!({"apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration",
        "metadata": {"name": of(kind.plural)}, "spec": {"resource": {"group": kind.group, "resource": kind.plural}}});
    let path = "/apis/storagemigration.k8s.io/v1beta1/storageversionmigrations";
    let made = crate::door::send(&town.client, http::Method::POST, path, &earlier).await;
    assert_eq!(made.code, 201, "{}", made.body);
    let crds: Api<CustomResourceDefinition> = Api::all(town.bed.client("admin").await.unwrap());
    let name = format!("{}.{}", kind.plural, kind.group);
    let two = Patch::Merge(json!({"status": {"storedVersions": ["v1alpha1", "v1beta1"]}}));
    let patched = crds.patch_status(&name, &PatchParams::default(), &two).await.unwrap();
    let version =
        |it: &CustomResourceDefinition| it.metadata.resource_version.as_ref()?.parse::<u64>().ok();
    let since = version(&patched).unwrap();
    let there = api(&town.client, QUICK, kind, "v1beta1");
    let spec = json!({"rigRef": {"name": "greeter"}, "prefix": "gt-"});
    let asked = object(kind, "v1beta1", "news", &spec);
    there.create(&PostParams::default(), &asked).await.unwrap();
    // A watch may begin with what was before.
    let done = move |it: &CustomResourceDefinition| {
        let stored = it.status.as_ref().and_then(|it| it.stored_versions.clone());
        version(it) > Some(since) && stored.unwrap_or_default() == ["v1beta1"]
    };
    let done = until(&crds, &name, "end of the migration", done);
    Box::pin(crate::storage::beside_news_of(&there, "news", done)).await;
}

/// A namespace is pinned to another shard, which makes another map.
async fn a_namespace_moves(town: &Town) {
    let pin = json!({"metadata": {"annotations": {"gastown.io/shard": "1"}}});
    let all: Api<k8s_openapi::api::core::v1::Namespace> =
        Api::all(town.bed.client("admin").await.unwrap());
    let maps: Api<gastown::api::v1beta1::ShardMap> =
        Api::namespaced(town.client.clone(), NAMESPACE);
    let before = maps.get("gastown").await.unwrap().metadata.generation;
    all.patch(STILL, &PatchParams::default(), &Patch::Merge(pin)).await.unwrap();
    let other = move |it: &gastown::api::v1beta1::ShardMap| it.metadata.generation != before;
    until(&maps, "gastown", "another map", other).await;
}

/// Every right of the generated roles, without the names that narrow it.
fn granted() -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    for role in manifests::rights() {
        for rule in role["rules"].as_array().unwrap() {
            let words =
                |key: &str| -> Vec<String> { serde_json::from_value(rule[key].clone()).unwrap() };
            for group in words("apiGroups") {
                for resource in words("resources") {
                    let right = |verb| (group.clone(), resource.clone(), verb);
                    all.extend(words("verbs").into_iter().map(right));
                }
            }
        }
    }
    all
}

/// The right that a request takes; none, of a path that is no resource's.
fn taken(by: &Event) -> Option<Right> {
    let mut path = by.uri.split(['/', '?']).skip(1);
    let group = match (path.next()?, path.next()?) {
        ("apis", group) => group,
        ("api", _) => "",
        _ => return None,
    };
    let resource = match (&*by.resource, &*by.subresource) {
        ("", _) => return None,
        (it, "") => it.to_owned(),
        (it, part) => format!("{it}/{part}"),
    };
    Some((group.to_owned(), resource, by.verb.clone()))
}

/// Requests of these users that they had no right to.
pub fn forbidden(events: &[Event], is: impl Fn(&str) -> bool) -> Vec<&Event> {
    let refused = |it: &&Event| {
        it.annotations.get("authorization.k8s.io/decision").is_some_and(|it| it == "forbid")
    };
    events.iter().filter(|it| is(&it.user)).filter(refused).collect()
}

#[tokio::test]
async fn the_operator_asks_for_what_it_may_and_may_what_it_asks_for() {
    const TEST: &str = "the_operator_asks_for_what_it_may_and_may_what_it_asks_for";
    let Some(town) = Town::open(TEST).await else { return };
    a_run_ends(&town).await;
    runs_are_ended(&town).await;
    a_quota_is_waited_for(&town).await;
    every_kind_is_said_something_of(&town).await;
    a_namespace_moves(&town).await;
    certificates_are_made_anew(&town).await;
    storage_is_migrated(&town).await;

    let all = town.bed.audit_events().await.unwrap();
    let ours = |user: &str| (0..REPLICAS).any(|it| user == format!("operator-{it}"));
    let refused = forbidden(&all, ours);
    assert!(refused.is_empty(), "asked without a right: {refused:#?}");
    let used: BTreeSet<_> = all.iter().filter(|it| ours(&it.user)).filter_map(taken).collect();
    let told: BTreeSet<Right> =
        NOT_WALKED.iter().map(|it| (it.0.into(), it.1.into(), it.2.into())).collect();
    let granted = granted();
    let idle: Vec<_> =
        granted.iter().filter(|it| !used.contains(it) && !told.contains(it)).collect();
    assert!(idle.is_empty(), "granted, used by nobody, and no reason is given: {idle:?}");
    let stale: Vec<_> = told.difference(&granted).collect();
    assert!(stale.is_empty(), "reasons for what is not granted: {stale:?}");
    town.bed.stop().await.unwrap();
}

#[test]
fn a_right_that_no_road_takes_has_a_reason() {
    let tests: String = fs::read_dir(top().join("tests/it"))
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "rs"))
        .map(|it| fs::read_to_string(it).unwrap())
        .collect();
    for (group, resource, verb, why) in NOT_WALKED {
        let named = why.rsplit_once('(').and_then(|it| it.1.strip_suffix(')'));
        let there = named.is_none_or(|it| tests.contains(&format!("fn {it}()")));
        assert!(!why.is_empty() && there, "{verb} {resource}.{group}: {why}");
    }
}
