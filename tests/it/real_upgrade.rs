//! Upgrades under load on the real node, by `make deploy`, by one file and by Helm: from an older one of ours and back again.
//! Meanwhile no write fails, a run that spans them is run once, and nothing is lost. `make test-upgrade` builds the older ones, each
//! a folder of its sources with its programs in `built/`: `GASTOWN_PREVIOUS`, and `GASTOWN_PREVIOUS_CHART` for Helm and OLM.

mod olm;
mod original;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use gastown::{api::v1alpha1::Polecat, manifests::NAMESPACE};
use gastown_testbed::{Node, Options, Testbed, preconditions, tools::Tool};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    asking::comes_true,
    generated::top,
    kubectl::Kubectl,
    make::words,
    preconditions::{previous, release_binary},
    real_deployed::runs,
    real_node::{at, in_bare, make_references, repository},
    roads::tool,
    world::{condition, polecat, until},
};

const TOWN: &str = "upgraded";
/// A pod of the replicas that are waited for is gone after at most that.
const PATIENCE: &str = "--timeout=600s";

/// Writes and reads over and over, each of which passes admission and conversion.
pub struct Load {
    stop: watch::Sender<bool>,
    done: JoinHandle<Borne>,
}

/// What a load met with.
#[derive(Default)]
struct Borne {
    rounds: usize,
    longest: Duration,
    failed: Vec<String>,
}

impl Load {
    pub fn begin(client: &Client, prefix: &'static str, town: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let polecats: Api<Polecat> = Api::namespaced(client.clone(), town);
        let done = tokio::spawn(async move {
            let mut borne = Borne::default();
            while !*stopped.borrow() {
                let began = Instant::now();
                if let Err(error) = once(&polecats, &format!("{prefix}-{}", borne.rounds)).await {
                    borne.failed.push(format!("round {}: {error}", borne.rounds));
                }
                borne.rounds += 1;
                borne.longest = borne.longest.max(began.elapsed());
            }
            borne
        });
        Self { stop, done }
    }

    pub async fn end(self, what: &str) {
        self.stop.send(true).unwrap();
        let Borne { rounds, longest, failed } = self.done.await.unwrap();
        eprintln!(
            "{what}: {rounds} rounds of create, edit, read and delete, the longest {longest:?}"
        );
        assert!(failed.is_empty(), "{what}: {} of {rounds} failed: {failed:#?}", failed.len());
        // Few where the older one's replicas end before they are out of the Service, so that calls to them wait.
        assert!(rounds > 1, "{what}: there was a load: {rounds}");
    }
}

async fn once(polecats: &Api<Polecat>, name: &str) -> kube::Result<()> {
    let mut asked = polecat(name);
    asked["spec"]["desiredState"] = json!("Idle");
    polecats.create(&PostParams::default(), &serde_json::from_value(asked).unwrap()).await?;
    let edit = Patch::Merge(json!({"spec": {"taskDescription": "Wait."}}));
    polecats.patch(name, &PatchParams::default(), &edit).await?;
    polecats.get(name).await?;
    polecats.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// A write that leaves nothing behind, through both webhooks.
pub async fn knocks(client: &Client, town: &str) -> kube::Result<Polecat> {
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), town);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    polecats.create(&dry, &serde_json::from_value(polecat("knocks")).unwrap()).await
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Road {
    Make,
    File,
    Helm,
}

/// What is installed: sources, and the images that were made of their programs.
struct Version {
    checkout: PathBuf,
    name: &'static str,
}

impl Version {
    async fn of(bed: &Testbed, name: &'static str, checkout: &Path, programs: [&Path; 2]) -> Self {
        let it = Self { checkout: checkout.to_owned(), name };
        bed.make_operator_image(programs[0], &it.operator()).await.unwrap();
        bed.make_runner_image(programs[1], &it.runner()).await.unwrap();
        it
    }

    fn operator(&self) -> String {
        format!("localhost/gastown-operator:{}", self.name)
    }

    fn runner(&self) -> String {
        format!("localhost/gastown-runner:{}", self.name)
    }

    /// Names its images to Helm.
    fn set(&self, helm: &mut Command) {
        for value in [
            "image.repository=localhost/gastown-operator",
            &format!("image.tag={}", self.name),
            "runnerImage.repository=localhost/gastown-runner",
            &format!("runnerImage.tag={}", self.name),
            "agentImage=localhost/agent:dev",
        ] {
            helm.args(["--set", value]);
        }
    }
}

