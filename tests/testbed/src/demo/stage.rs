//! What the demo needs before it can begin: a bare repository, the Secret and the host keys, the samples pointed at
//! the git server of this very testbed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::{
    Git, Node, Testbed, manifests,
    process::{die_with_parent, without_proxies},
    repository::{self, run},
};

/// The namespace of the samples.
pub const NAMESPACE: &str = "town";
/// The git server that the samples name.
const SAMPLE_HOST: &str = "git@git.example.com:";
/// The sample that fails.
const BAD_SAMPLE: &str = "polecat-bad-branch.yaml";
/// The last words of a played clone that fails.
const PLAYED: &str = r#"{"v":1,"reason":"BranchNotFound","message":"the repository has no branch no-such-branch (played)"}"#;

pub struct Stage {
    pub client: Client,
    /// Where kubectl is, and what it is to talk to.
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    /// For what is not kept.
    pub folder: PathBuf,
    /// The samples as they are applied.
    samples: PathBuf,
    git: Option<Git>,
}

impl Stage {
    /// Makes the repository, the namespace and what the samples refer to.
    pub async fn set(bed: &Testbed, node: Node) -> Result<Self> {
        let client = bed.client("admin").await?;
        bed.make_namespace(NAMESPACE, &[]).await?;
        let stage = Self {
            client,
            kubectl: bed.kubectl.clone(),
            kubeconfig: bed.kubeconfig.clone(),
            folder: bed.dir.clone(),
            samples: bed.dir.join("samples"),
            git: bed.git.clone().filter(|_| node.is_real()),
        };
        if let Some(git) = &stage.git {
            make_repository(&bed.dir.join("seed"), &git.repositories.join("greeter.git"))?;
            stage.make_references(git).await?;
        }
        Ok(stage)
    }

