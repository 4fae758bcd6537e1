//! What keeps Polecats from beginning: pauses, limits and quotas, on the real API server.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt as _;
use gastown::api::{
    v1alpha1::{Polecat, Rig},
    v1beta1,
};
use gastown_testbed::{
    http_get,
    watch::{self, await_condition},
};
use k8s_openapi::{api::core::v1::Pod, api::core::v1::ResourceQuota, jiff::Timestamp};
use kube::{
    Api, Resource as _, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event},
};
use serde_json::json;

use crate::{
    asking::{comes_true, scraped},
    door::Door,
    world::{PATIENCE, World, condition, message, phase_of, polecat, until},
};

mod hopeless;

const FOREVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];
const QUICK: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "300ms")];

/// `kubectl gt …` as a person would call it.
async fn gt(world: &World, args: &[&str]) -> Output {
    let kubeconfig = world
        .bed
        .kubeconfig_for(&format!("person-{}", world.namespace), Some("system:masters"))
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(args).env_clear().env("KUBECONFIG", kubeconfig);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn said(world: &World, args: &[&str]) -> String {
    let output = gt(world, args).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Pods that were made in this namespace after a moment, by the audit log.
async fn made_after(world: &World, moment: Timestamp) -> usize {
    let all = world.bed.audit_events().await.unwrap();
    let made = all.iter().filter(|it| {
        it.verb == "create" && it.resource == "pods" && it.namespace == world.namespace
    });
    made.filter(|it| it.code == 201 && it.time > moment).count()
}

#[tokio::test]
async fn a_paused_namespace_begins_nothing_and_touches_nothing_that_runs() {
    let world = World::new("paused-namespace", &FOREVER).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    let running = world.pods().get("polecat-max").await.unwrap();
    let text = said(&world, &["pause", "namespace", &world.namespace]).await;
    assert!(text.contains("no Polecat of it begins"), "{text}");
    let paused_at = Timestamp::now();
    for number in 0..5 {
        world.create(&format!("nux-{number}"), |_| {}).await;
    }
    for number in 0..5 {
        let held =
            world.condition(&format!("nux-{number}"), "Paused", "True/NamespacePaused").await;
        assert_eq!((phase_of(&held), condition(&held, "Ready").as_str()), ("Idle", "False/Paused"));
        assert!(message(&held, "Ready").contains("kubectl gt resume namespace"), "says what to do");
    }
    let late = made_after(&world, paused_at + Duration::from_secs(2)).await;
    assert_eq!(late, 0, "no new pod later than two seconds after the pause");
    assert_eq!(world.pods().get("polecat-max").await.unwrap().uid(), running.uid(), "it runs on");
    let max = world.polecats().get("max").await.unwrap();
    assert_eq!(condition(&max, "Paused"), "", "a pause does not concern one that runs");

    // What is held and touched is looked at again, and nothing is asked of the API server.
    let before = world.work().await.iter().filter(|it| it.name == "nux-0").count();
    world.merge("nux-0", json!({"metadata": {"labels": {"touched": "yes"}}})).await;
    world.create("slit", |_| {}).await;
    world.condition("slit", "Paused", "True/NamespacePaused").await;
    let after = world.work().await.iter().filter(|it| it.name == "nux-0").count();
    assert_eq!(after, before, "waiting makes no request");

    let text = said(&world, &["resume", "namespace", &world.namespace]).await;
    assert!(text.contains("resumed"), "{text}");
    for number in 0..5 {
        let on = world.condition(&format!("nux-{number}"), "Ready", "True/PodRunning").await;
        assert_eq!(condition(&on, "Paused"), "", "the pause is over, and so is its condition");
    }
    let unknown = gt(&world, &["pause", "rig", "no-such-rig"]).await;
    let why = String::from_utf8_lossy(&unknown.stderr);
    assert!(!unknown.status.success() && why.contains("no-such-rig"), "{why}");
    assert_eq!(why.lines().count(), 1, "one sentence, said once: {why}");
}

#[tokio::test]
async fn a_paused_rig_holds_its_own_polecats_alone() {
    let world = World::new("paused-rig", &QUICK).await;
    let rigs: Api<Rig> = Api::all(world.client.clone());
    for name in ["braked-rig", "free-rig"] {
        let rig = json!({"metadata": {"name": name},
            "spec": {"gitURL": "git@git.example.com:a/b.git", "beadsPrefix": "gt"}});
        rigs.create(&PostParams::default(), &serde_json::from_value(rig).unwrap()).await.unwrap();
    }
    said(&world, &["pause", "rig", "braked-rig"]).await;
    world.create("max", |it| it["spec"]["rig"] = json!("braked-rig")).await;
    world.create("nux", |it| it["spec"]["rig"] = json!("free-rig")).await;
    let held = world.condition("max", "Paused", "True/RigPaused").await;
    assert!(message(&held, "Paused").contains("braked-rig"), "names what holds it");
    world.phase("nux", "Done").await;
    // The Rig goes, and its pause with it.
    rigs.delete("braked-rig", &DeleteParams::default()).await.unwrap();
    world.phase("max", "Done").await;
    rigs.delete("free-rig", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn runs_of_a_rig_are_counted_from_zero_while_it_is_there() {
    let world = World::new("counted-rig", &QUICK).await;
    let of = |rig: &str, result: &str, count: u32| {
        format!("gastown_polecat_runs_total{{rig=\"{rig}\",result=\"{result}\"}} {count}")
    };
    for result in ["done", "stuck"] {
        scraped(&world.operator, |it| it == of("", result, 0)).await;
    }
    let rigs: Api<Rig> = Api::all(world.client.clone());
    let rig = json!({"metadata": {"name": "counted-rig"},
        "spec": {"gitURL": "git@git.example.com:a/b.git", "beadsPrefix": "gt"}});
    rigs.create(&PostParams::default(), &serde_json::from_value(rig).unwrap()).await.unwrap();
    for result in ["done", "stuck"] {
        scraped(&world.operator, |it| it == of("counted-rig", result, 0)).await;
    }
    world.create("max", |it| it["spec"]["rig"] = json!("counted-rig")).await;
    scraped(&world.operator, |it| it == of("counted-rig", "done", 1)).await;
    rigs.delete("counted-rig", &DeleteParams::default()).await.unwrap();
    comes_true("its counts to go with it", async || {
        let scrape = http_get(&world.operator.metrics).await;
        scrape.is_ok_and(|(_, text)| !text.contains("rig=\"counted-rig\",result"))
    })
    .await;
}

#[tokio::test]
async fn a_paused_operator_begins_nothing_until_it_is_started_without() {
    let world = World::with_flags("paused-operator", &QUICK, &["--paused"]).await;
    world.create("max", |_| {}).await;
    let held = world.condition("max", "Paused", "True/OperatorPaused").await;
    assert!(message(&held, "Paused").contains("--paused"), "names the flag");
    let epoch = Timestamp::from_second(0).unwrap();
    assert_eq!(made_after(&world, epoch).await, 0, "no pod at all");
    world.operator.terminate(Duration::from_secs(30)).await.unwrap();
    let _next = world.another_with("operator", &[]).await;
    world.phase("max", "Done").await;
}

/// Follows the live pods of a namespace; the most there ever were at once.
fn follow_pods(world: &World) -> Arc<Mutex<(BTreeSet<String>, usize)>> {
    let seen = Arc::new(Mutex::new((BTreeSet::new(), 0)));
    let (pods, book) = (world.pods(), seen.clone());
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(watch::watcher(pods, watcher::Config::default()));
        while let Some(event) = stream.next().await {
            let mut book = book.lock().unwrap();
            match event {
                Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                    let phase = pod.status.as_ref().and_then(|it| it.phase.clone());
                    if matches!(phase.as_deref(), Some("Succeeded" | "Failed")) {
                        book.0.remove(&pod.name_any());
                    } else {
                        book.0.insert(pod.name_any());
                    }
                }
                Ok(Event::Delete(pod)) => drop(book.0.remove(&pod.name_any())),
                _ => {}
            }
            book.1 = book.1.max(book.0.len());
        }
    });
    seen
}

#[tokio::test]
async fn no_more_of_a_namespace_run_than_may_and_the_oldest_is_next() {
    let flags = ["--max-running-per-namespace=2"];
    let world = World::with_flags("namespace-limit", &FOREVER, &flags).await;
    let live = follow_pods(&world);
    let names = ["a", "b", "c", "d", "e", "f"];
    futures::future::join_all(names.map(|it| world.create(it, |_| {}))).await;
    let mut order: Vec<_> =
        world.polecats().list(&ListParams::default()).await.unwrap().items.into_iter().collect();
    order.sort_by_key(|it| (it.meta().creation_timestamp.clone().map(|it| it.0), it.name_any()));
    let order: Vec<String> = order.iter().map(kube::ResourceExt::name_any).collect();
    // Whoever came first to the operator has a slot; from then on the oldest of those that wait is next.
    let is = |it: &Polecat| {
        ["True/PodRunning", "False/NamespaceLimit"].contains(&condition(it, "Ready").as_str())
    };
    let (mut running, mut waiting) = (Vec::new(), Vec::new());
    for name in &order {
        let it = until(&world.polecats(), name, "running or waiting", is).await;
        if condition(&it, "Ready") == "True/PodRunning" {
            running.push(name.clone());
        } else {
            assert_eq!(phase_of(&it), "Idle", "it waits");
            assert!(
                message(&it, "Ready").contains("--max-running-per-namespace=2"),
                "names the flag"
            );
            waiting.push(name.clone());
        }
    }
    assert_eq!((running.len(), waiting.len()), (2, 4), "{running:?} {waiting:?}");

    world.end(&format!("polecat-{}", running[0])).await;
    world.condition(&waiting[0], "Ready", "True/PodRunning").await;
    // The same after a restart, when all that is known is what the API server has.
    world.operator.kill9().await.unwrap();
    let next = world.another("operator").await;
    world.end(&format!("polecat-{}", running[1])).await;
    world.condition(&waiting[1], "Ready", "True/PodRunning").await;
    // One that waits and is set to Idle frees nothing, and stands in nobody's way.
    world.merge(&waiting[2], json!({"spec": {"desiredState": "Idle"}})).await;
    world.condition(&waiting[2], "Ready", "True/Idle").await;
    world.polecats().delete(&waiting[0], &DeleteParams::default()).await.unwrap();
    world.condition(&waiting[3], "Ready", "True/PodRunning").await;
    let most = live.lock().unwrap().1;
    assert_eq!(most, 2, "never a third pod");
    let (_, metrics) = http_get(&next.metrics).await.unwrap();
    assert!(
        metrics.contains("gastown_cached_objects{controller=\"namespaces\"} 1"),
        "one Namespace is watched, not all"
    );
}

#[tokio::test]
async fn many_at_once_keep_to_the_limit() {
    let flags = ["--max-running-per-namespace=3", "--concurrency=32"];
    let script = [("testbed.gastown.io/run-for", "100ms")];
    let world = World::with_flags("limit-burst", &script, &flags).await;
    let live = follow_pods(&world);
    let names: Vec<String> = (0..40).map(|it| format!("max-{it}")).collect();
    futures::future::join_all(names.iter().map(|it| world.create(it, |_| {}))).await;
    // Killed and started anew in the middle of it, between whatever writes there were.
    let mut next = None;
    for (number, name) in names.iter().enumerate() {
        world.phase(name, "Done").await;
        if number == 5 {
            world.operator.kill9().await.unwrap();
            next = Some(world.another("operator").await);
        }
    }
    assert!(next.is_some_and(|it| it.ended().is_none()), "the second one saw it through");
    let most = live.lock().unwrap().1;
    assert!((1..=3).contains(&most), "{most} pods at once");
}

#[tokio::test]
async fn a_deadline_above_the_operators_gets_no_pod() {
    let world = World::with_flags("max-deadline", &QUICK, &["--max-active-deadline=600"]).await;
    world.create("max", |_| {}).await;
    let stuck = world.condition("max", "Ready", "False/PodBuildFailed").await;
    let text = message(&stuck, "Ready");
    assert!(text.contains("3600") && text.contains("600 (--max-active-deadline)"), "{text}");
    assert_eq!(phase_of(&stuck), "Stuck");
    world.merge("max", json!({"spec": {"kubernetes": {"activeDeadlineSeconds": 600}}})).await;
    world.phase("max", "Done").await;
}

const COUNT: &str = "count/polecats.gastown.gastown.io";

async fn tried(world: &World, name: &str) -> kube::Result<Polecat> {
    let object = serde_json::from_value(polecat(name)).unwrap();
    world.polecats().create(&PostParams::default(), &object).await
}

/// A quota on Polecats that the API server keeps. Its controller learns of a kind some seconds after the CRD is stored, and
/// does not come back to quotas that were there before: so it is made anew until it counts.
async fn counted_quota(world: &World) -> Api<ResourceQuota> {
    let quota: ResourceQuota = serde_json::from_value(json!({"metadata": {"name": "polecats"},
        "spec": {"hard": {COUNT: "0"}}}))
    .unwrap();
    let api: Api<ResourceQuota> = Api::namespaced(world.client.clone(), &world.namespace);
    let counts = |it: Option<&ResourceQuota>| {
        let used = it.and_then(|it| it.status.as_ref()).and_then(|it| it.used.as_ref());
        used.is_some_and(|it| it.contains_key(COUNT))
    };
    let limit = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < limit {
        api.create(&PostParams::default(), &quota).await.unwrap();
        let waited = await_condition(api.clone(), "polecats", counts);
        if tokio::time::timeout(Duration::from_secs(3), waited).await.is_ok() {
            return api;
        }
        api.delete("polecats", &DeleteParams::default()).await.unwrap();
    }
    panic!("the quota controller never counted Polecats");
}

/// As docs/brakes.md says.
#[tokio::test]
async fn a_quota_on_the_number_of_polecats_is_kept_by_the_api_server() {
    let world = World::new("count-quota", &FOREVER).await;
    let quotas = counted_quota(&world).await;
    // The API server's admission hears of a quota, and of its change, a moment after it is stored.
    while tried(&world, "max").await.is_ok() {
        world.polecats().delete("max", &DeleteParams::default()).await.unwrap();
    }
    let one = Patch::Merge(json!({"spec": {"hard": {COUNT: "1"}}}));
    quotas.patch("polecats", &PatchParams::default(), &one).await.unwrap();
    crate::asking::comes_true("room", async || tried(&world, "max").await.is_ok()).await;
    let refused = tried(&world, "nux").await.unwrap_err();
    assert!(refused.to_string().contains("exceeded quota: polecats"), "{refused}");
    let pods: Api<Pod> = world.pods();
    world.condition("max", "Ready", "True/PodRunning").await;
    assert!(pods.get_opt("polecat-nux").await.unwrap().is_none(), "what is not there runs nowhere");
}

#[tokio::test]
async fn strict_tenancy_begins_nothing_that_no_rig_allows() {
    let world = World::with_flags("strict", &QUICK, &["--tenancy=strict"]).await;
    let rigs: Api<Rig> = Api::all(world.client.clone());
    world.create("max", |it| it["spec"]["rig"] = json!("strict-rig")).await;
    let held = world.condition("max", "Ready", "False/NotAllowedByRig").await;
    assert_eq!(phase_of(&held), "Stuck");
    assert!(message(&held, "Ready").contains("which is not there"), "{}", message(&held, "Ready"));
    world.event("max", "NotAllowedByRig").await;
    let rig = json!({
        "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Rig", "metadata": {"name": "strict-rig"},
        "spec": {"gitURL": "https://git.example.com/town/greeter.git", "beadsPrefix": "gt"},
    });
    rigs.create(&PostParams::default(), &serde_json::from_value(rig).unwrap()).await.unwrap();
    world.create("nux", |it| it["spec"]["rig"] = json!("strict-rig")).await;
    let told = |it: &Polecat| message(it, "Ready").contains("has no allowedNamespaces");
    until(&world.polecats(), "nux", "told that the Rig names no namespaces", told).await;
    let pods = world.pods().list(&ListParams::default()).await.unwrap();
    assert_eq!(pods.items.len(), 0, "nobody begins");
    world
        .create("evil", |it| {
            it["spec"]["rig"] = json!("strict-rig");
            it["spec"]["kubernetes"]["image"] = json!("evil.example.com/agent:1");
        })
        .await;
    let rules =
        json!({"spec": {"allowedNamespaces": ["strict"], "allowedImages": ["example.com/*"]}});
    let hub: Api<v1beta1::Rig> = Api::all(world.client.clone());
    hub.patch("strict-rig", &PatchParams::default(), &Patch::Merge(rules)).await.unwrap();
    for allowed in ["max", "nux"] {
        world.condition(allowed, "Ready", "True/PodSucceeded").await;
    }
    let told = |it: &Polecat| message(it, "Ready").contains("is none of the allowedImages");
    until(&world.polecats(), "evil", "told that its image is not allowed", told).await;
    let old = json!({"metadata": {"labels": {"edited": "in-v1alpha1"}}});
    rigs.patch("strict-rig", &PatchParams::default(), &Patch::Merge(old)).await.unwrap();
    let kept = hub.get("strict-rig").await.unwrap().spec.allowed_namespaces;
    assert_eq!(kept.as_deref(), Some(&["strict".to_owned()][..]), "an edit in v1alpha1 keeps it");
    rigs.delete("strict-rig", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn what_a_rig_does_not_allow_is_refused_at_the_door_in_the_words_of_either_version() {
    let world = World::with_flags("strict-door", &QUICK, &["--tenancy=strict"]).await;
    let rigs: Api<v1beta1::Rig> = Api::all(world.client.clone());
    let door = Door::before(world).await;
    let old = |image: &str| {
        let mut it = polecat("max");
        it["spec"]["rig"] = json!("strict-door");
        it["spec"]["kubernetes"]["image"] = json!(image);
        it
    };
    let new = |image: &str| {
        json!({
            "apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": "max"},
            "spec": {
                "rig": "strict-door", "agent": {"image": image},
                "repository": {"url": "https://git.example.com/x.git", "secretRef": {"name": "key"}},
            },
        })
    };
    let told = door.dry_run(&old("agent:1")).await;
    assert_eq!(told.code, 422, "{told:?}");
    assert!(
        told.message().contains("spec.rig: names Rig strict-door, which is not there"),
        "{told:?}"
    );
    let rig = json!({
        "apiVersion": "gastown.gastown.io/v1beta1", "kind": "Rig", "metadata": {"name": "strict-door"},
        "spec": {
            "repository": {"url": "https://git.example.com/x.git"}, "beadsPrefix": "gt",
            "allowedNamespaces": ["strict-door"], "allowedImages": ["agent:1"],
        },
    });
    rigs.create(&PostParams::default(), &serde_json::from_value(rig).unwrap()).await.unwrap();
    for (object, field) in
        [(old("evil:1"), "spec.kubernetes.image"), (new("evil:1"), "spec.agent.image")]
    {
        let told = door.dry_run(&object).await;
        let want =
            format!("{field}: is none of the allowedImages of Rig strict-door; use one of agent:1");
        assert!(told.code == 422 && told.message().contains(&want), "{told:?}");
    }
    for object in [old("agent:1"), new("agent:1")] {
        let told = door.dry_run(&object).await;
        assert_eq!(told.code, 201, "{told:?}");
    }
    rigs.delete("strict-door", &DeleteParams::default()).await.unwrap();
    door.close().await;
}
