//! Our table against the API server's own Pod Security: generated pods, each sent as a dry run into a namespace that enforces
//! a level of a version, and judged by us as it was sent. Verdict and reasons must be the same.

pub mod cells;
mod own_rules;

use std::collections::{BTreeMap, BTreeSet};

use cells::{Base, Case, Shape};
use futures::{StreamExt as _, TryStreamExt as _};
use gastown::{
    admission::pods::{Level, Standard, Subject, cel, judge, pss},
    manifests::pods as generated,
};
use gastown_testbed::{Options, Testbed};
use http::{Method, Request};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    client::Body,
};
use serde_json::{Value, json};

use crate::asking::comes_true;

/// Requests at a time.
const AT_ONCE: usize = 12;
/// Generated pods, at least.
const PODS: usize = 5_000;
/// Refused and let in, of every check and kind of container.
const OF_A_CELL: usize = 20;

/// What the API accepts of no pod, so that no verdict on it can be had: check, kind, refused; and why.
const IMPOSSIBLE: &[(&str, Shape, bool, &str)] = &[
    ("hostPorts", Shape::Ephemeral, true, "an ephemeral container has no ports"),
    ("hostProbesAndHostLifecycle", Shape::Ephemeral, true, "an ephemeral container has no probes"),
    ("hostProbesAndHostLifecycle", Shape::Init, true, "an init container that ends has no probes"),
    ("windowsHostProcess", Shape::Ephemeral, true, "all containers run on the node, or none"),
];

/// Pods on which we and the server differ on purpose: the part of the spec, who refuses, why.
fn explained() -> [(Value, &'static str, &'static str); 1] {
    let nothing = json!({"volumes": [{"name": "v"}]});
    [(
        nothing,
        "restrictedVolumes",
        "the server makes an emptyDir of a volume without a source; we judge what was sent",
    )]
}

