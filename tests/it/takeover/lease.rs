//! While the original's Lease changes ours writes nothing, and says so; then it takes that Lease and goes on.

use std::time::Duration;

use gastown::{
    domain::original::{HOLDER, LEASE},
    manifests::CERTIFICATES,
};
use gastown_testbed::{Node, Options, Testbed, audit};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

use super::{log, original_acts};
use crate::{
    door::Door,
    world::{self, PATIENCE, World, phase_of, until},
};

const QUICK: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "300ms")];
const NEVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];

/// How long the played original's Lease lasts, and how often it is renewed: five times as fast as the true one's.
const LASTS: Duration = Duration::from_secs(3);
const RENEWED: Duration = Duration::from_millis(400);

/// A played original: renews its Lease until it is killed.
struct Played {
    leases: Api<Lease>,
    user: String,
    renewals: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Played {
    /// Takes the Lease, whoever holds it.
    async fn start(bed: &'static Testbed, name: &str) -> Self {
        let user = format!("original-{name}");
        let leases: Api<Lease> =
            Api::namespaced(bed.client(&user).await.unwrap(), &world::own(name));
        let lease = json!({"metadata": {"name": LEASE}, "spec": {}});
        let made =
            leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await;
        assert!(made.is_ok() || matches!(&made, Err(kube::Error::Api(it)) if it.code == 409));
        let (sender, renewals) = watch::channel(0);
        let api = leases.clone();
        let task = tokio::spawn(async move {
            let mut period = tokio::time::interval(RENEWED);
            loop {
                period.tick().await;
                let spec = json!({"spec": {"holderIdentity": "host_1", "renewTime": MicroTime(Timestamp::now()),
                    "leaseDurationSeconds": LASTS.as_secs()}});
                api.patch(LEASE, &PatchParams::default(), &Patch::Merge(spec)).await.unwrap();
                sender.send_modify(|it| *it += 1);
            }
        });
        let mut played = Self { leases, user, renewals, task };
        played.renews(1).await;
        played
    }

    /// Waits until it has renewed its Lease so many times more.
    async fn renews(&mut self, times: u32) {
        let goal = *self.renewals.borrow() + times;
        let renewed = self.renewals.wait_for(|it| *it >= goal);
        tokio::time::timeout(PATIENCE, renewed).await.unwrap().unwrap();
    }

    /// Waits until its Lease would have lapsed twice.
    async fn goes_on(&mut self) {
        self.renews(u32::try_from(2 * LASTS.as_millis() / RENEWED.as_millis()).unwrap()).await;
    }

    /// Ends without a word, as by SIGKILL.
    fn kill(&self) {
        self.task.abort();
    }

    /// When it last renewed its Lease, by the audit log.
    async fn last_renewal(&self, world: &World) -> Timestamp {
        let all = world.requests_of(&self.user).await;
        all.iter().filter(|it| it.verb == "patch").map(|it| it.time).max().unwrap()
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn writes(world: &World) -> Vec<audit::Event> {
    let mut all = world.requests_of(&world.operator.name).await;
    all.retain(audit::Event::is_write);
    all
}

#[tokio::test]
async fn while_it_changes_nothing_is_written_and_then_it_is_taken() {
    let name = "original-acts";
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    world::make_namespaces(bed, name, &QUICK).await;
    let mut original = Played::start(bed, name).await;
    let world = World::new(name, &QUICK).await;
    original_acts(&world, true).await;
    let door = Door::before(world).await;
    let answer = door.create(&world::polecat("max")).await;
    assert_eq!(answer.body["metadata"]["labels"]["gastown.io/rig"], "greeter", "webhooks serve");
    let world = &door.world;
    original.goes_on().await;
    assert_eq!(writes(world).await, [], "not one write, not even of our own Lease");
    let reads = world.requests_of(&world.operator.name).await;
    let of_lease = reads.iter().filter(|it| it.resource == "leases").count();
    assert!(of_lease <= 4, "its Lease is watched, not polled: {of_lease} requests");
    assert_eq!(phase_of(&world.polecats().get("max").await.unwrap()), "", "nothing is reconciled");
    let said = log(world);
    assert!(said.contains("The Go original acts") && said.contains("scale deployment"), "{said}");
    original.kill();
    world.phase("max", "Done").await;
    original_acts(world, false).await;
    let first = writes(world).await.iter().map(|it| it.time).min().unwrap();
    let waited = first.duration_since(original.last_renewal(world).await);
    assert!(waited.unsigned_abs() >= LASTS, "only after its own duration: {waited:?}");
    assert!(log(world).contains("The Go original has stopped"), "{}", log(world));
    let held = original.leases.get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!(held.holder_identity.as_deref(), Some(HOLDER), "one that starts again waits");
    assert_eq!(held.lease_transitions, Some(1));
    door.close().await;
}

/// It serves webhooks, for which it needs them. On a control plane of its own: bundles go into what all tests share.
#[tokio::test]
async fn while_it_acts_our_own_certificates_are_kept_and_nothing_else_is_written() {
    let name = "original-certificates";
    let bed = Testbed::start(Options { node: Node::None, ..Options::default() }).await.unwrap();
    let bed: &'static Testbed = Box::leak(Box::new(bed));
    world::make_namespaces(bed, name, &[]).await;
    let mut original = Played::start(bed, name).await;
    let world = World::apart_with(bed, name, &[], &["--webhook-cert-source=own"]).await;
    original_acts(&world, true).await;
    let admin = bed.client("admin").await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(admin, &world::own(name));
    let has_key = |it: &Secret| it.data.iter().flatten().any(|it| it.0 == "tls.key");
    until(&secrets, CERTIFICATES, "certificate", has_key).await;
    world.create("max", |_| {}).await;
    original.goes_on().await;
    let all = writes(&world).await;
    let canary = |it: &audit::Event| it.resource == "polecats" && it.verb == "create";
    let serves = |it: &audit::Event| {
        it.resource == "secrets"
            || it.resource == "customresourcedefinitions"
            || it.resource.ends_with("webhookconfigurations")
            || canary(it)
    };
    assert!(all.iter().any(|it| it.resource == "secrets"), "{all:?}");
    assert!(all.iter().all(serves), "{all:?}");
    let there = world.polecats().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(there.len(), 1, "a canary is not stored");
    assert_eq!(phase_of(&there[0]), "", "nothing is reconciled");
}

/// Nobody but a person can do that: an original that is started again waits for the Lease, which we hold.
#[tokio::test]
async fn one_that_takes_its_lease_back_by_force_ends_our_work_until_it_lets_go() {
    let name = "original-returns";
    let world = World::new(name, &NEVER).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    let mut original = Played::start(world.bed, name).await;
    original_acts(&world, true).await;
    // What had been sent before we saw it has been answered by the second renewal.
    original.renews(2).await;
    let before = writes(&world).await.len();
    world.create("nux", |_| {}).await;
    original.goes_on().await;
    let since: Vec<_> = writes(&world).await.split_off(before);
    assert!(since.iter().all(|it| it.resource == "leases"), "nothing but our Lease: {since:?}");
    assert_eq!(phase_of(&world.polecats().get("nux").await.unwrap()), "");
    original.kill();
    let free = Patch::Merge(json!({"spec": {"holderIdentity": ""}}));
    original.leases.patch(LEASE, &PatchParams::default(), &free).await.unwrap();
    world.condition("nux", "Ready", "True/PodRunning").await;
    let all = writes(&world).await;
    let made = all.iter().filter(|it| it.resource == "pods" && it.verb == "create");
    assert_eq!(made.count(), 2, "one pod each");
}

#[tokio::test]
async fn a_lease_that_is_deleted_under_us_is_made_again() {
    let world = World::new("original-deleted", &QUICK).await;
    world.create("max", |_| {}).await;
    world.phase("max", "Done").await;
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world::own("original-deleted"));
    let uid = leases.get(LEASE).await.unwrap().metadata.uid;
    leases.delete(LEASE, &kube::api::DeleteParams::default()).await.unwrap();
    let anew = move |it: &Lease| it.metadata.uid != uid;
    until(&leases, LEASE, "new Lease", anew).await;
    world.create("nux", |_| {}).await;
    world.phase("nux", "Done").await;
}

#[tokio::test]
async fn no_heed_is_paid_to_it_where_that_is_asked() {
    let name = "original-unheeded";
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    world::make_namespaces(bed, name, &QUICK).await;
    let original = Played::start(bed, name).await;
    let world = World::with_flags(name, &QUICK, &["--original-lease=0"]).await;
    world.create("max", |_| {}).await;
    world.phase("max", "Done").await;
    let held = original.leases.get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!(held.holder_identity.as_deref(), Some("host_1"), "nor is it touched");
}
