//! One pod that is refused at the door, what it says, and the patch that it hands out: applied, and the pod is let in.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    show,
    stage::{NAMESPACE, Stage},
};
use crate::ask;

/// How long the label of a namespace may take to have an effect.
const PATIENCE: Duration = Duration::from_secs(60);

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: curious}
spec:
  hostNetwork: true
  containers:
    - name: main
      image: localhost/agent:dev
      securityContext: {privileged: true, allowPrivilegeEscalation: true}
";

fn try_it(stage: &Stage, file: &Path) -> Result<Output> {
    let tried = stage.kubectl().args(["apply", "--dry-run=server", "-f"]).arg(file).output();
    tried.context("failed to start kubectl")
}

/// Shows it; an error where anything is not as announced.
pub async fn show(stage: &Stage) -> Result<()> {
    show::heading("A pod that is not let in");
    let label = json!({"metadata": {"labels": {"gastown.io/pod-security": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    let labelled = namespaces.patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(label)).await;
    labelled.context("failed to label the namespace")?;
    let file = stage.folder.join("curious.yaml");
    fs::write(&file, POD).context("failed to write the pod's file")?;
    show::line(
        "Every pod of a namespace that an administrator labels gastown.io/pod-security is held to the rules of agent pods.\n\
         $ kubectl apply -f curious.yaml",
    );
    // The label takes effect a moment after it is stored, and nothing tells when.
    let refused = ask::answered(PATIENCE, async || {
        let tried = try_it(stage, &file);
        (!tried.as_ref().is_ok_and(|it| it.status.success())).then_some(tried)
    });
    let refused = refused.await.context("not as announced: the pod was let in")??;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    show::line(&text);
    let patch = text.lines().rev().find(|it| it.starts_with('{'));
    let patch = patch.context("not as announced: the refusal hands out no patch")?;
    show::line("$ kubectl patch --local -f curious.yaml -o yaml -p PATCH | kubectl apply -f -");
    let mended = stage
        .kubectl()
        .args(["patch", "--local", "-o", "yaml", "-p", patch, "-f"])
        .arg(&file)
        .output();
    let mended = mended.context("failed to start kubectl")?;
    let mut apply = stage.kubectl();
    apply
        .args(["apply", "--dry-run=server", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut apply = apply.stderr(Stdio::piped()).spawn().context("failed to start kubectl")?;
    let mut input = apply.stdin.take().context("kubectl has no standard input")?;
    input.write_all(&mended.stdout).context("failed to hand kubectl the pod")?;
    drop(input);
    let applied = apply.wait_with_output().context("failed to wait for kubectl")?;
    if !applied.status.success() {
        bail!(
            "not as announced: the mended pod is refused: {}",
            String::from_utf8_lossy(&applied.stderr)
        );
    }
    show::line(&String::from_utf8_lossy(&applied.stdout));
    Ok(())
}
