//! The Go original's own binary (`GO_ORIGINAL=path`) under load on its own definitions, with ours installed over them and
//! started beside it, on a control plane of its own: it looks after every namespace. The audit log judges. Its definitions are
//! those of `GO_ORIGINAL_CRDS=folder`; without it v1alpha1 alone, as in ours, which has the same fields.

use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};

use gastown::{
    api::v1alpha1::Polecat,
    domain::original::{HOLDER, LEASE},
};
use gastown_testbed::{Node, Operator, OperatorOptions, Options, Testbed, audit, manifests};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};

use super::{log, original_acts};
use crate::{
    asking::answered,
    preconditions, upgrade,
    world::{self, World, phase_of, polecat, until},
};

const UNSHARE: &str = "/usr/bin/unshare";
const NAME: &str = "go-original";
/// Agents end by themselves; telemetry of the original's pods never does.
const SCRIPT: [(&str, &str); 2] =
    [("testbed.gastown.io/run-for", "25s"), ("testbed.gastown.io/linger", "never")];
/// Each batch of Polecats: while the original is alone, while ours waits beside it, while it is killed.
const BATCH: usize = 10;

/// Where a pod finds its namespace the original finds this one: without it, it takes part in no election.
const IN_A_POD: &str = r#"mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount &&
printf %s "$GASTOWN_NAMESPACE" > /run/secrets/kubernetes.io/serviceaccount/namespace && exec "$@""#;

/// `unshare`'s arguments.
fn mount_namespace() -> Vec<&'static str> {
    let root = rustix::process::geteuid().is_root();
    if root { vec!["--mount", "--"] } else { vec!["--map-root-user", "--mount", "--"] }
}

/// Why there can be no mount namespace.
fn no_mount_namespace() -> Option<String> {
    let tried = Command::new(UNSHARE).args(mount_namespace()).arg("true").output();
    match tried {
        Ok(it) if it.status.success() => None,
        Ok(it) => {
            Some(format!("no mount namespace: {}", String::from_utf8_lossy(&it.stderr).trim()))
        }
        Err(error) => Some(format!("no unshare: {error}")),
    }
}

async fn start(bed: &Testbed, program: &str, user: &str) -> Operator {
    let mut flags = mount_namespace();
    flags.extend(["/bin/sh", "-c", IN_A_POD, "sh", program]);
    flags.extend(["--disable-webhooks", "--leader-elect", "--metrics-bind-address=0"]);
    flags.push("--health-probe-bind-address=0");
    let options = OperatorOptions {
        program: Some(PathBuf::from(UNSHARE)),
        name: user.to_owned(),
        namespace: world::own(NAME),
        group: "system:masters".to_owned(),
        flags: flags.into_iter().map(ToOwned::to_owned).collect(),
        only_these_flags: true,
        ..OperatorOptions::default()
    };
    Operator::start(bed, options).await.unwrap()
}

async fn create_batch(polecats: &Api<Polecat>, batch: &str) {
    for number in 0..BATCH {
        let object = serde_json::from_value(polecat(&format!("{batch}-{number}"))).unwrap();
        // The API server begins the cache of a kind anew after its definition has changed.
        answered("the kind to be served", async || {
            match polecats.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(it)) if it.code == 429 => None,
                other => Some(other.unwrap()),
            }
        })
        .await;
    }
}

/// The original's definitions, as its own road of installing leaves them.
async fn install_as_the_original(bed: &Testbed) {
    let client = bed.client("admin").await.unwrap();
    match std::env::var_os("GO_ORIGINAL_CRDS") {
        Some(folder) => manifests::apply_crds(&client, &PathBuf::from(folder), None).await.unwrap(),
        None => upgrade::as_in_the_original(bed).await,
    }
    let crds: Api<CustomResourceDefinition> = Api::all(client);
    let polecats = crds.get("polecats.gastown.gastown.io").await.unwrap();
    let versions: Vec<_> = polecats.spec.versions.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(versions, ["v1alpha1"], "the original's alone");
}

/// Waits until somebody but ours has renewed the Lease so many times more.
async fn renewals(leases: &Api<Lease>, times: usize) {
    for _ in 0..times {
        let now = leases.get(LEASE).await.unwrap();
        let changed = move |it: &Lease| {
            let held = it.spec.as_ref().and_then(|it| it.holder_identity.as_deref());
            it.metadata.resource_version != now.metadata.resource_version && held != Some(HOLDER)
        };
        until(leases, LEASE, "renewal", changed).await;
    }
}

