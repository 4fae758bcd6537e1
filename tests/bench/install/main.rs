//! What an installation takes: bytes of the operator's image, memory of replicas that have nothing to do, the time from start to
//! ready, and on a real node the time from the command that installs to the first Polecat that runs, by each road.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench is outside the operator's layers: it talks to the API server and reads the clock"
)]

#[path = "../goals.rs"]
mod goals;
#[path = "../machine.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod machine;
mod replicas;
mod roads;
#[path = "../ha/spread.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod spread;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use gastown_testbed::Node;

use spread::Spread;

/// What our layers may weigh, so that the image has 40 MB on a base of 13 MB, as distroless and UBI micro have.
const LAYERS: u64 = 27_000_000;

#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench install --")]
pub struct Asked {
    /// What is measured; unset: everything.
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// Starts of a replica.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub starts: u16,
    /// Installations by each road.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub installs: u16,
    /// Our operator; unset: the one that was built with this bench.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gastown-operator"), hide_default_value = true)]
    pub operator: PathBuf,
    /// OLM's own operator, by which it is installed as well; unset: that road is left out.
    #[arg(long, env = "GASTOWN_OLM", requires = "olm_crds")]
    pub olm: Option<PathBuf>,
    /// The folder of OLM's definitions.
    #[arg(long, env = "GASTOWN_OLM_CRDS")]
    pub olm_crds: Option<PathBuf>,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Image,
    Replicas,
    Roads,
}

impl Asked {
    fn has(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }
}

fn main() -> ExitCode {
    let asked = Asked::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.context("failed to start").and_then(|it| it.block_on(measure(&asked)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(asked: &Asked) -> Result<()> {
    gastown::tls::install_provider()?;
    if cfg!(debug_assertions) {
        println!("NOTE: built without optimisation: a first look, by which no goal is judged");
    }
    let mut printed = String::new();
    let mut print = |text: String| {
        println!("{text}");
        printed += &text;
    };
    if asked.has(Part::Image) {
        let size = compressed(&asked.operator)?;
        let goal = goal("<= 40 MB with a base of 13 MB", size <= LAYERS);
        let mb = size / 1_000_000;
        print(format!("the operator's program as a layer of its image: {mb} MB{goal}"));
    }
    if asked.has(Part::Replicas) {
        print(replicas::measure(asked).await?);
    }
    if asked.has(Part::Roads) {
        if let Err(missing) = gastown_testbed::preconditions::of(Node::Real) {
            eprintln!("SKIP roads: {}", missing.join("; "));
        } else {
            print(roads::measure(asked).await?);
        }
    }
    // At the end: what else was asked for is measured before.
    goals::hold(&printed)
}

/// Bytes of a file as layers of images are compressed.
fn compressed(file: &Path) -> Result<u64> {
    let mut command = Command::new("gzip");
    let output = command.arg("--stdout").arg(file).stdin(Stdio::null()).output();
    let output = output.context("failed to run gzip")?;
    ensure!(output.status.success(), "gzip ended with {}", output.status);
    Ok(output.stdout.len().try_into()?)
}

/// How a goal was met, where that can be judged.
fn goal(words: &str, met: bool) -> String {
    let verdict = if cfg!(debug_assertions) { "not judged" } else { goals::word(met) };
    format!("  {words}: {verdict}")
}

/// Median, most and number of values.
fn said(all: &Spread, unit: &str) -> String {
    let (median, most) = (all.part(0.5), all.max());
    format!("median {median:.2} {unit}, most {most:.2} {unit}, n = {}", all.len())
}