    /// The Secret and the ConfigMap that the samples name.
    async fn make_references(&self, git: &Git) -> Result<()> {
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
        };
        let secret: Secret = serde_json::from_value(json!({
            "metadata": {"name": "git-key"}, "stringData": {"ssh-privatekey": read(&git.ssh_key)?},
        }))?;
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let made = secrets.create(&PostParams::default(), &secret).await;
        made.context("failed to make Secret git-key")?;
        let hosts: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": "git-hosts"}, "data": {"known_hosts": read(&git.known_hosts)?},
        }))?;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let made = maps.create(&PostParams::default(), &hosts).await;
        made.map(drop).context("failed to make ConfigMap git-hosts")
    }

    /// Whether there is a repository to push to, and agents that commit.
    pub fn pushes(&self) -> bool {
        self.git.is_some()
    }

    /// Applies every sample, with the git server of this testbed in place of the one they name. Returns the warnings.
    pub async fn apply_samples(&self) -> Result<Vec<String>> {
        let all = self.write_samples()?;
        let fails = |it: &PathBuf| it.ends_with(BAD_SAMPLE);
        if self.git.is_none() {
            let (bad, good): (Vec<_>, Vec<_>) = all.into_iter().partition(fails);
            let mut warnings = self.play_a_failure(&bad).await?;
            warnings.extend(self.apply(&good).await?);
            return Ok(warnings);
        }
        self.apply(&all).await
    }

    fn write_samples(&self) -> Result<Vec<PathBuf>> {
        let folder = manifests::project(None)?.join("deploy/samples");
        let entries = fs::read_dir(&folder);
        let entries = entries.with_context(|| format!("failed to list {}", folder.display()))?;
        fs::create_dir_all(&self.samples)
            .with_context(|| format!("failed to make {}", self.samples.display()))?;
        let host = self.git.as_ref().map_or(SAMPLE_HOST, |it| it.ssh.as_str());
        let mut all = Vec::new();
        for entry in entries.flatten() {
            let (from, to) = (entry.path(), self.samples.join(entry.file_name()));
            let text = fs::read_to_string(&from);
            let text = text.with_context(|| format!("failed to read {}", from.display()))?;
            fs::write(&to, text.replace(SAMPLE_HOST, host))
                .with_context(|| format!("failed to write {}", to.display()))?;
            all.push(to);
        }
        all.sort();
        Ok(all)
    }

    /// Kinds of the samples, but for Polecats.
    pub fn kinds(&self) -> Result<Vec<String>> {
        let mut kinds = Vec::new();
        for path in self.write_samples()? {
            let text = fs::read_to_string(&path);
            let text = text.with_context(|| format!("failed to read {}", path.display()))?;
            kinds
                .extend(text.lines().filter_map(|it| it.strip_prefix("kind: ")).map(str::to_owned));
        }
        kinds.retain(|it| it != "Polecat");
        Ok(kinds)
    }

    /// As a user would; what kubectl says is seen as it says it, and its warnings are returned.
    async fn apply(&self, files: &[PathBuf]) -> Result<Vec<String>> {
        let mut command = self.kubectl();
        command.arg("apply");
        for it in files {
            command.arg("-f").arg(it);
        }
        command.stderr(Stdio::piped());
        let mut kubectl =
            tokio::process::Command::from(command).spawn().context("failed to start kubectl")?;
        let errors = kubectl.stderr.take().context("kubectl has no standard error")?;
        let (mut lines, mut warnings) = (BufReader::new(errors).lines(), Vec::new());
        while let Some(line) = lines.next_line().await.context("failed to hear kubectl")? {
            eprintln!("{line}");
            warnings.extend(line.strip_prefix("Warning: ").map(str::to_owned));
        }
        let status = kubectl.wait().await.context("failed to wait for kubectl")?;
        if !status.success() {
            bail!("kubectl apply ended with {status}");
        }
        Ok(warnings)
    }

    /// Asks kubectl, and shows the question and the answer.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        super::show::line(&format!("$ kubectl -n {NAMESPACE} {}", arguments.join(" ")));
        let answer = run(self.kubectl().args(arguments))?;
        super::show::line(&answer);
        Ok(answer)
    }

    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECONFIG", &self.kubeconfig).args(["-n", NAMESPACE]);
        without_proxies(&mut command);
        die_with_parent(&mut command);
        command
    }

    /// Where pods are played: this sample's pod fails in its clone, those after it do not.
    async fn play_a_failure(&self, sample: &[PathBuf]) -> Result<Vec<String>> {
        self.script(&json!({"init-exit-code": "1", "init-message": PLAYED})).await?;
        let warnings = self.apply(sample).await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = format!("polecat-{}", super::BAD);
        let there = await_condition(pods, &name, |pod: Option<&Pod>| pod.is_some());
        tokio::time::timeout(Duration::from_secs(120), there)
            .await
            .with_context(|| format!("pod {name} was not made within 120 s"))?
            .with_context(|| format!("failed to watch pod {name}"))?;
        self.script(&json!({"init-exit-code": "0", "init-message": null})).await?;
        Ok(warnings)
    }

    async fn script(&self, lines: &Value) -> Result<()> {
        let lines = lines.as_object().into_iter().flatten();
        let annotations: serde_json::Map<_, _> = lines
            .map(|(key, value)| (format!("testbed.gastown.io/{key}"), value.clone()))
            .collect();
        let patch = json!({"metadata": {"annotations": annotations}});
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let patched =
            namespaces.patch(NAMESPACE, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(drop).context("failed to set the script of the played pods")
    }

    /// The pushed branch, as git shows it.
    pub fn pushed(&self, branch: &str) -> Result<String> {
        self.of_repository(&["log", "-p", &format!("main..{branch}")])
    }

    /// The commit that a branch is at in the bare repository.
    pub fn tip(&self, branch: &str) -> Result<String> {
        let said =
            self.of_repository(&["rev-parse", "--verify", &format!("refs/heads/{branch}")])?;
        Ok(said.trim().to_owned())
    }

    fn of_repository(&self, ask: &[&str]) -> Result<String> {
        let git = self.git.as_ref().context("there is no repository")?;
        let bare = git.repositories.join("greeter.git");
        run(Command::new("git").arg("--git-dir").arg(bare).args(ask))
    }
}

/// Polecats of the samples' namespace.
pub fn polecats(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("gastown.gastown.io", "v1alpha1", "Polecat");
    Api::namespaced_with(client.clone(), NAMESPACE, &ApiResource::from_gvk(&kind))
}

/// A repository with one file and a check of its own, and a bare clone of it.
fn make_repository(seed: &Path, bare: &Path) -> Result<()> {
    let check =
        "#!/bin/sh\n# A greeting must stay a greeting.\nhead -n 1 greeting.txt | grep -q Hello\n";
    let files = [("greeting.txt", "Hello.\n"), ("check.sh", check)];
    repository::with_commit(seed, bare, "Say hello", &files)
}