fn writes<'a>(all: &'a [audit::Event], user: &str) -> Vec<&'a audit::Event> {
    all.iter().filter(|it| it.user == user && it.is_write()).collect()
}

#[tokio::test]
async fn the_originals_binary_is_succeeded_under_load_and_nothing_runs_twice() {
    let me = "the_originals_binary_is_succeeded_under_load_and_nothing_runs_twice";
    let Ok(program) = std::env::var("GO_ORIGINAL") else {
        return preconditions::skip(me, "go-original", "GO_ORIGINAL names no binary");
    };
    if let Some(why) = no_mount_namespace() {
        return preconditions::skip(me, "mount-namespace", &why);
    }
    let bed = Testbed::start(Options { node: Node::Kwok, ..Options::default() }).await.unwrap();
    let bed: &'static Testbed = Box::leak(Box::new(bed));
    install_as_the_original(bed).await;
    world::make_namespaces(bed, NAME, &SCRIPT).await;
    let client = bed.client("user").await.unwrap();
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), NAME);
    let leases: Api<Lease> = Api::namespaced(client.clone(), &world::own(NAME));
    let original = start(bed, &program, "original").await;
    create_batch(&polecats, "alone").await;
    until(&polecats, "alone-0", "phase Working", |it: &Polecat| phase_of(it) == "Working").await;

    // Installs ours over it.
    let world = World::apart(bed, NAME, &SCRIPT).await;
    original_acts(&world, true).await;
    create_batch(&polecats, "beside").await;
    // 2 s each, so that its Lease would have lapsed meanwhile.
    renewals(&leases, 9).await;
    create_batch(&polecats, "killed").await;
    let made = |it: &Pod| it.metadata.uid.is_some();
    until(&world.pods(), "polecat-killed-2", "pod", made).await;
    original.kill9().await.unwrap();

    for batch in ["alone", "beside", "killed"] {
        for number in 0..BATCH {
            let it = world.phase(&format!("{batch}-{number}"), "Done").await;
            let status = it.status.unwrap();
            assert_eq!((status.attempt, status.exit_code), (Some(1), Some(0)), "{batch}-{number}");
        }
    }
    let all = bed.audit_events().await.unwrap();
    judge(&all, &world);

    let again = start(bed, &program, "original-again").await;
    let theirs = |it: &Lease| it.metadata.resource_version.clone();
    for _ in 0..2 {
        let before = theirs(&leases.get(LEASE).await.unwrap());
        until(&leases, LEASE, "renewal by ours", move |it| theirs(it) != before).await;
    }
    let all = bed.audit_events().await.unwrap();
    assert!(all.iter().any(|it| it.user == "original-again" && it.resource == "leases"), "it asks");
    let done = writes(&all, "original-again");
    assert!(done.is_empty(), "one that is started again waits: {done:?}");
    assert_eq!(again.ended(), None, "as its own candidates do");
}

fn judge(all: &[audit::Event], world: &World) {
    let ours = writes(all, &world.operator.name);
    let theirs = writes(all, "original");
    let time = |of: &[&audit::Event], lease: bool| -> Vec<Timestamp> {
        of.iter().filter(|it| (it.name == LEASE) == lease).map(|it| it.time).collect()
    };
    let last = time(&theirs, true).into_iter().max().unwrap();
    let first = ours.iter().map(|it| it.time).min().unwrap();
    let waited = first.duration_since(last).unsigned_abs();
    assert!(waited >= Duration::from_secs(15), "ours wrote {waited:?} after its last renewal");
    let late = time(&theirs, false).into_iter().filter(|it| *it >= first).count();
    assert_eq!(late, 0, "writes of the original after ours began");
    let mut made = BTreeMap::<&str, Vec<&str>>::new();
    for it in all {
        let pod = it.resource == "pods" && it.subresource.is_empty() && it.namespace == NAME;
        if pod && it.verb == "create" && it.code == 201 {
            made.entry(&it.name).or_default().push(&it.user);
        }
    }
    assert_eq!(made.len(), 3 * BATCH, "{made:?}");
    assert!(made.values().all(|it| it.len() == 1), "no pod name twice: {made:?}");
    let by_ours = made.values().filter(|it| *it[0] == *world.operator.name).count();
    eprintln!(
        "pods: {} by the original, {by_ours} by ours; ours began {waited:?} after the last renewal",
        made.len() - by_ours
    );
    assert!(log(world).contains("The Go original has stopped"), "{}", log(world));
}
