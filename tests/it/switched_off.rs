//! The operator was taken away and with it the conversion: nothing is written that would be stored cut, nothing is in the
//! way of a deletion, and all goes on when the operator is back.

use gastown::{
    api::v1alpha1::Polecat,
    conversion,
    kinds::Kind,
    manifests::{pods as generated, switched_off::NAME},
};
use gastown_testbed::{Operator, OperatorOptions, Options, Testbed, watch::await_condition};
use http::Method;
use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
        ValidatingWebhookConfiguration,
    },
    core::v1::Namespace,
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy},
    core::ObjectMeta,
    runtime::wait::conditions,
};
use serde_json::{Value, json};

use crate::{
    asking::{all_are_named, answered, comes_true, scraped},
    door::send,
    kubectl::Kubectl,
    samples,
    upgrade::{apply, as_in_the_original, patiently, refusal, switch},
    versions::{api, both, object},
    world::{PATIENCE, polecat},
};

const TOWN: &str = "town";
const BINDING: &str = "operator-is-here";

/// What the operator's installation gives its account, as every road of installing it does.
pub async fn install_operators_role(client: &Client) {
    let binding = json!({
        "metadata": {"name": BINDING},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "gastown-operator-manager-role"},
        "subjects": [{"kind": "ServiceAccount", "namespace": gastown::manifests::NAMESPACE,
            "name": gastown::manifests::SERVICE_ACCOUNT}],
    });
    let api: Api<ClusterRoleBinding> = Api::all(client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
}

pub async fn take_operator_away(client: &Client) {
    let api: Api<ClusterRoleBinding> = Api::all(client.clone());
    api.delete(BINDING, &DeleteParams::default()).await.unwrap();
}

/// Tries a write until it is refused, or until it is not: what a policy or a binding says takes effect a moment later, and
/// nothing tells when.
pub async fn until_refused(client: &Client, namespace: &str, want: bool) -> String {
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), namespace);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    answered(if want { "a refusal" } else { "the end of refusals" }, async || {
        let tried = polecats.create(&dry, &from(polecat("probe"))).await;
        let as_wanted = tried.is_err() == want;
        as_wanted.then(|| tried.err().map(|it| it.to_string()).unwrap_or_default())
    })
    .await
}

fn from(value: Value) -> Polecat {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn without_the_operator_nothing_is_written_and_everything_can_be_deleted() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    bed.install_crds().await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    let client = bed.client("user").await.unwrap();
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), TOWN);
    let kubectl = Kubectl::admin(&bed);
    bed.make_namespace(gastown::manifests::NAMESPACE, &[]).await.unwrap();
    kubectl.said(&["apply", "-f", "deploy/rbac/role.yaml"]).await;
    install_operators_role(&client).await;
    kubectl.said(&["apply", "-f", "deploy/policies/conversion.yaml"]).await;
    let create = |name: &'static str| {
        let polecats = polecats.clone();
        async move { polecats.create(&PostParams::default(), &from(polecat(name))).await }
    };
    until_refused(&client, TOWN, false).await;
    let kept = create("max").await.unwrap();
    create("gone").await.unwrap();

    take_operator_away(&client).await;
    let words = until_refused(&client, TOWN, true).await;
    assert!(words.contains("nobody converts") && words.contains(NAME), "{words}");
    let edit = Patch::Merge(json!({"spec": {"taskDescription": "other"}}));
    let refused = polecats.patch("max", &PatchParams::default(), &edit).await;
    assert!(refused.is_err_and(|it| it.to_string().contains("nobody converts")));
    let word = Patch::Merge(json!({"status": {"phase": "Done"}}));
    assert!(polecats.patch_status("max", &PatchParams::default(), &word).await.is_err());
    assert_eq!(polecats.get("max").await.unwrap(), kept, "and it is read as it was");

    // A deletion writes the object twice when it waits for dependents: its mark, and the release of the finalizer.
    let foreground = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    let uid = polecats.delete("gone", &foreground).await.unwrap();
    let uid = uid.left().and_then(|it| it.metadata.uid).unwrap_or_default();
    let gone = await_condition(polecats.clone(), "gone", conditions::is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await.expect("a deletion is held up").unwrap();

    install_operators_role(&client).await;
    until_refused(&client, TOWN, false).await;
    polecats.patch("max", &PatchParams::default(), &edit).await.unwrap();

    take_operator_away(&client).await;
    until_refused(&client, TOWN, true).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let uid = namespaces.get(TOWN).await.unwrap().metadata.uid.unwrap();
    namespaces.delete(TOWN, &DeleteParams::default()).await.unwrap();
    let gone = await_condition(namespaces, TOWN, conditions::is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await.expect("a namespace does not go").unwrap();
    bed.stop().await.unwrap();
}

/// With the operator's role there, and definitions without their conversion: an object that lies in the other version is read
/// relabelled, and neither it nor its status is written over what is stored.
#[tokio::test]
async fn what_was_relabelled_instead_of_converted_is_not_written() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    as_in_the_original(&bed).await;
    bed.make_namespace(TOWN, &[]).await.unwrap();
    bed.make_namespace(gastown::manifests::NAMESPACE, &[]).await.unwrap();
    let client = bed.client("user").await.unwrap();
    for kind in both() {
        let made = object(kind, "v1alpha1", "old", &samples::of(kind.kind)["spec"]);
        let there = api(&client, TOWN, kind, "v1alpha1");
        there.create(&PostParams::default(), &made).await.unwrap();
    }
    for kind in both() {
        apply(&bed, &kind.definition()).await;
        switch(&client, kind, &json!({"strategy": "None", "webhook": null})).await;
    }
    let kubectl = Kubectl::admin(&bed);
    kubectl.said(&["apply", "-f", "deploy/rbac/role.yaml"]).await;
    kubectl.said(&["apply", "-f", "deploy/policies/conversion.yaml"]).await;
    until_refused(&client, TOWN, true).await;
    install_operators_role(&client).await;
    until_refused(&client, TOWN, false).await;
    for kind in both() {
        only_its_own_version_writes_it(&client, kind).await;
    }
    bed.stop().await.unwrap();
}

