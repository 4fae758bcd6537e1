//! Pods that the API server does not take, and pods that the operator has no images for: what is said, and that what was
//! refused begins by itself once the cause is gone.

use gastown::api::v1beta1::PolecatObject;
use gastown_testbed::{Operator, OperatorOptions};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    core::v1::{LimitRange, Pod, ResourceQuota, ServiceAccount},
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
    discovery::ApiResource,
};
use serde_json::{Value, json};

use super::{reads, row};
use crate::{
    asking::{answered, comes_true},
    world::{PATIENCE, World, message, own, until},
};

/// Writes of the status of one Polecat so far.
async fn status_writes(world: &World, name: &str) -> usize {
    let all = world.requests_of(&world.operator.name).await;
    all.iter().filter(|it| it.is_write() && it.resource == "polecats" && it.name == name).count()
}

async fn creates(world: &World, pod: &str) -> usize {
    let all = world.requests_of(&world.operator.name).await;
    // A create that is refused has no name in the audit log's reference: its namespace tells.
    let of = |it: &&gastown_testbed::audit::Event| it.name == pod || it.name.is_empty();
    all.iter().filter(|it| it.verb == "create" && it.resource == "pods").filter(of).count()
}

#[tokio::test]
async fn a_full_quota_is_waited_for_without_a_word_too_many_and_room_is_taken_at_once() {
    let world = World::new("quota-room", &[("testbed.gastown.io/run-for", "never")]).await;
    let quota = json!({"metadata": {"name": "one"}, "spec": {"hard": {"pods": "1"}}});
    let api: Api<ResourceQuota> = Api::namespaced(world.client.clone(), &world.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    let counted = |it: &ResourceQuota| {
        it.status.as_ref().and_then(|it| it.used.as_ref()).is_some_and(|it| it.contains_key("pods"))
    };
    until(&api, "one", "count", counted).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    world.create("nux", |_| {}).await;
    let want =
        ("Ready", "QuotaExceeded", "exceeded quota: one, requested: pods=1, limited: pods=1");
    reads(&world, &row("nux", Value::Null, want)).await;
    world.event("nux", "QuotaExceeded").await;
    let (tries, writes) =
        (creates(&world, "polecat-nux").await, status_writes(&world, "nux").await);
    // Tried again, in growing pauses, and nothing new to say.
    comes_true("more tries", async || creates(&world, "polecat-nux").await >= tries + 4).await;
    assert_eq!(status_writes(&world, "nux").await, writes, "the same words are not written again");
    // Room is taken at once, and not when the pause, by now 16 s, is over.
    let more = Patch::Merge(json!({"spec": {"hard": {"pods": "2"}}}));
    let raised = tokio::time::Instant::now();
    api.patch("one", &PatchParams::default(), &more).await.unwrap();
    world.condition("nux", "Ready", "True/PodRunning").await;
    let took = raised.elapsed();
    assert!(took < std::time::Duration::from_secs(12), "the change of the quota woke it: {took:?}");
    world.create("slit", |_| {}).await;
    world.condition("slit", "Ready", "False/QuotaExceeded").await;
    let end = json!({"metadata": {"annotations": {"testbed.gastown.io/run-for": "0s"}}});
    world.pods().patch("polecat-max", &PatchParams::default(), &Patch::Merge(end)).await.unwrap();
    world.condition("slit", "Ready", "True/PodRunning").await;
}

async fn namespace_label(world: &World, key: &str, value: Option<&str>) {
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(world.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
    api.patch(&world.namespace, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn what_a_limit_range_or_pod_security_or_a_policy_refuses_is_said_in_their_words() {
    let world = World::new("refusals", &[("testbed.gastown.io/run-for", "never")]).await;
    let range = json!({"metadata": {"name": "small"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}});
    let ranges: Api<LimitRange> = Api::namespaced(world.client.clone(), &world.namespace);
    ranges.create(&PostParams::default(), &serde_json::from_value(range).unwrap()).await.unwrap();
    world.create("range", |_| {}).await;
    let want =
        ("Ready", "LimitRangeRefused", "maximum cpu usage per Container is 1, but limit is 2");
    reads(&world, &row("range", Value::Null, want)).await;
    world.event("range", "LimitRangeRefused").await;
    ranges.delete("small", &DeleteParams::default()).await.unwrap();
    world.condition("range", "Ready", "True/PodRunning").await; // by itself, in growing pauses

    let backwards = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}});
    world.create("invalid", |it| it["spec"]["kubernetes"]["resources"] = backwards).await;
    let want = ("Ready", "PodInvalid", "must be less than or equal to cpu limit");
    reads(&world, &row("invalid", Value::Null, want)).await;
    world.event("invalid", "PodInvalid").await;

    quota_wants_more(&world).await;
    service_account_is_missing(&world).await;
    policy_refuses(&world).await;
    webhook_is_silent(&world).await;
    somebodys_webhooks(&world).await;
}

/// A quota on an amount that this Polecat does not state.
async fn quota_wants_more(world: &World) {
    let quota =
        json!({"metadata": {"name": "memory"}, "spec": {"hard": {"requests.memory": "50Gi"}}});
    let api: Api<ResourceQuota> = Api::namespaced(world.client.clone(), &world.namespace);
    api.create(&PostParams::default(), &serde_json::from_value(quota).unwrap()).await.unwrap();
    until_refused(world, "probe", "failed quota").await;
    let only_cpu = json!({"requests": {"cpu": "100m"}});
    world.create("unmet", |it| it["spec"]["kubernetes"]["resources"] = only_cpu).await;
    let want = ("Ready", "QuotaUnmet", "must specify requests.memory for: claude");
    reads(world, &row("unmet", Value::Null, want)).await;
    world.event("unmet", "QuotaUnmet").await;
    api.delete("memory", &DeleteParams::default()).await.unwrap();
    world.condition("unmet", "Ready", "True/PodRunning").await;
}

/// Only v1beta1 can name one.
async fn service_account_is_missing(world: &World) {
    let api: Api<PolecatObject> = Api::namespaced(world.client.clone(), &world.namespace);
    let object = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": "nobody"},
        "spec": {"rig": "greeter", "desiredState": "Working", "agent": {"serviceAccountName": "ada"}, "repository": {
            "url": "git@git.example.com:town/greeter.git", "secretRef": {"name": "git-key"}}}});
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let want = ("Ready", "ServiceAccountMissing", "serviceaccount \"ada\" not found");
    reads(world, &row("nobody", Value::Null, want)).await;
    world.event("nobody", "ServiceAccountMissing").await;
    let api: Api<ServiceAccount> = Api::namespaced(world.client.clone(), &world.namespace);
    let ada = serde_json::from_value(json!({"metadata": {"name": "ada"}})).unwrap();
    api.create(&PostParams::default(), &ada).await.unwrap();
    world.condition("nobody", "Ready", "True/PodRunning").await;
}