/// The page's command for one file: a version's own, with the images that were made of it.
fn one_file(of: &Version) -> String {
    let page = fs::read_to_string(top().join("docs/upgrade.md")).unwrap();
    let part = page.split("\n## From an older release of ours\n").nth(1).unwrap();
    let told = part.split("\n$ sed ").nth(1).unwrap().split("\n$ ").next().unwrap();
    let mut command = format!("sed {}", told.replace("\\\n", " "));
    let file = of.checkout.join("deploy/install.yaml");
    for (there, here) in [
        (
            "gastown-operator:|image: registry.example.com/gastown-operator:|",
            format!("gastown-operator:.*|image: {}|", of.operator()),
        ),
        (
            "gastown-runner:|value: registry.example.com/gastown-runner:|",
            format!("gastown-runner:.*|value: {}|", of.runner()),
        ),
        (" deploy/install.yaml ", format!(" '{}' ", file.display())),
        (" kubectl apply ", " \"$KUBECTL\" apply ".to_owned()),
    ] {
        assert!(command.contains(there), "{there}: {command}");
        command = command.replace(there, &here);
    }
    command
}

struct Roads<'a> {
    bed: &'a Testbed,
    helm: &'a Path,
}

impl Roads<'_> {
    /// Installs for the first time, with an agent for the Polecats that name none.
    async fn install(&self, road: Road, first: &Version) {
        match road {
            Road::Make => self.take(road, first).await,
            Road::File => {
                self.take(road, first).await;
                // By hand, so it stays when a file without it is applied.
                let agent = "RELATED_IMAGE_AGENT=localhost/agent:dev";
                let set = ["-n", NAMESPACE, "set", "env", "deployment", "--all", agent];
                Kubectl::admin(self.bed).said(&set).await;
                self.runs(first).await;
            }
            Road::Helm => self.install_release(first).await,
        }
    }

    /// Installs by Helm, with what a person sets once.
    async fn install_release(&self, first: &Version) {
        let mut it = Command::new(self.helm);
        it.args(["install", "gastown-operator"])
            .arg(first.checkout.join("charts/gastown-operator"));
        it.args(["--namespace", NAMESPACE, "--create-namespace", "--wait", PATIENCE]);
        first.set(&mut it);
        self.succeeds(it, "helm install").await;
        self.runs(first).await;
    }

    /// Installs or upgrades, and waits until all replicas are of that version.
    async fn take(&self, road: Road, to: &Version) {
        let command = match road {
            Road::Make => {
                let mut it = Command::new(to.checkout.join("deploy/deploy.sh"));
                it.env("IMG", to.operator()).env("RUNNER_IMG", to.runner());
                it.env("AGENT_IMG", "localhost/agent:dev").env("KUBECTL", &self.bed.kubectl);
                it
            }
            Road::File => {
                let mut it = Command::new("bash");
                it.args(["-o", "pipefail", "-c", &one_file(to)]);
                it.env("KUBECTL", &self.bed.kubectl);
                it
            }
            Road::Helm => {
                let mut it = Command::new(self.helm);
                it.args(["upgrade", "gastown-operator"]);
                it.arg(to.checkout.join("charts/gastown-operator"));
                it.args(["--namespace", NAMESPACE, "--wait", PATIENCE]);
                // What was set before stays, beside the defaults of the chart that is installed.
                it.args(["--reset-then-reuse-values", "--set", &format!("image.tag={}", to.name)]);
                it.args(["--set", &format!("runnerImage.tag={}", to.name)]);
                it
            }
        };
        self.succeeds(command, &format!("{road:?} to {}", to.name)).await;
        self.runs(to).await;
    }

    async fn back(&self, road: Road, to: &Version) {
        match road {
            Road::Make | Road::File => self.take(road, to).await,
            Road::Helm => {
                let mut it = Command::new(self.helm);
                it.args(["rollback", "gastown-operator", "--namespace", NAMESPACE, "--wait"]);
                it.arg(PATIENCE);
                self.succeeds(it, "helm rollback").await;
                self.runs(to).await;
            }
        }
    }

    /// All replicas are of that version.
    async fn runs(&self, version: &Version) {
        let kubectl = Kubectl::admin(self.bed);
        kubectl.said(&["-n", NAMESPACE, "rollout", "status", "deployment", PATIENCE]).await;
        let images = "-o=jsonpath={.items[*].spec.template.spec.containers[*].image}";
        let said = kubectl.said(&["-n", NAMESPACE, "get", "deployments", images]).await;
        assert_eq!(said, version.operator());
    }

    async fn succeeds(&self, mut command: Command, what: &str) {
        command.env("KUBECONFIG", &self.bed.kubeconfig).current_dir(top());
        command.env("HOME", self.bed.kubeconfig.with_extension("home"));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{what}: {}", words(&output));
    }
}

/// Begins a run that outlasts what comes next.
async fn begin(bed: &Testbed, client: &Client, name: &str) {
    let git = bed.git.as_ref().unwrap();
    repository(git, name);
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), TOWN);
    let mut asked = polecat(name);
    at(&mut asked, git, name, "Append \"Good bye.\" to greeting.txt; Commit; Sleep 60");
    polecats.create(&PostParams::default(), &serde_json::from_value(asked).unwrap()).await.unwrap();
    let works = |it: &Polecat| it.status.as_ref().is_some_and(|it| it.pod_active == Some(true));
    until(&polecats, name, "running pod", works).await;
}

