//! What the bench is asked to do.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

pub use crate::version::Version;

/// Measures crashes, hand-overs and what several replicas cost.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench ha --")]
pub struct Options {
    /// What is measured; unset: everything.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub part: Vec<Part>,
    /// Crashes, and hand-overs of a replica.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Rolling updates of each kind.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub updates: u16,
    /// Polecats a second while replicas come and go, and while the cost is measured; 0: nothing runs while they come and go.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(0..=500))]
    pub a_second: u32,
    /// Polecats that run while the cost is measured.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(50..=100_000))]
    pub polecats: u32,
    /// Polecats with their pods up to which memory is measured, from a twentieth of them on.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(200..=100_000))]
    pub objects: u32,
    /// Times of the protocol, as the operator's flag of this name says them.
    #[arg(long, default_value = "normal")]
    pub failover: String,
    /// Our operator; unset: the one that was built with this bench.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gastown-operator"), hide_default_value = true)]
    pub operator: PathBuf,
    /// The process that elects by client-go; unset: it is built from tests/bench/elector.
    #[arg(long)]
    pub elector: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    pub bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Crashes,
    Handovers,
    Rolling,
    Cost,
    Memory,
}

impl Options {
    pub fn parts(&self) -> Vec<Part> {
        let all = Part::value_variants().iter().copied();
        all.filter(|it| self.part.is_empty() || self.part.contains(it)).collect()
    }
}

impl Part {
    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Crashes => "crashes: one of three replicas ends by SIGKILL",
            Self::Handovers => {
                "hand-overs: one of three replicas ends by SIGTERM, then another begins"
            }
            Self::Cost => "what one, two and three replicas cost",
            Self::Memory => "memory, by how many Polecats there are",
            Self::Rolling => "rolling updates of three replicas",
        }
    }
}
