//! How long a testbed takes to be ready, from programs that are built, with durable writes: of each kind of node that this machine can have, in
//! turns. Ends with 1 where one start took longer than its goal.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use gastown_testbed::{Node, Options, Testbed, preconditions};

/// What a start may take.
const GOAL: Duration = Duration::from_secs(10);

#[derive(Debug, Parser)]
struct Asked {
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Starts of each kind.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

async fn start(node: Node) -> Result<Duration> {
    let begun = Instant::now();
    let testbed = Testbed::start(Options { node, fsync: true, ..Options::default() }).await?;
    let took = begun.elapsed();
    testbed.stop().await?;
    Ok(took)
}

async fn measure(rounds: u32) -> Result<bool> {
    let mut met = true;
    for node in [Node::None, Node::Kwok, Node::Real] {
        if let Err(missing) = preconditions::of(node) {
            eprintln!("SKIP --node {}: {}", node.name(), missing.join("; "));
            continue;
        }
        start(node).await?; // programs and images that were never used before
        let mut times = Vec::new();
        for _ in 0..rounds {
            times.push(start(node).await?);
        }
        let worst = times.iter().max().copied().unwrap_or_default();
        met &= worst <= GOAL;
        let seconds = times.iter().map(|it| format!("{:.1}", it.as_secs_f64()));
        let verdict = if worst <= GOAL { "met" } else { "MISSED" };
        let node = node.name();
        let times = seconds.collect::<Vec<_>>().join(", ");
        println!("ready with --node {node:<4} after {times} s; goal 10 s: {verdict}");
    }
    Ok(met)
}

fn main() -> Result<ExitCode> {
    let asked = Asked::parse();
    gastown::tls::install_provider()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let met = runtime.context("failed to start")?.block_on(measure(asked.rounds))?;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
