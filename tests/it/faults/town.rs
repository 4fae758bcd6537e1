//! Three replicas that look after a whole control plane, and people who create Polecats all the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use gastown::{
    api::{v1alpha1::Polecat, v1beta1::ShardMap},
    cluster::housekeeper::LEASE,
    domain::{
        lease::Times,
        shard::{Map, ShardId},
    },
};
use gastown_testbed::{Node, Operator, OperatorOptions, Options, Testbed, http_get};
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Namespace, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::{load::Load, toll::Toll};
use crate::{
    asking::comes_true,
    world::{install_crds, is_judged, phase_of},
};

/// Shards of these towns, unless a test says otherwise; three replicas have five or six each.
pub const SHARDS: usize = 16;
pub const NAMESPACES: usize = 24;
/// Unless a test says otherwise.
const FAST: &str = "--failover=fast";

pub struct Town {
    pub bed: &'static Testbed,
    pub name: &'static str,
    client: Client,
    namespaces: Vec<String>,
    flags: Vec<String>,
    shards: usize,
    /// The program of the first three; unset: this build's.
    first: Option<PathBuf>,
    /// Only one set of replicas looks after everything at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Town {
    /// On a control plane that these tests share; flags are those of every replica.
    pub async fn new(name: &'static str, flags: &[&str]) -> Self {
        static BED: OnceCell<Testbed> = OnceCell::const_new();
        static ALONE: Mutex<()> = Mutex::const_new(());
        let alone = ALONE.lock().await;
        let options = Options { node: Node::Kwok, ..Options::default() };
        let bed = BED.get_or_try_init(|| Testbed::start(options)).await.unwrap();
        install_crds(bed).await;
        let client = bed.client(&format!("user-{name}")).await.unwrap();
        let namespaces: Vec<String> = (0..NAMESPACES).map(|it| format!("{name}-{it}")).collect();
        let script = [("testbed.gastown.io/run-for", "500ms")];
        for it in &namespaces {
            bed.make_namespace(it, &script).await.unwrap();
        }
        let own = format!("{name}-operator");
        bed.make_namespace(&own, &[]).await.unwrap();
        let leases: Api<Lease> = Api::namespaced(client.clone(), &own);
        leases.create(&PostParams::default(), &nobodys_housekeeper()).await.unwrap();
        let flags = flags.iter().map(ToString::to_string).collect();
        Self { bed, name, client, namespaces, flags, shards: SHARDS, first: None, _alone: alone }
    }

    /// The same with so many shards.
    pub fn with_shards(self, shards: usize) -> Self {
        Self { shards, ..self }
    }

    /// The same, whose first three replicas are of this program.
    pub fn begun_by(self, program: PathBuf) -> Self {
        Self { first: Some(program), ..self }
    }

    /// Three replicas that have their shares.
    pub async fn three(&self) -> [Operator; 3] {
        let first = async |name| self.start(name, &[], (self.first.clone(), None)).await;
        let all = [first("a").await, first("b").await, first("c").await];
        self.settled(&[&all[0], &all[1], &all[2]]).await;
        all
    }

    /// The same; the first is behind a proxy of its own and has these flags.
    pub async fn three_with_toll(&self, flags: &[&str]) -> (Toll, [Operator; 3]) {
        let toll = Toll::of(self.bed, &self.user("a")).await;
        let a = self.behind(&toll, "a", flags).await;
        let all = [a, self.replica("b", &[]).await, self.replica("c", &[]).await];
        self.settled(&[&all[0], &all[1], &all[2]]).await;
        (toll, all)
    }

