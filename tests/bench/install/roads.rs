//! From the command that installs to the first Polecat whose pod runs, by each road, each time on a cluster with a real node of its
//! own. Images are on the node, so that no registry is measured. OLM's (`GASTOWN_OLM=program`, its definitions in
//! `GASTOWN_OLM_CRDS=folder`; `make bench-install` builds it) is there before, and is given what an install plan makes of a bundle.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use gastown::{
    api::v1alpha1::Polecat,
    manifests::{
        self, NAMESPACE,
        images::Images,
        operator::{self, Edition},
    },
};
use gastown_testbed::{
    Node, Operator, Options, Testbed, ask, olm,
    repository::with_commit,
    tools::{Tool, Tools},
    watch::await_condition,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use super::{Asked, machine, said};

const TOWN: &str = "first";
const PATIENCE: Duration = Duration::from_secs(180);
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A road as docs/install.md has it: a line for a shell in the checkout's top folder.
const ROADS: [(&str, &str); 4] = [
    (
        "make deploy (kustomize)",
        "make --no-print-directory --assume-old=manifests deploy IMG=localhost/gastown-operator:$VERSION",
    ),
    (
        "install.yaml",
        "sed 's|image: gastown-operator:|image: localhost/gastown-operator:|; s|value: gastown-runner:|value: localhost/gastown-runner:|' \
         deploy/install.yaml | $KUBECTL apply --server-side --force-conflicts -f -",
    ),
    (
        "helm install",
        "$HELM install gastown-operator charts/gastown-operator --namespace gastown-operator-system --create-namespace \
         --set image.repository=localhost/gastown-operator --set runnerImage.repository=localhost/gastown-runner",
    ),
    (OLM, "$KUBECTL apply --server-side --force-conflicts -f \"$TESTBED/plan.json\""),
];
/// Not a command that people run: it stands for what OLM does of an install plan that was approved.
const OLM: &str = "OLM (what an install plan makes)";
const PLAN: &str = "plan.json";

/// Seconds since an installation began.
struct Took {
    command: f64,
    accepted: f64,
    runs: f64,
}

pub async fn measure(asked: &Asked) -> Result<String> {
    let mut text = "seconds from the command that installs, images on the node:\n".to_owned();
    // Built where it is missing, before any clock runs.
    let helm = Tools::find(&[Tool::Helm])?;
    let helm = helm.path(Tool::Helm)?;
    let mut machine = String::new();
    for (road, line) in ROADS {
        let olm =
            if road == OLM { asked.olm.as_deref().zip(asked.olm_crds.as_deref()) } else { None };
        if road == OLM && olm.is_none() {
            let _ = writeln!(text, "{road}: not measured, --olm and --olm-crds name none");
            continue;
        }
        let mut all = Vec::new();
        for _ in 0..asked.installs {
            let options = Options { node: Node::Real, fsync: true, ..Options::default() };
            let bed = Testbed::start(options).await?;
            all.push(walk(&bed, asked, (line, helm), olm).await.with_context(|| road.to_owned())?);
            machine = machine::describe(&bed).await?;
            bed.stop().await?;
        }
        let of = |it: fn(&Took) -> f64| said(&all.iter().map(it).collect(), "s");
        let _ = writeln!(
            text,
            "{road}\n  its command ends    {}\n  a Polecat is taken  {}\n  its pod runs        {}",
            of(|it| it.command),
            of(|it| it.accepted),
            of(|it| it.runs)
        );
    }
    Ok(text + &machine)
}

async fn walk(
    bed: &Testbed,
    asked: &Asked,
    (line, helm): (&str, &Path),
    olm: Option<(&Path, &Path)>,
) -> Result<Took> {
    let operator = format!("localhost/gastown-operator:{VERSION}");
    bed.make_operator_image(&asked.operator, &operator).await?;
    let runner = format!("localhost/gastown-runner:{VERSION}");
    bed.name_image("localhost/gt-runner:dev", &runner).await?;
    let client = bed.client("person").await?;
    prepare(bed, &client).await?;
    let images = Images { operator, runner, agent: None };
    let olm = match olm {
        Some(of) => Some(prepare_olm(bed, of, &images, helm).await?),
        None => None,
    };
    let begun = Instant::now();
    let seconds = || begun.elapsed().as_secs_f64();
    install(bed, line, helm).await?;
    let command = seconds();
    let polecats: Api<Polecat> = Api::namespaced(client, TOWN);
    let wanted: Polecat = serde_json::from_value(polecat(bed)?)?;
    let taken = ask::answered(PATIENCE, async || {
        polecats.create(&PostParams::default(), &wanted).await.ok()
    });
    taken.await.context("no Polecat was taken")?;
    let accepted = seconds();
    let running = |it: Option<&Polecat>| {
        let all = it.and_then(|it| it.status.as_ref()).map(|it| &it.conditions);
        all.is_some_and(|it| it.iter().any(|it| it.type_ == "Ready" && it.reason == "PodRunning"))
    };
    let runs = tokio::time::timeout(PATIENCE, await_condition(polecats, "max", running)).await;
    runs.context("its pod never ran")??;
    let took = Took { command, accepted, runs: seconds() };
    if let Some(olm) = olm {
        olm.kill9().await?;
    }
    Ok(took)
}

/// OLM as a cluster has it before anything is installed by it, and the plan's file.
async fn prepare_olm(
    bed: &Testbed,
    (program, definitions): (&Path, &Path),
    images: &Images,
    helm: &Path,
) -> Result<Operator> {
    olm::define(&bed.client("admin").await?, definitions).await?;
    let files = manifests::olm::bundle(Edition::Community, images)?;
    let files = files.iter().filter(|it| it.0.contains("/manifests/"));
    let files = files.map(|it| serde_saphyr::from_str(&it.1)).collect::<Result<_, _>>()?;
    let (mut plan, csv) = olm::of_bundle(files, NAMESPACE)?;
    plan.push(csv);
    for (file, items) in
        [("before.json", vec![operator::namespace(), olm::group(NAMESPACE)]), (PLAN, plan)]
    {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        fs::write(bed.dir.join(file), list.to_string())?;
    }
    let started = olm::start(bed, program).await?;
    let before = "$KUBECTL apply --server-side -f \"$TESTBED/before.json\"";
    install(bed, before, helm).await?;
    Ok(started)
}

/// What people have before: a repository, and what a Polecat names.
async fn prepare(bed: &Testbed, client: &Client) -> Result<()> {
    let git = bed.git.as_ref().context("no git server")?;
    let (seed, bare) = (bed.dir.join("seed"), git.repositories.join("first.git"));
    with_commit(&seed, &bare, "first", &[("greeting.txt", "Hello.\n")])?;
    bed.make_namespace(TOWN, &[]).await?;
    let read = |path: &Path| fs::read_to_string(path).context("failed to read a key");
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "git-key"}, "stringData": {"ssh-privatekey": read(&git.ssh_key)?},
    }))?;
    let hosts: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "hosts"}, "data": {"known_hosts": read(&git.known_hosts)?},
    }))?;
    let params = PostParams::default();
    Api::namespaced(client.clone(), TOWN).create(&params, &secret).await?;
    Api::namespaced(client.clone(), TOWN).create(&params, &hosts).await?;
    Ok(())
}

