//! Every YAML that people are given is applied to a real API server, and so is one with every field of the original.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gastown::kinds::KINDS;
use gastown_testbed::{Node, Testbed};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::{GroupVersionKind, TypeMeta},
    discovery::ApiResource,
};
use serde_json::{Value, json};

use crate::door::Door;

/// A Polecat that uses every field the Go original has.
const EVERY_FIELD: &str = r#"
apiVersion: gastown.gastown.io/v1alpha1
kind: Polecat
metadata: {name: every-field, namespace: samples}
spec:
  rig: greeter
  desiredState: Idle
  beadID: gt-abc12
  taskDescription: Do it
  executionMode: kubernetes
  agent: claude-code
  agentConfig:
    provider: openai
    model: gpt
    modelProvider: {endpoint: "https://llm.example.com/v1", apiKeySecretRef: {name: llm, key: key}}
    image: agent:1
    command: [run]
    args: ["--fast"]
    configMapRef: {name: config}
    env:
      - {name: A, value: b}
      - {name: C, valueFrom: {secretKeyRef: {name: s, key: k}}}
      - {name: D, valueFrom: {configMapKeyRef: {key: k}}}
      - {name: E, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
      - {name: F, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
  resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: "2", memory: 2Gi}}
  ttlSecondsAfterFinished: 60
  maxIdleSeconds: 60
  kubernetes:
    gitRepository: https://git.example.com/town/greeter.git
    gitBranch: main
    workBranch: work
    gitSecretRef: {name: key}
    claudeCredsSecretRef: {name: creds}
    apiKeySecretRef: {name: llm, key: key}
    image: agent:2
    resources: {limits: {cpu: 500m}}
    activeDeadlineSeconds: 60
    sshKnownHostsConfigMapRef: {name: hosts}
    sshStrictHostKeyChecking: "yes"
"#;

/// A Polecat with every field.
pub fn every_field() -> Value {
    serde_saphyr::from_str(EVERY_FIELD).unwrap()
}

/// The sample of a kind; of a Polecat, one with every field.
pub fn of(kind: &str) -> Value {
    if kind == "Polecat" {
        return every_field();
    }
    samples().into_iter().find(|it| it["kind"] == kind).unwrap()
}

/// Every object in `deploy/samples`.
pub fn samples() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|it| serde_saphyr::from_str(&fs::read_to_string(it).unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn every_sample_applies_strictly_and_reads_back_as_it_was() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    crate::world::install_crds(bed).await;
    bed.make_namespace("samples", &[]).await.unwrap();
    let client = bed.client("samples").await.unwrap();
    let all = samples().into_iter().chain([every_field()]);
    let mut count = 0;
    for mut sample in all {
        let kind = sample["kind"].as_str().unwrap().to_owned();
        let types: TypeMeta = serde_json::from_value(sample.clone()).unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types).unwrap());
        let api: Api<DynamicObject> = if kind == "Rig" {
            Api::all_with(client.clone(), &resource)
        } else {
            sample["metadata"]["namespace"] = json!("samples");
            Api::namespaced_with(client.clone(), "samples", &resource)
        };
        let name = sample["metadata"]["name"].as_str().unwrap().to_owned();
        // Strict: a field that the schema does not know is an error, not pruned.
        let params = PatchParams::apply("samples").validation_strict();
        let stored = api.patch(&name, &params, &Patch::Apply(&sample)).await.unwrap();
        assert!(holds(&stored.data["spec"], &sample["spec"]), "{name}: {}", stored.data["spec"]);
        api.delete(&name, &DeleteParams::default()).await.unwrap();
        count += 1;
    }
    assert!(count >= 9, "{count}");
}

/// The pages that people read.
pub fn pages() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![top.join("README.md"), top.join("src/ARCHITECTURE.md")];
    for folder in ["docs", "docs/runbooks"] {
        let all = fs::read_dir(top.join(folder)).unwrap().map(|it| it.unwrap().path());
        pages.extend(all.filter(|it| it.extension().is_some_and(|it| it == "md")));
    }
    pages.sort();
    pages
}

/// Every object in a block of the pages, with the page.
fn in_pages() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        // Between fences: every second part, which begins with the name of its language.
        for block in text.split("```").skip(1).step_by(2) {
            let body = block.split_once('\n').map_or("", |(_, it)| it);
            // What a console shows is not applied: the commands in it are.
            let yaml = !body.starts_with("$ ");
            let objects = body.split("\n---\n").filter(|it| yaml && it.contains("apiVersion:"));
            let name = page.file_name().unwrap().to_string_lossy().into_owned();
            found.extend(objects.map(|it| (name.clone(), serde_saphyr::from_str(it).unwrap())));
        }
    }
    found
}

/// Groups that an API server has only where others brought them.
const FOREIGN: [&str; 1] = ["operators.coreos.com"];

#[tokio::test]
async fn every_yaml_of_the_pages_would_apply() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    crate::world::install_crds(bed).await;
    bed.make_namespace("pages", &[]).await.unwrap();
    let client = bed.client("pages").await.unwrap();
    let all = in_pages();
    assert!(all.iter().any(|(page, _)| page == "brakes.md"), "its quota is found: {all:?}");
    for (page, mut object) in all {
        let types: TypeMeta = serde_json::from_value(object.clone()).unwrap();
        let kind = GroupVersionKind::try_from(&types).unwrap();
        if FOREIGN.contains(&&*kind.group) {
            assert_eq!(page, "openshift.md", "{kind:?} is told there alone");
            continue;
        }
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> = if object["metadata"]["namespace"].is_string() {
            object["metadata"]["namespace"] = json!("pages");
            Api::namespaced_with(client.clone(), "pages", &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        let params = PatchParams::apply("pages").validation_strict().dry_run();
        let answer = api.patch(name, &params, &Patch::Apply(&object)).await;
        assert!(answer.is_ok(), "{page}: {object}: {answer:?}");
    }
}

/// An API server without our webhooks takes what they would refuse.
#[tokio::test]
async fn our_own_admission_takes_every_object_of_ours_that_people_are_given() {
    let door = Door::open("samples-door", &[]).await;
    let ours = |it: &Value| KINDS.iter().any(|kind| it["kind"] == kind.kind && !kind.inner);
    let samples = samples().into_iter().map(|it| ("a sample".to_owned(), it));
    let all: Vec<_> = samples.chain(in_pages()).filter(|(_, it)| ours(it)).collect();
    for kind in ["Polecat", "Rig"] {
        assert!(all.iter().filter(|it| it.1["kind"] == kind).count() > 1, "{kind}: they are found");
    }
    for (place, mut object) in all {
        object["metadata"]["namespace"] = Value::Null;
        let answer = door.dry_run(&object).await;
        assert_eq!(answer.code, 201, "{place}: {object}: {}", answer.message());
    }
    door.close().await;
}

/// Whether everything of `sent` is in `stored`; defaults may be there besides.
fn holds(stored: &Value, sent: &Value) -> bool {
    match (stored, sent) {
        (Value::Object(stored), Value::Object(sent)) => {
            sent.iter().all(|(key, value)| stored.get(key).is_some_and(|it| holds(it, value)))
        }
        (Value::Array(stored), Value::Array(sent)) => {
            stored.len() == sent.len()
                && stored.iter().zip(sent).all(|(stored, sent)| holds(stored, sent))
        }
        (stored, sent) => stored == sent,
    }
}