/// A policy of the cluster: its words are shown, harmless, and what it refused begins once it is gone.
async fn policy_refuses(world: &World) {
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "refusals-policy"}, "spec": {"failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"refusals": "on"}}},
            "validations": [{"expression": "object.metadata.name != 'polecat-policy'", "message": "not\u{7} on a Friday"},
                // As OpenShift's own admission says it.
                {"expression": "object.metadata.name != 'polecat-scc'", "message": "unable to validate against any security context constraint: [provider restricted-v2: .spec.volumes[0]: Invalid value: not allowed]"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "refusals-policy"},
        "spec": {"policyName": "refusals-policy", "validationActions": ["Deny"]}});
    namespace_label(world, "refusals", Some("on")).await;
    let made: Vec<(Api<DynamicObject>, String)> = [policy, binding]
        .into_iter()
        .map(|it| {
            let it: DynamicObject = serde_json::from_value(it).unwrap();
            let types = it.types.clone().unwrap();
            let kind = kube::core::GroupVersionKind::try_from(&types).unwrap();
            let mut resource = ApiResource::from_gvk(&kind);
            if kind.kind.ends_with("Policy") {
                resource.plural = "validatingadmissionpolicies".into();
            }
            (Api::all_with(world.client.clone(), &resource), serde_json::to_string(&it).unwrap())
        })
        .collect();
    for (api, text) in &made {
        api.create(&PostParams::default(), &serde_json::from_str(text).unwrap()).await.unwrap();
    }
    until_refused(world, "polecat-policy", "not").await;
    world.create("scc", |_| {}).await;
    let want =
        ("Ready", "SecurityContextConstraintRefused", "provider restricted-v2: .spec.volumes[0]");
    reads(world, &row("scc", Value::Null, want)).await;
    world.event("scc", "SecurityContextConstraintRefused").await;
    world.create("policy", |_| {}).await;
    let want = ("Ready", "AdmissionRefused", "ValidatingAdmissionPolicy 'refusals-policy'");
    let stuck = reads(world, &row("policy", Value::Null, want)).await;
    let said = message(&stuck, "Ready");
    assert!(said.contains("on a Friday") && !said.contains(char::is_control), "{said}");
    for (api, _) in &made {
        api.delete("refusals-policy", &DeleteParams::default()).await.unwrap();
    }
    for name in ["policy", "scc"] {
        world.condition(name, "Ready", "True/PodRunning").await;
    }
}

