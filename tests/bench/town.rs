//! One control plane with what a run needs in it, and the cleaning between runs.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use gastown_testbed::{NAMESPACE, Options, Testbed};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::Request,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::sight;

/// Where the Polecats are that warm everything up.
pub const WARM: &str = "bench-warm";
/// Requests at a time while cleaning.
const IN_FLIGHT: usize = 16;
/// How long cleaning may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// A control plane that is measured on: durable writes, no scheduler, no node.
pub struct Town {
    pub testbed: Testbed,
    pub namespaces: Vec<String>,
    admin: Client,
}

impl Town {
    pub async fn start(namespaces: usize) -> Result<Self> {
        let options = Options { fsync: true, ..Options::default() };
        let testbed = Testbed::start(options).await?;
        silence_scheduler(&testbed.dir)?;
        testbed.install_crds().await?;
        let admin = testbed.client("admin").await?;
        testbed.make_namespace(NAMESPACE, &[]).await?;
        let names: Vec<String> = (0..namespaces).map(|it| format!("bench-{it:02}")).collect();
        let all = names.iter().map(String::as_str).chain([WARM]);
        let making = stream::iter(all).map(|name| testbed.make_namespace(name, &[]));
        making.buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
        Ok(Self { testbed, namespaces: names, admin })
    }

    /// Puts the election's Lease back to free, so that a first step need not wait for anybody.
    pub async fn free_lease(&self) -> Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/lease.yaml");
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("failed to read {}", path.display()))?;
        let lease: Lease = serde_saphyr::from_str(&text)
            .with_context(|| format!("{} is no Lease", path.display()))?;
        let name = lease.metadata.name.clone().context("the Lease has no name")?;
        let api: Api<Lease> = Api::namespaced(self.admin.clone(), NAMESPACE);
        match api.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(it)) if it.code == 404 => {}
            answer => drop(answer.context("failed to delete the Lease of the run before")?),
        }
        api.create(&PostParams::default(), &lease).await.context("failed to make a free Lease")?;
        Ok(())
    }

    /// Removes every Polecat and every pod, whatever finalizers a stopped operator left on them.
    pub async fn clean(&self) -> Result<()> {
        let cleaned = tokio::time::timeout(PATIENCE, async {
            self.strip_finalizers().await?;
            loop {
                for namespace in self.namespaces.iter().map(String::as_str).chain([WARM]) {
                    self.delete_all(namespace).await?;
                }
                if self.is_empty(sight::POLECATS).await? && self.is_empty(sight::PODS).await? {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        match cleaned.await {
            Ok(cleaned) => cleaned,
            Err(_) => bail!("Polecats or pods were still there after {} s", PATIENCE.as_secs()),
        }
    }

    async fn strip_finalizers(&self) -> Result<()> {
        let held = sight::list(&self.admin, sight::POLECATS, None).await?.items;
        let held = held.into_iter().filter(|it| !it.metadata.finalizers.is_empty());
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let patches = stream::iter(held).map(|polecat| {
            let place = place("polecats", &polecat.metadata.namespace);
            let request =
                Request::new(place).patch(&polecat.metadata.name, &PatchParams::default(), &patch);
            async move {
                let request = request.context("failed to build a patch")?;
                let answer = self.admin.request::<IgnoredAny>(request).await;
                answer.map(drop).context("failed to take a finalizer away")
            }
        });
        patches.buffer_unordered(IN_FLIGHT).try_collect().await
    }

    async fn delete_all(&self, namespace: &str) -> Result<()> {
        for kind in ["polecats", "pods"] {
            let request = Request::new(place(kind, namespace))
                .delete_collection(&DeleteParams::default(), &ListParams::default())
                .context("failed to build a delete")?;
            let answer = self.admin.request::<IgnoredAny>(request).await;
            answer.with_context(|| format!("failed to delete the {kind} of {namespace}"))?;
        }
        Ok(())
    }

    async fn is_empty(&self, place: &str) -> Result<bool> {
        Ok(sight::list(&self.admin, place, Some(1)).await?.items.is_empty())
    }
}

fn place(kind: &str, namespace: &str) -> String {
    let api = if kind == "pods" { "/api/v1" } else { "/apis/gastown.gastown.io/v1alpha1" };
    format!("{api}/namespaces/{namespace}/{kind}")
}

/// Freezes the testbed's scheduler: it would write two objects for every pod that finds no node, which no cluster with
/// nodes does. Its frozen process ends with the testbed.
fn silence_scheduler(folder: &Path) -> Result<()> {
    let own = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|it| *it == 0).map(String::from_utf8_lossy);
        words.next().is_some_and(|it| it.ends_with("kube-scheduler"))
            && words.any(|it| it.contains(&*folder.to_string_lossy()))
    };
    let processes = std::fs::read_dir("/proc").context("failed to read /proc")?.flatten();
    let pids = processes.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let found: Vec<i32> = pids.filter(own).collect();
    let [pid] = found[..] else {
        bail!("looked for the one scheduler of {} and found {found:?}", folder.display());
    };
    let pid = Pid::from_raw(pid).context("the scheduler has no pid")?;
    kill_process(pid, Signal::STOP).context("failed to freeze the scheduler")
}
