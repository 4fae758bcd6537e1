//! The map changes under load: a namespace that wishes to be in another shard is pinned and unpinned, shards are split and
//! merged, on a control plane of its own where three replicas watch by shard. Nothing is lost, done twice, or done by two.

use std::process::Command;

use futures::StreamExt as _;
use gastown::{
    api::v1beta1::ShardMap,
    domain::shard::{Map, ShardId},
};
use gastown_testbed::{Node, Operator, Options, Testbed};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Event, Namespace},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;

use crate::{
    asking::comes_true,
    shards::{QUICK, SHARDS, all_done, create, judge, owns, shards, stamps},
    world::{PATIENCE, World, own, until},
};

/// Polecats that are under way whenever the map changes.
const LOAD: usize = 8;

struct Town {
    world: World,
    others: [Operator; 2],
    names: Vec<String>,
}

impl Town {
    async fn new(name: &str) -> Self {
        let bed = Testbed::start(Options { node: Node::Kwok, ..Options::default() }).await.unwrap();
        let bed: &'static Testbed = Box::leak(Box::new(bed));
        let flags = ["--shards=12", "--watch-namespaces="];
        let world = World::apart_with(bed, name, &QUICK, &flags).await;
        owns(&world.operator, SHARDS).await;
        watch_each(bed, &[&world.operator], 1).await;
        let others = [world.another("second").await, world.another("third").await];
        for it in [&world.operator, &others[0], &others[1]] {
            owns(it, SHARDS / 3).await;
        }
        // Those of its shards, and what has no label with a bucket.
        watch_each(bed, &[&world.operator, &others[0], &others[1]], SHARDS / 3 + 1).await;
        Self { world, others, names: Vec::new() }
    }

    /// Polecats that nobody waits for.
    async fn load(&mut self, prefix: &str) -> &str {
        let names = create(&self.world, prefix, LOAD).await;
        self.names.extend(names);
        self.names.last().unwrap()
    }

    /// Waits until the map is so, and all have acknowledged it.
    async fn until(&self, what: &str, is: impl Fn(&Map) -> bool + Send + Sync + 'static) -> Map {
        let api: Api<ShardMap> =
            Api::namespaced(self.world.client.clone(), &own(&self.world.namespace));
        let is = move |it: &ShardMap| {
            let said = it.status.as_ref().and_then(|it| it.acknowledged_version);
            said == Some(it.spec.version) && Map::try_from(&it.spec).is_ok_and(|it| is(&it))
        };
        Map::try_from(&until(&api, "gastown", what, is).await.spec).unwrap()
    }

    async fn wish(&self, shard: Option<&str>) {
        let api: Api<Namespace> = Api::all(self.world.client.clone());
        let patch = json!({"metadata": {"annotations": {"gastown.io/shard": shard}}});
        let patch = Patch::Merge(patch);
        api.patch(&self.world.namespace, &PatchParams::default(), &patch).await.unwrap();
    }

    /// `kubectl gt shards …`, until the last change is acknowledged.
    async fn gt(&self, args: &[&str]) {
        let kubeconfig = self.world.bed.kubeconfig_for("admin", Some("system:masters")).unwrap();
        comes_true("kubectl gt shards to do it", async || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
            command.args(["-n", &own(&self.world.namespace), "shards"]).args(args);
            command.env_clear().env("KUBECONFIG", &kubeconfig);
            tokio::task::spawn_blocking(move || command.status().unwrap().success()).await.unwrap()
        })
        .await;
    }

    /// Since when a shard has its owner, and under which epoch.
    async fn since(&self, shard: u16) -> (Option<MicroTime>, Option<i32>) {
        let client = self.world.client.clone();
        let api: Api<Lease> = Api::namespaced(client, &own(&self.world.namespace));
        let spec = api.get(&format!("gastown-shard-{shard:02}")).await.unwrap().spec.unwrap();
        (spec.acquire_time, spec.lease_transitions)
    }

    /// The shard in which the last write of a Polecat was made.
    async fn shard_of_last_write(&self, name: &str) -> u16 {
        let all = stamps(&self.world, &self.all()).await;
        all[&format!("polecats/{name}")].last().unwrap().shard
    }

    fn all(&self) -> [&Operator; 3] {
        [&self.world.operator, &self.others[0], &self.others[1]]
    }
}

