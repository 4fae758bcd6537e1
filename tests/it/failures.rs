//! Every failure that the table in docs/failures.md knows, made on the real API server: pods whose status and Events are
//! written as kubelet, scheduler and controllers would, and refusals of the API server itself.

use std::collections::BTreeSet;

use gastown::{
    api::{v1alpha1::Polecat, v1beta1::PolecatObject},
    domain::causes::{self, Fate},
};
use gastown_testbed::watch::await_condition;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    waits::shortened,
    world::{PATIENCE, World, condition, message, phase_of, until},
};

mod refused;
mod silent;

const NO_RUNNER: &str =
    "exec: \"/usr/local/bin/gt-runner\": stat /usr/local/bin/gt-runner: no such file or directory";

/// Pods stay as the test writes them.
const UNTOUCHED: [(&str, &str); 1] = [("testbed.gastown.io/run-after", "never")];

/// One row: a name for the Polecat, the pod's status, an Event about it, and what must be read off the Polecat.
struct Row {
    name: &'static str,
    status: Value,
    event: Option<(&'static str, &'static str)>,
    /// Condition, its reason, and a part of its message.
    want: (&'static str, &'static str, &'static str),
}

fn row(name: &'static str, status: Value, want: (&'static str, &'static str, &'static str)) -> Row {
    Row { name, status, event: None, want }
}

fn waiting(reason: &str, text: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [container("claude",
        &json!({"waiting": {"reason": reason, "message": text}}))]})
}

fn container(name: &str, state: &Value) -> Value {
    json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

fn ended(code: i32, reason: &str, text: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason, "message": text,
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z"}})
}

/// A pod whose agent ended, and what telemetry said.
fn over(claude: &Value, telemetry: &str) -> Value {
    json!({"phase": "Failed", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": [
        container("claude", claude), container("telemetry", &ended(0, "Completed", telemetry))]})
}

fn running() -> Value {
    json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})
}

/// A pod of which a part still runs.
fn begun(claude: &Value, telemetry: &Value) -> Value {
    json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "containerStatuses": [
        container("claude", claude), container("telemetry", telemetry)]})
}

fn bad_clone(reason: &str, text: &str) -> Value {
    let words = json!({"v": 1, "reason": reason, "message": text}).to_string();
    json!({"phase": "Failed", "initContainerStatuses": [container("git-init", &ended(1, "Error", &words))]})
}

fn disrupted(reason: &str, pod_reason: &str) -> Value {
    json!({"phase": "Failed", "reason": pod_reason, "message": "said by the node", "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}]})
}

fn verdict(reason: &str, pushed: bool, stopped: Option<&str>) -> String {
    let agent = stopped.map(|it| json!({"exitCode": 143, "seconds": 1.0, "stopped": it}));
    let mut it =
        json!({"v": 1, "pushed": pushed, "reason": reason, "message": "said by telemetry"});
    if let Some(agent) = agent {
        it["agent"] = agent;
    }
    it.to_string()
}

#[rustfmt::skip]
fn pending() -> Vec<Row> {
    let by_event = |name, reason, text, want| Row { name, status: json!({"phase": "Pending"}), event: Some((reason, text)), want };
    let no_node = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
        "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu."}]});
    vec![
        row("pull", waiting("ImagePullBackOff", "Back-off pulling image \"a:1\""), ("Ready", "ImagePullFailed", "pull secrets")),
        row("image-name", waiting("InvalidImageName", "couldn't parse A:1"), ("Ready", "ImageNameInvalid", "spec.kubernetes.image")),
        row("no-node", no_node, ("Ready", "Unschedulable", "Insufficient cpu")),
        row("env-secret", waiting("CreateContainerConfigError", "secret \"llm\" not found"), ("Ready", "SecretMissing", "Secret llm is not there")),
        row("env-key", waiting("CreateContainerConfigError", "couldn't find key token in Secret failures/llm"), ("Ready", "SecretMissing", "Secret llm has no key token")),
        row("env-map", waiting("CreateContainerConfigError", "configmap \"settings\" not found"), ("Ready", "ConfigMapMissing", "ConfigMap settings is not there")),
        row("env-other", waiting("CreateContainerConfigError", "no such user"), ("Ready", "ContainerConfigMissing", "no such user")),
        row("no-start", waiting("CreateContainerError", "no space"), ("Ready", "ContainerNotStarted", "no space")),
        by_event("mount-secret", "FailedMount", "MountVolume.SetUp failed for volume \"git-creds\" : secret \"git-key\" not found", ("Ready", "SecretMissing", "Secret git-key is not there")),
        by_event("mount-map", "FailedMount", "MountVolume.SetUp failed for volume \"known-hosts\" : configmap \"hosts\" not found", ("Ready", "ConfigMapMissing", "ConfigMap hosts is not there")),
        by_event("mount-key", "FailedMount", "MountVolume.SetUp failed for volume \"trusted-ca\" : configmap references non-existent config key: ca-bundle.crt", ("Ready", "ConfigMapMissing", "the ConfigMap of volume trusted-ca has no key ca-bundle.crt")),
        by_event("mount", "FailedAttachVolume", "AttachVolume.Attach failed : timed out", ("Ready", "VolumeMountFailed", "timed out")),
        by_event("sandbox", "FailedCreatePodSandBox", "plugin type=\"bridge\" failed", ("Ready", "SandboxFailed", "bridge")),
    ]
}

