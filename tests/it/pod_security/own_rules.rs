//! Our own rules, and what a TLS policy wants, as the floor says them in CEL, against the same rules judged here: for every rule
//! and kind of container values that it refuses and values that it lets in. Every value gets a verdict, or is listed as impossible.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use gastown::{
    admission::pods::{RuntimeClasses, Subject, approved, cel, ours},
    domain::tls_policy,
    manifests::pods as generated,
};
use gastown_testbed::{Node, Options, Testbed};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use super::{
    AT_ONCE,
    cells::{Base, CONTAINERS, Case, Shape, pod_case},
    looked_into, refused_by_the_floor, send,
};
use crate::asking::comes_true;

/// Where pods are held to our rules, and where they are a Polecat's under a TLS policy as well.
const OURS: &str = "floor-ours";
const FIPS: &str = "floor-fips";
/// What the API drops before a policy sees it, so that only the webhook can refuse it.
const UNSEEN: [&str; 1] = ["ours.unknownFields"];

/// A runtime class that there is: an API server takes no pod that names one which there is not.
const SANDBOX: &str = "sandbox";

/// What no ephemeral container may have, so that no verdict on it can be had.
const NOT_FOR_EPHEMERAL: [&str; 2] = ["ours.subPathExpr", "ours.resourceClaims"];

/// Values of one rule: merge patches of a container, or of the spec.
struct Rule {
    id: &'static str,
    of_pod: bool,
    refuse: Vec<Value>,
    pass: Vec<Value>,
}

fn of_containers(id: &'static str, refuse: Vec<Value>, pass: Vec<Value>) -> Rule {
    Rule { id, of_pod: false, refuse, pass }
}

fn of_pods(id: &'static str, refuse: Vec<Value>, pass: Vec<Value>) -> Rule {
    Rule { id, of_pod: true, refuse, pass }
}

fn mounted(more: &Value) -> Value {
    let mut mount = json!({"name": "v", "mountPath": "/v"});
    json_patch::merge(&mut mount, more);
    json!({"volumeMounts": [mount], "env": [{"name": "A", "value": "b"}]})
}

#[rustfmt::skip]
fn rules() -> Vec<Rule> {
    let context = |it: Value| json!({"securityContext": it});
    let tolerates = |it: Value| json!({"tolerations": [{"key": "first", "operator": "Exists"}, it]});
    let token = |audience: Value| json!({"volumes": [{"name": "v", "projected": {"sources": [
        {"downwardAPI": {}}, {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600, "audience": audience}}]}}]});
    let claims = |it: Value| json!({"resources": {"claims": it}});
    vec![
        of_pods("ours.hostAliases", vec![json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]})], vec![json!({}), json!({"hostAliases": null})]),
        of_containers("ours.mountPropagation", vec![mounted(&json!({"mountPropagation": "HostToContainer"}))],
            vec![mounted(&json!({})), mounted(&json!({"mountPropagation": "None"}))]),
        of_pods("ours.nodeName", vec![json!({"nodeName": "n"})], vec![json!({"nodeName": ""}), json!({"nodeName": null})]),
        of_pods("ours.priorityClassName", ["system-node-critical", "system-cluster-critical"].map(|it| json!({"priorityClassName": it})).to_vec(),
            vec![json!({"priorityClassName": ""}), json!({})]),
        of_containers("ours.resourceClaims", vec![claims(json!([{"name": "c"}]))], vec![claims(json!(null)), json!({"resources": {}})]),
        of_containers("ours.root", vec![context(json!({"runAsUser": 0})), context(json!({"runAsNonRoot": false}))],
            vec![context(json!({"runAsUser": 1})), context(json!({"runAsNonRoot": true})), context(json!({"runAsUser": null}))]),
        of_pods("ours.root", vec![context(json!({"runAsUser": 0})), context(json!({"runAsNonRoot": false})),
                json!({"securityContext": {"runAsNonRoot": null}, "containers": [{"name": "main", "image": "i"}]})],
            vec![context(json!({"runAsUser": 7})), context(json!({"runAsNonRoot": true}))]),
        of_pods("ours.runtimeClassName", vec![json!({"runtimeClassName": SANDBOX})], vec![json!({}), json!({"runtimeClassName": null})]),
        of_pods("ours.shareProcessNamespace", vec![json!({"shareProcessNamespace": true})], vec![json!({"shareProcessNamespace": false}), json!({})]),
        of_containers("ours.subPathExpr", vec![mounted(&json!({"subPathExpr": "$(A)"}))], vec![mounted(&json!({"subPathExpr": ""})), mounted(&json!({}))]),
        of_pods("ours.tokenAudience", vec![token(json!("vault"))], vec![token(json!("")), token(json!(null))]),
        of_pods("ours.tolerations",
            vec![tolerates(json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"})), tolerates(json!({"operator": "Exists"})),
                tolerates(json!({"key": "node-role.kubernetes.io/master", "operator": "Equal", "value": "", "effect": "NoSchedule"})), tolerates(json!({"key": "", "operator": "Exists"}))],
            vec![tolerates(json!({"key": "agents", "operator": "Equal", "value": "yes"})), json!({})]),
        of_pods("ours.windows", vec![json!({"os": {"name": "windows"}, "hostUsers": null, "securityContext": null,
                "containers": [{"name": "main", "image": "i", "securityContext": {"runAsNonRoot": true}}]}),
            context(json!({"windowsOptions": {"runAsUserName": "a"}})), context(json!({"windowsOptions": {}}))],
            vec![json!({"os": {"name": "linux"}}), json!({})]),
        of_containers("ours.windows", vec![context(json!({"windowsOptions": {"runAsUserName": "a"}})), context(json!({"windowsOptions": {}}))],
            vec![context(json!({"windowsOptions": null}))]),
    ]
}

