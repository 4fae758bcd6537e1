//! Hand-overs: from when one replica ends its work in a shard to when another acts there, as somebody ends in good order and
//! another begins; and the same of client-go.

use std::time::Duration;

use anyhow::{Result, ensure};
use gastown_testbed::Testbed;
use k8s_openapi::jiff::Timestamp;

use crate::{
    elector::{Pair, program},
    fleet::Fleet,
    logged::{GIVING, OWNED, all, gaps, millis},
    options::Options,
    spread::{Spread, row},
    work::Work,
};

/// How long a replica may take to end.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub async fn measure(testbed: &Testbed, options: &Options) -> Result<String> {
    let program = program(options)?;
    let mut fleet = Fleet::start(testbed, options, 3).await?;
    let work = Work::begin(testbed, options).await?;
    let (ours, theirs) =
        tokio::try_join!(ours(&mut fleet, &work, options), rival(testbed, options, &program))?;
    let meanwhile = work.end().await?;
    let [ends, begins] = ours;
    let goal = Some((250.0, 1_000.0));
    Ok([
        row("ours: each shard of one that ends", &ends, goal),
        row("ours: each shard that one who begins gets", &begins, goal),
        row("client-go (ReleaseOnCancel): the one leader", &theirs, None),
        meanwhile,
    ]
    .concat())
}

async fn ours(fleet: &mut Fleet<'_>, work: &Work, options: &Options) -> Result<[Spread; 2]> {
    let (mut ends, mut begins) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        work.goes_on().await?;
        let from = Timestamp::now();
        let victim = fleet.take()?;
        let code = victim.terminate(PATIENCE).await?;
        ensure!(code == 0, "{} ended with {code}", victim.name);
        fleet.settled().await?;
        let given = all([&victim], GIVING, from)?;
        let these = gaps(&given, &all(&fleet.live, OWNED, from)?)?;
        eprintln!("end {round}: {}", these.iter().copied().collect::<Spread>());
        ends.extend(these);
        let from = Timestamp::now();
        fleet.add("first").await?;
        fleet.settled().await?;
        let these = gaps(&all(&fleet.live, GIVING, from)?, &all(&fleet.live, OWNED, from)?)?;
        eprintln!("begin {round}: {}", these.iter().copied().collect::<Spread>());
        begins.extend(these);
    }
    Ok([ends, begins].map(|it| it.into_iter().collect()))
}

async fn rival(testbed: &Testbed, options: &Options, program: &std::path::Path) -> Result<Spread> {
    let mut pair = Pair::start(testbed, program, "handovers").await?;
    let mut gaps = Vec::new();
    for _ in 0..options.rounds {
        let ended = pair.terminate().await?;
        gaps.push(millis(ended, pair.succeeded().await?));
    }
    Ok(gaps.into_iter().collect())
}
