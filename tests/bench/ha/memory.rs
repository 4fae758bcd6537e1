//! What Polecats and their pods cost each replica in memory: one alone and three while they come to be, and one and three that
//! are begun when all are there.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use anyhow::{Result, ensure};
use gastown_testbed::Testbed;

use crate::{
    cast::{Cast, PATIENCE},
    cost::rss_mib,
    fleet::{Fleet, SHARDS, namespaces},
    handovers,
    ledger::{Course, Key},
    load,
    options::{Options, Version},
    player::Life,
};

/// Namespaces in each shard: each of three replicas has a third of what is in them.
const OF_EACH: usize = 3;
/// Polecats under way at a time while they come to be.
const AT_ONCE: usize = 200;
const IN_FLIGHT: usize = 16;
/// After it was busy, and before its memory is read: what comes later still comes in the meantime.
const REST: Duration = Duration::from_secs(10);
/// Bytes for each Polecat and its pod that are meant to be enough.
const EACH: f64 = 4096.0;
/// Share of what one alone grows by that each of three is meant to grow by at most.
const SHARE: f64 = 0.40;

/// Resident memory of each replica without any, with a twentieth, and with all.
struct Grown {
    idle: Vec<f64>,
    few: Vec<f64>,
    all: Vec<f64>,
}

pub async fn measure(testbed: &Testbed, options: &Options) -> Result<String> {
    let three = grown(testbed, options, 3).await?;
    let (anew, three_anew) = (begun(testbed, options, 1).await?, begun(testbed, options, 3).await?);
    // One of its own, since it begins without any.
    let second = gastown_testbed::Options { fsync: false, ..gastown_testbed::Options::default() };
    let second = Testbed::start(second).await?;
    second.install_crds().await?;
    let alone = grown(&second, options, 1).await?;
    second.stop().await?;
    let (few, all) = (options.objects / 20, options.objects);
    let each = (mean(&alone.all) - mean(&alone.few)) * MIB / f64::from(all - few);
    let mut text = format!(
        "finished Polecats with their pods over {} namespaces; RSS in MiB\none alone: {:.1} without any, {:.1} with {few}, {:.1} with {all}: {each:.0} bytes for each of those{}\n",
        SHARDS * OF_EACH,
        mean(&alone.idle),
        mean(&alone.few),
        mean(&alone.all),
        goal(each <= EACH, &format!("<= {EACH}")),
    );
    let growth = mean(&alone.all) - mean(&alone.idle);
    for (number, (idle, all)) in (1..).zip(three.idle.iter().zip(&three.all)) {
        let share = (all - idle) / growth;
        let met = goal(share <= SHARE, &format!("<= {:.0} %", SHARE * 100.0));
        let _ = writeln!(
            text,
            "replica {number} of three: {idle:.1} without any, {all:.1} with all: {:.0} % of what one alone grows by{met}",
            share * 100.0
        );
    }
    let growth = mean(&anew) - mean(&alone.idle);
    let _ = writeln!(
        text,
        "begun when all are there: one alone {:.1}, grown by {growth:.1}",
        mean(&anew)
    );
    for (number, (now, idle)) in (1..).zip(three_anew.iter().zip(&three.idle)) {
        let share = (now - idle) / growth * 100.0;
        let _ = writeln!(text, "   replica {number} of three {now:.1}: {share:.0} % of that");
    }
    Ok(text)
}

/// What so many replicas have while Polecats come to be.
async fn grown(testbed: &Testbed, options: &Options, replicas: usize) -> Result<Grown> {
    // It would write two objects for every pod that finds no node.
    testbed.freeze_program("kube-scheduler").await?;
    let names = namespaces(testbed, "memory", OF_EACH).await?;
    let keys = load::spread(&names, usize::try_from(options.objects)?);
    let (some, more) = keys.split_at(keys.len() / 20);
    let fleet = Fleet::start(testbed, options, replicas).await?;
    let idle = rss(&fleet).await?;
    let cast = Cast::begin(testbed, Version::V1beta1, Life::End).await?;
    run(&cast, some).await?;
    let few = rss(&fleet).await?;
    run(&cast, more).await?;
    let all = rss(&fleet).await?;
    end(fleet).await?;
    Ok(Grown { idle, few, all })
}

const MIB: f64 = 1024.0 * 1024.0;

fn goal(met: bool, is: &str) -> String {
    format!("  {is}: {}", if met { "met" } else { "MISSED" })
}

/// Of one that is not empty.
fn mean(all: &[f64]) -> f64 {
    let count = u32::try_from(all.len()).map_or(f64::NAN, f64::from);
    all.iter().sum::<f64>() / count
}

/// Resident memory of each of so many replicas, begun with what is there, at rest; they are ended again.
async fn begun(testbed: &Testbed, options: &Options, replicas: usize) -> Result<Vec<f64>> {
    let fleet = Fleet::start(testbed, options, replicas).await?;
    let all = rss(&fleet).await?;
    end(fleet).await?;
    Ok(all)
}

/// Resident memory of each, at rest.
async fn rss(fleet: &Fleet<'_>) -> Result<Vec<f64>> {
    tokio::time::sleep(REST).await;
    let all = fleet.live.iter().map(rss_mib).collect::<Result<Vec<_>>>()?;
    eprintln!("RSS, MiB: {all:.1?}");
    Ok(all)
}

async fn end(fleet: Fleet<'_>) -> Result<()> {
    for it in &fleet.live {
        it.terminate(handovers::PATIENCE).await?;
    }
    Ok(())
}

/// Until each of these is Done; so many are under way at a time.
async fn run(cast: &Cast, keys: &[Key]) -> Result<()> {
    for some in keys.chunks(AT_ONCE) {
        cast.load.burst(some, IN_FLIGHT).await?;
        let done = |all: &HashMap<Key, Course>| {
            all.values().filter(|it| it.done.is_none()).count() < AT_ONCE / 2
        };
        ensure!(cast.ledger.until(PATIENCE, done).await?, "Polecats were lost");
    }
    ensure!(cast.all_done().await?, "Polecats were lost");
    Ok(())
}