#[rustfmt::skip]
fn ends() -> Vec<Row> {
    let fine = ended(0, "Completed", "");
    let failed = ended(3, "Error", "");
    let killed = ended(143, "Error", "");
    let mut oom_clone = bad_clone("x", "");
    oom_clone["initContainerStatuses"][0]["state"] = ended(137, "OOMKilled", "");
    let mut no_runner = bad_clone("x", "");
    no_runner["initContainerStatuses"][0]["state"] = ended(128, "StartError", NO_RUNNER);
    let mut silent = bad_clone("x", "");
    silent["initContainerStatuses"][0]["state"] = ended(1, "Error", "boom");
    vec![
        row("clone-refused", bad_clone("CloneRefused", "git said no"), ("Ready", "CloneRefused", "git said no")),
        row("host-key", bad_clone("HostKeyUnknown", "no key is known"), ("Ready", "HostKeyUnknown", "no key is known")),
        row("branch", bad_clone("BranchNotFound", "no branch nope"), ("Ready", "BranchNotFound", "no branch nope")),
        row("credentials", bad_clone("CredentialsRefused", "add the public half"), ("Ready", "CredentialsRefused", "public half")),
        row("clone-memory", oom_clone, ("Ready", "CloneOutOfMemory", "memory")),
        row("no-runner", no_runner, ("Ready", "RunnerMissing", "runner's own image")),
        row("clone-silent", silent, ("Ready", "CloneFailed", "boom")),
        row("exit-code", over(&failed, &verdict("Pushed", true, None)), ("Ready", "PodFailed", "code 3")),
        row("memory", over(&ended(137, "OOMKilled", ""), ""), ("Ready", "OOMKilled", "limits.memory")),
        row("no-exec", over(&ended(128, "StartError", "exec format error"), ""), ("Ready", "AgentImageIncompatible", "exec format error")),
        row("no-exec-waits", begun(&ended(128, "StartError", "exec format error"), &running()), ("Ready", "AgentImageIncompatible", "architecture")),
        row("no-loader", over(&ended(1, "Error", ""), &verdict("NotBegun", false, None)), ("Ready", "AgentImageIncompatible", "glibc")),
        row("no-telemetry", begun(&running(), &ended(128, "StartError", NO_RUNNER)), ("Ready", "RunnerMissing", "image of telemetry")),
        row("node-fails", begun(&ended(128, "StartError", "error setting cgroup config"), &running()), ("Ready", "ContainerStartFailed", "container claude: error setting")),
        row("deserted", begun(&running(), &ended(137, "OOMKilled", "")), ("Ready", "TelemetryFailed", "nobody would push what it commits, and its pod is ended: code 137, OOMKilled")),
        row("no-loader-waits", begun(&ended(127, "Error", ""), &running()), ("Ready", "AgentImageIncompatible", "glibc")),
        row("exit-words", over(&ended(3, "Error", &json!({"v": 1, "reason": "PodFailed", "message": "the agent exited with code 3; see the log of container claude"}).to_string()), ""), ("Ready", "PodFailed", "code 3")),
        row("no-agent", over(&ended(127, "Error", &json!({"v": 1, "reason": "AgentNotFound", "message": "no claude on the PATH"}).to_string()), ""), ("Ready", "AgentNotFound", "no claude")),
        row("not-run", over(&ended(126, "Error", &json!({"v": 1, "reason": "AgentNotExecutable", "message": "claude can't be run"}).to_string()), ""), ("Ready", "AgentNotExecutable", "can't be run")),
        row("told-to-end", over(&ended(143, "Error", &json!({"v": 1, "reason": "Terminated", "message": "its pod was told to end"}).to_string()), ""), ("Ready", "Terminated", "told to end")),
        row("deadline", over(&killed, &verdict("Pushed", true, Some("Deadline"))), ("Ready", "DeadlineExceeded", "activeDeadlineSeconds")),
        row("pod-deadline", json!({"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active too long"}), ("Ready", "DeadlineExceeded", "may be lost")),
        row("idle", over(&killed, &verdict("Pushed", true, Some("IdleTimeout"))), ("Ready", "IdleTimeout", "maxIdleSeconds")),
        row("storage", over(&killed, &verdict("Pushed", true, Some("StorageExceeded"))), ("Ready", "StorageExceeded", "nearly full")),
        row("storage-words", over(&ended(143, "Error", &json!({"v": 1, "reason": "StorageExceeded", "message": "/tmp held 1.9 MiB"}).to_string()), &verdict("Pushed", true, None)), ("Ready", "StorageExceeded", "/tmp held")),
        row("drain", disrupted("EvictionByEvictionAPI", ""), ("Ready", "Drained", "drained: said by the node; commits may be lost")),
        row("preempted", disrupted("PreemptionByScheduler", "Preempted"), ("Ready", "Preempted", "said by the node; commits may be lost")),
        row("evicted", disrupted("TerminationByKubelet", "Evicted"), ("Ready", "Evicted", "said by the node; commits may be lost")),
        row("node-stops", disrupted("TerminationByKubelet", "Terminated"), ("Ready", "Drained", "shuts down: said by the node; commits may be lost")),
        row("critical", disrupted("TerminationByKubelet", "Preempting"), ("Ready", "Preempted", "critical pod: said by the node")),
        row("node-lost", disrupted("DeletionByPodGC", ""), ("Ready", "NodeLost", "gone: said by the node; commits may be lost")),
        row("cut-off", disrupted("EvictionByEvictionAPI", ""), ("Pushed", "NoVerdict", "may be lost")),
        row("tainted", disrupted("DeletionByTaintManager", ""), ("Ready", "NodeLost", "tainted")),
        row("unreadable", over(&fine, "{\"v\":1,\"pus"), ("Pushed", "VerdictUnreadable", "cut or damaged")),
        row("silent", over(&fine, ""), ("Pushed", "NoVerdict", "without a verdict")),
        row("rejected", over(&fine, &verdict("PushRejected", false, None)), ("Pushed", "PushRejected", "said by telemetry")),
        row("nothing", over(&fine, &verdict("NothingToPush", false, None)), ("Pushed", "NothingToPush", "said by telemetry")),
    ]
}

