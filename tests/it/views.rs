//! Two replicas with half of the shards each, on a control plane of their own without webhooks: nothing has the label with
//! its bucket at first, or it is taken away, wrong or forged. Everything is looked after by its owner alone, is corrected
//! once, and ends once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use clap::Parser as _;
use gastown::{
    api::v1alpha1::Polecat,
    cluster::{Cluster, cache::Key, clock::Moment, meters::Meters, ownership::Ownership},
    config::Config,
    domain::{
        pod_brief::{Owner, PodBrief},
        shard::{Map, ShardId, bucket},
    },
    tasks::controllers::{Running, Scope, start, views::Views},
};
use gastown_testbed::{Node, Options, Testbed, audit::Event};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    faults,
    polecats::PUSHED,
    waits,
    world::{PATIENCE, condition, phase_of, polecat, until},
};

const NAMESPACES: usize = 6;
/// With all of them, more than 500 are created while no webhook is there.
fn each() -> usize {
    if waits::are_full() || faults::are_long() { 84 } else { 20 }
}

/// One replica in this process: what it owns is told by the test, not by a protocol.
struct Replica {
    user: &'static str,
    cluster: Cluster,
    ownership: Ownership,
    views: Views,
    running: Running,
}

impl Replica {
    async fn start(bed: &Testbed, user: &'static str, shards: &[ShardId]) -> Self {
        let ownership = Ownership::new(user);
        ownership.use_map(Arc::new(Map::first(64)));
        ownership.valid_until(Some(Moment::now() + Duration::from_secs(3600)));
        let flags = ["gastown-operator", "--agent-image=a", "--runner-image=b"];
        let settings = Arc::new(Config::try_parse_from(flags).unwrap().pod_settings());
        let client = bed.client(user).await.unwrap();
        let meters = Meters::default();
        let cluster = Cluster::new((client, &meters), ownership.clone(), settings, meters.clone());
        let running = start(&cluster, &Scope { concurrency: 8, ..Scope::default() });
        let views = running.views();
        views.narrow(&of_map(shards)).await;
        for shard in shards {
            ownership.open(*shard, 1);
            views.wake(*shard);
        }
        Self { user, cluster, ownership, views, running }
    }
}

fn of_map(shards: &[ShardId]) -> BTreeMap<ShardId, std::collections::BTreeSet<u16>> {
    let map = Map::first(64);
    shards.iter().map(|it| (*it, map.shards()[it].clone())).collect()
}

fn shard_of(namespace: &str) -> ShardId {
    Map::first(64).shard_of(namespace).unwrap()
}

/// A control plane of this test's own, and so many namespaces of a half of the shards.
struct Town {
    bed: Testbed,
    client: Client,
    namespaces: [Vec<String>; 2],
}

impl Town {
    async fn new(run_for: &str) -> Self {
        let options = Options { node: Node::Kwok, ..Options::default() };
        let bed = Testbed::start(options).await.unwrap();
        bed.install_crds().await.unwrap();
        let client = bed.client("somebody").await.unwrap();
        let mut namespaces = [Vec::new(), Vec::new()];
        for name in (0..).map(|it| format!("town-{it}")) {
            let half = &mut namespaces[usize::from(shard_of(&name).0 % 2)];
            if half.len() < NAMESPACES / 2 {
                let script = [
                    ("testbed.gastown.io/run-for", run_for),
                    ("testbed.gastown.io/message.telemetry", PUSHED),
                ];
                bed.make_namespace(&name, &script).await.unwrap();
                half.push(name);
            } else if namespaces.iter().all(|it| it.len() == NAMESPACES / 2) {
                break;
            }
        }
        Self { bed, client, namespaces }
    }

    fn polecats(&self, namespace: &str) -> Api<Polecat> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn create(&self, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = polecat(name);
        edit(&mut object);
        let object = serde_json::from_value(object).unwrap();
        self.polecats(namespace).create(&PostParams::default(), &object).await.unwrap();
    }

