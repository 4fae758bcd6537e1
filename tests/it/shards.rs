//! Several replicas share the namespaces, shard by shard: evenly, without two of them ever at one, and whoever goes is
//! succeeded.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::StreamExt as _;
use gastown::{
    api::v1beta1::ShardMap, cluster::housekeeper::LEASE as HOUSEKEEPER, domain::original::LEASE,
    kinds::convertible,
};
use gastown_testbed::{Node, Operator, Testbed, audit::Event, http_get};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Event as Told},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};

use crate::{
    asking::{comes_true, scraped},
    process::pods_made,
    world::{PATIENCE, World, make_namespaces, own, until},
};

pub const QUICK: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "300ms")];
/// Shards of these worlds: three replicas have four each.
pub const SHARDS: usize = 12;
const FLAGS: [&str; 1] = ["--shards=12"];
/// The same for replicas that wait longer than a test takes.
const PATIENT: [&str; 4] =
    ["--shards=12", "--lease-duration=600", "--renew-deadline=30", "--retry-period=2"];

/// Three replicas that have their shares.
async fn three(name: &str) -> (World, Operator, Operator) {
    three_of(name, SHARDS, &[]).await
}

/// The same of so many shards; where these can't be shared evenly, one has one more.
async fn three_of(name: &str, shards: usize, flags: &[&str]) -> (World, Operator, Operator) {
    let shards_flag = format!("--shards={shards}");
    let flags = [flags, &[shards_flag.as_str()]].concat();
    let world = World::with_flags(name, &QUICK, &flags).await;
    let (second, third) = (world.another("second").await, world.another("third").await);
    for it in [&world.operator, &second, &third] {
        let fair = [shards / 3, shards.div_ceil(3)];
        scraped(it, |line| fair.iter().any(|it| line == format!("gastown_shards_owned {it}")))
            .await;
    }
    (world, second, third)
}

/// Waits until a replica works in so many shards.
pub async fn owns(operator: &Operator, shards: usize) {
    let line = format!("gastown_shards_owned {shards}");
    scraped(operator, |it| it == line).await;
}

/// Since when the map says that every shard has an owner; waits until it does.
async fn all_owned_since(world: &World) -> Time {
    let maps: Api<ShardMap> = Api::namespaced(world.client.clone(), &own(&world.namespace));
    let owned = |map: &ShardMap| {
        let mut all = map.status.iter().flat_map(|it| it.conditions.clone());
        all.find(|it| it.type_ == "AllOwned" && it.status == "True" && it.reason == "AllOwned")
    };
    let is = move |it: &ShardMap| owned(it).is_some();
    let map = until(&maps, "gastown", "condition AllOwned", is).await;
    owned(&map).unwrap().last_transition_time
}

fn leases(world: &World) -> Api<Lease> {
    Api::namespaced(world.client.clone(), &own(&world.namespace))
}

/// Shard Leases by name: holder and epoch.
pub async fn shards(world: &World) -> BTreeMap<String, (String, i32)> {
    let params = ListParams::default().labels("gastown.io/lease=shard");
    let all = leases(world).list(&params).await.unwrap();
    let pair = |it: Lease| {
        let spec = it.spec.unwrap();
        let epoch = spec.lease_transitions.unwrap_or_default();
        (it.metadata.name.unwrap(), (spec.holder_identity.unwrap_or_default(), epoch))
    };
    all.items.into_iter().map(pair).collect()
}

/// What a write says in its User-Agent: in which shard it was made, under which epoch and map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub shard: u16,
    pub epoch: i32,
    pub map: i64,
}

impl Stamp {
    pub fn of(event: &Event) -> Option<Self> {
        let value = |key: &str| {
            let (_, rest) = event.user_agent.split_once(&format!("; {key}="))?;
            rest.split([';', ')']).next()
        };
        Some(Self {
            shard: value("shard")?.parse().ok()?,
            epoch: value("epoch")?.parse().ok()?,
            map: value("map")?.parse().ok()?,
        })
    }
}