/// Of an object that lies in v1alpha1 and of one that lies in v1beta1.
async fn only_its_own_version_writes_it(client: &Client, kind: &Kind) {
    let label = Patch::Merge(json!({"metadata": {"labels": {"edited": "true"}}}));
    let status = json!({"conditions": [{"type": "Seen", "status": "True", "reason": "Tested", "message": "",
        "lastTransitionTime": "2026-11-28T10:00:00Z"}]});
    let (params, status) = (PatchParams::default(), Patch::Merge(json!({"status": status})));
    let [old, new] = ["v1alpha1", "v1beta1"].map(|it| api(client, TOWN, kind, it));
    let made = object(kind, "v1beta1", "new", &in_hub(kind, &samples::of(kind.kind)["spec"]));
    patiently(async || new.create(&PostParams::default(), &made).await).await;
    for (own, other, name) in [(&old, &new, "old"), (&new, &old, "new")] {
        let before = patiently(async || own.get(name).await).await;
        let of_status = refusal(async || other.patch_status(name, &params, &status).await).await;
        let of_all = refusal(async || other.patch(name, &params, &label).await).await;
        for words in [of_status, of_all] {
            // Where the schema misses a field, that is said first.
            let told = words.contains("only relabelled");
            assert!(told || words.contains("is invalid"), "{} {name}: {words}", kind.kind);
            assert!(told || kind.kind != "Polecat", "its schema misses nothing: {words}");
        }
        let after = own.get(name).await.unwrap();
        assert_eq!(after.data, before.data, "{} {name} is whole", kind.kind);
    }
    new.patch_status("new", &params, &status).await.expect("it has its own shape");
}

/// A spec of v1alpha1 as v1beta1 says it.
fn in_hub(kind: &Kind, spec: &Value) -> Value {
    let mut out = String::new();
    let text = serde_json::to_string(&object(kind, "v1alpha1", "it", spec)).unwrap();
    let to = format!("{}/v1beta1", kind.group);
    conversion::convert(conversion::kinds(), &text, &to, &mut out).unwrap();
    serde_json::from_str::<Value>(&out).unwrap()["spec"].take()
}

/// Where nobody else brings the policies, as under OLM: for the namespace that the operator is in, whatever that is called.
#[tokio::test]
async fn an_operator_that_is_asked_to_applies_the_policies_itself_and_again_when_one_is_gone() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    bed.install_crds().await.unwrap();
    bed.make_namespace("elsewhere", &[]).await.unwrap();
    let client = bed.client("admin").await.unwrap();
    let options = OperatorOptions {
        namespace: "elsewhere".into(),
        group: "system:masters".into(),
        flags: vec!["--apply-policies".into()],
        ..OperatorOptions::default()
    };
    let operator = Operator::start(&bed, options.clone()).await.unwrap();
    operator.wait_ready().await.unwrap();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    let all_there = async || {
        let policies = policies.list(&ListParams::default()).await.unwrap().items.len();
        (policies, bindings.list(&ListParams::default()).await.unwrap().items.len()) == (4, 5)
    };
    comes_true("the policies and their bindings", all_there).await;
    let text = serde_json::to_string(&policies.get(NAME).await.unwrap()).unwrap();
    assert!(text.contains("authorizer.serviceAccount('elsewhere',"), "{text}");
    policies.delete(NAME, &DeleteParams::default()).await.unwrap();
    comes_true("the deleted policy to be there again", all_there).await;
    labelled_namespaces_have_a_door(&bed, &client).await;
    let events = bed.audit_events().await.unwrap();
    all_are_named(&events, &[&operator.name]);
    let applied =
        events.iter().find(|it| it.user == operator.name && it.name == NAME && it.is_write());
    let applied = &applied.expect("it was applied").user_agent;
    assert!(applied.ends_with("; policies)"), "{applied}");
    let lists = async || {
        let all = bed.audit_events().await.unwrap();
        let lists = all.iter().filter(|it| it.user == operator.name && it.verb == "list");
        lists.filter(|it| ["polecats", "pods"].contains(&it.resource.as_str())).count()
    };
    scraped(&operator, |it| it == "gastown_shards_owned 64").await;
    let before = lists().await;
    assert!(before > 0, "it lists them");
    operator.terminate(PATIENCE).await.unwrap();
    assert_eq!(lists().await, before, "one that was alone and goes lists nothing again by shards");

    // Policies need no webhooks, and what would lead to those stays away.
    policies.delete(NAME, &DeleteParams::default()).await.unwrap();
    let hooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    hooks.delete(generated::OF_NAMESPACES, &DeleteParams::default()).await.unwrap();
    let options = OperatorOptions {
        flags: ["--apply-policies", "--disable-webhooks"].map(Into::into).to_vec(),
        ..options
    };
    let operator = Operator::start(&bed, options).await.unwrap();
    comes_true("the policy of one that serves no webhooks", all_there).await;
    operator.terminate(PATIENCE).await.unwrap();
    assert!(hooks.get_opt(generated::OF_NAMESPACES).await.unwrap().is_none(), "it leads nowhere");
    bed.stop().await.unwrap();
}

