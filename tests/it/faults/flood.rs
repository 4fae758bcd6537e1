//! Somebody else floods the API server.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gastown_testbed::OperatorOptions;
use k8s_openapi::api::{
    core::v1::ConfigMap, flowcontrol::v1::PriorityLevelConfiguration, rbac::v1::ClusterRoleBinding,
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;
use tokio::task::JoinSet;

use super::{judge::judge, lasts, town::Town};

const TENANT: &str = "system:serviceaccount:default:flood";
/// Requests that the tenant has under way at a time.
const AT_A_TIME: usize = 100;

#[tokio::test]
async fn a_tenant_that_floods_the_api_server_moves_nothing() {
    // Who can't be asked in time lets nobody have anything.
    let flags = ["--disable-webhooks=false", "--reference-access=enforce"];
    let town = Town::new("flooded", &flags).await;
    let [a, b, c] = town.three().await;
    let hooks = town.register_webhooks(&a).await;
    let before = town.epochs().await;
    let tenant = tenant(&town).await;
    let load = town.load(2);
    load.reaches(5).await;
    let mut flood = JoinSet::new();
    let answers = Arc::new(AtomicUsize::new(0));
    for _ in 0..AT_A_TIME {
        let (tenant, answers) = (tenant.clone(), answers.clone());
        flood.spawn(async move {
            loop {
                let _ = tenant.list(&ListParams::default()).await;
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    assert_levels(&town).await;
    lasts(&[&a, &b, &c], 8, 60).await;
    flood.shutdown().await;
    println!("flooded: {} requests of the tenant were answered", answers.load(Ordering::Relaxed));
    let count = town.all_done(load).await;
    a.unregister_webhooks(town.bed, &hooks).await.unwrap();
    town.settled(&[&a, &b, &c]).await;
    assert_eq!(town.epochs().await, before, "no owner changed");
    judge(&town).await.holds("flooded", count);
}

/// Another account, and much that it may list.
async fn tenant(town: &Town) -> Api<ConfigMap> {
    let admin = town.bed.client("admin").await.unwrap();
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "flood"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": TENANT}],
    }))
    .unwrap();
    Api::all(admin.clone()).create(&PostParams::default(), &binding).await.unwrap();
    let all: Api<ConfigMap> = Api::namespaced(admin, "default");
    for number in 0..100 {
        let map = json!({"metadata": {"name": format!("flood-{number}")}, "data": {"text": "x".repeat(10_000)}});
        all.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    }
    let client = town.bed.client_in(TENANT, Some("system:serviceaccounts")).await.unwrap();
    Api::namespaced(client, "default")
}

/// What an operator asks for is served before what tenants ask for where somebody waits for it, and only there.
async fn assert_levels(town: &Town) {
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}-operator/leases", town.name);
    let (shard, house) =
        (&*format!("{leases}/gastown-shard-00"), &*format!("{leases}/gastown-housekeeper"));
    let reviews = "/apis/authorization.k8s.io/v1";
    let (others, own) = (
        &*format!("{reviews}/subjectaccessreviews"),
        &*format!("{reviews}/selfsubjectaccessreviews"),
    );
    let (elected, asked) = ("leader-election", "workload-high");
    let table = [
        ("GET", shard, elected, "who owns a shard"),
        ("PATCH", house, elected, "who keeps house"),
        ("GET", "/apis/gastown.gastown.io/v1beta1/rigs/none", asked, "what a Rig allows"),
        ("POST", others, asked, "whether somebody may have what a Polecat names"),
        ("POST", own, asked, "whether a Secret may be looked for"),
        ("GET", "/api/v1/namespaces/none/secrets/none", asked, "whether a Secret is there"),
        ("GET", "/api/v1/pods?limit=1", "global-default", "and nothing else"),
    ];
    for (method, path, want, because) in table {
        assert_eq!(level(town, method, path).await, want, "{because}");
    }
}

/// At which priority the API server serves an operator's request. What is sent is refused, after that was decided.
async fn level(town: &Town, method: &str, path: &str) -> String {
    let group = OperatorOptions::default().group;
    let client = town.bed.client_in(&town.user("a"), Some(&group)).await.unwrap();
    let request = http::Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json");
    let request = request.body(Vec::new().into()).unwrap();
    let answer = client.send(request).await.unwrap();
    let uid = answer.headers()["x-kubernetes-pf-prioritylevel-uid"].to_str().unwrap().to_owned();
    let levels: Api<PriorityLevelConfiguration> = Api::all(town.bed.client("admin").await.unwrap());
    let all = levels.list(&ListParams::default()).await.unwrap();
    let level = all.items.into_iter().find(|it| it.metadata.uid.as_ref() == Some(&uid));
    level.and_then(|it| it.metadata.name).unwrap()
}