/// Accepted writes of the objects of this world, by object, in the order in which they were answered.
pub async fn stamps(world: &World, operators: &[&Operator]) -> BTreeMap<String, Vec<Stamp>> {
    let mut all: BTreeMap<String, Vec<Stamp>> = BTreeMap::new();
    for event in world.bed.audit_events().await.unwrap() {
        let ours = operators.iter().any(|it| it.name == event.user);
        if ours && event.is_write() && event.code < 300 && event.namespace == world.namespace {
            let object = format!("{}/{}", event.resource, event.name);
            all.entry(object).or_default().extend(Stamp::of(&event));
        }
    }
    all
}

/// What is wrong with these writes of one object, in their order: one was made under an older epoch of a shard after a younger
/// one, or by an owner again after another, unless by a newer map.
pub fn flaw(writes: &[Stamp]) -> Option<&'static str> {
    writes.iter().enumerate().find_map(|(at, now)| {
        let before = writes.get(..at).unwrap_or_default();
        if before.iter().any(|it| it.shard == now.shard && it.epoch > now.epoch) {
            return Some("an epoch went back");
        }
        let is_owner = |it: &Stamp| (it.shard, it.epoch) == (now.shard, now.epoch);
        let first = before.iter().position(is_owner).unwrap_or(at);
        let between = before.get(first..).unwrap_or_default();
        let others = between.iter().filter(|it| !is_owner(it)).map(|it| it.map).max();
        others.is_some_and(|it| it >= now.map).then_some("two owners wrote in turns")
    })
}

/// No object has such writes, and no attempt has two pods.
pub async fn judge(world: &World, operators: &[&Operator], polecats: usize) {
    for (object, writes) in stamps(world, operators).await {
        assert_eq!(flaw(&writes), None, "{object}: {writes:?}");
    }
    assert_eq!(pods_made(world, operators).await, polecats, "one pod for each Polecat");
}

pub async fn all_done(world: &World, names: &[String]) {
    for name in names {
        let done = world.phase(name, "Done").await;
        assert_eq!(done.status.unwrap().attempt, Some(1), "{name}");
    }
}

pub async fn create(world: &World, prefix: &str, count: usize) -> Vec<String> {
    let names: Vec<_> = (0..count).map(|number| format!("{prefix}-{number}")).collect();
    for name in &names {
        world.create(name, |_| {}).await;
    }
    names
}

#[tokio::test]
async fn three_replicas_share_evenly_and_a_killed_one_is_succeeded() {
    let (world, second, third) = three("shares").await;
    let mut names = create(&world, "before", 5).await;
    all_done(&world, &names).await;
    let owner = owner_of_the_work(&world, &[&world.operator, &second, &third]).await;
    let killed = [&world.operator, &second, &third].into_iter().find(|it| it.name == owner);
    killed.unwrap().kill9().await.unwrap();
    names.extend(create(&world, "after", 5).await);
    all_done(&world, &names).await;
    for it in [&world.operator, &second, &third].into_iter().filter(|it| it.name != owner) {
        owns(it, SHARDS / 2).await;
    }
    judge(&world, &[&world.operator, &second, &third], names.len()).await;
    told(&world, "ShardsTakenOver", &owner).await;
    let survivor = if owner == third.name { &second } else { &third };
    let count = format!("gastown_shard_gap_seconds_count{{cause=\"stopped\"}} {}", SHARDS / 6);
    scraped(survivor, |it| it == count).await;
}

/// Waits, by watch, for the Event that says of whom shards were taken.
async fn told(world: &World, reason: &str, of: &str) {
    let events: Api<Told> = Api::namespaced(world.client.clone(), &own(&world.namespace));
    let about = format!("involvedObject.kind=ShardMap,reason={reason}");
    let stream = watcher(events, watcher::Config::default().fields(&about)).applied_objects();
    let messages = stream.filter_map(|it| {
        let message = it.ok().and_then(|it| it.message).filter(|it| it.starts_with(of));
        std::future::ready(message)
    });
    let message = tokio::time::timeout(PATIENCE, std::pin::pin!(messages).next()).await;
    let message = message.ok().flatten().unwrap_or_else(|| panic!("no Event {reason} of {of}"));
    assert!(message.contains(" (epoch "), "{message}");
}