    /// Sets labels of a Polecat, and waits until the bucket is right again.
    async fn forge(&self, namespace: &str, name: &str, labels: Value) {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        let all = self.polecats(namespace);
        all.patch(name, &PatchParams::default(), &patch).await.unwrap();
        let right = bucket::label(namespace);
        until(&all, name, "right bucket", move |it: &Polecat| is_bucket(it, &right)).await;
    }

    /// Patches of labels by this user.
    async fn corrections(&self, user: &str, resource: &str, name: &str) -> usize {
        let all = self.bed.audit_events().await.unwrap();
        let is = |it: &&Event| {
            let fine = it.verb == "patch" && it.subresource.is_empty() && it.code == 200;
            fine && it.user == user && it.resource == resource && it.name == name
        };
        all.iter().filter(is).count()
    }
}

fn is_bucket<K: kube::ResourceExt>(it: &K, right: &str) -> bool {
    it.labels().get(bucket::LABEL).is_some_and(|it| it == right)
}

fn halves() -> [Vec<ShardId>; 2] {
    [0, 1].map(|half| (0..64).filter(|it| it % 2 == half).map(ShardId).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_label_is_looked_after_by_its_owner_and_labelled_once() {
    let town = Town::new("1s").await;
    let [even, odd] = halves();
    let replicas = tokio::join!(
        Replica::start(&town.bed, "even", &even),
        Replica::start(&town.bed, "odd", &odd)
    );
    let replicas = [replicas.0, replicas.1];
    let names: Vec<_> = (0..each()).map(|it| format!("p{it}")).collect();
    let all: Vec<_> = town.namespaces.iter().flatten().collect();
    for namespace in &all {
        for name in &names {
            town.create(namespace, name, |_| {}).await;
        }
    }
    for namespace in &all {
        let right = bucket::label(namespace);
        for name in &names {
            let polecats = town.polecats(namespace);
            let done = until(&polecats, name, "Done", |it: &Polecat| phase_of(it) == "Done").await;
            assert!(is_bucket(&done, &right), "{namespace}/{name} has its label");
            assert_eq!(done.status.unwrap().attempt, Some(1));
        }
        let pods = town.pods(namespace).list(&ListParams::default()).await.unwrap();
        assert_eq!(pods.items.len(), each(), "one each");
        assert!(pods.iter().all(|it| is_bucket(it, &right)), "pods are made with it");
    }
    let events = town.bed.audit_events().await.unwrap();
    for (half, replica) in replicas.iter().enumerate() {
        let writes = events.iter().filter(|it| it.user == replica.user && it.is_write());
        let writes: Vec<_> = writes.filter(|it| it.code < 300).collect();
        let strays = writes.iter().find(|it| !town.namespaces[half].contains(&it.namespace));
        assert_eq!(strays, None, "{} acts on its own alone", replica.user);
        labels_pods_and_phases(replica.user, &writes);
    }
    for it in replicas {
        it.running.stop(tokio::time::sleep(Duration::from_secs(10))).await;
    }
}

/// One label and one pod for each Polecat; then its intent, that its pod runs, and its end. Who sees a pod only when it has
/// ended has nothing to say of its running.
fn labels_pods_and_phases(user: &str, writes: &[&Event]) {
    let polecats = each() * NAMESPACES / 2;
    let of = |verb: &str, resource: &str, subresource: &str| {
        let is = |it: &&&Event| {
            (it.verb.as_str(), it.resource.as_str(), it.subresource.as_str())
                == (verb, resource, subresource)
        };
        writes.iter().filter(is).count()
    };
    let [labels, pods] = [of("patch", "polecats", ""), of("create", "pods", "")];
    assert_eq!([labels, pods], [polecats; 2], "{user}: one label and one pod each");
    let phases = of("patch", "polecats", "status");
    assert!((2 * polecats..=3 * polecats).contains(&phases), "{user}: {phases} of {polecats}");
    assert_eq!(writes.len(), labels + pods + phases, "{user}: nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_is_wrong_or_gone_is_corrected_once_and_a_shard_is_handed_over_warm() {
    let town = Town::new("never").await;
    let [even, odd] = halves();
    let [one, other] = [&town.namespaces[0][0], &town.namespaces[1][0]];
    let all = tokio::join!(
        Replica::start(&town.bed, "even", &even),
        Replica::start(&town.bed, "odd", &odd)
    );
    let (first, second) = all;
    let running = |it: &Polecat| {
        let status = it.status.as_ref();
        status.is_some_and(|it| it.conditions.iter().any(|it| it.reason == "PodRunning"))
    };
    for name in ["gone", "garbage", "other", "pod", "bare"] {
        town.create(one, name, |it| {
            it["metadata"]["labels"] = json!({"gastown.io/bucket": bucket::label(one)});
        })
        .await;
        until(&town.polecats(one), name, "running", running).await;
    }
    polecats_are_corrected(&town, one, other).await;
    pods_are_found_without_their_labels(&town, one).await;
    hands_over(&first, &second, one).await;
    town.polecats(one)
        .patch(
            "pod",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"desiredState": "Terminated"}})),
        )
        .await
        .unwrap();
    until(&town.polecats(one), "pod", "Terminated", |it: &Polecat| phase_of(it) == "Terminated")
        .await;
    for name in ["gone", "garbage", "other"] {
        let it = town.polecats(one).get(name).await.unwrap();
        assert!(running(&it), "{name} runs on: no label ever made it look lost");
        assert_eq!(it.status.unwrap().attempt, Some(1));
    }
    let events = town.bed.audit_events().await.unwrap();
    let late = events.iter().rfind(|it| {
        it.resource == "polecats" && it.is_write() && it.name == "pod" && it.subresource == "status"
    });
    let late = late.unwrap();
    let shard = shard_of(one);
    let stamp = format!("(odd; shard={shard}; epoch=2; map=1)");
    assert!(late.user_agent.ends_with(&stamp), "{}", late.user_agent);

    // Alone again: one watch of each kind, and nothing of the rest.
    first.running.stop(tokio::time::sleep(Duration::from_secs(10))).await;
    second.views.widen().await;
    let before = second.cluster.caches.polecats.len();
    assert_eq!(before, 5, "all of them, by one watch");
    for shard in even {
        second.ownership.open(shard, 3);
    }
    town.create(&town.namespaces[0][1], "later", |_| {}).await;
    until(&town.polecats(&town.namespaces[0][1]), "later", "running", running).await;
    assert_eq!(town.corrections("odd", "polecats", "later").await, 0, "no label is needed then");
    second.running.stop(tokio::time::sleep(Duration::from_secs(10))).await;
}

