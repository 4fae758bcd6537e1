//! From one stored version to two: a cluster full of objects of the old version is taken over by replicas that start cold,
//! and what works while nobody converts.

use std::net::SocketAddr;

use gastown::{kinds::Kind, manifests::WEBHOOK_SERVICE};
use gastown_testbed::{
    Operator, OperatorOptions, Options, Testbed,
    manifests::{self, Webhooks},
    watch::await_condition,
};
use k8s_openapi::{
    api::core::v1::Namespace,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
    runtime::wait::conditions,
};
use serde_json::{Value, json};

use crate::{
    asking::{answered, comes_true},
    kubectl::Kubectl,
    samples,
    versions::{api, bead_store, both, object},
    world::{PATIENCE, until},
};

const TOWN: &str = "town";
/// Objects that are stored in the old version.
const CROWD: usize = 5000;
/// Writes at a time.
const AT_ONCE: usize = 16;

/// Applies a definition, and waits until it is served.
pub async fn apply(bed: &Testbed, definition: &CustomResourceDefinition) {
    let client = bed.client("admin").await.unwrap();
    manifests::apply(&client, &serde_json::to_value(definition).unwrap()).await.unwrap();
    let api = Api::<CustomResourceDefinition>::all(client);
    let name = definition.metadata.name.clone().unwrap();
    let served = await_condition(api, &name, conditions::is_crd_established());
    tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap();
}

/// The Go original's definitions: one version, stored and served.
pub async fn as_in_the_original(bed: &Testbed) {
    for kind in both() {
        apply(bed, &(kind.crd)()).await;
    }
}

/// Writes many objects, some at a time.
pub async fn fill(client: &Client, count: usize) {
    let stores = api(client, TOWN, bead_store(), "v1alpha1");
    let spec = json!({"rigRef": "greeter", "prefix": "gt-", "syncInterval": "7s"});
    let numbers = futures::stream::iter(0..count);
    futures::StreamExt::for_each_concurrent(numbers, AT_ONCE, |number| {
        let (stores, spec) = (stores.clone(), spec.clone());
        async move {
            let made = object(bead_store(), "v1alpha1", &format!("beads-{number}"), &spec);
            patiently(async || stores.create(&PostParams::default(), &made).await).await;
        }
    })
    .await;
}

async fn list(client: &Client, version: &str) -> Vec<DynamicObject> {
    let stores = api(client, TOWN, bead_store(), version);
    patiently(async || stores.list(&ListParams::default()).await).await.items
}

/// Asks again while the API server begins the cache of a kind anew, as it does some time after its definition changed.
pub async fn patiently<T>(ask: impl AsyncFn() -> kube::Result<T>) -> T {
    answered("the cache of the kind", async || match ask().await {
        Err(kube::Error::Api(it)) if it.code == 429 => None,
        other => Some(other.unwrap()),
    })
    .await
}

/// The webhooks' Service, to which nobody belongs yet, and the new definitions that ask it for conversion.
async fn define_ahead_of_the_replicas(bed: &Testbed) {
    let client = bed.client("admin").await.unwrap();
    let own = gastown::manifests::NAMESPACE;
    bed.make_namespace(own, &[]).await.unwrap();
    // Without a selector: who belongs to it is written by hand.
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": WEBHOOK_SERVICE, "namespace": own}, "spec": {"ports": [{"name": "https", "port": 443}]}});
    manifests::apply(&client, &service).await.unwrap();
    let authority = std::fs::read_to_string(bed.dir.join("pki/ca.crt")).unwrap();
    let webhooks = Webhooks::Service { namespace: own.into(), name: WEBHOOK_SERVICE.into() };
    let crds = manifests::project(None).unwrap().join("crds");
    manifests::apply_crds(&client, &crds, Some((&webhooks, &authority))).await.unwrap();
}

