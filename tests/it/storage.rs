//! Storage migration on the real API server: interrupted and resumed, beside a writer, by the API server itself, and the way
//! back until the Go original's own definitions apply again. The audit log counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use gastown::kinds::{self, Kind};
use gastown_testbed::{
    Operator, OperatorOptions, Options, Testbed, audit,
    manifests::{self, Webhooks},
};
use k8s_openapi::{
    api::authorization::v1::SubjectAccessReview,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
};
use serde_json::{Value, json};

use crate::{
    asking::{comes_true, scraped},
    kubectl::Kubectl,
    samples,
    tracing::collector::{Collector, Span},
    upgrade::{as_in_the_original, fill, patiently},
    versions::{api, bead_store, both, object},
    world::{PATIENCE, until},
};

const TOWN: &str = "town";
pub const STORES: &str = "beadstores.gastown.gastown.io";
/// Time between two edits of one object.
const NEWS: Duration = Duration::from_millis(500);
/// Objects of a page, as the migration asks for them.
const PAGE: usize = 200;

/// An API server full of objects that lie in v1alpha1, with our definitions applied over the original's.
pub async fn upgraded(options: Options, count: usize) -> (Testbed, Client) {
    let bed = Testbed::start(options).await.unwrap();
    as_in_the_original(&bed).await;
    bed.make_namespace(TOWN, &[]).await.unwrap();
    let client = bed.client("user").await.unwrap();
    fill(&client, count).await;
    bed.install_crds().await.unwrap();
    (bed, client)
}

/// An operator that migrates, and whose controllers write to no object.
async fn migrating(bed: &Testbed, name: &str, more: &[&str]) -> Operator {
    let flags = ["--watch-namespaces=elsewhere", "--failover=fast", "--storage-migration=Auto"];
    let options = OperatorOptions {
        name: name.to_owned(),
        flags: flags.iter().chain(more).map(|it| (*it).to_owned()).collect(),
        ..OperatorOptions::default()
    };
    let operator = Operator::start(bed, options).await.unwrap();
    operator.wait_ready().await.unwrap();
    operator
}

pub async fn stored(client: &Client, name: &str) -> Vec<String> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let found = crds.get(name).await.unwrap();
    found.status.and_then(|it| it.stored_versions).unwrap_or_default()
}

/// Waits until objects are known to lie in one version alone.
async fn settled(client: &Client, name: &str, version: &'static str) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let is = move |it: &CustomResourceDefinition| {
        let stored = it.status.as_ref().and_then(|it| it.stored_versions.clone());
        stored.unwrap_or_default() == [version]
    };
    until(&crds, name, format!("end in {version}"), is).await;
}

/// Writes of the many objects by a user, in order.
fn writes<'a>(all: &'a [audit::Event], user: &str) -> Vec<&'a audit::Event> {
    let of = |it: &&audit::Event| it.user == user && it.resource == "beadstores" && it.is_write();
    all.iter().filter(of).collect()
}

/// The names of so many, in the API server's order.
fn names(count: usize) -> Vec<String> {
    let mut names: Vec<_> = (0..count).map(|it| format!("beads-{it}")).collect();
    names.sort();
    names
}

/// Reads every object while nobody converts: only what lies in that very version can be read.
async fn all_lie_in(bed: &Testbed, client: &Client, version: &str, names: &[String]) {
    bed.converter().unwrap().kill9().await.unwrap();
    let stores = api(client, TOWN, bead_store(), version);
    for name in names {
        let read = stores.get(name).await;
        assert!(read.is_ok(), "{name} does not lie in {version}: {read:?}");
    }
    let other = if version == "v1beta1" { "v1alpha1" } else { "v1beta1" };
    let read = api(client, TOWN, bead_store(), other).get(&names[0]).await;
    assert!(read.is_err(), "nobody converts, so that this proves something");
}

