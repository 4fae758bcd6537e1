//! One control plane with what a run needs in it: fresh for each, with the definitions of the operator that is measured,
//! so that neither pays for the other's, and no run for the one before.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use gastown::kinds::KINDS;
use gastown_testbed::{
    NAMESPACE, Operator, Options, Testbed,
    manifests::{self, Webhooks},
};
use kube::{Client, api::PostParams, core::Request};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::IgnoredAny;
use serde_json::json;

pub use crate::load::WARM;
use crate::{load, machine, operators::Whose, options::Version, probes};

/// Requests at a time while it is made ready.
const IN_FLIGHT: usize = 16;
/// How long the control plane may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);
/// It rests when its programs used at most this much of a second's processor time.
const AT_REST: f64 = 0.15;

/// A control plane that is measured on: durable writes, no scheduler, no node.
pub struct Town {
    pub testbed: Testbed,
    pub namespaces: Vec<String>,
    /// Added to the operator's environment.
    pub environment: Vec<(String, String)>,
    /// Whether the operator's webhooks stand before it, as an installation has them.
    pub webhooks: bool,
}

impl Town {
    /// One for this operator. `original_crds` is a folder.
    pub async fn start(
        namespaces: usize,
        whose: Whose,
        original_crds: Option<&Path>,
    ) -> Result<Self> {
        let options = Options { fsync: true, ..Options::default() };
        let testbed = Testbed::start(options).await?;
        match whose {
            Whose::Ours => testbed.install_crds().await?,
            Whose::Original => define_original(&testbed, original_crds).await?,
        }
        testbed.make_namespace(NAMESPACE, &[]).await?;
        let names: Vec<String> = (0..namespaces).map(|it| format!("bench-{it:02}")).collect();
        let all = names.iter().map(String::as_str).chain([WARM]);
        let making = stream::iter(all).map(|name| testbed.make_namespace(name, &[]));
        making.buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
        let town = Self { testbed, namespaces: names, environment: Vec::new(), webhooks: false };
        town.silence_scheduler()?;
        town.rest().await?;
        Ok(town)
    }

    /// The processes of its programs of these names, one each.
    pub fn programs(&self, names: &[&str]) -> Result<Vec<u32>> {
        let all = machine::programs(&self.testbed.dir)?;
        let one = |name: &&str| {
            let of: Vec<u32> = all.iter().filter(|it| it.name == **name).map(|it| it.pid).collect();
            let [pid] = of[..] else {
                bail!(
                    "looked for the one {name} of {} and found {of:?}",
                    self.testbed.dir.display()
                )
            };
            Ok(pid)
        };
        names.iter().map(one).collect()
    }

    /// Freezes the testbed's scheduler: it would write two objects for every pod that finds no node, which no cluster
    /// with nodes does. Its frozen process ends with the testbed.
    fn silence_scheduler(&self) -> Result<()> {
        for pid in self.programs(&["kube-scheduler"])? {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            kill_process(pid.context("the scheduler has no pid")?, Signal::STOP)
                .context("failed to freeze the scheduler")?;
        }
        Ok(())
    }

    /// Waits until it has done what new definitions and namespaces make it do.
    async fn rest(&self) -> Result<()> {
        let pids = self.programs(&["kube-apiserver", "etcd", "kube-controller-manager"])?;
        let used = || pids.iter().map(|it| probes::cpu_seconds(*it)).sum::<Result<f64>>();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let before = used()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            if used()? - before <= AT_REST {
                return Ok(());
            }
        }
        bail!("the control plane did not come to rest in {} s", PATIENCE.as_secs())
    }
}

/// Puts an operator's webhooks before a control plane that is its alone, and waits until they judge.
pub async fn put_before(testbed: &Testbed, operator: &Operator) -> Result<()> {
    operator.wait_ready().await?;
    let client = testbed.client("admin").await?;
    let folder = manifests::project(None)?.join("webhooks");
    let webhooks = Webhooks::Url(operator.webhook.clone());
    manifests::apply_webhooks(&client, &folder, &webhooks, &operator.authority, None).await?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if is_judged(&client).await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the webhooks of {} judged nothing in {} s", operator.name, PATIENCE.as_secs())
}

/// Whether webhooks stand before Polecats: a branch that reads as an option is refused by nobody else.
async fn is_judged(client: &Client) -> Result<bool> {
    let version = Version::V1beta1;
    let mut spec = load::spec("judged", version);
    if let Some(branch) = spec.pointer_mut("/repository/baseBranch") {
        *branch = "-d".into();
    }
    let polecat = json!({
        "apiVersion": format!("gastown.gastown.io/{}", version.name()),
        "kind": "Polecat",
        "metadata": { "name": "judged", "namespace": WARM },
        "spec": spec,
    });
    let body = serde_json::to_vec(&polecat).context("failed to write a Polecat")?;
    let place = format!("/apis/gastown.gastown.io/{}/namespaces/{WARM}/polecats", version.name());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let request = Request::new(place).create(&dry, body).context("failed to build a create")?;
    match client.request::<IgnoredAny>(request).await {
        Err(kube::Error::Api(it)) if it.code == 422 => Ok(it.message.contains("baseBranch")),
        answer => answer.map(|_| false).context("failed to ask whether webhooks judge"),
    }
}

/// One version, stored and served, and nobody who converts: as the original's folder says it, or our v1alpha1, which has
/// the same fields and a few optional ones more.
async fn define_original(testbed: &Testbed, folder: Option<&Path>) -> Result<()> {
    let client = testbed.client("admin").await?;
    if let Some(folder) = folder {
        return manifests::apply_crds(&client, folder, None).await;
    }
    let folder = testbed.dir.join("original-crds");
    std::fs::create_dir(&folder).context("failed to make a folder for definitions")?;
    for kind in KINDS.iter().filter(|it| it.beta.is_some()) {
        let definition = serde_json::to_vec(&(kind.crd)()).context("failed to write a CRD")?;
        std::fs::write(folder.join(format!("{}.yaml", kind.plural)), definition)
            .context("failed to write a CRD")?;
    }
    manifests::apply_crds(&client, &folder, None).await
}