/// A container that finds all that a TLS policy wants, but for what an edit changes.
fn approved_but(edit: impl FnOnce(&mut Vec<Value>, &mut Value)) -> Value {
    let each = tls_policy::VARIABLES.into_iter();
    let mut env: Vec<_> = each.map(|(name, it)| json!({"name": name, "value": it})).collect();
    let mut mount = json!({"name": tls_policy::MOUNT.volume, "mountPath": tls_policy::MOUNT.path});
    edit(&mut env, &mut mount);
    json!({"env": env, "volumeMounts": [mount]})
}

fn tls() -> Rule {
    let from = json!({"fieldRef": {"fieldPath": "metadata.name"}});
    let refuse = vec![
        json!({}),
        approved_but(|env, _| _ = env.pop()),
        approved_but(|env, _| env[0]["value"] = json!("fips140=off")),
        approved_but(|env, _| env.push(env[0].clone())),
        approved_but(|env, _| env[0] = json!({"name": env[0]["name"], "valueFrom": from})),
        approved_but(|_, mount| mount["mountPath"] = json!("/elsewhere")),
        approved_but(|_, mount| mount["name"] = json!("v")),
    ];
    let more = json!({"name": "MORE", "value": "x"});
    let pass = vec![
        approved_but(|_, _| {}),
        approved_but(|env, _| env.insert(0, more)),
        approved_but(|_, mount| mount["readOnly"] = json!(true)),
    ];
    of_containers("ours.tlsPolicy", refuse, pass)
}

/// What every pod here has: volumes for those that mount some, and where it is a Polecat's under a policy, what that wants.
fn based(mut pod: Value, namespace: &str) -> Value {
    let spec = &mut pod["spec"];
    spec["volumes"] =
        json!([{"name": "v", "emptyDir": {}}, {"name": tls_policy::MOUNT.volume, "emptyDir": {}}]);
    spec["resourceClaims"] = json!([{"name": "c", "resourceClaimName": "c"}]);
    spec["automountServiceAccountToken"] = json!(false);
    if namespace == FIPS {
        json_patch::merge(&mut spec["containers"][0], &approved_but(|_, _| {}));
        pod["metadata"]["labels"] = json!({"gastown.io/polecat": "max"});
        pod["metadata"]["annotations"] = json!({tls_policy::ANNOTATION: "fips"});
    }
    pod
}

/// A pod with a value, in a pod of each base.
fn cases(rule: &Rule, namespace: &str) -> Vec<Case> {
    let shapes = if rule.of_pod { &[Shape::Pod][..] } else { &CONTAINERS[..] };
    let sides = [(&rule.refuse, true), (&rule.pass, false)];
    let mut all = Vec::new();
    for (values, refuse) in sides {
        for (value, shape) in values.iter().flat_map(|it| shapes.iter().map(move |at| (it, *at))) {
            for base in Base::ALL {
                let mut case = super::cells::with(rule.id, shape, refuse, base, value);
                case.sent = based(case.sent, namespace);
                if shape == Shape::Pod {
                    // What the value says of volumes or the like wins.
                    json_patch::merge(&mut case.sent["spec"], value);
                }
                if case.base.is_none() {
                    case.request = case.sent.clone();
                }
                all.push(case);
            }
        }
    }
    all
}