async fn polecats_are_corrected(town: &Town, one: &str, other: &str) {
    town.forge(one, "gone", json!({"gastown.io/bucket": null})).await;
    town.forge(one, "garbage", json!({"gastown.io/bucket": "007"})).await;
    // Its owner does not see it any more: whom the label names does.
    town.forge(one, "other", json!({"gastown.io/bucket": bucket::label(other)})).await;
    for (name, by, not) in
        [("gone", "even", "odd"), ("garbage", "even", "odd"), ("other", "odd", "even")]
    {
        assert_eq!(town.corrections(by, "polecats", name).await, 1, "{name}: by {by}, once");
        assert_eq!(town.corrections(not, "polecats", name).await, 0, "{name}: not by {not}");
    }
}

/// Pods, which the operator may not write: one whose label names no bucket is still seen, and one that no watch shows is asked
/// for by its name, until it is gone.
async fn pods_are_found_without_their_labels(town: &Town, one: &str) {
    let (pods, polecats) = (town.pods(one), town.polecats(one));
    for (name, labels) in [
        ("pod", json!({"gastown.io/bucket": null})),
        ("bare", json!({"gastown.io/bucket": null, "gastown.io/polecat": null})),
    ] {
        let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
        pods.patch(&format!("polecat-{name}"), &PatchParams::default(), &patch).await.unwrap();
    }
    comes_true("the pod to be asked for", async || {
        let all = town.bed.audit_events().await.unwrap();
        all.iter().any(|it| {
            (&*it.user, &*it.verb, &*it.resource) == ("even", "get", "pods")
                && it.name == "polecat-bare"
        })
    })
    .await;
    let bare = polecats.get("bare").await.unwrap();
    assert_eq!(condition(&bare, "Ready"), "True/PodRunning", "no label made it look lost");
    pods.delete("polecat-bare", &DeleteParams::default().grace_period(0)).await.unwrap();
    let lost = |it: &Polecat| phase_of(it) == "Stuck";
    until(&polecats, "bare", "end that no watch tells of", lost).await;
    for pod in ["polecat-pod", "polecat-bare"] {
        assert_eq!(town.corrections("even", "pods", pod).await, 0, "{pod}");
    }
}