    /// Has a replica asked about every Polecat of the town, and waits until it is; the names of what does that. It is asked about no
    /// pod: replicas have accounts of their own here, and each lets its own alone make a Polecat's.
    pub async fn register_webhooks(&self, replica: &Operator) -> Vec<String> {
        let label = ("testbed.gastown.io/webhook", self.name);
        let names = replica.register_webhooks(self.bed, self.name, label).await.unwrap();
        let (of_pods, names): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|it| it.contains("-pods-"));
        replica.unregister_webhooks(self.bed, &of_pods).await.unwrap();
        let all: Api<Namespace> = Api::all(self.client.clone());
        let labelled = json!({"metadata": {"labels": {(label.0): label.1}}});
        for it in &self.namespaces {
            let patch = Patch::Merge(&labelled);
            all.patch(it, &PatchParams::default(), &patch).await.unwrap();
        }
        // A configuration takes effect a moment after it is stored, and nothing tells when.
        let asked = async || is_judged(&self.client, &self.namespaces[0]).await;
        comes_true("the webhooks to be asked", asked).await;
        names
    }

    pub async fn replica(&self, name: &str, flags: &[&str]) -> Operator {
        self.start(name, flags, (None, None)).await
    }

    /// One that reaches the API server through a proxy of its own.
    pub async fn behind(&self, toll: &Toll, name: &str, flags: &[&str]) -> Operator {
        self.start(name, flags, (None, Some(toll.server.clone()))).await
    }

    /// The name that the audit log knows a replica by.
    pub fn user(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    async fn start(
        &self,
        name: &str,
        flags: &[&str],
        (program, server): (Option<PathBuf>, Option<String>),
    ) -> Operator {
        let base = [
            "--disable-webhooks",
            "--runner-image=localhost/gt-runner:dev",
            "--agent-image=localhost/agent:dev",
            FAST,
        ];
        let given = |flag: &str| {
            let name = |it: &str| it.split('=').next().map(ToOwned::to_owned);
            let own = self.flags.iter().map(String::as_str).chain(flags.iter().copied());
            let times = |it: &str| flag == FAST && it.starts_with("--lease-duration");
            own.clone().any(times) || own.map(name).any(|it| it == name(flag))
        };
        let base = base.into_iter().filter(|it| !given(it)).map(ToOwned::to_owned);
        let own = self.flags.iter().cloned().chain(flags.iter().map(ToString::to_string));
        let options = OperatorOptions {
            name: self.user(name),
            namespace: self.own(),
            flags: base.chain(own).chain([format!("--shards={}", self.shards)]).collect(),
            environment: vec![("POD_UID".into(), format!("uid-{name}"))],
            program,
            server,
            ..OperatorOptions::default()
        };
        let operator = Operator::start(self.bed, options).await.unwrap();
        operator.wait_ready().await.unwrap();
        operator
    }

    fn own(&self) -> String {
        format!("{}-operator", self.name)
    }

    /// How long a session counts as alive that says nothing.
    pub fn wait(&self) -> Duration {
        let normal = self.flags.iter().any(|it| it == "--failover=normal");
        if normal { Times::DEFAULT.wait } else { Times::FAST.wait }
    }

    /// Waits until these have even shares, and nobody else any.
    pub async fn settled(&self, operators: &[&Operator]) {
        self.share(operators, self.shards).await;
    }

    /// The same where a map has made other shards than there were.
    pub async fn share(&self, operators: &[&Operator], shards: usize) {
        let (least, most) = (shards / operators.len(), shards.div_ceil(operators.len()));
        comes_true("even shares", async || {
            let mut all = 0;
            for it in operators {
                let owned = owned(it).await;
                if !(least..=most).contains(&owned) {
                    return false;
                }
                all += owned;
            }
            all == shards
        })
        .await;
    }

    pub fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.own())
    }

    pub fn maps(&self) -> Api<ShardMap> {
        Api::namespaced(self.client.clone(), &self.own())
    }

    /// Epochs of the shards.
    pub async fn epochs(&self) -> BTreeMap<String, i32> {
        let params = ListParams::default().labels("gastown.io/lease=shard");
        let all = self.leases().list(&params).await.unwrap();
        let epoch = |it: Lease| {
            let epoch = it.spec.and_then(|it| it.lease_transitions).unwrap_or_default();
            (it.metadata.name.unwrap(), epoch)
        };
        all.items.into_iter().map(epoch).collect()
    }

    /// Creates so many Polecats a second, or as many as are borne, until told to end, over all namespaces in turn.
    pub fn load(&self, a_second: u32) -> Load {
        Load::begin(&self.client, &self.namespaces, a_second)
    }

    /// Ends the load and waits until all that was asked for is Done, once; says how much it was.
    pub async fn all_done(&self, load: Load) -> usize {
        let count = load.end(self.name).await;
        comes_true("every Polecat Done", async || self.done().await == Some(count)).await;
        assert_eq!(self.pods().await, count, "one pod for each Polecat");
        count
    }

    /// How many are Done, if none is anything else.
    async fn done(&self) -> Option<usize> {
        let mut done = 0;
        for namespace in &self.namespaces {
            let all: Api<Polecat> = Api::namespaced(self.client.clone(), namespace);
            for it in all.list(&ListParams::default()).await.ok()? {
                if phase_of(&it) != "Done" {
                    return None;
                }
                assert_eq!(it.status.as_ref().and_then(|it| it.attempt), Some(1), "{it:?}");
                done += 1;
            }
        }
        Some(done)
    }

    /// Shards in which there is work: those of its namespaces, by the map.
    pub async fn busy(&self) -> BTreeSet<ShardId> {
        let map = Map::try_from(&self.maps().get("gastown").await.unwrap().spec).unwrap();
        self.namespaces.iter().filter_map(|it| map.shard_of(it)).collect()
    }

    /// Shards that this replica owns, by their Leases.
    pub async fn shards_of(&self, replica: &str) -> BTreeSet<ShardId> {
        let params = ListParams::default().labels("gastown.io/lease=shard");
        let all = self.leases().list(&params).await.unwrap();
        let prefix = format!("{}_", self.user(replica));
        let of = |it: &Lease| {
            let holder = it.spec.as_ref().and_then(|it| it.holder_identity.as_ref());
            holder.is_some_and(|it| it.starts_with(&prefix))
        };
        let number =
            |it: &Lease| it.metadata.name.as_ref()?.strip_prefix("gastown-shard-")?.parse().ok();
        all.iter().filter(|it| of(it)).filter_map(number).map(ShardId).collect()
    }

    /// Pods that are there.
    async fn pods(&self) -> usize {
        let mut count = 0;
        for namespace in &self.namespaces {
            let all: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            count += all.list_metadata(&ListParams::default()).await.unwrap().items.len();
        }
        count
    }

    pub fn is_ours(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|it| it == namespace)
    }
}

/// Somebody else keeps house, so that nobody weighs shards: what moves here, moves for a fault.
fn nobodys_housekeeper() -> Lease {
    let now = Timestamp::now().to_string();
    let lease = json!({
        "metadata": {"name": LEASE},
        "spec": {
            "holderIdentity": "nobody", "leaseDurationSeconds": 86_400, "leaseTransitions": 0,
            "acquireTime": now, "renewTime": now,
        },
    });
    serde_json::from_value(lease).unwrap()
}

pub async fn owned(operator: &Operator) -> usize {
    let Ok((_, text)) = http_get(&operator.metrics).await else { return 0 };
    let owned = text.lines().find_map(|it| it.strip_prefix("gastown_shards_owned "));
    owned.and_then(|it| it.parse().ok()).unwrap_or_default()
}