/// The checks of ours that a pod violates, but for those that no policy can see.
fn judged(case: &Case) -> BTreeSet<&'static str> {
    let subject = Subject::of("Pod", &case.sent).unwrap().unwrap();
    let classes = RuntimeClasses::of(vec!["of-nobody".into()]);
    let mut all = ours::violations(&subject, &UNSEEN, classes, true);
    if approved::holds(&subject, false) {
        all.extend(approved::violations(&subject));
    }
    all.iter().map(|it| it.check).collect()
}

async fn install(bed: &Testbed, client: &Client) {
    let sandbox = json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": SANDBOX}, "handler": "runsc",
    });
    let path = "/apis/node.k8s.io/v1/runtimeclasses";
    let (code, body) = send(client, Method::POST, path, &sandbox).await;
    assert_eq!(code, 201, "{body}");
    for namespace in [OURS, FIPS] {
        bed.make_namespace(namespace, &[]).await.unwrap();
        for base in Base::ALL {
            let path = format!("/api/v1/namespaces/{namespace}/pods");
            let kept = based(super::cells::kept(base), namespace);
            let (code, body) = send(client, Method::POST, &path, &kept).await;
            assert_eq!(code, 201, "{body}");
            looked_into(client, namespace, base).await;
        }
    }
    let rows = ours::ROWS.iter().filter_map(|it| cel::condition(it, "ours"));
    let conditions: Vec<_> = rows.chain([approved::condition()]).collect();
    assert_eq!(
        conditions.len(),
        ours::ROWS.len() + 1 - UNSEEN.len(),
        "the others can be said in CEL"
    );
    for mut object in generated::policy_of("floor-ours", gastown::manifests::NAMESPACE, &conditions)
    {
        let kind = object["kind"].as_str().unwrap().to_lowercase();
        let plural = format!("{kind}s").replace("policys", "policies");
        if plural.ends_with("bindings") {
            let here = json!({"key": "kubernetes.io/metadata.name", "operator": "In", "values": [OURS, FIPS]});
            object["spec"]["matchResources"] =
                json!({"namespaceSelector": {"matchExpressions": [here]}});
        }
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        let (code, body) = send(client, Method::POST, &path, &object).await;
        assert_eq!(code, 201, "{body}");
    }
    let aliased = json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}]});
    let bare = pod_case(0, aliased);
    comes_true("the policy to be heeded", async || {
        refused_by_the_floor(client, OURS, &bare).await.is_some_and(|it| it.is_some())
    })
    .await;
}

#[tokio::test]
async fn the_floor_says_our_own_rules_too() {
    let bed = Testbed::start(Options { node: Node::None, ..Options::default() }).await.unwrap();
    let client = bed.client("admin").await.unwrap();
    install(&bed, &client).await;
    let all: Vec<_> = rules().iter().flat_map(|it| cases(it, OURS)).map(|it| (OURS, it)).collect();
    let all = all.into_iter().chain(cases(&tls(), FIPS).into_iter().map(|it| (FIPS, it)));
    let asked = futures::stream::iter(all).map(|(namespace, case)| {
        let client = client.clone();
        async move { (refused_by_the_floor(&client, namespace, &case).await, case) }
    });
    let answers: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    let (mut wrong, mut judged_cells, mut cells) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (floor, case) in &answers {
        let (cell, said) = ((case.check, case.shape, case.refuse), judged(case));
        cells.insert(cell);
        let Some(floor) = floor else { continue };
        let same = floor.as_deref().map_or(said.is_empty(), |it| said.contains(it));
        if !same || said.contains(case.check) != case.refuse {
            wrong.push(format!("{cell:?} {}: the floor {floor:?}, we {said:?}", case.sent));
        } else {
            judged_cells.insert(cell);
        }
    }
    let first = &wrong[..wrong.len().min(5)];
    assert!(wrong.is_empty(), "{} disagreements, such as\n{}", wrong.len(), first.join("\n"));
    let without: BTreeSet<_> = cells.difference(&judged_cells).copied().collect();
    let impossible = NOT_FOR_EPHEMERAL.map(|it| (it, Shape::Ephemeral, true));
    assert_eq!(without, BTreeSet::from(impossible), "no verdict could be had");
    let verdicts = answers.iter().filter(|it| it.0.is_some()).count();
    eprintln!("{} pods, {verdicts} verdicts", answers.len());
    bed.stop().await.unwrap();
}
