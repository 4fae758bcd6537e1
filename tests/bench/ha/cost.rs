//! What replicas cost: Leases while nothing happens; then processor time, memory, connections and objects of each, with the
//! same work for one, two and three.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result, bail, ensure};
use futures::TryStreamExt as _;
use gastown::domain::shard::Map;
use gastown_testbed::{NAMESPACE, Operator, Testbed, watch};
use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use kube::{
    Api, ResourceExt as _,
    api::ListParams,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::time::timeout;

use crate::{
    cast::{Cast, PATIENCE},
    fleet::{Fleet, SHARDS, namespaces},
    handovers, load,
    options::{Options, Version},
    player::Life,
    probes, sight,
};

/// Namespaces in each shard.
const OF_EACH: usize = 2;
/// While a replica renews its session so often, and nothing else happens, Lease writes are counted.
const RENEWALS: usize = 10;
/// How often each is measured.
const ROUNDS: usize = 3;
/// Share of the sum of several over one alone that is meant to be enough.
const OVERHEAD: f64 = 1.10;

pub async fn measure(testbed: &Testbed, options: &Options) -> Result<String> {
    // It would write two objects for every pod that finds no node.
    testbed.freeze_program("kube-scheduler").await?;
    let mut text = format!(
        "{} Polecats over {} namespaces, {} a second; objects are Polecats and their pods, also of the runs before\n",
        options.polecats,
        SHARDS * OF_EACH,
        a_second(options),
    );
    let mut all: [Vec<f64>; 3] = Default::default();
    // In turns, since a machine is not as fast at one time as at another.
    for round in 0..ROUNDS {
        for (replicas, cpu) in (1..).zip(&mut all) {
            let (row, took) = run(testbed, options, (replicas, round)).await?;
            text += &row;
            cpu.push(took);
        }
    }
    let [alone, several @ ..] = &mut all;
    for (replicas, cpu) in (2..).zip(several) {
        let ratio = median(cpu) / median(alone);
        let goal = if ratio <= OVERHEAD { "met" } else { "MISSED" };
        let _ = writeln!(
            text,
            "{replicas} replicas together over one alone, medians of {ROUNDS} rounds in turns: {ratio:.2}  <= {OVERHEAD}: {goal}"
        );
    }
    Ok(text)
}

/// Of one that is not empty.
fn median(all: &mut [f64]) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// This part is nothing without work.
fn a_second(options: &Options) -> u32 {
    options.a_second.max(1)
}

/// One row, and processor seconds per 1,000 Polecats of all replicas together.
async fn run(
    testbed: &Testbed,
    options: &Options,
    (replicas, round): (usize, usize),
) -> Result<(String, f64)> {
    let names = namespaces(testbed, &format!("n{replicas}-{round}"), OF_EACH).await?;
    let fleet = Fleet::start(testbed, options, replicas).await?;
    let writes = lease_writes(testbed, &fleet).await?;
    let cast = Cast::begin(testbed, Version::V1beta1, Life::Whole).await?;
    let used = || fleet.live.iter().map(|it| probes::cpu_seconds(it.pid)).sum::<Result<f64>>();
    let before = used()?;
    cast.load
        .paced(load::spread(&names, usize::try_from(options.polecats)?), a_second(options))
        .await?;
    ensure!(cast.all_done().await?, "Polecats were lost");
    let cpu = (used()? - before) / f64::from(options.polecats) * 1e3;
    let owners = owners(testbed).await?;
    let mut row = format!(
        "{replicas} replicas: {cpu:.2} CPU-seconds per 1,000; {writes:.2} Lease writes a second at rest\n"
    );
    for it in &fleet.live {
        let objects =
            owners.iter().filter(|(of, _)| of.contains(&it.name)).map(|it| it.1).sum::<usize>();
        let _ = writeln!(
            row,
            "   {}: RSS {:.1} MiB, {} connections to the API server, {objects} objects in its shards, {} in its caches",
            it.name,
            rss_mib(it)?,
            it.connections_to(&testbed.server()?)?,
            cached(&probes::scrape(it).await?),
        );
    }
    for it in &fleet.live {
        it.terminate(handovers::PATIENCE).await?;
    }
    Ok((row, cpu))
}

/// Writes of session and shard Leases a second, while nothing happens.
async fn lease_writes(testbed: &Testbed, fleet: &Fleet<'_>) -> Result<f64> {
    let client = testbed.client("observer").await?;
    let leases: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let sessions = watcher::Config::default().labels("gastown.io/lease=session");
    let mut told = watch::watcher(leases, sessions).applied_objects();
    let from = Timestamp::now();
    let renewed = async {
        let mut counts = BTreeMap::new();
        while let Some(session) = told.try_next().await? {
            let count: &mut usize = counts.entry(session.name_any()).or_default();
            *count += 1;
            if *count > RENEWALS {
                return Ok(());
            }
        }
        bail!("the watch of sessions ended")
    };
    timeout(PATIENCE, renewed).await.context("no replica renewed its session")??;
    let took = Timestamp::now().duration_since(from).as_secs_f64();
    let ours = |user: &str| fleet.live.iter().any(|it| it.name == user);
    let events = testbed.audit_events().await?;
    let leases = events.iter().filter(|it| {
        let of_shards = it.resource == "leases" && it.name.starts_with("gastown-s");
        of_shards && it.is_write() && it.time >= from && ours(&it.user)
    });
    Ok(f64::from(u32::try_from(leases.count())?) / took)
}

/// Who owns each shard, and how many objects are in it.
async fn owners(testbed: &Testbed) -> Result<Vec<(String, usize)>> {
    let client = testbed.client("observer").await?;
    let map = Map::first(u16::try_from(SHARDS)?);
    let mut objects = vec![0; SHARDS];
    for place in [sight::polecats(Version::V1beta1), sight::PODS.to_owned()] {
        let request = kube::core::Request::new(place).list(&ListParams::default())?;
        let list: kube::core::ObjectList<sight::Sight> = client.request(request).await?;
        for it in list.items {
            let shard = map.shard_of(&it.metadata.namespace).context("a namespace in no shard")?;
            if let Some(count) = objects.get_mut(usize::from(shard.0)) {
                *count += 1;
            }
        }
    }
    let leases: Api<Lease> = Api::namespaced(client, gastown_testbed::NAMESPACE);
    let all = leases.list(&ListParams::default().labels("gastown.io/lease=shard")).await?;
    let owner = |it: Lease| {
        let shard: usize = it.metadata.name?.strip_prefix("gastown-shard-")?.parse().ok()?;
        Some((it.spec?.holder_identity?, *objects.get(shard)?))
    };
    Ok(all.items.into_iter().filter_map(owner).collect())
}

/// Polecats and pods that a replica has in its caches, whoever's they are, as its metrics say.
fn cached(metrics: &str) -> f64 {
    let of = |it: &str| {
        probes::total(metrics, &format!("gastown_cached_objects{{controller=\"{it}\"}}"))
    };
    of("polecats") + of("pods")
}

/// Resident memory now.
pub fn rss_mib(operator: &Operator) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.pid))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_ascii_whitespace().next().context("no number")?.parse()?;
    Ok(kib / 1024.0)
}