/// The shard changes hands: who gets it knows all of it before, and who gave it forgets it.
async fn hands_over(first: &Replica, second: &Replica, one: &str) {
    let shard = shard_of(one);
    second.views.warm(shard, &of_map(&[shard])[&shard]);
    tokio::time::timeout(PATIENCE, second.views.warmed(shard)).await.unwrap();
    let caches = &second.cluster.caches;
    assert!(caches.polecats.len() >= 5 && caches.pods.len() >= 4, "warm");
    let (gone, departed) = (Key::new(one, "polecat-went"), &first.cluster.caches.departed);
    let owner = Owner { kind: "Polecat".into(), name: "went".into(), uid: "1".into() };
    let went = PodBrief { owner: Some(owner), ..PodBrief::default() };
    departed.note(&gone, &went, first.ownership.under(one));
    assert!(departed.saw(&gone, "1"));
    first.ownership.close(shard).await;
    second.ownership.open(shard, 2);
    second.views.wake(shard);
    first.views.cool(shard).await;
    let left = first.cluster.caches.polecats.find(|key, _| *key.namespace == *one);
    assert_eq!(left, [], "forgotten");
    assert!(
        !departed.saw(&gone, "1"),
        "whoever has it now may make that pod, which is no late one"
    );
}

/// A split that is taken back before its watch was listed, again and again; and a namespace that is pinned.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_watched_as_it_was_wanted_last_and_with_what_is_pinned_to_it() {
    let town = Town::new("1s").await;
    let [even, odd] = halves();
    let replica = Replica::start(&town.bed, "even", &even).await;
    let [one, other] = [&town.namespaces[0][0], &town.namespaces[1][0]];
    let (shard, views) = (shard_of(one), &replica.views);
    let whole = of_map(&[shard])[&shard].clone();
    let without: std::collections::BTreeSet<_> =
        whole.iter().copied().filter(|it| *it != bucket::of(one)).collect();
    for next in &odd[..8] {
        views.warm(shard, &without);
        views.warm(shard, &whole);
        // By when another one is listed, so was that of the split, which began before.
        views.warm(*next, &of_map(&[*next])[next]);
        tokio::time::timeout(PATIENCE, views.warmed(*next)).await.unwrap();
        assert!(views.is_warm(shard), "it goes on by the view that is wanted");
    }
    town.create(one, "given-back", |_| {}).await;
    until(&town.polecats(one), "given-back", "Done", |it: &Polecat| phase_of(it) == "Done").await;

    let pinned = Map::first(64).pin(other, shard).unwrap();
    replica.ownership.use_map(Arc::new(pinned));
    assert!(!views.is_warm(shard), "the namespace that is pinned to it was not listed");
    views.pin(other);
    tokio::time::timeout(PATIENCE, views.warmed(shard)).await.unwrap();
    assert!(views.show(other));
    replica.running.stop(tokio::time::sleep(Duration::from_secs(10))).await;
}