/// The user who writes the objects of this world: they are all in one namespace, and so in one shard.
pub async fn owner_of_the_work(world: &World, operators: &[&Operator]) -> String {
    let all = world.bed.audit_events().await.unwrap();
    let mut pods = all.iter().filter(|it| it.verb == "create" && it.resource == "pods");
    let last = pods.rfind(|it| operators.iter().any(|o| o.name == it.user));
    last.expect("somebody has made a pod").user.clone()
}

#[tokio::test]
async fn a_replica_that_is_told_to_end_hands_each_shard_over_once() {
    let (world, second, third) = three("handed-over").await;
    let (before, since) = (shards(&world).await, all_owned_since(&world).await);
    assert_eq!(second.terminate(Duration::from_secs(120)).await.unwrap(), 0, "a clean end");
    for it in [&world.operator, &third] {
        owns(it, SHARDS / 2).await;
    }
    let after = shards(&world).await;
    let moved = before.iter().filter(|(name, it)| after.get(*name) != Some(it)).count();
    assert_eq!(moved, SHARDS / 3, "those of the one that ended, and no other");
    for (name, (holder, epoch)) in &after {
        let (old_holder, old_epoch) = &before[name];
        assert_eq!(*epoch, old_epoch + i32::from(holder != old_holder), "{name} moved once");
    }
    let params = ListParams::default().labels("gastown.io/lease=session");
    assert_eq!(
        leases(&world).list(&params).await.unwrap().items.len(),
        2,
        "it took its session along"
    );
    told(&world, "ShardsHandedOver", &second.name).await;
    assert_eq!(all_owned_since(&world).await, since, "a hand-over is no news of that");
}

#[tokio::test]
async fn a_frozen_replica_that_wakes_up_writes_nothing_of_its_old_epochs() {
    let (world, second, third) = three("frozen-shards").await;
    let all = [&world.operator, &second, &third];
    let mut names = create(&world, "before", 3).await;
    all_done(&world, &names).await;
    let owner = owner_of_the_work(&world, &all).await;
    let frozen = all.into_iter().find(|it| it.name == owner).unwrap();
    frozen.pause();
    names.extend(create(&world, "during", 3).await);
    all_done(&world, &names).await;
    frozen.resume();
    for it in all {
        owns(it, SHARDS / 3).await;
    }
    names.extend(create(&world, "after", 3).await);
    all_done(&world, &names).await;
    judge(&world, &all, names.len()).await;
}

#[tokio::test]
async fn a_lease_that_is_deleted_or_edited_by_hand_is_taken_again() {
    let (world, second, third) = three("by-hand").await;
    let (api, before) = (leases(&world), shards(&world).await);
    let name = before.keys().next().unwrap();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    let epoch = before[name].1;
    let again =
        move |it: &Lease| it.spec.as_ref().is_some_and(|it| it.lease_transitions > Some(epoch));
    until(&api, name, "higher epoch", again).await;
    let (edited, (holder, epoch)) = before.iter().next_back().map(|(k, v)| (k, v.clone())).unwrap();
    let nobody = json!({"spec": {"holderIdentity": "nobody", "leaseTransitions": 0}});
    api.patch(edited, &PatchParams::default(), &Patch::Merge(nobody)).await.unwrap();
    let again = move |it: &Lease| {
        let spec = it.spec.clone().unwrap_or_default();
        spec.holder_identity.is_some_and(|it| it == holder) && spec.lease_transitions > Some(epoch)
    };
    until(&api, edited, "its owner again, and a higher epoch", again).await;
    for it in [&world.operator, &second, &third] {
        owns(it, SHARDS / 3).await;
    }
}

