//! Crashes: from SIGKILL to when others act in the shards of who is gone; and, at the same time, to when another process
//! of client-go leads.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use gastown_testbed::Testbed;
use k8s_openapi::jiff::Timestamp;

use crate::{
    elector::{Pair, program},
    fleet::{Fleet, times},
    logged::{OWNED, all, held, millis},
    options::Options,
    spread::{Spread, row},
    work::Work,
};

/// Multiples of this part of a renewal's interval fall evenly into it, however many there are.
const GOLDEN: f64 = 0.618_034;

pub async fn measure(testbed: &Testbed, options: &Options) -> Result<String> {
    let program = program(options)?;
    let mut fleet = Fleet::start(testbed, options, 3).await?;
    let work = Work::begin(testbed, options).await?;
    let (ours, theirs) =
        tokio::try_join!(ours(&mut fleet, &work, options), rival(testbed, options, &program))?;
    let meanwhile = work.end().await?;
    let most = if options.failover == "fast" { 5_300.0 } else { 10_300.0 };
    let each = ours.iter().flatten().copied().collect();
    let last = ours.iter().map(|it| it.iter().copied().fold(0.0, f64::max)).collect();
    let apart = ours.iter().map(|it| {
        it.iter().copied().fold(0.0, f64::max) - it.iter().copied().fold(f64::INFINITY, f64::min)
    });
    Ok([
        row(&format!("ours ({}): each shard", options.failover), &each, Some((most, most))),
        row("ours: the last shard of a crash", &last, None),
        row("ours: from the first shard to the last", &apart.collect(), None),
        row("client-go (15/10/2 s): the one leader", &theirs, None),
        meanwhile,
    ]
    .concat())
}

/// For each crash, how long nobody acted in each shard.
async fn ours(fleet: &mut Fleet<'_>, work: &Work, options: &Options) -> Result<Vec<Vec<f64>>> {
    let mut crashes = Vec::new();
    for round in 1..=options.rounds {
        work.goes_on().await?;
        // Shares are even just after a renewal. A crash asks for no such moment: these fall evenly between two renewals.
        let phase = (f64::from(round) * GOLDEN).fract();
        tokio::time::sleep(times(options).renew.mul_f64(phase)).await;
        let victim = fleet.take()?;
        let killed = Timestamp::now();
        victim.kill9().await?;
        let shards = held(&victim)?;
        fleet.settled().await?;
        // The first to act in each counts; who is left may even out their shares after that.
        let mut taken = BTreeMap::new();
        for it in
            all(&fleet.live, OWNED, killed)?.into_iter().filter(|it| shards.contains(&it.shard))
        {
            taken.entry(it.shard).or_insert(it.at);
        }
        let (taken_over, lost) = (taken.len(), shards.len());
        ensure!(taken_over == lost, "{taken_over} of {lost} shards were taken over");
        let gaps: Vec<f64> = taken.values().map(|it| millis(killed, *it)).collect();
        eprintln!("crash {round}: {}", gaps.iter().copied().collect::<Spread>());
        crashes.push(gaps);
        fleet.add("first").await?;
        fleet.settled().await?;
    }
    Ok(crashes)
}

async fn rival(testbed: &Testbed, options: &Options, program: &std::path::Path) -> Result<Spread> {
    let mut pair = Pair::start(testbed, program, "crashes").await?;
    let mut gaps = Vec::new();
    for _ in 0..options.rounds {
        let killed = Timestamp::now();
        pair.kill().await?;
        gaps.push(millis(killed, pair.succeeded().await?));
        eprintln!("client-go, crash {}: {:.0} ms", gaps.len(), gaps.last().unwrap_or(&0.0));
    }
    Ok(gaps.into_iter().collect())
}
