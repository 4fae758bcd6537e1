//! Metrics over HTTPS: read by who has a token and the right to, and by nobody else. The tokens are real ones of service
//! accounts, and the API server says whose they are and what they may.

use gastown::{cluster::meters::table, manifests::METRICS_READER};
use gastown_testbed::http_get;
use http::{Request, StatusCode, header};
use k8s_openapi::api::{
    authentication::v1::TokenRequest, core::v1::ServiceAccount, rbac::v1::ClusterRoleBinding,
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use crate::{asking::comes_true, kubectl::Kubectl, world::World};

const HOME: &str = "metrics-door";

/// A client without credentials that believes in the operator's certificate alone.
fn caller(world: &World) -> Client {
    let operator = &world.operator;
    let url = operator.metrics.replace("http://", "https://");
    let mut config = kube::Config::new(url.trim_end_matches("/metrics").parse().unwrap());
    let authorities = gastown::tls::check::certificates(operator.authority.as_bytes()).unwrap();
    config.root_cert = Some(authorities.iter().map(|it| it.to_vec()).collect());
    let webhook: http::Uri = operator.webhook.parse().unwrap();
    config.tls_server_name = webhook.host().map(Into::into);
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// The answer to a scrape with a token, or with none.
async fn scrape(client: &Client, token: Option<&str>) -> (StatusCode, String) {
    let mut request = Request::get("/metrics");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let answer = client.send(request.body(kube::client::Body::empty()).unwrap()).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect_bytes().await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A token of a new service account.
async fn token(world: &World, name: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(world.client.clone(), HOME);
    let account = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let wanted: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let made = accounts.create_token_request(name, &PostParams::default(), &wanted).await.unwrap();
    made.status.unwrap().token.unwrap()
}

#[tokio::test]
async fn metrics_are_read_by_who_may_and_by_nobody_else() {
    let world = World::with_flags(HOME, &[], &["--metrics-secure"]).await;
    Kubectl::admin(world.bed).said(&["apply", "-f", "deploy/rbac/people.yaml"]).await;
    let client = caller(&world);
    comes_true("the metrics to be served", async || {
        let log = std::fs::read_to_string(&world.operator.log).unwrap_or_default();
        log.contains("Serving metrics server")
    })
    .await;

    let (status, said) = scrape(&client, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "without a token: {said}");
    assert!(said.contains("Authorization: Bearer"), "{said}");
    comes_true("the operator to be able to ask", async || {
        scrape(&client, Some("forged")).await.0 == StatusCode::UNAUTHORIZED
    })
    .await;
    let stranger = token(&world, "stranger").await;
    let (status, said) = scrape(&client, Some(&stranger)).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "with a token, and without the right: {said}");
    assert!(said.contains("stranger may not get /metrics"), "{said}");
    assert!(said.contains(METRICS_READER), "what to do: {said}");

    let reader = token(&world, "reader").await;
    let bindings: Api<ClusterRoleBinding> = Api::all(world.client.clone());
    let binding = json!({
        "metadata": {"name": HOME},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": METRICS_READER},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": HOME}],
    });
    bindings
        .create(&PostParams::default(), &serde_json::from_value(binding).unwrap())
        .await
        .unwrap();
    // The authorizer follows by watch, and a refusal is kept for ten seconds.
    comes_true("the reader to be let in", async || {
        let (status, text) = scrape(&client, Some(&reader)).await;
        status == StatusCode::OK && text.contains("rest_client_requests_total{")
    })
    .await;
    let reviews = |text: &str| {
        let line = text.lines().find(|it| it.contains("tokenreviews")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = reviews(&scrape(&client, Some(&reader)).await.1);
    for _ in 0..5 {
        assert_eq!(scrape(&client, Some(&reader)).await.0, StatusCode::OK);
    }
    let after = reviews(&scrape(&client, Some(&reader)).await.1);
    assert!(after <= before + 1, "the API server is not asked for every scrape: {before}, {after}");
    let exposed = table::families(&scrape(&client, Some(&reader)).await.1);
    let strays: Vec<_> = table::strays(&exposed).collect();
    assert!(strays.is_empty(), "docs/metrics.md does not tell of them: {strays:?}");
    let always = table::TABLE.iter().filter(|it| it.labels.is_empty());
    let silent: Vec<_> = always.filter(|it| !exposed.contains_key(it.name)).collect();
    assert!(silent.is_empty(), "docs/metrics.md tells of them: {silent:?}");
    let plain = http_get(&world.operator.metrics).await;
    assert!(plain.is_err() || plain.is_ok_and(|it| it.0 != 200), "plain HTTP is not spoken");
    let log = std::fs::read_to_string(&world.operator.log).unwrap();
    assert!(!log.contains(&reader) && !log.contains(&stranger), "tokens are in the log");
    bindings.delete(HOME, &DeleteParams::default()).await.unwrap();
}
