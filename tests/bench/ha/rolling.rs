//! Rolling updates in the order of a `ReplicaSet`'s real controller: how often each shard moves, and how long nobody acts in it.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Result, ensure};
use gastown_testbed::{Operator, Testbed};
use k8s_openapi::jiff::Timestamp;

use crate::{
    fleet::{Fleet, SHARDS},
    handovers::PATIENCE,
    logged::{GIVING, OWNED, all, gaps},
    options::Options,
    spread::{Spread, row},
    work::Work,
};

const REPLICAS: usize = 3;

pub async fn measure(testbed: &Testbed, options: &Options) -> Result<String> {
    let mut fleet = Fleet::start(testbed, options, REPLICAS).await?;
    let work = Work::begin(testbed, options).await?;
    let mut text = String::new();
    for (name, surge) in [("maxSurge 100 %", REPLICAS), ("maxSurge 1", 1)] {
        let (mut all_gaps, mut moves) = (Vec::new(), BTreeMap::<usize, usize>::new());
        for round in 1..=options.updates {
            work.goes_on().await?;
            let (gaps, times_of) = update(&mut fleet, surge, &format!("{surge}-{round}")).await?;
            eprintln!("{name}, update {round}: {}", gaps.iter().copied().collect::<Spread>());
            all_gaps.extend(gaps);
            for (times, shards) in times_of {
                *moves.entry(times).or_default() += shards;
            }
        }
        let moves: Vec<_> =
            moves.iter().map(|(times, n)| format!("{n} shards {times} x")).collect();
        text += &row(
            &format!("{name}: each move of a shard"),
            &all_gaps.into_iter().collect(),
            Some((250.0, 1_000.0)),
        );
        let _ =
            writeln!(text, "{name}: moves in {} updates: {}", options.updates, moves.join(", "));
    }
    text += &work.end().await?;
    Ok(text)
}

/// One update; the gaps, and how many shards moved how often.
async fn update(
    fleet: &mut Fleet<'_>,
    surge: usize,
    build: &str,
) -> Result<(Vec<f64>, BTreeMap<usize, usize>)> {
    let from = Timestamp::now();
    let mut ended: Vec<Operator> = Vec::new();
    let mut begun = 0;
    while begun < REPLICAS {
        for _ in 0..surge.min(REPLICAS - begun) {
            fleet.add(build).await?; // ready when this returns, as for the Deployment's controller
            begun += 1;
        }
        while ended.len() < begun {
            let old = fleet.take()?;
            let code = old.terminate(PATIENCE).await?;
            ensure!(code == 0, "{} ended with {code}", old.name);
            ended.push(old);
        }
    }
    fleet.settled().await?;
    let owned = all(&fleet.live, OWNED, from)?;
    let given = all(fleet.live.iter().chain(&ended), GIVING, from)?;
    let between = all(&ended, OWNED, from)?;
    let mut of_all = owned;
    of_all.extend(between);
    of_all.sort_by_key(|it| it.at);
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for it in &of_all {
        *times.entry(&it.shard).or_default() += 1;
    }
    let mut moves: BTreeMap<usize, usize> = BTreeMap::new();
    for times in times.values() {
        *moves.entry(*times).or_default() += 1;
    }
    let still = SHARDS - times.len();
    if still > 0 {
        moves.insert(0, still);
    }
    Ok((gaps(&given, &of_all)?, moves))
}
