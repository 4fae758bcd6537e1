//! Measures what several replicas are for: how long nobody acts in a shard after a crash, and while it is handed over;
//! beside a process that elects its leader by client-go, on the same API server and at the same time.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench is outside the operator's layers: it talks to the API server and reads the clock"
)]

mod crashes;
mod elector;
mod fleet;
mod handovers;
mod logged;
#[path = "../machine.rs"]
mod machine;
mod options;
mod rolling;
mod spread;

use std::{fmt::Write as _, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use gastown_testbed::Testbed;

use crate::options::{Options, Part};

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        // As `cargo test` starts it: there is no harness, so the bench checks its own arithmetic.
        return exit(
            spread::check().map(|()| "test result: ok. The bench's arithmetic adds up".into()),
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    exit(runtime.context("failed to start").and_then(|it| it.block_on(bench(&options))))
}

fn exit(said: Result<String>) -> ExitCode {
    match said {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All parts that are asked for, each on a control plane of its own.
async fn bench(options: &Options) -> Result<String> {
    spread::check()?;
    gastown::tls::install_provider()?;
    let mut text = String::new();
    let mut machine = String::new();
    for part in options.parts() {
        let testbed =
            gastown_testbed::Options { fsync: true, ..gastown_testbed::Options::default() };
        let testbed = Testbed::start(testbed).await?;
        testbed.install_crds().await?;
        let done = match part {
            Part::Crashes => crashes::measure(&testbed, options).await,
            Part::Handovers => handovers::measure(&testbed, options).await,
            Part::Rolling => rolling::measure(&testbed, options).await,
        };
        let done = done.with_context(|| part.title())?;
        let _ = write!(text, "\n{}\n{done}", part.title());
        machine = machine::describe(&testbed).await?;
        testbed.stop().await?;
    }
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    Ok(format!("{text}\n{machine}\ncommand: cargo bench --bench ha -- {}", arguments.join(" ")))
}