/// Waits until each of these has so many watches of Polecats and as many of pods, and one of every other kind that it looks after.
async fn watch_each(bed: &Testbed, operators: &[&Operator], of_work: usize) {
    let what = format!("{of_work} watches of Polecats and of pods, and one of Namespaces and Rigs");
    let wanted = [("polecats", of_work), ("pods", of_work), ("namespaces", 1), ("rigs", 1)];
    comes_true(&what, async || {
        let all = bed.watches().unwrap();
        let count = |user: &str, kind: &str| {
            all.iter().filter(|it| it.user == user && it.resource == kind).count()
        };
        operators.iter().all(|of| wanted.iter().all(|(kind, want)| count(&of.name, kind) == *want))
    })
    .await;
}

#[tokio::test]
async fn the_map_changes_under_load_and_nothing_is_lost_or_done_by_two() {
    let mut town = Town::new("pins").await;
    let namespace = town.world.namespace.clone();
    let home = Map::first(12).shard_of(&namespace).unwrap();
    let owners = shards(&town.world).await;
    let owner = |it: u16| owners[&format!("gastown-shard-{it:02}")].0.clone();
    let other = (0..12).find(|it| owner(*it) != owner(home.0)).unwrap();

    town.load("before").await;
    town.wish(Some(&other.to_string())).await;
    let pinned = namespace.clone();
    let is = move |it: &Map| it.pins().get(&*pinned) == Some(&ShardId(other));
    let map = town.until("pin", is).await;
    assert_eq!(map.version(), 2, "{map:?}");
    let name = town.load("pinned").await.to_owned();
    town.world.phase(&name, "Done").await;
    assert_eq!(town.shard_of_last_write(&name).await, other, "its owner does the work");

    town.load("split").await;
    let since = town.since(other).await;
    town.gt(&["split", &other.to_string()]).await;
    let map = town.until("split", |it| it.active().count() == 13).await;
    assert_eq!(town.since(other).await, since, "its owner has had it all the time");
    let new = map.active().last().unwrap();
    town.load("merged").await;
    town.gt(&["merge", &other.to_string(), &new.to_string()]).await;
    let pinned = namespace.clone();
    let is = move |it: &Map| it.active().count() == 12 && it.pins().get(&*pinned) == Some(&new);
    town.until("merge, with its pin", is).await;

    town.load("unpinned").await;
    town.wish(None).await;
    let map = town.until("no pin", |it| it.pins().is_empty()).await;
    assert_eq!(map.version(), 5, "no version but those that were asked for: {map:?}");
    let name = town.load("home").await.to_owned();
    all_done(&town.world, &town.names).await;
    assert_eq!(town.shard_of_last_write(&name).await, home.0);
    judge(&town.world, &town.all(), town.names.len()).await;

    town.wish(Some("99")).await;
    let events: Api<Event> = Api::namespaced(town.world.client.clone(), &namespace);
    let about =
        watcher::Config::default().fields("involvedObject.kind=Namespace,reason=ShardWishRefused");
    // There is one from before: the merge had retired the shard that was wished for.
    let named =
        |it: &Event| it.message.as_ref().is_some_and(|it| it.contains("no shard 99 in use"));
    let told = watcher(events, about)
        .applied_objects()
        .filter(|it| std::future::ready(it.as_ref().is_ok_and(named)));
    let told = tokio::time::timeout(PATIENCE, std::pin::pin!(told).next()).await;
    assert!(told.is_ok_and(|it| it.is_some()), "no Event tells why that wish can't be granted");
    town.until("the same map", |it| it.version() == 5).await;
}