/// Makes a replica one of those behind the Service, as a cluster does with a pod that is Ready.
async fn join_the_service(client: &Client, replica: &Operator) {
    let address: SocketAddr = replica.webhook.trim_start_matches("https://").parse().unwrap();
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": replica.name, "namespace": gastown::manifests::NAMESPACE,
            "labels": {"kubernetes.io/service-name": WEBHOOK_SERVICE}},
        "addressType": "IPv4", "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}]});
    manifests::apply(client, &slice).await.unwrap();
}

/// Conversions to v1beta1 that the API server asked for and got, by its own count.
async fn conversions(admin: &Client) -> usize {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = admin.request_text(request).await.unwrap();
    let is = |it: &&str| {
        it.starts_with("apiserver_crd_conversion_webhook_duration_seconds_count{")
            && ["beadstores.", "to_version=\"v1beta1\"", "succeeded=\"true\""]
                .iter()
                .all(|part| it.contains(part))
    };
    let count = |it: &str| it.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
    text.lines().filter(is).map(count).sum()
}

/// It is read from storage, and converted by one call.
async fn a_page_has_them_too(stores: &Api<DynamicObject>, all: &[DynamicObject]) {
    let page = ListParams::default().limit(u32::try_from(all.len()).unwrap());
    let page = patiently(async || stores.list(&page).await).await.items;
    assert!(page.iter().map(|it| &it.data).eq(all.iter().map(|it| &it.data)), "and in the order");
}

/// Nobody converts but the replicas themselves, and none of them may wait for that.
#[tokio::test]
async fn five_thousand_old_objects_are_served_in_both_versions_by_replicas_that_all_start_cold() {
    let test =
        "five_thousand_old_objects_are_served_in_both_versions_by_replicas_that_all_start_cold";
    let bed = Testbed::start(Options::default()).await.unwrap();
    if !bed.enclosed {
        crate::preconditions::skip(
            test,
            "namespaces",
            "endpoints of a Service can't be on loopback",
        );
        return;
    }
    as_in_the_original(&bed).await;
    bed.make_namespace(TOWN, &[]).await.unwrap();
    let client = bed.client("user").await.unwrap();
    fill(&client, CROWD).await;
    let before = list(&client, "v1alpha1").await;
    assert_eq!(before.len(), CROWD);

    // The new definitions first, as every road of installing does; then all replicas at once, which know nothing yet.
    define_ahead_of_the_replicas(&bed).await;
    let start = async |number: usize| {
        let options = OperatorOptions {
            name: format!("operator-{number}"),
            flags: vec![format!("--watch-namespaces={TOWN}"), "--failover=fast".into()],
            ..OperatorOptions::default()
        };
        Operator::start(&bed, options).await.unwrap()
    };
    let replicas = futures::future::join_all((0..3).map(start)).await;
    for replica in &replicas {
        replica.wait_ready().await.expect("readiness waits for no object of our kinds");
    }
    let stores = api(&client, TOWN, bead_store(), "v1beta1");
    let nobody = stores.get("beads-0").await.unwrap_err().to_string();
    assert!(nobody.contains("no endpoints available"), "nobody has converted yet: {nobody}");
    let admin = bed.client("admin").await.unwrap();
    for replica in &replicas {
        join_the_service(&admin, replica).await;
    }
    comes_true("conversion", async || stores.get("beads-0").await.is_ok()).await;

    let new = list(&client, "v1beta1").await;
    assert_eq!(new.len(), CROWD);
    let calls = conversions(&admin).await;
    assert!(
        calls < 2 * CROWD,
        "{calls}: each once for the API server's cache, and not for each replica"
    );
    a_page_has_them_too(&stores, &new).await;
    let want = json!({"rigRef": {"name": "greeter"}, "prefix": "gt-", "syncIntervalSeconds": 7});
    assert!(new.iter().all(|it| it.data["spec"] == want), "{:?}", new.first());
    let old = list(&client, "v1alpha1").await;
    let specs =
        |all: &[DynamicObject]| all.iter().map(|it| it.data["spec"].clone()).collect::<Vec<_>>();
    assert_eq!(specs(&old), specs(&before), "and v1alpha1 reads as before");

    // The operator sees them all: the last one in its list gets its condition too.
    let told = |it: Option<&DynamicObject>| {
        it.is_some_and(|it| it.data.pointer("/status/conditions/0").is_some())
    };
    for name in ["beads-0", "beads-2500", "beads-4999"] {
        let said = await_condition(stores.clone(), name, told);
        tokio::time::timeout(PATIENCE, said).await.expect("nothing was said of it").unwrap();
    }
    bed.stop().await.unwrap();
}