/// Nobody listens where this webhook should be, and without it no pod is taken.
async fn webhook_is_silent(world: &World) {
    let webhook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "refusals-silent"}, "webhooks": [{"name": "silent.example.com", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": 2,
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "namespaceSelector": {"matchLabels": {"refusals": "on"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}]});
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(world.client.clone());
    let webhook = serde_json::from_value(webhook).unwrap();
    webhooks.create(&PostParams::default(), &webhook).await.unwrap();
    until_refused(world, "probe", "failed calling webhook").await;
    world.create("unheard", |_| {}).await;
    let want = ("Ready", "AdmissionUnavailable", "failed calling webhook \"silent.example.com\"");
    reads(world, &row("unheard", Value::Null, want)).await;
    world.event("unheard", "AdmissionUnavailable").await;
    webhooks.delete("refusals-silent", &DeleteParams::default()).await.unwrap();
    world.condition("unheard", "Ready", "True/PodRunning").await;
}

/// Webhooks of somebody else: one loosens a pod that fits the strictest level, so that Pod Security refuses it; one refuses.
async fn somebodys_webhooks(world: &World) {
    let somebody = somebody(world).await;
    let hook = |path: &str, pod: &str| {
        let authority = k8s_openapi::ByteString(somebody.authority.clone().into_bytes());
        json!({"name": format!("{path}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "clientConfig": {"url": format!("{}/{path}", somebody.webhook), "caBundle": authority},
            "namespaceSelector": {"matchLabels": {"refusals": "on"}},
            "matchConditions": [{"name": "one", "expression": format!("object.metadata.name == '{pod}'")}],
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]})
    };
    let named =
        |hook: Value| json!({"metadata": {"name": "refusals-somebody"}, "webhooks": [hook]});
    let loosens: Api<MutatingWebhookConfiguration> = Api::all(world.client.clone());
    let refuses: Api<ValidatingWebhookConfiguration> = Api::all(world.client.clone());
    let post = PostParams::default();
    let loosen = serde_json::from_value(named(hook("loosen", "polecat-loosened"))).unwrap();
    loosens.create(&post, &loosen).await.unwrap();
    let refuse = serde_json::from_value(named(hook("refuse", "polecat-unwanted"))).unwrap();
    refuses.create(&post, &refuse).await.unwrap();
    namespace_label(world, "pod-security.kubernetes.io/enforce", Some("restricted")).await;
    until_refused(world, "probe", "violates PodSecurity").await;
    until_dry_run(world, &fitting("polecat-loosened"), "allowPrivilegeEscalation").await;
    until_dry_run(world, &fitting("polecat-unwanted"), "denied the request").await;

    world.create("unwanted", |_| {}).await;
    let words = "admission webhook \"refuse.example.com\" denied the request: refused by somebody";
    reads(world, &row("unwanted", Value::Null, ("Ready", "AdmissionRefused", words))).await;
    world.event("unwanted", "AdmissionRefused").await;
    world.create("loosened", |_| {}).await;
    let words = "allowPrivilegeEscalation != false (container \"claude\"";
    reads(world, &row("loosened", Value::Null, ("Ready", "PodSecurityRefused", words))).await;
    world.event("loosened", "PodSecurityRefused").await;
    // Nobody touches it: agent pods fit the strictest level.
    world.create("fits", |_| {}).await;
    world.condition("fits", "Ready", "True/PodRunning").await;

    loosens.delete("refusals-somebody", &DeleteParams::default()).await.unwrap();
    refuses.delete("refusals-somebody", &DeleteParams::default()).await.unwrap();
    for name in ["unwanted", "loosened"] {
        world.condition(name, "Ready", "True/PodRunning").await;
    }
}