/// Every other word that a container of ours may leave, in the table's own order: the runner's tests make the failures
/// themselves, and here each is read off a Polecat.
fn other_words(known: &BTreeSet<&str>) -> Vec<Row> {
    let fine = ended(0, "Completed", "");
    let part = |title: &str| causes::PARTS.iter().find(|it| it.title == title).unwrap().rows;
    let name = |reason: &str| -> &'static str { format!("said-{}", reason.to_lowercase()).leak() };
    let clone = part("The clone fails").iter().map(|it| {
        let status = bad_clone(it.reason, "said by git-init");
        row(name(it.reason), status, ("Ready", it.reason, "said by git-init"))
    });
    let commits = part("What became of the commits").iter().filter(|it| it.fate == Fate::Commits);
    let commits = commits.filter(|it| it.reason != "MadeByOriginal"); // whose pods have no telemetry
    let commits = commits.map(|it| {
        let status = over(&fine, &verdict(it.reason, false, None));
        row(name(it.reason), status, ("Pushed", it.reason, "said by telemetry"))
    });
    clone.chain(commits).filter(|it| !known.contains(it.want.1)).collect()
}

/// Rows that another test makes, and where.
const ELSEWHERE: [(&str, &str); 24] = [
    ("NamespaceTerminating", include_str!("terminating.rs")),
    ("ServiceAccountMissing", REFUSED),
    ("MissingKubernetesSpec", include_str!("polecats.rs")),
    ("PodBuildFailed", include_str!("hostile.rs")),
    ("WaitingForPreviousPod", include_str!("polecats.rs")),
    ("PodNameTaken", include_str!("polecats.rs")),
    ("Restored", include_str!("restored.rs")),
    ("Paused", include_str!("brakes.rs")),
    ("NamespaceLimit", include_str!("brakes.rs")),
    ("NotAllowedByRig", include_str!("brakes.rs")),
    ("MadeByOriginal", include_str!("takeover/left.rs")),
    ("QuotaExceeded", REFUSED),
    ("QuotaUnmet", REFUSED),
    ("LimitRangeRefused", REFUSED),
    ("PodSecurityRefused", REFUSED),
    ("SecurityContextConstraintRefused", REFUSED),
    ("AdmissionRefused", REFUSED),
    ("AdmissionUnavailable", REFUSED),
    ("PodInvalid", REFUSED),
    ("NodeSilent", include_str!("failures/silent.rs")),
    ("PodLost", include_str!("ends.rs")),
    ("PodCreateFailed", include_str!("forbidden.rs")),
    ("AgentImageNotSet", REFUSED),
    ("RunnerImageNotSet", REFUSED),
];
const REFUSED: &str = include_str!("failures/refused.rs");

