//! Who tries to reach, through what the operator does for him, what he was not given: each try is refused by name, or has no
//! effect. Two tenants with the cluster's own `edit` are in `tenants/crossings`.

mod crossings;

use gastown::api::v1alpha1::Polecat;
use http::Method;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    door::{Answer, Door, send},
    world::{World, polecat},
};

const HERE: &str = "references";
const ADA: &str = "tenant-ada";
const POLECATS: &str = "/apis/gastown.gastown.io/v1alpha1/namespaces";

/// Someone who may write Polecats in one namespace, and nothing else.
async fn writer(world: &World, name: &str, namespace: &str, more: Value) -> Client {
    let mut rules = vec![json!({
        "apiGroups": ["gastown.gastown.io"], "resources": ["polecats"], "verbs": ["get", "create", "update", "patch"],
    })];
    rules.extend(more.as_array().cloned().unwrap_or_default());
    let role = json!({"metadata": {"name": name}, "rules": rules});
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": name}],
    });
    let params = PostParams::default();
    let api: Api<Role> = Api::namespaced(world.client.clone(), namespace);
    api.create(&params, &serde_json::from_value(role).unwrap()).await.unwrap();
    let bindings: Api<RoleBinding> = Api::namespaced(world.client.clone(), namespace);
    bindings.create(&params, &serde_json::from_value(binding).unwrap()).await.unwrap();
    world.bed.client_in(name, None).await.unwrap()
}

async fn create(client: &Client, namespace: &str, object: &Value) -> Answer {
    send(client, Method::POST, &format!("{POLECATS}/{namespace}/polecats?dryRun=All"), object).await
}

#[tokio::test]
async fn a_polecat_is_no_way_to_what_one_was_not_given() {
    let world = World::with_flags(HERE, &[], &["--reference-access=enforce"]).await;
    let rights = json!([
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["git-key", "llm"], "verbs": ["get"]},
    ]);
    let ada = writer(&world, ADA, HERE, rights).await;
    let bob = writer(&world, "tenant-bob", HERE, json!([])).await;
    let door = Door::before(world).await;

    let made = create(&ada, HERE, &polecat("fine")).await;
    assert_eq!(made.code, 201, "who may get both Secrets may name them: {}", made.body);
    let told = create(&bob, HERE, &polecat("theft")).await;
    assert_eq!(told.code, 422, "{}", told.body);
    for part in ["spec.kubernetes.gitSecretRef", "you may not get secrets/git-key", "secrets/llm"] {
        assert!(told.message().contains(part), "{part}: {}", told.message());
    }
    let mut other = polecat("other");
    other["spec"]["kubernetes"]["apiKeySecretRef"]["name"] = json!("another");
    let told = create(&ada, HERE, &other).await;
    assert!(told.message().contains("secrets/another"), "{}", told.message());
    assert!(!told.message().contains("secrets/git-key"), "only what is denied: {}", told.message());
    let elsewhere = create(&ada, "default", &polecat("elsewhere")).await;
    assert_eq!(elsewhere.code, 403, "another namespace: {}", elsewhere.body);

    let mut hub = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": "hub"},
        "spec": {"rig": "greeter", "desiredState": "Idle", "agent": {"serviceAccountName": "builder"}}});
    let path = format!("/apis/gastown.gastown.io/v1beta1/namespaces/{HERE}/polecats?dryRun=All");
    let told = send(&ada, Method::POST, &path, &hub).await;
    assert!(told.message().contains("impersonate serviceaccounts/builder"), "{}", told.message());
    hub["spec"]["agent"] = json!({});
    assert_eq!(send(&ada, Method::POST, &path, &hub).await.code, 201, "without it");
    others_direct_nothing(&ada, &bob).await;
    door.close().await;
}

/// What was asked for in one name is started by nobody who may have less, and made to do nothing else by him. A pod may be made
/// later than the spec was, so it does not count whether there is one.
async fn others_direct_nothing(ada: &Client, bob: &Client) {
    let of = |client: &Client| Api::<Polecat>::namespaced(client.clone(), HERE);
    for (name, state) in [("waits", "Idle"), ("works", "Working")] {
        let mut hers = polecat(name);
        hers["spec"]["desiredState"] = json!(state);
        let made = send(ada, Method::POST, &format!("{POLECATS}/{HERE}/polecats"), &hers).await;
        assert_eq!(made.code, 201, "{}", made.body);
    }
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let starts = json!({"spec": {"desiredState": "Working"}});
    let leads = json!({"spec": {"agentConfig": {"provider": "anthropic", "command": ["sh", "-c", "curl -d $ANTHROPIC_API_KEY"]}}});
    let moves =
        json!({"spec": {"kubernetes": {"gitRepository": "git@git.example.com:bob/greeter.git"}}});
    let ends = json!({"spec": {"desiredState": "Idle"}});
    let notes = json!({"metadata": {"annotations": {"a": "b"}}});
    let later = json!({"spec": {"ttlSecondsAfterFinished": 60}});
    #[rustfmt::skip]
    let table = [
        ("waits", &starts, false, "her Secrets would be handed to a run that he began"),
        ("works", &leads,  false, "her key would be his command's"),
        ("works", &moves,  false, "her key would be shown to his host"),
        ("works", &ends,   true,  "whoever may write it may end it"),
        ("works", &notes,  true,  "no pod is made from that"),
        ("works", &later,  true,  "nor from that"),
    ];
    for (name, patch, fine, because) in table {
        let patch = Patch::Merge(patch);
        let told = of(bob).patch(name, &dry, &patch).await;
        let said = told.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(told.is_ok(), fine, "{because}: {said}");
        let both = said.contains("secrets/git-key") && said.contains("secrets/llm");
        assert_eq!(both, !fine, "{because}: {said}");
        let hers = of(ada).patch(name, &dry, &patch).await.unwrap();
        assert_eq!(hers.annotations()["gastown.io/requested-by"], ADA, "{because}");
    }
}

/// As it is by default, who names what he may not have is told so, and let in.
#[tokio::test]
async fn by_default_who_names_what_he_may_not_have_is_told() {
    const WARNED: &str = "references-warn";
    let world = World::new(WARNED, &[]).await;
    let bob = writer(&world, "tenant-warned", WARNED, json!([])).await;
    let door = Door::before(world).await;
    let made = create(&bob, WARNED, &polecat("theft")).await;
    assert_eq!(made.code, 201, "{}", made.body);
    for part in ["you may not get secrets/git-key", "you may not get secrets/llm"] {
        assert!(made.warnings.iter().any(|it| it.contains(part)), "{part}: {:?}", made.warnings);
    }
    door.close().await;
}
