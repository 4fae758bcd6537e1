//! A real Jaeger: three replicas, the owner killed in the middle, and the traces read back.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use gastown::domain::trace::attributes;
use gastown_testbed::http_get;
use serde_json::{Value, json};
use tokio::process::Child;

use super::{ALL_BUT_HAND_OVER, END, Span, is_tiled, is_whole, keep, trace_id};
use crate::{
    asking::comes_true,
    door::Door,
    preconditions::skip,
    shards::{owner_of_the_work, owns},
    world::World,
};

const QUERY: &str = "http://127.0.0.1:16686";
const NAMES: [&str; 3] = ["max", "nux", "furiosa"];

/// A Jaeger with everything in memory; it listens on its own ports.
async fn started(program: &str) -> Child {
    let mut child = tokio::process::Command::new(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    comes_true("Jaeger to be up", async || {
        http_get(&format!("{QUERY}/api/v3/services")).await.is_ok_and(|(code, _)| code == 200)
    })
    .await;
    assert_eq!(child.try_wait().unwrap(), None, "it is ours that answers, and no other");
    child
}

/// What Jaeger has of a trace, each span once; two that are called the same must be the same.
async fn trace(id: &str) -> BTreeMap<String, Span> {
    let (code, text) = http_get(&format!("{QUERY}/api/v3/traces/{id}")).await.unwrap();
    let mut found = BTreeMap::new();
    if code != 200 {
        return found;
    }
    for part in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        for of in part.unwrap()["result"]["resourceSpans"].as_array().unwrap() {
            let service = pairs(&of["resource"]["attributes"])["service.name"].clone();
            for scope in of["scopeSpans"].as_array().unwrap() {
                for it in scope["spans"].as_array().unwrap() {
                    keep(&mut found, read(it, &service));
                }
            }
        }
    }
    found
}

fn read(it: &Value, service: &str) -> Span {
    let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
    Span {
        service: service.to_owned(),
        trace: text("traceId"),
        id: text("spanId"),
        parent: text("parentSpanId"),
        name: text("name"),
        from: text("startTimeUnixNano").parse().unwrap(),
        to: text("endTimeUnixNano").parse().unwrap(),
        attributes: pairs(&it["attributes"]),
        events: Vec::new(),
        failed: it["status"]["code"] == json!(2),
    }
}

fn pairs(all: &Value) -> BTreeMap<String, String> {
    let text = |it: &Value| {
        let value = it["value"].as_object().and_then(|it| it.values().next()).cloned();
        value.map(|it| it.as_str().map_or_else(|| it.to_string(), ToOwned::to_owned))
    };
    let pair = |it: &Value| Some((it["key"].as_str()?.to_owned(), text(it)?));
    all.as_array().into_iter().flatten().filter_map(pair).collect()
}

/// What the plugin says of a run, and the page that it writes.
fn shown(world: &World, name: &str, page: &Path) -> String {
    let kubeconfig = world.bed.kubeconfig_for("kubectl", Some("system:masters")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-gt"))
        .args(["trace", &format!("polecat/{name}"), "-n", &world.namespace, "--jaeger", QUERY])
        .args(["--html".as_ref(), page.as_os_str()])
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Ends all runs, and waits until Jaeger has their roots; their traces.
async fn ended(world: &World) -> Vec<String> {
    for name in NAMES {
        world.end(&format!("polecat-{name}")).await;
    }
    let mut done = Vec::new();
    for name in NAMES {
        let id = trace_id(&world.phase(name, "Done").await);
        let root = async || trace(&id).await.values().any(|it| it.name == super::RUN);
        comes_true("Jaeger to have the root", root).await;
        done.push(id);
    }
    done
}

#[tokio::test]
async fn jaeger_has_each_run_as_one_trace_also_of_a_killed_owner() {
    let name = "jaeger_has_each_run_as_one_trace_also_of_a_killed_owner";
    let Ok(program) = std::env::var("GASTOWN_JAEGER") else {
        return skip(name, "jaeger", "is built in ten minutes: `make demo-trace` runs it");
    };
    let _jaeger = started(&program).await;
    let script = [("testbed.gastown.io/run-for", "never")];
    let flags = ["--otlp-endpoint=http://127.0.0.1:4318", "--otlp-delay=50", "--shards=3"];
    let door = Door::before(World::with_flags("jaeger", &script, &flags).await).await;
    let [second, third] = [door.world.another("second").await, door.world.another("third").await];
    for it in [&door.world.operator, &second, &third] {
        owns(it, 1).await;
    }
    for name in NAMES {
        door.world.create(name, |_| {}).await;
        door.world.condition(name, "Ready", "True/PodRunning").await;
    }
    // What calls the first of them must not outlive it.
    let world = door.close().await;
    let all = [&world.operator, &second, &third];
    let first = owner_of_the_work(&world, &all).await;
    let has = async |what: &str, is: &dyn Fn(&Span) -> bool| {
        for name in NAMES {
            let id = trace_id(&world.polecats().get(name).await.unwrap());
            comes_true(what, async || trace(&id).await.values().any(is)).await;
        }
    };
    let pass = |it: &Span, of: &str| it.name == "reconcile" && it.says(attributes::REPLICA) == of;
    has("Jaeger to have a pass of the owner", &|it| pass(it, &first)).await;
    let (killed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.name == first);
    killed[0].kill9().await.unwrap();
    let handed = |it: &Span| it.name == "hand over shard" && it.says(attributes::FROM) == first;
    has("Jaeger to have the hand-over", &handed).await;
    let done = ended(&world).await;
    for other in &others {
        assert_eq!(other.terminate(END).await.unwrap(), 0);
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/trace.html");
    for (name, id) in NAMES.iter().zip(&done) {
        let trace = trace(id).await;
        is_whole(&trace);
        is_tiled(&trace, &ALL_BUT_HAND_OVER);
        let worked = |who: &str| trace.values().any(|it| pass(it, who));
        assert!(worked(&first), "{name}: the killed owner worked on it");
        assert!(others.iter().any(|it| worked(&it.name)), "{name}: another went on");
        let text = shown(&world, name, &page);
        let calls = ["admission mutate", "admission validate", "admission validate pod"];
        let stages = ["polecat run", "  agent", "reconcile", "PATCH polecat", "gastown-runner"];
        for want in calls.into_iter().chain(stages).chain(["hand over shard"]) {
            assert!(text.contains(want), "{want}: {text}");
        }
        println!("{text}");
    }
    assert!(std::fs::read_to_string(page).unwrap().contains("polecat run"));
}