/// An agent that is still at work when it is looked at.
fn polecat(bed: &Testbed) -> Result<serde_json::Value> {
    let git = bed.git.as_ref().context("no git server")?;
    Ok(json!({
        "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat", "metadata": {"name": "max"},
        "spec": {
            "rig": "greeter", "desiredState": "Working", "beadID": "gt-abc12", "taskDescription": "Sleep 60",
            "kubernetes": {
                "gitRepository": format!("{}first.git", git.ssh),
                "gitSecretRef": {"name": "git-key"},
                "sshKnownHostsConfigMapRef": {"name": "hosts"},
                "image": "localhost/agent:dev",
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
            },
        },
    }))
}

async fn install(bed: &Testbed, line: &str, helm: &Path) -> Result<()> {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-ec", line]).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("KUBECONFIG", &bed.kubeconfig).env("KUBECTL", &bed.kubectl);
    command.env("HELM", helm).env("VERSION", VERSION).env("TESTBED", &bed.dir);
    for word in ["EDITION", "IMG", "RUNNER_IMG", "AGENT_IMG", "MAKEFLAGS", "MAKELEVEL", "TIMEOUT"] {
        command.env_remove(word);
    }
    let output = command.stdin(Stdio::null()).output().await.context("failed to run sh")?;
    if !output.status.success() {
        bail!("{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
