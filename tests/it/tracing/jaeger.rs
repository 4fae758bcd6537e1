//! A real Jaeger, a real node and the demo's agents on it: three replicas, the owner of the runs killed while agents work, and
//! the traces read back.

mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use gastown::{
    api::v1alpha1::Rig,
    domain::{polecat::STAGES, trace::attributes},
};
use gastown_testbed::{Operator, repository::with_commit};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use super::{END, RUN, Span, is_tiled, is_whole, keep, live, trace_id};
use crate::{
    asking::{answered, comes_true},
    door::Door,
    preconditions::skip,
    real_node::{at, gate::Gate, world_with},
    shards::{owner_of_the_work, owns},
    world::World,
};
use store::{Jaeger, QUERY};

/// Two whose agents are at work when the owner is killed.
const AT_WORK: [&str; 2] = ["furiosa", "max"];
/// One that has failed before.
const FAILED: &str = "nux";
const NAMES: [&str; 3] = [FAILED, AT_WORK[0], AT_WORK[1]];
/// The stages of one whose clone failed.
const UP_TO_CLONE: [&str; 5] = ["queue", "schedule pod", "start pod", "clone", "start agent"];
const RIG: &str = "town";
const TASK: &str = "Append \"Good bye.\" to greeting.txt";
const CALLS: [&str; 4] =
    ["admission mutate", "admission validate", "admission mutate pod", "admission validate pod"];
const HAND_OVER: &str = "hand over shard";

/// The trace of each run, by its Polecat's name.
type Runs = BTreeMap<&'static str, String>;

/// Makes the Polecats; two agents work and wait at the gate, the third run has failed.
async fn begun(door: &Door, gate: &Gate) -> Runs {
    let (world, git) = (&door.world, door.world.bed.git.as_ref().unwrap());
    let (seed, bare) = (tempfile::tempdir().unwrap(), git.repositories.join("jaeger.git"));
    let files = [("greeting.txt", "Hello.\n"), ("check.sh", gate.check.as_str())];
    with_commit(seed.path(), &bare, "first", &files).unwrap();
    let rig = json!({"metadata": {"name": RIG}, "spec": {"gitURL": format!("{}jaeger.git", git.ssh), "beadsPrefix": "gt"}});
    let rigs: Api<Rig> = Api::all(world.client.clone());
    rigs.create(&PostParams::default(), &serde_json::from_value(rig).unwrap()).await.unwrap();
    for name in NAMES {
        let edit = |it: &mut serde_json::Value| {
            at(it, git, "jaeger", TASK);
            it["spec"]["rig"] = json!(RIG);
            it["spec"]["beadID"] = json!(format!("gt-{name}")); // a branch for each
            if name == FAILED {
                it["spec"]["kubernetes"]["gitBranch"] = json!("no-such-branch");
            }
        };
        world.create(name, edit).await;
    }
    gate.has(AT_WORK.len()).await;
    let mut runs = Runs::new();
    for name in AT_WORK {
        runs.insert(name, trace_id(&world.condition(name, "Ready", "True/PodRunning").await));
    }
    let stuck = world.condition(FAILED, "Ready", "False/BranchNotFound").await;
    runs.insert(FAILED, trace_id(&stuck));
    for name in NAMES {
        let stored = live::stored(door, name).await;
        live::convert(door, &stored, "gastown.gastown.io/v1alpha1").await;
    }
    runs
}

/// Waits until Jaeger has so many of these in each of these runs, copies counted.
async fn has(
    jaeger: &Jaeger,
    runs: &Runs,
    names: &[&str],
    what: (&str, usize),
    is: impl Fn(&Span) -> bool,
) {
    for name in names {
        let found = async || jaeger.told(&runs[*name]).await.iter().filter(|it| is(it)).count();
        comes_true(&format!("{} of {name}", what.0), async || found().await >= what.1).await;
    }
}

fn is_pass(it: &Span, of: &str) -> bool {
    it.name == "reconcile" && it.says(attributes::REPLICA) == of
}