/// An object of each kind, written in v1alpha1, where they live.
async fn one_of_each(client: &Client) -> Vec<(&'static Kind, DynamicObject)> {
    let mut all = Vec::new();
    for kind in both() {
        let made = object(kind, "v1alpha1", "one", &samples::of(kind.kind)["spec"]);
        let old = api(client, TOWN, kind, "v1alpha1");
        all.push((kind, old.create(&PostParams::default(), &made).await.unwrap()));
    }
    all
}

#[tokio::test]
async fn while_the_webhook_is_down_the_stored_version_works_and_the_other_says_why_not() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    bed.install_crds().await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    let client = bed.client("user").await.unwrap();
    let all = one_of_each(&client).await;
    bed.converter().unwrap().kill9().await.unwrap();
    for (kind, made) in &all {
        let new = api(&client, TOWN, kind, "v1beta1");
        let seen = new.get("one").await.unwrap();
        assert_eq!(seen.metadata.uid, made.metadata.uid, "{}: it is read", kind.kind);
        let mark = Patch::Merge(json!({"metadata": {"labels": {"seen": "true"}}}));
        new.patch("one", &PatchParams::default(), &mark).await.unwrap();
    }
    let kubectl = Kubectl::admin(&bed);
    let got =
        kubectl.run(&["get", "beadstores.v1alpha1.gastown.gastown.io", "one", "-n", TOWN]).await;
    let words = String::from_utf8_lossy(&got.stderr);
    assert!(words.contains("conversion webhook for"), "who and what: {words}");
    assert!(words.contains("BeadStore") && words.contains("/convert"), "{words}");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = namespaces.get(TOWN).await.unwrap().metadata.uid.unwrap();
    namespaces.delete(TOWN, &DeleteParams::default()).await.unwrap();
    let gone = await_condition(namespaces, TOWN, conditions::is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await.expect("a namespace needs the webhook").unwrap();
    bed.stop().await.unwrap();
}

/// Switches the conversion of a kind off, as OLM does when a CSV is deleted, or on again.
pub async fn switch(client: &Client, kind: &Kind, conversion: &Value) -> Value {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = format!("{}.{}", kind.plural, kind.group);
    let before = crds.get(&name).await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"conversion": conversion}}));
    crds.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    serde_json::to_value(before.spec.conversion).unwrap()
}