#[tokio::test]
async fn a_migration_that_is_killed_goes_on_where_it_was_and_trims_at_the_end_alone() {
    const COUNT: usize = 500;
    let (bed, client) = upgraded(Options::default(), COUNT).await;
    // By default it is said, and nothing is written.
    let manual = bed.converter().unwrap();
    let line = r#"gastown_old_versions_stored{resource="beadstores"} 1"#;
    scraped(manual, |it| it == line).await;

    let fast = "--storage-migration-rate=1000";
    let first = migrating(&bed, "first", &[fast, "--test-faults=kill-before-write=450"]).await;
    first.wait_end(PATIENCE).await.unwrap();
    assert_eq!(stored(&client, STORES).await, ["v1alpha1", "v1beta1"], "not before the end");

    let collector = Collector::start().await;
    let endpoint = format!("--otlp-endpoint={}", collector.endpoint);
    let second = migrating(&bed, "second", &[fast, &endpoint, "--otlp-delay=50"]).await;
    for name in kinds::convertible() {
        settled(&client, &name, "v1beta1").await;
    }
    let all = bed.audit_events().await.unwrap();
    assert_eq!(writes(&all, "first").len(), 449);
    let rest = writes(&all, "second");
    assert_eq!(rest.len(), COUNT - 2 * PAGE, "it went on after the last page that was kept");
    assert!(rest.iter().all(|it| it.subresource == "status"), "no admission is asked");
    let codes = |code: u16| rest.iter().filter(|it| it.code == code).count();
    // The page is of the time before the kill: what was written since is known by its version.
    assert_eq!((codes(200), codes(409)), (COUNT - 449, 449 - 2 * PAGE), "and no object twice");
    let lists: Vec<_> = all
        .iter()
        .filter(|it| it.user == "first" && it.verb == "list" && it.uri.contains("limit=200"))
        .filter(|it| it.resource == "beadstores")
        .collect();
    assert_eq!(lists.len(), 3, "page by page: {lists:?}");
    let of_stores = |it: &&audit::Event| it.user == "second" && it.name == STORES && it.is_write();
    assert_eq!(all.iter().filter(of_stores).count(), 1, "the end is one write");
    let position = |want: &audit::Event| all.iter().position(|it| it == want).unwrap();
    let end = all.iter().rfind(of_stores).unwrap();
    assert!(rest.iter().all(|it| position(it) < position(end)), "the end comes last");
    let by_manual = all.iter().filter(|it| it.user == manual.name && it.is_write());
    let by_manual: Vec<_> =
        by_manual.filter(|it| !matches!(&*it.resource, "leases" | "shardmaps")).collect();
    assert!(by_manual.is_empty(), "Manual writes nothing: {by_manual:?}");
    scraped(&second, |it| it == r#"gastown_old_versions_stored{resource="beadstores"} 0"#).await;

    let told = |it: &Span| {
        it.name == "migrate storage"
            && it.says("gastown.resource") == "beadstores"
            && it.says("gastown.storage.version") == "v1beta1"
            && !it.failed
    };
    collector.until("span of the migration", |all| all.iter().any(told)).await;

    all_are_listed_in_v1alpha1(&client, COUNT).await;
    all_lie_in(&bed, &client, "v1beta1", &names(COUNT)).await;
    bed.stop().await.unwrap();
}

/// As they were written, while they lie in v1beta1; as a page, which is read from storage and converted by one call.
async fn all_are_listed_in_v1alpha1(client: &Client, count: usize) {
    let stores = api(client, TOWN, bead_store(), "v1alpha1");
    let page = ListParams::default().limit(u32::try_from(count).unwrap());
    let listed = patiently(async || stores.list(&page).await).await.items;
    let found: Vec<_> = listed.iter().filter_map(|it| it.metadata.name.clone()).collect();
    assert_eq!(found, names(count));
    let spec = json!({"rigRef": "greeter", "prefix": "gt-", "syncInterval": "7s"});
    assert!(listed.iter().all(|it| it.data["spec"] == spec), "{:?}", listed.first());
}

#[tokio::test]
async fn who_writes_beside_a_migration_loses_nothing() {
    const COUNT: usize = 300;
    let (bed, client) = upgraded(Options::default(), COUNT).await;
    let stores = api(&client, TOWN, bead_store(), "v1beta1");
    let operator = migrating(&bed, "operator", &["--storage-migration-rate=60"]).await;
    comes_true("the first write", async || {
        !writes(&bed.audit_events().await.unwrap(), "operator").is_empty()
    })
    .await;
    // The last of the first page, as the API server orders names: listed already, and not yet written.
    let mut names = names(COUNT);
    let (edited, gone) = (names[PAGE - 1].clone(), names[PAGE - 2].clone());
    let edit = |number: usize| Patch::Merge(json!({"spec": {"syncIntervalSeconds": number}}));
    stores.patch(&edited, &PatchParams::default(), &edit(1000)).await.unwrap();
    stores.delete(&gone, &DeleteParams::default()).await.unwrap();

    let over = AtomicBool::new(false);
    let writer = async {
        let (mut last, mut number) = (BTreeMap::new(), 2000);
        while !over.load(Ordering::SeqCst) {
            for name in names.iter().rev().step_by(7) {
                number += 1;
                let params = PatchParams::default();
                match stores.patch(name, &params, &edit(number)).await {
                    Ok(_) => drop(last.insert(name.clone(), number)),
                    // Many tries of the API server's own met somebody else each time: it was not written.
                    Err(kube::Error::Api(it)) => assert!([404, 409].contains(&it.code), "{it:?}"),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        last
    };
    let end = async {
        settled(&client, STORES, "v1beta1").await;
        over.store(true, Ordering::SeqCst);
    };
    let (last, ()) = tokio::join!(writer, end);
    assert!(last.len() > 40, "it wrote beside it: {}", last.len());
    for (name, number) in &last {
        let now = stores.get(name).await.unwrap();
        assert_eq!(now.data["spec"]["syncIntervalSeconds"], *number, "{name}");
    }
    let all = bed.audit_events().await.unwrap();
    let codes: BTreeMap<_, _> =
        writes(&all, "operator").iter().map(|it| (it.name.clone(), it.code)).collect();
    assert_eq!(codes.get(&edited), Some(&409), "it met the edit, and left it alone");
    assert_eq!(codes.get(&gone), Some(&404), "and the deletion");
    drop(operator);
    names.retain(|it| *it != gone);
    all_lie_in(&bed, &client, "v1beta1", &names).await;
    bed.stop().await.unwrap();
}

/// Edits one object of a kind again and again, for as long as something else takes. The API server's controller waits for
/// news of the resource that is younger than what it was asked; of a quiet one there is little. Who writes is in nobody's way.
async fn beside_news<T>(client: &Client, something: impl Future<Output = T>) -> T {
    let stores = api(client, TOWN, bead_store(), "v1beta1");
    Box::pin(beside_news_of(&stores, "beads-0", something)).await
}

/// The same of one BeadStore of this name.
pub async fn beside_news_of<T>(
    stores: &Api<DynamicObject>,
    name: &str,
    something: impl Future<Output = T>,
) -> T {
    let mut news = tokio::time::interval(NEWS);
    let mut number = 0;
    let mut something = pin!(something);
    loop {
        tokio::select! {
            it = &mut something => return it,
            _ = news.tick() => {
                number += 1;
                let edit = Patch::Merge(json!({"spec": {"syncIntervalSeconds": number}}));
                stores.patch(name, &PatchParams::default(), &edit).await.unwrap();
            }
        }
    }
}

/// Holds that the API server's own controller wrote all of 20 objects, and this user none.
async fn written_by_the_api_server(bed: &Testbed, user: &str) {
    let all = bed.audit_events().await.unwrap();
    assert_eq!(writes(&all, user).len(), 0, "{user} writes no object itself");
    let writer = "system:serviceaccount:kube-system:storage-version-migrator-controller";
    let written: BTreeSet<_> = writes(&all, writer).iter().map(|it| it.name.clone()).collect();
    assert!(written.len() >= 19, "all but the one that was written anyway: {written:?}");
}

#[tokio::test]
async fn where_the_api_server_migrates_it_is_asked_to() {
    let options = Options { storage_migration: true, ..Options::default() };
    let (bed, client) = upgraded(options, 20).await;
    let asked = gt_said(&bed, &["storage", "migrate", "beadstores"]);
    let said = beside_news(&client, asked).await;
    assert_eq!(said, "beadstores: migrated by the API server: all lie in v1beta1\n");
    assert_eq!(stored(&client, STORES).await, ["v1beta1"]);
    written_by_the_api_server(&bed, "person").await;
    all_lie_in(&bed, &client, "v1beta1", &names(20)).await;
    bed.stop().await.unwrap();
}

/// The same by itself, with the rights that the operator is installed with.
#[tokio::test]
async fn an_operator_that_migrates_by_itself_asks_the_api_server_too() {
    let options = Options { storage_migration: true, ..Options::default() };
    let (bed, client) = upgraded(options, 20).await;
    // Of the others nothing was ever stored, so that nothing is to be done for them.
    let crds: Api<CustomResourceDefinition> = Api::all(bed.client("admin").await.unwrap());
    for name in kinds::convertible().filter(|it| it != STORES) {
        let alone = Patch::Merge(json!({"status": {"storedVersions": ["v1beta1"]}}));
        crds.patch_status(&name, &PatchParams::default(), &alone).await.unwrap();
    }
    let operator = migrating(&bed, "operator-0", &[]).await;
    beside_news(&client, settled(&client, STORES, "v1beta1")).await;
    written_by_the_api_server(&bed, &operator.name).await;
    let all = bed.audit_events().await.unwrap();
    let asked = all.iter().filter(|it| {
        let of_ours = it.user == operator.name && it.resource == "storageversionmigrations";
        of_ours && it.verb == "create" && it.uri.contains("storagemigration.k8s.io")
    });
    assert!(asked.count() >= 1, "it asked the API server");
    drop(operator);
    all_lie_in(&bed, &client, "v1beta1", &names(20)).await;
    bed.stop().await.unwrap();
}

#[tokio::test]
async fn the_operators_role_reaches_its_own_definitions_alone() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    bed.install_crds().await.unwrap();
    let client = bed.client("asker").await.unwrap();
    let may = async |verb: &str, subresource: &str, name: &str| {
        let migration = name.starts_with("gastown-operator.");
        let (group, resource) = if migration {
            ("storagemigration.k8s.io", "storageversionmigrations")
        } else {
            ("apiextensions.k8s.io", "customresourcedefinitions")
        };
        let review = json!({"metadata": {}, "spec": {"groups": ["gastown:operators"], "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name,
        }}});
        let api: Api<SubjectAccessReview> = Api::all(client.clone());
        let review = serde_json::from_value(review).unwrap();
        api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
    };
    let other = "clientpods.gptme.ai";
    for (verb, subresource, name, want) in [
        ("patch", "status", STORES, true),
        ("watch", "", STORES, true),
        ("patch", "status", other, false),
        ("get", "", other, false),
        ("list", "", "", false),
        ("patch", "", STORES, true), // the authority of its certificates, where it keeps its own
        ("patch", "", other, false),
        ("update", "", STORES, false),
        ("update", "status", STORES, false),
        ("delete", "", STORES, false),
        ("create", "", "gastown-operator.beadstores", true),
        ("watch", "", "gastown-operator.beadstores", true),
        ("delete", "", "gastown-operator.beadstores", true),
        ("delete", "", "gastown-operator.others", false),
    ] {
        let allowed = may(verb, subresource, name).await;
        assert_eq!(allowed, want, "{verb} {name} {subresource}");
    }
    bed.stop().await.unwrap();
}

/// `kubectl gt …` as a person would call it, whom the audit log knows as `person`.
async fn gt(bed: &Testbed, args: &[&str]) -> Output {
    let kubeconfig = bed.kubeconfig_for("person", Some("system:masters")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(args).env_clear().env("KUBECONFIG", kubeconfig);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn gt_said(bed: &Testbed, args: &[&str]) -> String {
    let output = gt(bed, args).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl gt {}: {errors}", args.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// An object of each kind, written in each version; and what only v1beta1 can say.
async fn objects_of_every_kind(client: &Client) -> Vec<(&'static Kind, &'static str)> {
    let mut all = Vec::new();
    for kind in both() {
        let old = api(client, TOWN, kind, "v1alpha1");
        let new = api(client, TOWN, kind, "v1beta1");
        let spec = &samples::of(kind.kind)["spec"];
        old.create(&PostParams::default(), &object(kind, "v1alpha1", "old", spec)).await.unwrap();
        let mut spec = new.get("old").await.unwrap().data["spec"].clone();
        if kind.kind == "Polecat" {
            spec["completion"] = json!("Push");
        }
        new.create(&PostParams::default(), &object(kind, "v1beta1", "new", &spec)).await.unwrap();
        let status = Patch::Merge(json!({"status": {"conditions": [{
            "type": "Ready", "status": "Unknown", "reason": "Told", "message": "by a test",
            "lastTransitionTime": "2026-11-28T10:00:00Z",
        }]}}));
        for name in ["old", "new"] {
            if kind.kind == "Rig" {
                // Of the whole cluster, so the operator that converts looks after it as well.
                let told = |it: &DynamicObject| it.data["status"]["observedGeneration"] == 1;
                until(&new, name, "word of the operator's", told).await;
            } else {
                new.patch_status(name, &PatchParams::default(), &status).await.unwrap();
            }
            all.push((kind, name));
        }
    }
    all
}

/// What must be the same after everything: all but what tells who wrote it when.
fn substance(it: DynamicObject) -> Value {
    let meta = it.metadata;
    json!({"uid": meta.uid, "labels": meta.labels, "annotations": meta.annotations, "generation": meta.generation,
        "spec": it.data["spec"], "status": it.data["status"]})
}

async fn read_all(client: &Client, of: &[(&'static Kind, &str)], version: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for (kind, name) in of {
        let there = api(client, TOWN, kind, version);
        all.push(substance(patiently(async || there.get(name).await).await));
    }
    all
}

async fn town_of_its_own() -> (Testbed, Client) {
    let bed = Testbed::start(Options::default()).await.unwrap();
    bed.install_crds().await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    let client = bed.client("user").await.unwrap();
    (bed, client)
}

#[tokio::test]
async fn the_way_back_ends_where_the_originals_own_definitions_apply_again() {
    let (bed, client) = town_of_its_own().await;
    let objects = objects_of_every_kind(&client).await;
    let old = read_all(&client, &objects, "v1alpha1").await;
    let new = read_all(&client, &objects, "v1beta1").await;

    let shown = gt_said(&bed, &["storage", "-o", "json"]).await;
    let rows: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(rows[0]["objects"], 2, "{shown}");
    assert_eq!(rows[0]["state"], "all in v1beta1", "{shown}");
    let back = ["storage", "migrate", "--storage-version=v1alpha1", "--rate=1000"];
    let said = gt_said(&bed, &[&back[..], &["--dry-run"]].concat()).await;
    let want = "would make v1alpha1 the storage version; would write 2 objects as v1alpha1";
    assert_eq!(said.matches(want).count(), both().len(), "{said}");
    let all = bed.audit_events().await.unwrap();
    let tried: Vec<_> = all.iter().filter(|it| it.user == "person" && it.is_write()).collect();
    assert!(tried.is_empty(), "a dry run writes nothing: {tried:?}");

    let kubectl = Kubectl::admin(&bed);
    let folder = "tests/it/original/crds/";
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", folder];
    let refused = kubectl.run(&apply).await;
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(words.contains("missing from spec.versions"), "not before: {words}");

    let said = gt_said(&bed, &back).await;
    let want = "migrated: 2 objects written, all lie in v1alpha1";
    assert_eq!(said.matches(want).count(), both().len(), "{said}");
    for name in kinds::convertible() {
        assert_eq!(stored(&client, &name).await, ["v1alpha1"], "{name}");
    }
    assert_eq!(read_all(&client, &objects, "v1alpha1").await, old);
    assert_eq!(read_all(&client, &objects, "v1beta1").await, new);

    let said = kubectl.said(&apply).await;
    assert_eq!(said.lines().count(), both().len(), "{said}");
    for name in kinds::convertible() {
        assert_eq!(stored(&client, &name).await, ["v1alpha1"], "{name}");
    }
    comes_true("the end of v1beta1", async || {
        let gone = api(&client, TOWN, bead_store(), "v1beta1").get("old").await;
        gone.is_err_and(|it| matches!(it, kube::Error::Api(it) if it.code == 404))
    })
    .await;
    let mut known = old.clone();
    for it in known.iter_mut().filter_map(|it| it["status"].as_object_mut()) {
        // The original has no such field: what ours alone writes into a status is not seen by it.
        it.remove("observedGeneration");
    }
    let read = read_all(&client, &objects, "v1alpha1").await;
    for ((now, before), (kind, name)) in read.iter().zip(&known).zip(&objects) {
        assert_eq!(now, before, "{} {name}: the original reads it otherwise", kind.kind);
    }

    bed.install_crds().await.unwrap();
    comes_true("v1beta1 again", async || {
        api(&client, TOWN, bead_store(), "v1beta1").get("old").await.is_ok()
    })
    .await;
    let again = read_all(&client, &objects, "v1beta1").await;
    assert_eq!(again, new, "and what only v1beta1 can say is there again");
    bed.stop().await.unwrap();
}

/// As for who keeps the definitions in a repository, from which they are applied again and again.
#[tokio::test]
async fn definitions_that_are_written_to_store_v1alpha1_lead_back_as_well() {
    let (bed, client) = town_of_its_own().await;
    let objects = objects_of_every_kind(&client).await;
    let old = read_all(&client, &objects, "v1alpha1").await;
    let new = read_all(&client, &objects, "v1beta1").await;

    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_manifests"));
    command.arg("--storage-version=v1alpha1").arg("--into").arg(folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let converter = bed.converter().unwrap();
    let webhooks = (&Webhooks::Url(converter.webhook.clone()), converter.authority.as_str());
    let admin = bed.client("admin").await.unwrap();
    let crds = folder.path().join("crds");
    manifests::apply_crds(&admin, &crds, Some(webhooks)).await.unwrap();

    let said = gt_said(&bed, &["storage", "migrate", "--rate=1000"]).await;
    let want = "migrated: 2 objects written, all lie in v1alpha1";
    assert_eq!(said.matches(want).count(), both().len(), "{said}");
    for name in kinds::convertible() {
        assert_eq!(stored(&client, &name).await, ["v1alpha1"], "{name}");
    }
    assert_eq!(read_all(&client, &objects, "v1alpha1").await, old);
    assert_eq!(read_all(&client, &objects, "v1beta1").await, new);
    bed.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_conversion_the_plugin_touches_nothing_and_says_why() {
    let (bed, client) = upgraded(Options::default(), 3).await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let off = Patch::Merge(json!({"spec": {"conversion": {"strategy": "None", "webhook": null}}}));
    crds.patch(STORES, &PatchParams::default(), &off).await.unwrap();
    let output = gt(&bed, &["storage", "migrate", "beadstores"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.contains("conversion is switched off"), "{said}");
    let all = bed.audit_events().await.unwrap();
    assert!(!all.iter().any(|it| it.user == "person" && it.is_write()), "and nothing was written");
    let shown = gt_said(&bed, &["storage"]).await;
    assert!(shown.contains("up to 3 in v1alpha1; not to be migrated"), "{shown}");
    bed.stop().await.unwrap();
}