/// Waits until Jaeger has what was told before the kill.
async fn has_the_beginning(jaeger: &Jaeger, runs: &Runs, first: &str) {
    for call in CALLS.into_iter().chain([live::CALL, "wait in queue"]) {
        has(jaeger, runs, &NAMES, (call, 1), |it| it.name == call).await;
    }
    has(jaeger, runs, &NAMES, ("pass of the owner", 1), |it| is_pass(it, first)).await;
    has(jaeger, runs, &[FAILED], ("root", 1), |it| it.name == RUN).await;
}

/// Whom both runs were handed over to; waits until Jaeger has that.
async fn heir(jaeger: &Jaeger, runs: &Runs, first: &str) -> String {
    let handed = |it: &&Span| it.name == HAND_OVER && it.says(attributes::FROM) == first;
    let mut heirs = Vec::new();
    for name in AT_WORK {
        let told = async || jaeger.told(&runs[name]).await.iter().find(handed).cloned();
        let span = answered("the hand-over", told).await;
        assert_eq!(span.says(attributes::LEFT), "stopped", "{name}: nobody gave it away: {span:?}");
        heirs.push(span.says(attributes::TO).to_owned());
    }
    assert_eq!(heirs[0], heirs[1], "one shard, one owner");
    heirs.remove(0)
}

/// What Jaeger was told of each run, by its Polecat's name, as it came.
async fn read_back(jaeger: &Jaeger, runs: &Runs) -> BTreeMap<&'static str, Vec<Span>> {
    let mut all = BTreeMap::new();
    for (name, id) in runs {
        let told = async || Some(jaeger.told(id).await).filter(|it| !it.is_empty());
        all.insert(*name, answered("the whole trace", told).await);
    }
    all
}

/// Each once; what was told more than once was the same each time, with who told it, and root and stages were.
fn once(name: &str, told: &[Span]) -> BTreeMap<String, Span> {
    let mut trace = BTreeMap::new();
    for it in told {
        keep(&mut trace, it.clone());
    }
    let stages: &[&str] = if name == FAILED { &UP_TO_CLONE } else { &STAGES };
    for want in [RUN].iter().chain(stages) {
        let copies = told.iter().filter(|it| it.name == *want).count();
        assert!(copies > 1, "{name}: {want} was told {copies} times");
    }
    is_whole(&trace);
    is_tiled(&trace, stages);
    trace
}

/// What every run's trace says, whatever became of the run.
fn says_how_it_began(trace: &BTreeMap<String, Span>, first: &str) {
    let root = trace.values().find(|it| it.name == RUN).unwrap();
    let named = |name: &str| trace.values().filter(|it| it.name == name).collect::<Vec<_>>();
    for call in CALLS.into_iter().chain([live::CALL]) {
        let found = named(call);
        assert!(!found.is_empty() && found.iter().all(|it| it.parent == root.id), "{found:#?}");
    }
    for step in ["wait in queue", "look", "decide", "carry out"] {
        assert!(!named(step).is_empty(), "{step}");
    }
    let made = named("POST pods");
    assert_eq!(made.len(), 1, "one pod, whoever owned it: {made:#?}");
    assert!(trace.values().any(|it| is_pass(it, first)), "the killed owner worked on it");
    for it in trace.values() {
        let prompt = it.attributes.iter().find(|(_, text)| text.contains("Good bye"));
        assert_eq!(prompt, None, "{it:?}");
    }
}

/// What those say whose agents were at work when the owner was killed.
fn says_how_it_went_on(trace: &BTreeMap<String, Span>, (first, heir): (&str, &str)) {
    let begins = |name: &str| trace.values().filter(|it| it.name == name).map(|it| it.from).min();
    let beginning = ["admission mutate", "reconcile", "POST pods", "admission mutate pod"];
    let order = beginning.into_iter().chain(["clone", "agent", "hand over", "push"]);
    assert!(order.is_sorted_by_key(|it| begins(it).unwrap()), "{trace:#?}");
    for stage in ["clone", "agent", "hand over", "push"] {
        let found = trace.values().find(|it| it.name == stage).unwrap();
        assert_eq!(found.service, "gastown-runner", "{stage}");
    }
    // It begins at the latest moment in which somebody is known to have worked there, which may lie before the kill.
    let handed = trace.values().find(|it| it.name == HAND_OVER).unwrap().to;
    assert!(begins("agent").unwrap() < handed && handed < begins("hand over").unwrap());
    let passes = |of: &str| trace.values().filter(|it| is_pass(it, of)).collect::<Vec<_>>();
    assert!(passes(first).iter().all(|it| it.to < handed), "it was killed: {trace:#?}");
    assert!(passes(heir).iter().any(|it| it.from > handed), "the heir goes on: {trace:#?}");
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

/// Text and page have everything that stands in the trace.
fn is_shown(world: &World, name: &str, trace: &BTreeMap<String, Span>) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/trace.html");
    let text = shown(world, name, &page);
    let html = std::fs::read_to_string(page).unwrap();
    for it in trace.values() {
        assert!(text.contains(&it.name) && html.contains(&it.name), "{}: {text}", it.name);
    }
    println!("{text}");
}