#[test]
fn no_row_of_the_table_is_left_out() {
    let mut made: BTreeSet<&str> = pending().iter().chain(&ends()).map(|it| it.want.1).collect();
    made.extend(other_words(&made).iter().map(|it| it.want.1));
    made.extend(lacks_commits().iter().map(|(_, it)| it.want.1));
    for (reason, file) in ELSEWHERE {
        assert!(file.contains(reason), "{reason} is made where this says");
        let waited =
            file.lines().any(|it| it.contains(".event(") && it.contains(&format!("\"{reason}\"")));
        let announced = causes::of(reason).unwrap().announced;
        assert_eq!(waited, announced, "{reason}: whether it is an Event is as the table says");
        made.insert(reason);
    }
    let all = causes::PARTS.iter().flat_map(|it| it.rows).map(|it| it.reason);
    let missing: BTreeSet<&str> = all.filter(|it| !made.contains(it)).collect();
    assert!(missing.is_empty(), "rows that no test makes: {missing:?}");
}

/// Writes the pod of a Polecat as the node would.
async fn play(world: &World, row: &Row) {
    let name = format!("polecat-{}", row.name);
    let pod = until(&world.pods(), &name, "pod", |_: &Pod| true).await;
    if let Some((reason, text)) = row.event {
        let event = json!({"metadata": {"name": format!("{name}.1")}, "type": "Warning", "reason": reason, "message": text,
            "involvedObject": {"kind": "Pod", "name": name, "namespace": world.namespace, "uid": pod.uid()}});
        let api: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
        api.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
    }
    let patch = json!({"status": row.status});
    world.pods().patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn reads(world: &World, row: &Row) -> Polecat {
    let (type_, reason, part) = row.want;
    let what = format!("{type_} {reason}");
    let is = move |it: &Polecat| condition(it, type_).ends_with(&format!("/{reason}"));
    let it = until(&world.polecats(), row.name, what, is).await;
    let text = message(&it, type_);
    assert!(text.contains(part), "{}: {text}", row.name);
    let fate = causes::of(reason).unwrap_or_else(|| panic!("{reason} stands in no row")).fate;
    let phase = phase_of(&it);
    let no_intent_yet = causes::PARTS[0].rows.iter().any(|it| it.reason == reason);
    let want = match fate {
        Fate::Waits if no_intent_yet => "Idle",
        Fate::Waits => "Working",
        Fate::Stuck => "Stuck",
        Fate::Commits if row.name == "cut-off" => "Stuck",
        Fate::Commits => "Done",
    };
    assert_eq!(phase, want, "{}: what the table says becomes of it", row.name);
    it
}

#[tokio::test]
async fn a_pod_that_does_not_start_says_why_and_starts_when_it_is_mended() {
    let flags = shortened(&["--pending-patience=1"]);
    let world = World::with_flags("failures-pending", &UNTOUCHED, flags).await;
    let rows = pending();
    for row in &rows {
        world.create(row.name, |_| {}).await;
        play(&world, row).await;
    }
    for row in &rows {
        reads(&world, row).await;
        world.event(row.name, row.want.1).await;
    }
    // A pod's Events are asked for where its status says nothing, and never again once they said something.
    let asked = inquiries(&world).await;
    let told = rows.iter().filter(|it| it.event.is_some()).count();
    assert!(asked.iter().collect::<BTreeSet<_>>().len() >= told, "{asked:?}");
    // The words stand although the pod's status changes without saying anything.
    let quiet = json!({"status": {"conditions": [{"type": "Initialized", "status": "False", "reason": "ContainersNotInitialized"}]}});
    let merge = PatchParams::default();
    world.pods().patch_status("polecat-mount-secret", &merge, &Patch::Merge(quiet)).await.unwrap();
    let runs = json!({"status": {"phase": "Running", "conditions": [], "containerStatuses": [
        container("claude", &json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}))]}});
    for row in &rows {
        let name = format!("polecat-{}", row.name);
        world.pods().patch_status(&name, &merge, &Patch::Merge(&runs)).await.unwrap();
    }
    for row in &rows {
        let it = world.condition(row.name, "Ready", "True/PodRunning").await;
        assert_eq!(
            condition(&it, "Degraded"),
            "False/Healthy",
            "{}: nothing is left of it",
            row.name
        );
    }
    assert_eq!(inquiries(&world).await, asked, "what is known is not asked for");
}

