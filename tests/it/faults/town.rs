//! Three replicas that look after a whole control plane, and people who create Polecats all the time.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use gastown::{
    api::{v1alpha1::Polecat, v1beta1::ShardMap},
    cluster::housekeeper::LEASE,
};
use gastown_testbed::{Node, Operator, OperatorOptions, Options, Testbed, http_get};
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Pod},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard, OnceCell, watch};

use super::toll::Toll;
use crate::{
    asking::comes_true,
    world::{PATIENCE, install_crds, phase_of, polecat},
};

/// Shards of these towns, unless a test says otherwise; three replicas have five or six each.
pub const SHARDS: usize = 16;
const NAMESPACES: usize = 24;
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

/// What is known of the load when it ends.
pub struct Load {
    stop: watch::Sender<bool>,
    created: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<(usize, Duration)>,
}

impl Load {
    /// Waits until so many were created.
    pub async fn reaches(&self, count: usize) {
        let mut created = self.created.clone();
        let reached = tokio::time::timeout(PATIENCE, created.wait_for(|it| *it >= count)).await;
        reached.expect("the load comes in time").expect("the load goes on");
    }
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

    /// Waits until these have even shares, and nobody else any.
    pub async fn settled(&self, operators: &[&Operator]) {
        let shards = self.shards;
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

    /// Creates so many Polecats a second, until told to end, over all namespaces in turn. What is refused or gets no answer is
    /// sent again.
    pub fn load(&self, a_second: u32) -> Load {
        let (stop, mut stopped) = watch::channel(false);
        let (told, created) = watch::channel(0);
        let (client, namespaces) = (self.client.clone(), self.namespaces.clone());
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            let mut clock = tokio::time::interval(Duration::from_secs(1) / a_second);
            let mut count = 0;
            loop {
                tokio::select! {
                    _ = stopped.wait_for(|it| *it) => return (count, begun.elapsed()),
                    _ = clock.tick() => {}
                }
                let namespace = &namespaces[count % namespaces.len()];
                let all: Api<Polecat> = Api::namespaced(client.clone(), namespace);
                let object: Polecat =
                    serde_json::from_value(polecat(&format!("p{count:05}"))).unwrap();
                loop {
                    match all.create(&PostParams::default(), &object).await {
                        Ok(_) => break,
                        Err(kube::Error::Api(it)) if it.is_already_exists() => break,
                        Err(_) => drop(clock.tick().await),
                    }
                }
                count += 1;
                told.send_replace(count);
            }
        });
        Load { stop, created, task }
    }

    /// Ends the load and waits until all that was asked for is Done, once; says how much it was.
    pub async fn all_done(&self, load: Load) -> usize {
        load.stop.send_replace(true);
        let (count, took) = load.task.await.unwrap();
        let a_second = f64::from(u32::try_from(count).unwrap()) / took.as_secs_f64();
        println!("{}: {count} Polecats, {a_second:.1} a second", self.name);
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
