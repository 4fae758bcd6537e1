//! A namespace of its own on the shared API server, and an operator that looks after it alone.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{AsyncBufReadExt as _, StreamExt as _};
use gastown::api::v1alpha1::Polecat;
use gastown_testbed::{
    Node, Operator, OperatorOptions, Testbed, audit,
    watch::{self, await_condition},
};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use kube::{
    Api, Client, Resource,
    api::{LogParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, wait::Condition, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::faults::toll::Toll;

/// Longest wait for anything, on a machine that has other things to do as well.
pub const PATIENCE: Duration = Duration::from_secs(600);

pub struct World {
    pub bed: &'static Testbed,
    pub client: Client,
    pub namespace: String,
    pub operator: Operator,
    flags: Vec<String>,
}

impl World {
    /// A namespace called like the test, whose pods play a script by default, and an operator.
    pub async fn new(name: &str, script: &[(&str, &str)]) -> Self {
        Self::with_flags(name, script, &[]).await
    }

    pub async fn with_flags(name: &str, script: &[(&str, &str)], flags: &[&str]) -> Self {
        Self::start(name, script, flags, None).await
    }

    /// The same with another binary.
    pub async fn release(
        name: &str,
        script: &[(&str, &str)],
        flags: &[&str],
        program: PathBuf,
    ) -> Self {
        Self::start(name, script, flags, Some(program)).await
    }

    /// On a testbed that is this test's own, with flags; its pods play a script.
    pub async fn apart_with(
        bed: &'static Testbed,
        name: &str,
        script: &[(&str, &str)],
        flags: &[&str],
    ) -> Self {
        Self::build(bed, name, script, flags, None).await
    }

    /// On another testbed, such as the one with a real node.
    pub async fn on(bed: &'static Testbed, name: &str, flags: &[&str]) -> Self {
        Self::build(bed, name, &[], flags, None).await
    }

    /// On a testbed that is this test's own; its pods play a script.
    pub async fn apart(bed: &'static Testbed, name: &str, script: &[(&str, &str)]) -> Self {
        Self::build(bed, name, script, &[], None).await
    }

    /// Whose operator has these variables as well.
    pub async fn with_variables(
        name: &str,
        script: &[(&str, &str)],
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
        Self::with_variables_on(bed, name, script, flags, variables).await
    }

    /// The same on another testbed.
    pub async fn with_variables_on(
        bed: &'static Testbed,
        name: &str,
        script: &[(&str, &str)],
        flags: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let flags: Vec<String> = flags.iter().map(|it| (*it).to_owned()).collect();
        let mut options = options(name, "operator", &flags);
        let pairs = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        options.environment.extend(pairs);
        Self { flags, ..Self::around(bed, name, script, options).await }
    }

    /// Whose operator is in a group of its own, and has that group's rights.
    pub async fn in_group(name: &str, script: &[(&str, &str)], group: &str) -> Self {
        let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
        let options = OperatorOptions { group: group.to_owned(), ..options(name, "operator", &[]) };
        Self::around(bed, name, script, options).await
    }

    /// Whose operator reaches the API server through a proxy of its own.
    pub async fn behind_a_toll(
        name: &str,
        script: &[(&str, &str)],
        flags: &[&str],
    ) -> (Toll, Self) {
        let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
        let flags: Vec<String> = flags.iter().map(|it| (*it).to_owned()).collect();
        let mut options = options(name, "operator", &flags);
        let toll = Toll::of(bed, &options.name).await;
        options.server = Some(toll.server.clone());
        (toll, Self { flags, ..Self::around(bed, name, script, options).await })
    }

    async fn start(
        name: &str,
        script: &[(&str, &str)],
        flags: &[&str],
        program: Option<PathBuf>,
    ) -> Self {
        let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
        Self::build(bed, name, script, flags, program).await
    }

    async fn build(
        bed: &'static Testbed,
        name: &str,
        script: &[(&str, &str)],
        flags: &[&str],
        program: Option<PathBuf>,
    ) -> Self {
        let flags: Vec<String> = flags.iter().map(|it| (*it).to_owned()).collect();
        let options = OperatorOptions { program, ..options(name, "operator", &flags) };
        Self { flags, ..Self::around(bed, name, script, options).await }
    }

    async fn around(
        bed: &'static Testbed,
        name: &str,
        script: &[(&str, &str)],
        options: OperatorOptions,
    ) -> Self {
        install_crds(bed).await;
        make_namespaces(bed, name, script).await;
        let client = bed.client(&format!("user-{name}")).await.unwrap();
        let operator = started(bed, options).await;
        Self { bed, client, namespace: name.to_owned(), operator, flags: Vec::new() }
    }

    /// Starts another operator for the same namespace; `replica` tells its user apart in the audit log.
    pub async fn another(&self, replica: &str) -> Operator {
        started(self.bed, options(&self.namespace, replica, &self.flags)).await
    }

    /// The same with flags of its own.
    pub async fn another_with(&self, replica: &str, flags: &[&str]) -> Operator {
        let flags: Vec<String> = flags.iter().map(|it| (*it).to_owned()).collect();
        started(self.bed, options(&self.namespace, replica, &flags)).await
    }

    pub fn polecats(&self) -> Api<Polecat> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Ends the agent of a pod that plays its script.
    pub async fn end(&self, pod: &str) {
        let over = json!({"metadata": {"annotations": {"testbed.gastown.io/run-for": "0s"}}});
        self.pods().patch(pod, &PatchParams::default(), &Patch::Merge(over)).await.unwrap();
    }

    /// Ends a Polecat's first agent, once the operator has said that it runs: where it sees both at once, one write says both.
    pub async fn end_once_seen(&self, name: &str) {
        self.condition(name, "Ready", "True/PodRunning").await;
        self.end(&format!("polecat-{name}")).await;
    }

    /// Creates a Polecat that is to work, edited as told.
    pub async fn create(&self, name: &str, edit: impl FnOnce(&mut Value)) -> Polecat {
        let mut object = polecat(name);
        edit(&mut object);
        self.polecats()
            .create(&PostParams::default(), &serde_json::from_value(object).unwrap())
            .await
            .unwrap()
    }

    pub async fn merge(&self, name: &str, patch: Value) {
        self.polecats().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// What this operator has asked for that is no watch, no list and no Lease.
    pub async fn work(&self) -> Vec<audit::Event> {
        let all = self.requests_of(&self.operator.name).await;
        all.into_iter()
            .filter(|it| {
                !matches!(
                    it.resource.as_str(),
                    "leases" | "subjectaccessreviews" | "selfsubjectaccessreviews"
                ) && it.verb != "watch"
                    && it.verb != "list"
            })
            .collect()
    }

    /// Waits until a Polecat has this phase.
    pub async fn phase(&self, name: &str, phase: &'static str) -> Polecat {
        until(&self.polecats(), name, format!("phase {phase}"), move |it: &Polecat| {
            phase_of(it) == phase
        })
        .await
    }

    /// Waits until a condition of a Polecat has this status and reason.
    pub async fn condition(&self, name: &str, type_: &'static str, want: &'static str) -> Polecat {
        let what = format!("{type_} {want}");
        until(&self.polecats(), name, what, move |it: &Polecat| condition(it, type_) == want).await
    }

    /// Waits, by watch, until there is an Event about a Polecat with this reason.
    pub async fn event(&self, name: &str, reason: &str) {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let about =
            format!("involvedObject.kind=Polecat,involvedObject.name={name},reason={reason}");
        let stream =
            watch::watcher(events, watcher::Config::default().fields(&about)).applied_objects();
        let found = tokio::time::timeout(PATIENCE, std::pin::pin!(stream).next()).await;
        assert!(matches!(found, Ok(Some(Ok(_)))), "{name}: no Event {reason}: {found:?}");
    }

    /// Waits until a container's log has this text.
    pub async fn logged(&self, pod: &str, container: &str, text: &str) {
        let params = LogParams {
            container: Some(container.to_owned()),
            follow: true,
            ..LogParams::default()
        };
        let read = async {
            let mut lines = self.pods().log_stream(pod, &params).await.unwrap().lines();
            while let Some(line) = lines.next().await {
                if line.unwrap().contains(text) {
                    return true;
                }
            }
            false
        };
        assert!(
            tokio::time::timeout(PATIENCE, read).await.is_ok_and(|it| it),
            "{pod}: {container} never said {text}"
        );
    }

    /// What users of this name have asked of the API server.
    pub async fn requests_of(&self, user: &str) -> Vec<audit::Event> {
        let all = self.bed.audit_events().await.unwrap();
        all.into_iter().filter(|it| it.user == user).collect()
    }
}

/// Once for each testbed: a test that loosens a schema for a moment must not find it tightened by another.
pub async fn install_crds(bed: &'static Testbed) {
    static INSTALLED: Mutex<BTreeMap<PathBuf, Arc<OnceCell<()>>>> = Mutex::new(BTreeMap::new());
    let once = INSTALLED.lock().unwrap().entry(bed.kubeconfig.clone()).or_default().clone();
    once.get_or_try_init(|| bed.install_crds()).await.unwrap();
}

/// Makes a world's namespace and its operator's, where they are not there: a test may need them before its operator starts.
pub async fn make_namespaces(bed: &'static Testbed, name: &str, script: &[(&str, &str)]) {
    let all: Api<Namespace> = Api::all(bed.client("admin").await.unwrap());
    for (name, script) in [(name, script), (&own(name), &[])] {
        if all.get_opt(name).await.unwrap().is_none() {
            bed.make_namespace(name, script).await.unwrap();
        }
    }
}

/// The namespace of a world's operator.
pub fn own(name: &str) -> String {
    format!("{name}-operator")
}

fn options(name: &str, replica: &str, flags: &[String]) -> OperatorOptions {
    let base = [
        format!("--watch-namespaces={name}"),
        "--runner-image=localhost/gt-runner:dev".into(),
        "--agent-image=localhost/agent:dev".into(),
        "--failover=fast".into(),
        "--shards=4".into(),
    ];
    OperatorOptions {
        name: format!("{replica}-{name}"),
        namespace: own(name),
        // Where a flag is given twice, the last one would be an error.
        flags: base
            .into_iter()
            .filter(|it| !flags.iter().any(|own| excludes(own, it)))
            .chain(flags.iter().cloned())
            .collect(),
        environment: vec![
            ("POD_UID".into(), format!("uid-{replica}")),
            ("GASTOWN_OWN_USER".into(), own_users(name)),
        ],
        ..OperatorOptions::default()
    }
}

async fn started(bed: &Testbed, options: OperatorOptions) -> Operator {
    let operator = Operator::start(bed, options).await.unwrap();
    operator.wait_ready().await.unwrap();
    operator
}

/// Whether a flag goes with no other one: with the same, or as a time of the protocol with all of them.
fn excludes(own: &str, other: &str) -> bool {
    let name = |it: &str| it.split('=').next().map(ToOwned::to_owned);
    let times = ["--lease-duration", "--renew-deadline", "--retry-period"];
    let sets_time = times.iter().any(|it| own.starts_with(it));
    name(own) == name(other) || (sets_time && other.starts_with("--failover"))
}

/// Every replica of a world is a user of its own, and each lets the others make pods.
fn own_users(name: &str) -> String {
    ["operator", "second", "third"].map(|it| format!("{it}-{name}")).join(",")
}

/// Whether a write of a Polecat comes through to the webhooks, which refuse it.
pub async fn is_judged(client: &Client, namespace: &str) -> bool {
    let mut bad = polecat("bad");
    bad["spec"]["kubernetes"]["gitBranch"] = json!("-d");
    let api: Api<Polecat> = Api::namespaced(client.clone(), namespace);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&dry, &serde_json::from_value(bad).unwrap()).await {
        Err(kube::Error::Api(it)) => it.code == 422 && it.message.contains("gitBranch"),
        _ => false,
    }
}

/// A Polecat that is to work.
pub fn polecat(name: &str) -> Value {
    json!({
        "apiVersion": "gastown.gastown.io/v1alpha1",
        "kind": "Polecat",
        "metadata": {"name": name},
        "spec": {
            "rig": "greeter",
            "desiredState": "Working",
            "beadID": "gt-abc12",
            "kubernetes": {
                "gitRepository": "git@git.example.com:town/greeter.git",
                "gitSecretRef": {"name": "git-key"},
                "apiKeySecretRef": {"name": "llm", "key": "key"},
            },
        },
    })
}

pub fn phase_of(polecat: &Polecat) -> &'static str {
    polecat.status.as_ref().map_or("", |it| it.phase.as_str())
}

/// `status/reason` of a condition; empty where there is none.
pub fn condition(polecat: &Polecat, type_: &str) -> String {
    let status = polecat.status.clone().unwrap_or_default();
    let found = status.conditions.into_iter().find(|it| it.type_ == type_);
    found.map(|it| format!("{}/{}", it.status, it.reason)).unwrap_or_default()
}

pub fn message(polecat: &Polecat, type_: &str) -> String {
    let status = polecat.status.clone().unwrap_or_default();
    let found = status.conditions.into_iter().find(|it| it.type_ == type_);
    found.map(|it| it.message.into()).unwrap_or_default()
}

/// Waits, by watch, until an object is as told.
pub async fn until<K>(
    api: &Api<K>,
    name: &str,
    what: impl Into<String>,
    is: impl Fn(&K) -> bool + Send + Sync + 'static,
) -> K
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    struct Is<F>(F);
    impl<K, F: Fn(&K) -> bool> Condition<K> for Is<F> {
        fn matches_object(&self, object: Option<&K>) -> bool {
            object.is_some_and(&self.0)
        }
    }
    let waited = tokio::time::timeout(PATIENCE, await_condition(api.clone(), name, Is(is))).await;
    let what = what.into();
    let Ok(found) = waited else {
        panic!("{name}: no {what} within {PATIENCE:?}; it is {:#?}", api.get_opt(name).await);
    };
    found.unwrap().unwrap()
}