/// The reads of pods' Events so far.
async fn inquiries(world: &World) -> Vec<String> {
    let all = world.requests_of(&world.operator.name).await;
    let of_pod = |it: &&gastown_testbed::audit::Event| {
        it.resource == "events" && it.uri.contains("involvedObject.uid")
    };
    all.iter().filter(of_pod).map(|it| it.uri.clone()).collect()
}

#[tokio::test]
async fn every_end_of_a_pod_reads_as_the_table_says() {
    let flags = shortened(&["--verdict-wait=1"]);
    let world = World::with_flags("failures-ends", &UNTOUCHED, flags).await;
    let mut rows = ends();
    rows.extend(other_words(&rows.iter().map(|it| it.want.1).collect()));
    for row in &rows {
        world.create(row.name, |_| {}).await;
        play(&world, row).await;
    }
    for row in &rows {
        reads(&world, row).await;
        // Of what another Event says, nothing more is said.
        if causes::of(row.want.1).unwrap().announced && row.name != "cut-off" {
            world.event(row.name, row.want.1).await;
        }
    }
    let told: Api<Event> = Api::namespaced(world.client.clone(), &world.namespace);
    for it in told.list(&ListParams::default()).await.unwrap() {
        let reason = it.reason.unwrap_or_default();
        assert!(causes::of(&reason).is_none_or(|it| it.announced), "{reason}: {:?}", it.message);
    }
    // What can come to nothing any more does not stay until the pod's deadline.
    let futile = ["no-exec-waits", "no-telemetry", "node-fails", "deserted", "no-loader-waits"];
    for name in futile.map(|it| format!("polecat-{it}")) {
        let name = name.as_str();
        let going = |it: Option<&Pod>| it.is_none_or(|it| it.metadata.deletion_timestamp.is_some());
        let waited = await_condition(world.pods(), name, going);
        tokio::time::timeout(PATIENCE, waited).await.expect(name).unwrap();
    }
}

/// v1beta1 can ask for more than the exit code.
fn lacks_commits() -> Vec<(&'static str, Row)> {
    let end = |words: &str| over(&ended(0, "Completed", ""), words);
    let (nothing, rejected) =
        (verdict("NothingToPush", false, None), verdict("PushRejected", false, None));
    vec![
        ("Commit", row("no-commit", end(&nothing), ("Ready", "NotCommitted", "needs a commit"))),
        ("Push", row("no-push", end(&rejected), ("Ready", "NotPushed", "said by telemetry"))),
        ("Push", row("no-words", end(""), ("Ready", "VerdictMissing", "commits on the remote"))),
    ]
}

#[tokio::test]
async fn a_run_that_needs_its_commits_is_stuck_without_them() {
    let world = World::new("failures-commits", &UNTOUCHED).await;
    let api: Api<PolecatObject> = Api::namespaced(world.client.clone(), &world.namespace);
    let rows = lacks_commits();
    for (completion, row) in &rows {
        let object = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": row.name},
            "spec": {"rig": "greeter", "desiredState": "Working", "completion": completion, "repository": {
                "url": "git@git.example.com:town/greeter.git", "secretRef": {"name": "git-key"}}}});
        let object = serde_json::from_value(object).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
        play(&world, row).await;
    }
    for (_, row) in &rows {
        reads(&world, row).await;
        world.event(row.name, row.want.1).await;
    }
}

#[tokio::test]
async fn a_lost_pod_is_stuck_and_said() {
    let world = World::new("failures-lost", &[("testbed.gastown.io/run-for", "never")]).await;
    world.create("max", |_| {}).await;
    world.condition("max", "Ready", "True/PodRunning").await;
    world.pods().delete("polecat-max", &DeleteParams::default().grace_period(0)).await.unwrap();
    let want = ("Ready", "PodLost", "desiredState to Idle and back to Working");
    reads(&world, &row("max", Value::Null, want)).await;
}