#[tokio::test]
async fn a_session_that_is_deleted_by_hand_begins_anew() {
    let (world, second, third) = three("session-deleted").await;
    let (api, params) = (leases(&world), ListParams::default().labels("gastown.io/lease=session"));
    let session = api.list(&params).await.unwrap().items.remove(0);
    let (name, uid) = (session.metadata.name.unwrap(), session.metadata.uid);
    api.delete(&name, &DeleteParams::default()).await.unwrap();
    until(&api, &name, "new session", move |it: &Lease| it.metadata.uid != uid).await;
    let names = create(&world, "max", 3).await;
    all_done(&world, &names).await;
    for it in [&world.operator, &second, &third] {
        owns(it, SHARDS / 3).await;
    }
    judge(&world, &[&world.operator, &second, &third], names.len()).await;
}

/// Each of these replicas watches each definition once, whoever in it wants to hear of that.
fn watch_definitions_once(all: &[Event], replicas: &[&Operator]) {
    for replica in replicas {
        let by_it = || all.iter().filter(|it| it.user == replica.name);
        // A watch begins with a list; one that breaks off goes on without.
        let lists =
            by_it().filter(|it| it.verb == "list" && it.resource == "customresourcedefinitions");
        let mut names: Vec<_> = lists.map(|it| it.name.clone()).collect();
        names.sort();
        let mut want: Vec<_> = convertible().collect();
        want.sort();
        assert_eq!(names, want, "{}", replica.name);
        let selector = |it: &Event| {
            let uri = it.uri.split(['?', '&']).filter(|it| !it.starts_with("resourceVersion="));
            uri.map(str::to_owned).collect::<Vec<_>>()
        };
        let watches: BTreeSet<_> = by_it().filter(|it| it.verb == "watch").map(selector).collect();
        eprintln!("{}: {} watches", replica.name, watches.len());
    }
}

/// Nothing but renewals, with times and shards as there are by default: at most one and a half writes a second for three
/// replicas.
#[tokio::test]
async fn a_quiet_town_costs_one_renewal_per_replica_and_period() {
    let (world, second, third) = three_of("quiet", 64, &["--failover=normal"]).await;
    let all = [&world.operator, &second, &third];
    let writes = async || {
        let all_events = world.bed.audit_events().await.unwrap();
        let of_leases =
            all_events.into_iter().filter(|it| it.resource == "leases" && it.is_write());
        let ours = of_leases.filter(|it| all.iter().any(|o| o.name == it.user));
        // That of the Go original is held too, whatever there are of shards.
        ours.filter(|it| it.name != LEASE && it.name != HOUSEKEEPER).collect::<Vec<_>>()
    };
    let before = writes().await.len();
    comes_true("thirty renewals", async || writes().await.len() >= before + 30).await;
    let since = writes().await.split_off(before);
    assert!(since.iter().all(|it| it.name.starts_with("gastown-session-")), "{since:#?}");
    let first = since.first().unwrap().time;
    let asked = world.bed.audit_events().await.unwrap().into_iter().filter(|it| {
        let ours = all.iter().any(|o| o.name == it.user) && it.time >= first;
        ours && !it.is_write() && it.verb != "watch" && it.name != LEASE && it.name != HOUSEKEEPER
    });
    // A renewal that gets no answer in time, as on a busy machine, is asked after.
    let (doubts, asked): (Vec<_>, Vec<_>) =
        asked.partition(|it| it.verb == "get" && it.name.starts_with("gastown-session-"));
    assert!(asked.is_empty(), "who has nothing to do asks nothing: {asked:#?}");
    assert!(doubts.len() < since.len() / 3, "a renewal needs no question: {doubts:#?}");
    // The first of each replica is at no distance from one before; one that was late may have had its next sooner; and what was
    // asked after may have been written again.
    let seconds = since.last().unwrap().time.duration_since(first).as_secs_f64();
    let renewals = u32::try_from(since.len() - all.len() - doubts.len()).unwrap();
    eprintln!("session and shard writes: {:.2} a second", f64::from(renewals) / seconds);
    assert!(f64::from(renewals) <= 1.5 * seconds + 1.0, "{renewals} in {seconds} s: {since:#?}");
    watch_definitions_once(&world.bed.audit_events().await.unwrap(), &all);
    let server = world.bed.server().unwrap();
    let connections: Vec<_> = all.iter().map(|it| it.connections_to(&server).unwrap()).collect();
    assert!(connections.iter().sum::<usize>() <= 64, "{connections:?}");
    eprintln!("connections: {connections:?}");
    let of_housekeeper: Vec<_> = (world.bed.audit_events().await.unwrap().into_iter())
        .filter(|it| it.name == HOUSEKEEPER && it.is_write() && it.code < 300)
        .filter(|it| all.iter().any(|o| o.name == it.user))
        .map(|it| it.time)
        .collect();
    let (first, last) = (of_housekeeper[0], of_housekeeper[of_housekeeper.len() - 1]);
    let seconds = last.duration_since(first).as_secs();
    let most = 1 + seconds / 4 + 1; // the first, and one that was due a moment early
    let writes = i64::try_from(of_housekeeper.len()).unwrap();
    assert!(writes <= most, "{writes} writes in {seconds} s of the Lease of who keeps house");
}