/// Both that are left end, the owner first, so that the last one tells of everything again.
async fn end(jaeger: &Jaeger, runs: &Runs, others: &[&Operator], heir: &str) {
    let (owner, last): (Vec<&Operator>, Vec<_>) = others.iter().partition(|it| it.name == heir);
    for it in owner {
        assert_eq!(it.terminate(END).await.unwrap(), 0);
    }
    has(jaeger, runs, &AT_WORK, ("second root", 2), |it| it.name == RUN).await;
    has(jaeger, runs, &[FAILED], ("third root", 3), |it| it.name == RUN).await;
    for it in last {
        assert_eq!(it.terminate(END).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn jaeger_has_each_run_as_one_trace_also_of_a_killed_owner() {
    let name = "jaeger_has_each_run_as_one_trace_also_of_a_killed_owner";
    let Ok(program) = std::env::var("GASTOWN_JAEGER") else {
        return skip(name, "jaeger", "is built in ten minutes: `make demo-trace` runs it");
    };
    let jaeger = Jaeger::start(&program).await;
    let flags = ["--otlp-endpoint=http://127.0.0.1:4318", "--otlp-delay=50", "--shards=3"];
    let Some(world) = world_with(name, "town", &flags).await else { return };
    let door = Door::before(world).await;
    let [second, third] = [door.world.another("second").await, door.world.another("third").await];
    for it in [&door.world.operator, &second, &third] {
        owns(it, 1).await;
    }
    let gate = Gate::at(door.world.bed.host_address).await;
    let runs = begun(&door, &gate).await;
    let all = [&door.world.operator, &second, &third];
    let first = owner_of_the_work(&door.world, &all).await;
    has_the_beginning(&jaeger, &runs, &first).await;
    // What calls one of them must not outlive it.
    let world = door.close().await;
    let all = [&world.operator, &second, &third];
    let (killed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.name == first);
    killed[0].kill9().await.unwrap();
    let heir = heir(&jaeger, &runs, &first).await;
    has(&jaeger, &runs, &[FAILED], ("second root", 2), |it| it.name == RUN).await;
    gate.open();
    for name in AT_WORK {
        world.condition(name, "Pushed", "True/Pushed").await;
    }
    has(&jaeger, &runs, &AT_WORK, ("root", 1), |it| it.name == RUN).await;
    end(&jaeger, &runs, &others, &heir).await;

    let told = read_back(&jaeger, &runs).await;
    assert_eq!(runs.values().collect::<BTreeSet<_>>().len(), NAMES.len(), "a trace each: {runs:?}");
    let everything = jaeger.everything().await;
    for (name, id) in &runs {
        let about = everything.iter().filter(|it| it.says(attributes::NAME) == *name);
        let traces: BTreeSet<_> = about.map(|it| &it.trace).collect();
        assert_eq!(traces, BTreeSet::from([id]), "{name}: nothing of it is elsewhere");
    }
    for name in NAMES {
        let trace = once(name, &told[name]);
        says_how_it_began(&trace, &first);
        if name == FAILED {
            let root = trace.values().find(|it| it.name == RUN).unwrap();
            assert!(root.failed && root.says(attributes::ERROR) == "BranchNotFound", "{root:?}");
        } else {
            says_how_it_went_on(&trace, (&first, &heir));
        }
        is_shown(&world, name, &trace);
    }
    let rigs: Api<Rig> = Api::all(world.client.clone());
    rigs.delete(RIG, &DeleteParams::default()).await.unwrap();
}
