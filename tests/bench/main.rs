//! Measures what a user waits for and what it costs, beside another operator where `GO_ORIGINAL` names one: same API
//! server, in turns, pods played by a client. It never judges by one round, and fails only when Polecats were lost.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench is outside the operator's layers: it talks to the API server and reads the clock"
)]

mod checks;
mod figures;
mod ledger;
mod load;
mod machine;
mod operators;
mod options;
mod player;
mod probes;
mod run;
mod sight;
mod table;
mod town;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::{
    operators::Whose,
    options::{Options, Scenario},
    table::Runs,
    town::Town,
};

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        // As `cargo test` starts it: there is no harness, so the bench checks its own arithmetic.
        return exit(checks::all().map(|()| {
            println!("test result: ok. The bench's arithmetic adds up");
            0
        }));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    exit(runtime.context("failed to start").and_then(|it| it.block_on(bench(&options))))
}

fn exit(lost: Result<usize>) -> ExitCode {
    match lost {
        Ok(0) => ExitCode::SUCCESS,
        Ok(lost) => {
            eprintln!(
                "bench: {lost} Polecats were lost or ran twice: see the last row of each table"
            );
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All scenarios; returns how many Polecats were lost.
async fn bench(options: &Options) -> Result<usize> {
    checks::all()?;
    gastown::tls::install_provider()?;
    let mut lost = 0;
    let mut machine = String::new();
    let mut tables = String::new();
    for scenario in options.scenarios() {
        let mut runs = Runs::new();
        let mut town = None;
        for round in 1..=options.rounds() {
            for whose in [Whose::Ours, Whose::Original] {
                let Some(program) = whose.program(options).filter(|_| takes_part(whose, scenario))
                else {
                    continue;
                };
                let place = match town.take() {
                    Some(place) => place,
                    None => Town::start(scenario.namespaces()).await?,
                };
                let run = run::run(&place, scenario, whose, program, round).await;
                let run =
                    run.with_context(|| format!("{}, round {round}, {whose}", scenario.title()))?;
                lost += figures::lost(&run);
                let figures = figures::figures(&run);
                eprintln!("{}, round {round}, {whose}: {}", scenario.title(), brief(&figures));
                runs.push((whose, figures));
                machine = machine::describe(&place.testbed).await?;
                town = leave(place, scenario).await?;
            }
        }
        tables += &table::table(&scenario.title(), &runs, &figures::goals(scenario));
    }
    println!("{tables}\n{machine}\n{}", command(options));
    Ok(lost)
}

/// What one tenant does to another is measured of ours alone: the original keeps no such figures.
fn takes_part(whose: Whose, scenario: Scenario) -> bool {
    whose == Whose::Ours || !matches!(scenario, Scenario::Fairness { .. })
}

/// Cleans up for the next run. After a crowd a new control plane is quicker than the cleaning, and etcd's space too
/// scarce.
async fn leave(place: Town, scenario: Scenario) -> Result<Option<Town>> {
    if matches!(scenario, Scenario::Fairness { .. }) {
        place.testbed.stop().await?;
        return Ok(None);
    }
    place.clean().await?;
    Ok(Some(place))
}

fn brief(figures: &[figures::Figure]) -> String {
    let told = |it: &&figures::Figure| {
        it.name.contains("p99") || it.name.contains("CPU") || it.name.contains("RSS")
    };
    let told: Vec<String> =
        figures.iter().filter(told).map(|it| format!("{} {:.1}", it.name, it.value)).collect();
    told.join("; ")
}

fn command(options: &Options) -> String {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let (original, note) = match &options.original {
        Some(_) => ("GO_ORIGINAL=… ", ""),
        None => ("", "\nGO_ORIGINAL is not set: ours alone was measured, and no ratio judged"),
    };
    let quick = if options.quick {
        "\n--quick: the load is a tenth; these figures say nothing"
    } else {
        ""
    };
    format!(
        "command: {original}cargo bench --bench polecats -- {}{note}{quick}",
        arguments.join(" ")
    )
}