/// Serves `/refuse` and `/loosen`, and is no operator.
async fn somebody(world: &World) -> Operator {
    let program = std::env::current_exe().unwrap();
    let program = program.ancestors().nth(2).unwrap().join("examples/refuser");
    let options = OperatorOptions {
        program: Some(program),
        name: "somebody".into(),
        namespace: own(&world.namespace),
        ..OperatorOptions::default()
    };
    let operator = Operator::start(world.bed, options).await.unwrap();
    operator.wait_ready().await.unwrap();
    operator
}

/// A pod that fits the strictest level.
fn fitting(name: &str) -> Pod {
    let pod = json!({"metadata": {"name": name}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "claude", "image": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}});
    serde_json::from_value(pod).unwrap()
}

#[tokio::test]
async fn an_operator_without_images_says_which_is_missing_and_begins_when_it_has_them() {
    let script = [("testbed.gastown.io/run-for", "never")];
    let world = World::with_flags("no-images", &script, &["--agent-image="]).await;
    world.create("agentless", |_| {}).await;
    let want = ("Ready", "AgentImageNotSet", "make agent-image");
    reads(&world, &row("agentless", Value::Null, want)).await;
    world.event("agentless", "AgentImageNotSet").await;
    world.create("own-agent", |it| it["spec"]["kubernetes"]["image"] = json!("a:1")).await;
    world.condition("own-agent", "Ready", "True/PodRunning").await;

    // Replaced by one that knows an agent's image, but none of the runner.
    world.operator.terminate(PATIENCE).await.unwrap();
    let second = world.another_with("second", &["--runner-image="]).await;
    let want = ("Ready", "RunnerImageNotSet", "--runner-image");
    reads(&world, &row("agentless", Value::Null, want)).await;
    world.event("agentless", "RunnerImageNotSet").await;
    second.terminate(PATIENCE).await.unwrap();
    let _third = world.another_with("third", &[]).await;
    world.condition("agentless", "Ready", "True/PodRunning").await;
}

/// Waits until a dry run of a pod of this name is refused: a policy takes effect a moment after it is stored.
async fn until_refused(world: &World, name: &str, words: &str) -> String {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name},
        "spec": {"containers": [{"name": "a", "image": "a"}]}}))
    .unwrap();
    until_dry_run(world, &pod, words).await
}

async fn until_dry_run(world: &World, pod: &Pod, words: &str) -> String {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    answered(words, async || match world.pods().create(&dry, pod).await {
        Err(kube::Error::Api(it)) if it.message.contains(words) => Some(it.message),
        _ => None,
    })
    .await
}