#[tokio::test]
async fn the_table_says_what_the_server_says() {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let client = bed.client("admin").await.unwrap();
    let newest = client.apiserver_version().await.unwrap().minor.parse().unwrap();
    let newest = u32::min(newest, gastown::admission::pods::NEWEST);
    let began = std::time::Instant::now();
    make_namespaces(&bed, &client, newest).await;
    eprintln!("namespaces after {:?}", began.elapsed());
    let cases = cells::cases(newest);
    let sweep = cells::sweep(newest, &cases, (PODS * 5 / 4).saturating_sub(cases.len()));
    let asked = futures::stream::iter(cases.iter().chain(&sweep)).map(|it| {
        let client = client.clone();
        async move { (it, answer(&client, it).await) }
    });
    let all: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    let (mut counts, mut wrong, mut verdicts) = (BTreeMap::new(), Vec::new(), 0);
    for (case, server) in &all {
        let ours = ours(case);
        let Some(server) = server else { continue };
        verdicts += 1;
        if *server != ours {
            wrong.push(format!("{} {}: server {server:?}, we {ours:?}", case.standard, case.sent));
        }
        let told = server.contains(reason(case.check));
        if told == case.refuse {
            *counts.entry((case.check, case.shape, case.refuse)).or_insert(0_usize) += 1;
        }
    }
    eprintln!("{} pods, {verdicts} verdicts, {:?}", all.len(), began.elapsed());
    assert!(
        wrong.is_empty(),
        "{} disagreements, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    assert!(verdicts >= PODS, "too few verdicts: {verdicts}");
    every_cell_is_full(&cases, &counts);
    for (spec, check, why) in explained() {
        let case = cells::pod_case(newest, spec);
        assert_eq!(answer(&client, &case).await, Some(BTreeSet::new()), "{why}");
        assert_eq!(ours(&case), BTreeSet::from([reason(check)]), "{why}");
    }
    the_floor_says_the_same(&bed, &client, newest, &cases).await;
    eprintln!("the floor after {:?}", began.elapsed());
    bed.stop().await.unwrap();
}

/// The same rows as a policy of the API server's own: it refuses what we refuse, and names a check that we name. What it does
/// not see is an update of what was there before, so pods and ephemeral containers are sent as above.
async fn the_floor_says_the_same(bed: &Testbed, client: &Client, minor: u32, cases: &[Case]) {
    let standard = Standard { level: Level::Restricted, minor };
    let conditions: Vec<_> =
        pss::rows(standard).iter().filter_map(|it| cel::condition(it, "PSS")).collect();
    let checks = pss::rows(standard).len();
    assert_eq!(conditions.len(), checks, "all of Pod Security can be said in CEL");
    bed.make_namespace("floor", &[]).await.unwrap();
    for base in Base::ALL {
        let (code, body) =
            send(client, Method::POST, "/api/v1/namespaces/floor/pods", &cells::kept(base)).await;
        assert_eq!(code, 201, "{body}");
        looked_into(client, "floor", base).await;
    }
    for object in generated::policy_of("floor", gastown::manifests::NAMESPACE, &conditions) {
        let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
        let plural = plural.replace("policys", "policies");
        let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        let (code, body) = send(client, Method::POST, &path, &object).await;
        assert_eq!(code, 201, "{body}");
    }
    let labels = json!({"metadata": {"labels": {generated::NAMESPACE_LABEL: "restricted"}}});
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch("floor", &PatchParams::default(), &Patch::Merge(labels)).await.unwrap();
    let bare = cells::pod_case(minor, json!({"hostNetwork": true}));
    comes_true("the policy to be heeded", async || {
        refused_by_the_floor(client, "floor", &bare).await.is_some_and(|it| it.is_some())
    })
    .await;
    let asked = futures::stream::iter(cases).map(|case| {
        let case = Case { standard, ..case.clone() };
        async move { (refused_by_the_floor(client, "floor", &case).await, case) }
    });
    let all: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    let (mut wrong, mut counts) = (Vec::new(), BTreeMap::new());
    for (floor, case) in &all {
        let Some(floor) = floor else { continue };
        let subject = Subject::of("Pod", &case.sent).unwrap().unwrap();
        let ours = judge::pod_security(&subject, standard);
        let same = match floor {
            Some(check) => ours.iter().any(|it| it.check == check),
            None => ours.is_empty(),
        };
        if !same {
            wrong.push(format!("{}: the floor {floor:?}, we {ours:?}", case.sent));
        }
        let told = ours.iter().any(|it| it.check == case.check);
        if told == floor.is_some() {
            *counts.entry((case.check, case.shape, told)).or_insert(0_usize) += 1;
        }
    }
    let held = |it: &&Case| pss::rows(standard).iter().any(|row| row.id == it.check);
    let of_the_floor: Vec<_> = cases.iter().filter(held).cloned().collect();
    every_cell_is_full(&of_the_floor, &counts);
    assert!(
        wrong.is_empty(),
        "{} disagreements, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
}

/// Somebody has looked into a stored pod, with a container that is all that no pod should be, before anything was asked of such
/// pods. Nobody can take it out again, so it must fail no later one.
async fn looked_into(client: &Client, namespace: &str, base: Base) {
    let context = json!({"privileged": true, "runAsUser": 0, "runAsNonRoot": false, "procMount": "Default",
        "seccompProfile": {"type": "Unconfined"}, "capabilities": {"add": ["SYS_ADMIN"]}});
    let debugger = json!({"name": "of-before", "image": "i", "securityContext": context});
    let look = json!({"spec": {"ephemeralContainers": [debugger]}});
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}/ephemeralcontainers", base.name());
    let (code, body) = send(client, Method::PATCH, &path, &look).await;
    assert_eq!(code, 200, "{body}");
}

/// The check that the floor names, where it refuses; `None` where there is no verdict.
async fn refused_by_the_floor(
    client: &Client,
    namespace: &str,
    case: &Case,
) -> Option<Option<String>> {
    let (code, said) = dry_run(client, namespace, case).await;
    match (code, said.split_once("denied request: ")) {
        (200 | 201, _) => Some(None),
        (403 | 422, Some((_, reasons))) => {
            Some(Some(reasons.split(':').next().unwrap_or_default().to_owned()))
        }
        (422, None) => None,
        _ => panic!("{code} {said}: {}", case.sent),
    }
}

/// Code and message of a dry run in a namespace.
async fn dry_run(client: &Client, namespace: &str, case: &Case) -> (u16, String) {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let (method, path) = match case.base {
        Some(base) => {
            (Method::PATCH, format!("{path}/{}/ephemeralcontainers?dryRun=All", base.name()))
        }
        None => (Method::POST, format!("{path}?dryRun=All")),
    };
    let (code, body) = send(client, method, &path, &case.request).await;
    (code, body["message"].as_str().unwrap_or_default().to_owned())
}

fn every_cell_is_full(cases: &[Case], counts: &BTreeMap<(&str, Shape, bool), usize>) {
    let cells: BTreeSet<_> = cases.iter().map(|it| (it.check, it.shape, it.refuse)).collect();
    let mut wrong = Vec::new();
    for (check, shape, refuse) in cells {
        let count = counts.get(&(check, shape, refuse)).copied().unwrap_or_default();
        let impossible = IMPOSSIBLE.iter().any(|it| (it.0, it.1, it.2) == (check, shape, refuse));
        if impossible != (count == 0) || !impossible && count < OF_A_CELL {
            wrong.push(format!("{check}, {shape:?}, refused {refuse}: {count} verdicts"));
        }
    }
    assert!(wrong.is_empty(), "too few, or too many where none was possible: {wrong:#?}");
}

fn namespace(of: Standard) -> String {
    format!("{}-{}", of.level.name(), of.minor)
}

async fn make_namespaces(bed: &Testbed, client: &Client, newest: u32) {
    let all = [Level::Baseline, Level::Restricted];
    let all = (0..=newest).flat_map(|minor| all.map(|level| Standard { level, minor }));
    let made = futures::stream::iter(all).map(|of| async move {
        let name = namespace(of);
        bed.make_namespace(&name, &[]).await?;
        let path = format!("/api/v1/namespaces/{name}/pods");
        for base in Base::ALL {
            let kept = cells::kept(base);
            let (code, body) = send(client, Method::POST, &path, &kept).await;
            anyhow::ensure!(code == 201, "{of}: no pod {kept}: {body}");
        }
        let labels = json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": of.level.name(),
            "pod-security.kubernetes.io/enforce-version": format!("v1.{}", of.minor),
        }}});
        let api: Api<Namespace> = Api::all(client.clone());
        api.patch(&name, &PatchParams::default(), &Patch::Merge(labels)).await?;
        anyhow::Ok(())
    });
    made.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await.unwrap();
}