/// What makes bad pods there is advised, by whoever converts; and again after the configuration was deleted.
async fn labelled_namespaces_have_a_door(bed: &Testbed, client: &Client) {
    bed.make_namespace(TOWN, &[]).await.unwrap();
    let label = json!({"metadata": {"labels": {generated::NAMESPACE_LABEL: "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(TOWN, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    let pod = json!({"containers": [{"name": "a", "image": "i", "securityContext": {"privileged": true}}]});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod},
    }});
    let path = format!("/apis/apps/v1/namespaces/{TOWN}/deployments?dryRun=All");
    let advised = async || {
        let answer = send(client, Method::POST, &path, &deployment).await;
        answer.warnings.iter().any(|it| it.contains("spec.template.spec.containers[0]"))
    };
    comes_true("a Deployment to be advised", advised).await;
    let hooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    hooks.delete(generated::OF_NAMESPACES, &DeleteParams::default()).await.unwrap();
    comes_true("the configuration to be there again", async || {
        hooks.get_opt(generated::OF_NAMESPACES).await.unwrap().is_some()
    })
    .await;
    wiped_bundles_come_back(&hooks).await;
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let it = mutating.get(generated::OF_NAMESPACES).await.unwrap();
    let lax = it.webhooks.unwrap().iter().all(|it| it.failure_policy.as_deref() == Some("Ignore"));
    assert!(lax, "what nobody takes away must hold up nobody");
}

/// Nobody else sees to these; and what they are asked for without is not seen, since they hold up nobody.
async fn wiped_bundles_come_back(hooks: &Api<ValidatingWebhookConfiguration>) {
    let bundles = |it: ValidatingWebhookConfiguration| -> Vec<_> {
        let all = it.webhooks.unwrap_or_default().into_iter();
        all.map(|it| it.client_config.ca_bundle.map(|it| it.0)).collect()
    };
    let mut wiped = hooks.get(generated::OF_NAMESPACES).await.unwrap();
    let before = bundles(wiped.clone());
    assert!(before.iter().all(Option::is_some), "they have some");
    for it in wiped.webhooks.iter_mut().flatten() {
        it.client_config.ca_bundle = None;
    }
    hooks.replace(generated::OF_NAMESPACES, &PostParams::default(), &wiped).await.unwrap();
    comes_true("wiped bundles to be there again", async || {
        bundles(hooks.get(generated::OF_NAMESPACES).await.unwrap()) == before
    })
    .await;
}

/// By the rights that the bundles ask for: enough to make each of the policies, and no other.
#[tokio::test]
async fn the_rights_to_apply_policies_are_for_these_alone() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let client = bed.client("admin").await.unwrap();
    let role =
        json!({"metadata": {"name": "policies"}, "rules": gastown::manifests::policies::rules()});
    let roles: Api<ClusterRole> = Api::all(client.clone());
    roles.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
    let binding = json!({
        "metadata": {"name": "policies"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "policies"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ada"}],
    });
    let api: Api<ClusterRoleBinding> = Api::all(client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    for file in ["deploy/policies/conversion.yaml", "deploy/policies/pods.yaml"] {
        let apply = ["--as=ada", "apply", "--server-side", "-f", file];
        comes_true(file, async || kubectl.run(&apply).await.status.success()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    for hooks in gastown::manifests::policies::hooks("elsewhere") {
        let path = folder.path().join("hooks.json");
        std::fs::write(&path, hooks.to_string()).unwrap();
        kubectl.said(&["--as=ada", "apply", "--server-side", "-f", path.to_str().unwrap()]).await;
    }
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client);
    let mut other = policies.get(NAME).await.unwrap();
    other.metadata = ObjectMeta { name: Some("other".into()), ..ObjectMeta::default() };
    let path = folder.path().join("other.json");
    std::fs::write(&path, serde_json::to_string(&other).unwrap()).unwrap();
    let apply = ["--as=ada", "apply", "--server-side", "-f", path.to_str().unwrap()];
    let refused = kubectl.run(&apply).await;
    let refused = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.contains("forbidden"), "{refused}");
    bed.stop().await.unwrap();
}
