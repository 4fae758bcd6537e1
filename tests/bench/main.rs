//! Measures what a user waits for and what it costs, beside another operator where `GO_ORIGINAL` names one: in turns,
//! each time on a fresh control plane of the same programs and settings with that operator's own definitions; pods are
//! played by a client. It never judges by one round, and fails only when Polecats were lost.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench is outside the operator's layers: it talks to the API server and reads the clock"
)]

mod cast;
mod checks;
mod figures;
mod goals;
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
mod telemetry;
#[path = "conversion/to_hub.rs"]
mod to_hub;
mod town;
mod troubled;
mod version;

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
    if options.telemetry {
        return telemetry::bench(options).await;
    }
    if options.troubled {
        return troubled::bench(options).await;
    }
    let mut lost = 0;
    let mut machine = String::new();
    let mut tables = String::new();
    for scenario in options.scenarios() {
        let mut runs = Runs::new();
        for round in 1..=options.rounds() {
            for whose in [Whose::Ours, Whose::Original] {
                let Some(program) = whose.program(options).filter(|_| takes_part(whose, scenario))
                else {
                    continue;
                };
                let crds = options.original_crds.as_deref();
                let town = Town::start(scenario.namespaces(), whose, crds).await?;
                let asked = (whose, whose.version(options));
                let run = run::run(&town, scenario, asked, program, round).await;
                let run =
                    run.with_context(|| format!("{}, round {round}, {whose}", scenario.title()))?;
                lost += figures::lost(&run);
                let figures = figures::figures(&run);
                eprintln!("{}, round {round}, {whose}: {}", scenario.title(), brief(&figures));
                runs.push((whose, figures));
                machine = machine::describe(&town.testbed).await?;
                town.testbed.stop().await?;
            }
        }
        tables += &table::table(&scenario.title(), &runs, &figures::goals(scenario));
    }
    println!(
        "{tables}\n{machine}\n{}\nwrites: of every resource but Leases, which follow the clock; from the first Polecat of the load on\n{}",
        definitions(options),
        command(options)
    );
    Ok(lost)
}

/// What one tenant does to another is measured of ours alone: the original keeps no such figures.
fn takes_part(whose: Whose, scenario: Scenario) -> bool {
    whose == Whose::Ours || !matches!(scenario, Scenario::Fairness { .. })
}

/// In which words each was asked, and what the API server knew of them.
fn definitions(options: &Options) -> String {
    let ours = Whose::Ours.version(options).name();
    let original = match (&options.original, &options.original_crds) {
        (None, _) => return format!("definitions: ours as generated, asked in {ours}"),
        (Some(_), Some(_)) => "the original's own",
        (Some(_), None) => "our v1alpha1 alone, as GO_ORIGINAL_CRDS is not set,",
    };
    format!(
        "definitions: ours as generated (stored in v1beta1), asked in {ours}; {original} for the original, asked in v1alpha1"
    )
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