/// Another replica that has begun as well, and owns nothing yet, is no reason to wait: with these times that would last longer
/// than the test does.
#[tokio::test]
async fn who_starts_first_waits_for_nobody_who_owns_nothing() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let (name, namespace) = ("together", own("together"));
    make_namespaces(bed, name, &QUICK).await;
    let session = json!({
        "metadata": {"name": "gastown-session-other", "labels": {"gastown.io/lease": "session"}},
        "spec": {"holderIdentity": "other_uid_0.1", "leaseDurationSeconds": 600},
    });
    let api: Api<Lease> = Api::namespaced(bed.client("admin").await.unwrap(), &namespace);
    let session = serde_json::from_value(session).unwrap();
    api.create(&PostParams::default(), &session).await.unwrap();
    let world = World::with_flags(name, &QUICK, &PATIENT).await;
    owns(&world.operator, SHARDS).await;
}

/// With these times nobody takes it while the test runs.
#[tokio::test]
async fn a_shard_that_stays_without_an_owner_is_told_of_by_the_map() {
    let world = World::with_flags("unowned", &QUICK, &PATIENT).await;
    owns(&world.operator, SHARDS).await;
    all_owned_since(&world).await;
    let who = "gone_uid_0.1";
    let nobodys = json!({
        "metadata": {"annotations": {"gastown.io/held-by": who, "gastown.io/session": "gastown-session-gone"}},
        "spec": {"holderIdentity": who, "leaseTransitions": 9},
    });
    let patch = Patch::Merge(nobodys);
    leases(&world).patch("gastown-shard-03", &PatchParams::default(), &patch).await.unwrap();
    let maps: Api<ShardMap> = Api::namespaced(world.client.clone(), &own(&world.namespace));
    let told = |it: &ShardMap| {
        let mut all = it.status.iter().flat_map(|it| &it.conditions);
        all.any(|it| it.reason == "ShardsUnowned" && it.message.starts_with("shards 3 have had no"))
    };
    until(&maps, "gastown", "shard 3 in its condition", told).await;
    owns(&world.operator, SHARDS - 1).await;
}

#[tokio::test]
async fn metrics_say_what_is_owned_by_nobody() {
    let world = World::with_flags("nobodys", &QUICK, &FLAGS).await;
    owns(&world.operator, SHARDS).await;
    let (_, text) = http_get(&world.operator.metrics).await.unwrap();
    for line in ["gastown_shards_unowned 0", "gastown_shard_epoch{shard=\"11\"} 1"] {
        assert!(text.lines().any(|it| it == line), "no {line}: {text}");
    }
    let (code, body) = http_get(&format!("{}/shardz", world.operator.health)).await.unwrap();
    let report: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &report["ready"]), (200, &json!(true)), "{report}");
    assert_eq!(report["open"].as_array().map(Vec::len), Some(SHARDS), "{report}");
    all_owned_since(&world).await;
}