/// What the server's Pod Security says: its reasons, none where it lets the pod in; `None` where another check of the API had
/// refused it before, which is no verdict.
async fn answer(client: &Client, case: &Case) -> Option<BTreeSet<&'static str>> {
    let (code, said) = dry_run(client, &namespace(case.standard), case).await;
    match (code, said.split_once("violates PodSecurity ")) {
        (200 | 201, _) => Some(BTreeSet::new()),
        (403, Some((_, reasons))) => {
            let (_, reasons) = reasons.split_once("\": ").unwrap();
            Some(split(reasons).into_iter().map(known).collect())
        }
        (422, _) => None,
        _ => panic!("{code} {said}: {}", case.sent),
    }
}

fn ours(case: &Case) -> BTreeSet<&'static str> {
    let pod = cells::taken_in(&case.sent);
    let subject = Subject::of("Pod", &pod).unwrap().unwrap();
    judge::pod_security(&subject, case.standard).iter().map(|it| reason(it.check)).collect()
}

/// How the server calls the checks.
const REASONS: &[(&str, &str)] = &[
    ("allowPrivilegeEscalation", "allowPrivilegeEscalation != false"),
    ("appArmorProfile", "forbidden AppArmor profile"),
    ("capabilities_baseline", "non-default capabilities"),
    ("capabilities_restricted", "unrestricted capabilities"),
    ("hostNamespaces", "host namespaces"),
    ("hostPathVolumes", "hostPath volumes"),
    ("hostPorts", "hostPort"),
    ("hostProbesAndHostLifecycle", "probe or lifecycle host"),
    ("privileged", "privileged"),
    ("procMount", "procMount"),
    ("procMount_restricted", "procMount"),
    ("restrictedVolumes", "restricted volume types"),
    ("runAsNonRoot", "runAsNonRoot != true"),
    ("runAsUser", "runAsUser=0"),
    ("seLinuxOptions", "seLinuxOptions"),
    ("seccompProfile_baseline", "seccompProfile"),
    ("seccompProfile_restricted", "seccompProfile"),
    ("sysctls", "forbidden sysctls"),
    ("windowsHostProcess", "hostProcess"),
];

fn reason(check: &str) -> &'static str {
    REASONS.iter().find(|it| it.0 == check).unwrap().1
}

fn known(said: &str) -> &'static str {
    let said = said.replace("AppArmor profiles", "AppArmor profile");
    REASONS
        .iter()
        .find(|it| it.1 == said)
        .unwrap_or_else(|| panic!("a reason that is new: {said}"))
        .1
}

/// The reasons of a message, without what stands in brackets behind each.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut from, mut all) = (0_u32, false, 0, Vec::new());
    for (at, it) in text.char_indices() {
        match it {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                all.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    all.push(&text[from..]);
    all.into_iter().map(|it| it.split(" (").next().unwrap().trim()).collect()
}

async fn send(client: &Client, method: Method, path: &str, object: &Value) -> (u16, Value) {
    let kind = if method == Method::PATCH {
        "application/strategic-merge-patch+json"
    } else {
        "application/json"
    };
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let request = request.body(Body::from(serde_json::to_vec(object).unwrap())).unwrap();
    let answer = client.send(request).await.unwrap();
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect_bytes().await.unwrap();
    (code, serde_json::from_slice(&bytes).unwrap())
}