#[tokio::test]
async fn a_conversion_that_is_switched_off_costs_no_field() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    bed.install_crds().await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    bed.make_namespace(gastown::manifests::NAMESPACE, &[]).await.unwrap();
    let client = bed.client("user").await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    kubectl.said(&["apply", "-f", "deploy/rbac/role.yaml"]).await;
    crate::switched_off::install_operators_role(&client).await;
    kubectl.said(&["apply", "-f", "deploy/policies/conversion.yaml"]).await;
    crate::switched_off::until_refused(&client, TOWN, false).await;
    let mut all = one_of_each(&client).await;
    let mut hubs = Vec::new();
    for (kind, made) in &mut all {
        hubs.push(live_a_little(&client, kind).await);
        *made = api(&client, TOWN, kind, "v1alpha1").get("one").await.unwrap();
    }
    crate::switched_off::take_operator_away(&client).await;
    crate::switched_off::until_refused(&client, TOWN, true).await;
    let mut conversions = Vec::new();
    for (kind, _) in &all {
        let off = json!({"strategy": "None", "webhook": null});
        conversions.push(switch(&client, kind, &off).await);
    }
    for ((kind, made), hub) in all.iter().zip(&hubs) {
        for (version, whole) in [("v1alpha1", made), ("v1beta1", hub)] {
            let there = api(&client, TOWN, kind, version);
            until_unconverted(&there, made).await;
            let edit = Patch::Merge(json!({"metadata": {"labels": {"edited": version}}}));
            let params = PatchParams::default();
            let words = refusal(async || there.patch("one", &params, &edit).await).await;
            assert!(words.contains("nobody converts"), "{} {version}: {words}", kind.kind);
            let new = object(kind, version, "two", &whole.data["spec"]);
            let words = refusal(async || there.create(&PostParams::default(), &new).await).await;
            assert!(words.contains("nobody converts"), "{} {version}: {words}", kind.kind);
        }
    }
    crate::switched_off::install_operators_role(&client).await;
    for (((kind, made), hub), on) in all.iter().zip(&hubs).zip(conversions) {
        switch(&client, kind, &on).await;
        let old = api(&client, TOWN, kind, "v1alpha1");
        let what = format!("{} to be converted", kind.kind);
        comes_true(&what, async || read(&old).await.data["spec"] == made.data["spec"]).await;
        // Metadata with annotations and managed fields, spec, status: nothing of it has changed, not even its version.
        assert_eq!(&read(&old).await, made, "{} in v1alpha1", kind.kind);
        let new = api(&client, TOWN, kind, "v1beta1");
        assert_eq!(&read(&new).await, hub, "{} in v1beta1", kind.kind);
    }
    bed.stop().await.unwrap();
}

/// Gives an object what only one of the versions can say, and a status; as it is then in v1beta1.
async fn live_a_little(client: &Client, kind: &Kind) -> DynamicObject {
    let (old, new) = (api(client, TOWN, kind, "v1alpha1"), api(client, TOWN, kind, "v1beta1"));
    let params = PatchParams::default();
    let mut status = json!({"conditions": [{"type": "Seen", "status": "True", "reason": "Tested", "message": "",
        "lastTransitionTime": "2026-11-28T10:00:00Z"}]});
    match kind.kind {
        // It belongs to no namespace, so whoever converts gives it its status.
        "Rig" => {
            let told = |it: &DynamicObject| it.data.pointer("/status/conditions/0").is_some();
            return until(&new, "one", "condition", told).await;
        }
        "BeadStore" => {
            let words = Patch::Merge(json!({"spec": {"syncInterval": "2h30m"}}));
            old.patch("one", &params, &words).await.unwrap();
            let seen = new.get("one").await.unwrap();
            assert!(seen.metadata.annotations.is_some(), "v1beta1 knows seconds alone");
        }
        "Polecat" => {
            let push = Patch::Merge(json!({"spec": {"completion": "Push"}}));
            new.patch("one", &params, &push).await.unwrap();
            let seen = old.get("one").await.unwrap();
            assert!(seen.metadata.annotations.is_some(), "v1alpha1 knows the exit code alone");
            status["attempt"] = json!(2);
            status["commit"] = json!("0123456789012345678901234567890123456789");
        }
        _ => {}
    }
    new.patch_status("one", &params, &Patch::Merge(json!({"status": status}))).await.unwrap()
}

/// The words of a write that is not taken, because what it writes would be stored cut.
pub async fn refusal(write: impl AsyncFn() -> kube::Result<DynamicObject>) -> String {
    let tried = async || match write().await {
        Err(kube::Error::Api(it)) if it.code != 429 => Ok(it.message),
        other => other.map(|it| panic!("it was taken: {it:?}")),
    };
    patiently(tried).await
}

/// Waits until a version is served by relabelling alone. The stored version's objects read as ever, the other's without
/// what they were called there.
async fn until_unconverted(there: &Api<DynamicObject>, made: &DynamicObject) {
    let relabelled = async || read(there).await.data["spec"] != made.data["spec"];
    comes_true("the end of conversion", relabelled).await;
}

async fn read(there: &Api<DynamicObject>) -> DynamicObject {
    patiently(async || there.get("one").await).await
}
