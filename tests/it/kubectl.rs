//! What a person sees with the real kubectl: the CRDs apply either way, fields are explained, columns are printed, and
//! lists are narrowed by field.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use gastown_testbed::{Node, Options, Testbed};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use gastown::api::v1alpha1::Polecat;

use crate::asking::comes_true;

/// kubectl as this user of a testbed.
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// Who may do anything.
    pub fn admin(bed: &Testbed) -> Self {
        let kubeconfig = bed.kubeconfig_for("kubectl", Some("system:masters")).unwrap();
        Self { program: bed.kubectl.clone(), kubeconfig }
    }

    /// Runs it in the checkout's top folder.
    pub async fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        // A home of its own: what it has cached of one API server is not told to the next.
        let home = self.kubeconfig.with_extension("home");
        command.args(args).env_clear().env("KUBECONFIG", &self.kubeconfig).env("HOME", home);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// What it says, where it succeeds.
    pub async fn said(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {errors}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// In one line: kubectl breaks it where it likes.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How many lines end so.
fn ending(text: &str, word: &str) -> usize {
    text.lines().filter(|it| it.ends_with(word)).count()
}

/// A cluster of its own: on the shared one the CRDs are there already.
async fn empty() -> (Testbed, Kubectl) {
    let bed = Testbed::start(Options::default()).await.unwrap();
    let kubectl = Kubectl::admin(&bed);
    (bed, kubectl)
}

#[tokio::test]
async fn the_crds_apply_client_side_and_then_server_side() {
    let (bed, kubectl) = empty().await;
    let kinds = gastown::kinds::KINDS.len();
    let said = kubectl.said(&["apply", "-f", "crds/"]).await;
    assert_eq!(ending(&said, " created"), kinds, "{said}");
    let said = kubectl.said(&["apply", "-f", "crds/"]).await;
    assert_eq!(ending(&said, " unchanged"), kinds, "what is written is what is stored: {said}");
    let said = kubectl.said(&["apply", "--server-side", "-f", "crds/"]).await;
    assert_eq!(ending(&said, " serverside-applied"), kinds, "without a conflict: {said}");
    bed.stop().await.unwrap();
}

#[tokio::test]
async fn the_crds_apply_server_side_and_then_client_side() {
    let (bed, kubectl) = empty().await;
    let kinds = gastown::kinds::KINDS.len();
    let said = kubectl.said(&["apply", "--server-side", "-f", "crds/"]).await;
    assert_eq!(ending(&said, " serverside-applied"), kinds, "{said}");
    let said = kubectl.said(&["apply", "-f", "crds/"]).await;
    assert_eq!(ending(&said, " configured"), kinds, "{said}");
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "-f", "crds/"];
    assert_eq!(ending(&kubectl.said(&wait).await, " condition met"), kinds);
    bed.stop().await.unwrap();
}

/// Two of them have a field that the original's definitions do not know either: kubectl asks for strictness by itself.
#[tokio::test]
async fn the_originals_samples_apply_where_unknown_fields_may_be_warned_about() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    crate::world::install_crds(bed).await;
    for namespace in ["gastown-system", "gastown-workers"] {
        bed.make_namespace(namespace, &[]).await.unwrap();
    }
    let kubectl = Kubectl::admin(bed);
    let apply = ["apply", "--dry-run=server", "-f", "tests/it/original/samples/"];
    let strict = kubectl.run(&apply).await;
    let unknown = [r#"unknown field "spec.notifyOnComplete""#, r#"unknown field "spec.localPath""#];
    let words = String::from_utf8_lossy(&strict.stderr);
    assert!(!strict.status.success() && unknown.iter().all(|it| words.contains(it)), "{words}");
    let warned = kubectl.run(&[&apply[..], &["--validate=warn"]].concat()).await;
    let (said, words) =
        (String::from_utf8_lossy(&warned.stdout), String::from_utf8_lossy(&warned.stderr));
    assert!(warned.status.success() && unknown.iter().all(|it| words.contains(it)), "{words}");
    assert_eq!(ending(&said, " created (server dry run)"), 7, "all of them: {said}");
}

#[tokio::test]
async fn fields_are_explained() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    crate::world::install_crds(bed).await;
    let kubectl = Kubectl::admin(bed);
    // The API server describes a new kind a moment after it serves it, and nothing tells when.
    for kind in gastown::kinds::KINDS {
        let name = format!("{}.{}", kind.plural, kind.group);
        let described = async || kubectl.run(&["explain", &name]).await.status.success();
        comes_true(&name, described).await;
    }
    let spec = flat(&kubectl.said(&["explain", "polecat.spec"]).await);
    assert!(spec.contains("VERSION: v1beta1") && spec.contains("task <string>"), "{spec}");
    assert!(spec.contains("What the agent is asked to do, in full."), "{spec}");
    assert!(!spec.contains("<no description>"), "{spec}");
    for kind in gastown::kinds::KINDS {
        let name = format!("{}.{}", kind.plural, kind.group);
        let text = flat(&kubectl.said(&["explain", &name]).await);
        assert!(text.contains(kind.doc), "{name}: {text}");
    }
}

#[tokio::test]
async fn columns_are_printed_and_lists_are_narrowed_by_rig_and_phase() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    crate::world::install_crds(bed).await;
    bed.make_namespace("kubectl", &[]).await.unwrap();
    let polecats: Api<Polecat> =
        Api::namespaced(bed.client("kubectl-loader").await.unwrap(), "kubectl");
    // No operator looks after this namespace, so what is written stays.
    for (name, rig, phase) in
        [("furiosa", "greeter", "Done"), ("nux", "greeter", "Stuck"), ("max", "other", "Done")]
    {
        let mut object = crate::world::polecat(name);
        object["spec"]["rig"] = json!(rig);
        let object = serde_json::from_value(object).unwrap();
        polecats.create(&PostParams::default(), &object).await.unwrap();
        let status = Patch::Merge(json!({"status": {"phase": phase, "assignedBead": "gt-abc12"}}));
        polecats.patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }

    let kubectl = Kubectl::admin(bed);
    let list = kubectl.said(&["-n", "kubectl", "get", "polecats"]).await;
    let mut lines = list.lines().map(|it| it.split_whitespace().collect::<Vec<_>>());
    let head = ["NAME", "RIG", "PHASE", "BEAD", "POD", "ACTIVE", "AGE"];
    assert_eq!(lines.next().unwrap(), head, "{list}");
    assert_eq!(lines.next().unwrap()[..4], ["furiosa", "greeter", "Done", "gt-abc12"], "{list}");

    for (selector, want) in [
        ("spec.rig=greeter", "furiosa nux"),
        ("status.phase=Done", "furiosa max"),
        ("spec.rig=greeter,status.phase=Done", "furiosa"),
        ("spec.rig!=greeter", "max"),
        ("spec.rig=nobody", ""),
    ] {
        let names = ["-o", "jsonpath={.items[*].metadata.name}"];
        let args = ["-n", "kubectl", "get", "polecats", "--field-selector", selector];
        assert_eq!(kubectl.said(&[&args[..], &names].concat()).await, want, "{selector}");
    }
    let refused = kubectl
        .run(&["-n", "kubectl", "get", "polecats", "--field-selector", "spec.beadID=gt-abc12"])
        .await;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("not supported"), "{words}");
    for name in ["furiosa", "nux", "max"] {
        polecats.delete(name, &DeleteParams::default()).await.unwrap();
    }
}
