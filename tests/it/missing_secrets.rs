//! A word on Secrets that are missing: with the sample Role, the line that makes each; without it, nothing, and no request that
//! would be refused.

use std::{fs, path::Path};

use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    core::v1::Secret,
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::{
    asking::comes_true,
    door::{Answer, Door},
    world::{World, polecat},
};

const TOWN: &str = "missing-secrets";
const ROLE: &str = "deploy/optional/missing-secrets.yaml";

fn lines(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.code, 201, "{}", answer.body);
    answer.warnings.iter().map(String::as_str).filter(|it| it.contains("create secret")).collect()
}

/// Requests of the operator for this resource.
async fn asked(world: &World, resource: &str) -> usize {
    let all = world.requests_of(&world.operator.name).await;
    all.iter().filter(|it| it.resource == resource).count()
}

/// Applies the sample, for the operator of this test.
async fn opt_in(world: &World) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(ROLE)).unwrap();
    let [role, mut binding]: [Value; 2] =
        serde_saphyr::from_multiple(&text).unwrap().try_into().unwrap();
    assert_eq!(binding["subjects"][0]["name"], gastown::manifests::SERVICE_ACCOUNT);
    let user = &world.operator.name;
    binding["subjects"] =
        json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]);
    let params = PostParams::default();
    let roles: Api<Role> = Api::namespaced(world.client.clone(), TOWN);
    roles.create(&params, &serde_json::from_value(role).unwrap()).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(world.client.clone(), TOWN);
    bindings.create(&params, &serde_json::from_value(binding).unwrap()).await.unwrap();
    let review: SubjectAccessReview =
        serde_json::from_value(json!({"metadata": {}, "spec": {"user": user,
        "resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": TOWN}}}))
        .unwrap();
    let reviews: Api<SubjectAccessReview> = Api::all(world.client.clone());
    comes_true("the Role to be heeded", async || {
        reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
    })
    .await;
}

#[tokio::test]
async fn a_missing_secret_is_told_with_its_line_where_a_role_lets_the_operator_look() {
    let door = Door::open(TOWN, &[]).await;
    let world = &door.world;
    let before = asked(world, "selfsubjectaccessreviews").await;
    let mut asks = polecat("max");
    asks["spec"]["kubernetes"]["gitSecretRef"]["name"] = json!("first");
    asks["spec"]["kubernetes"]["apiKeySecretRef"]["name"] = json!("second");
    for _ in 0..3 {
        assert_eq!(lines(&door.dry_run(&asks).await), [""; 0], "no Role lets it look");
    }
    let after = asked(world, "selfsubjectaccessreviews").await;
    assert_eq!(after, before + 2, "once for each of both: it knows for a minute");
    assert_eq!(asked(world, "secrets").await, 0, "nothing that would be refused");

    opt_in(world).await;
    let mut asks = polecat("nux");
    let spec = asks["spec"]["kubernetes"].as_object_mut().unwrap();
    spec.insert("gitRepository".into(), json!("https://git.example.com:8443/town/greeter.git"));
    spec.insert("gitSecretRef".into(), json!({"name": "git-token"}));
    spec.insert("apiKeySecretRef".into(), json!({"name": "agent-key", "key": "api-key"}));
    let told = door.dry_run(&asks).await;
    let git = "Secret git-token is missing, and the pod waits for it: kubectl -n missing-secrets create secret generic git-token \
               --from-file=token=FILE --from-literal=host=git.example.com:8443 (spec.kubernetes.gitSecretRef)";
    let agent = "Secret agent-key is missing, and the pod waits for it: kubectl -n missing-secrets create secret generic \
                 agent-key --from-file=api-key=FILE (spec.kubernetes.apiKeySecretRef)";
    assert_eq!(lines(&told), [git, agent]);

    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), TOWN);
    let made = json!({"metadata": {"name": "git-token"}, "stringData": {"token": "t"}});
    let made = serde_json::from_value(made).unwrap();
    secrets.create(&PostParams::default(), &made).await.unwrap();
    assert_eq!(lines(&door.dry_run(&asks).await), [agent], "it is there now");
    asks["spec"]["kubernetes"]["gitRepository"] = json!("git@git.example.com:town/greeter.git");
    asks["spec"]["kubernetes"]["gitSecretRef"]["name"] = json!("git-ssh");
    let told = door.dry_run(&asks).await;
    let ssh = "create secret generic git-ssh --from-file=ssh-privatekey=FILE (";
    assert!(lines(&told)[0].contains(ssh), "{:?}", told.warnings);
    let log = fs::read_to_string(&world.operator.log).unwrap();
    assert!(!log.contains("git-token"), "and nothing of it is logged");
    door.close().await;
}
