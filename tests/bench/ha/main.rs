//! Measures what several replicas are for: how long nobody acts in a shard after a crash, and while it is handed over;
//! beside a process that elects its leader by client-go, on the same API server and at the same time.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench is outside the operator's layers: it talks to the API server and reads the clock"
)]

#[path = "../cast.rs"]
mod cast;
mod cost;
mod crashes;
mod elector;
mod fleet;
mod handovers;
#[path = "../ledger.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod ledger;
#[path = "../load.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod load;
mod logged;
#[path = "../machine.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod machine;
mod memory;
mod options;
#[path = "../player.rs"]
mod player;
#[path = "../probes.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod probes;
mod rolling;
#[path = "../sight.rs"]
mod sight;
mod spread;
#[path = "../version.rs"]
mod version;
mod work;

use std::process::ExitCode;

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
    let mut machine = String::new();
    for part in options.parts() {
        // Where time is not what is measured, it is spared.
        let fsync = part != Part::Memory;
        let testbed = gastown_testbed::Options { fsync, ..gastown_testbed::Options::default() };
        let testbed = Testbed::start(testbed).await?;
        testbed.install_crds().await?;
        let done = match part {
            Part::Crashes => crashes::measure(&testbed, options).await,
            Part::Handovers => handovers::measure(&testbed, options).await,
            Part::Rolling => rolling::measure(&testbed, options).await,
            Part::Cost => cost::measure(&testbed, options).await,
            Part::Memory => memory::measure(&testbed, options).await,
        };
        let done = done.with_context(|| part.title())?;
        println!("\n{}\n{done}", part.title());
        machine = machine::describe(&testbed).await?;
        testbed.stop().await?;
    }
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    Ok(format!("{machine}\ncommand: cargo bench --bench ha -- {}", arguments.join(" ")))
}