/// The older operators that know less of a runner's last words than this one says end a run like that, and claim no push.
const OLDER: &str = "Unknown/VerdictUnreadable";

/// Waits until a run is judged; it was run once, and what it did is in the repository.
async fn ended_once(bed: &Testbed, client: &Client, name: &str, judged: &'static [&str]) {
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), TOWN);
    let judged = |it: &Polecat| judged.contains(&condition(it, "Pushed").as_str());
    let status = until(&polecats, name, "verdict", judged).await.status.unwrap();
    assert_eq!((status.attempt, status.exit_code), (Some(1), Some(0)), "{name}: run once");
    let git = bed.git.as_ref().unwrap();
    let commit = in_bare(git, name, &["rev-parse", "feature/gt-abc12"]);
    assert!(status.commit.is_none_or(|it| it == commit.trim()), "{name}: {commit}");
    let text = in_bare(git, name, &["show", "feature/gt-abc12:greeting.txt"]);
    assert_eq!(text, "Hello.\nGood bye.\n", "{name}");
}

/// No pod of Polecats was made twice, by whatever replica of whatever version.
async fn each_pod_once(bed: &Testbed, names: &[&str]) {
    let mut made = std::collections::BTreeMap::<String, usize>::new();
    for it in bed.audit_events().await.unwrap() {
        let pod = it.resource == "pods" && it.subresource.is_empty() && it.namespace == TOWN;
        if pod && it.verb == "create" && it.code == 201 && !it.uri.contains("dryRun") {
            *made.entry(it.name.clone()).or_default() += 1;
        }
    }
    let want = names.iter().map(|it| (format!("polecat-{it}"), 1)).collect();
    assert_eq!(made, want, "once, and none of those that are to be idle");
}

async fn there_and_back(road: Road, variable: &str, test: &str) {
    let Some(previous) = previous(test, variable) else { return };
    if !preconditions::allow(test, Node::Real).unwrap() {
        return;
    }
    let (Some(program), Some(helm)) = (release_binary(test), tool(test, Tool::Helm)) else {
        return;
    };
    let bed = Testbed::start(Options { node: Node::Real, ..Options::default() }).await.unwrap();
    let programs = ["gastown-operator", "gt-runner"].map(|it| previous.join("built").join(it));
    let old = Version::of(&bed, "old", &previous, [&programs[0], &programs[1]]).await;
    let runner = top().join("target/static/gt-runner");
    let new = Version::of(&bed, "new", top(), [&program, &runner]).await;
    let roads = Roads { bed: &bed, helm: &helm };
    let client = bed.client("user-upgraded").await.unwrap();
    bed.make_namespace(TOWN, &[]).await.unwrap();
    make_references(&client, TOWN, bed.git.as_ref().unwrap()).await;

    roads.install(road, &old).await;
    comes_true("the door to be open", async || knocks(&client, TOWN).await.is_ok()).await;
    runs(&bed, &client, TOWN, "before").await;
    begin(&bed, &client, "across").await;
    let load = Load::begin(&client, "there", TOWN);
    roads.take(road, &new).await;
    load.end("upgrade").await;
    runs(&bed, &client, TOWN, "after").await;
    ended_once(&bed, &client, "across", &["True/Pushed"]).await;

    begin(&bed, &client, "back").await;
    let load = Load::begin(&client, "back", TOWN);
    roads.back(road, &old).await;
    load.end("rollback").await;
    ended_once(&bed, &client, "back", &["True/Pushed", OLDER]).await;
    runs(&bed, &client, TOWN, "again").await;
    let polecats: Api<Polecat> = Api::namespaced(client.clone(), TOWN);
    for name in ["before", "across", "after", "again"] {
        let it = polecats.get(name).await.unwrap();
        assert_eq!(condition(&it, "Pushed"), "True/Pushed", "{name}");
    }
    each_pod_once(&bed, &["before", "across", "after", "back", "again"]).await;
    bed.stop().await.unwrap();
}

#[tokio::test]
async fn make_deploy_upgrades_an_older_one_under_load_and_goes_back() {
    let test = "make_deploy_upgrades_an_older_one_under_load_and_goes_back";
    there_and_back(Road::Make, "GASTOWN_PREVIOUS", test).await;
}

#[tokio::test]
async fn one_file_upgrades_an_older_one_under_load_and_goes_back() {
    let test = "one_file_upgrades_an_older_one_under_load_and_goes_back";
    there_and_back(Road::File, "GASTOWN_PREVIOUS", test).await;
}

#[tokio::test]
async fn helm_upgrades_an_older_release_under_load_and_rolls_back() {
    let test = "helm_upgrades_an_older_release_under_load_and_rolls_back";
    there_and_back(Road::Helm, "GASTOWN_PREVIOUS_CHART", test).await;
}
