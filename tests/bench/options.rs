//! What the bench is asked to do, and how large each scenario is.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

pub use crate::version::Version;

/// Measures the operator, beside another one if there is one, on a control plane of its own.
#[derive(Debug, Parser)]
#[command(
    name = "cargo bench --bench polecats --",
    after_help = "GO_ORIGINAL: the other operator's program"
)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Options {
    /// Times that each operator does each scenario, in turns; by fewer than three no goal is judged.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub rounds: u8,
    /// What is measured.
    #[arg(long, value_enum, default_value_t = Wanted::All)]
    pub scenario: Wanted,
    /// A tenth of the load in one round: shows that the bench works, measures nothing.
    #[arg(long)]
    pub quick: bool,
    /// What it costs to be traced, beside the same program without an endpoint, instead of all else.
    #[arg(long)]
    pub telemetry: bool,
    /// How much less goes through while the collector is in trouble, instead of all else.
    #[arg(long)]
    pub troubled: bool,
    /// Our operator; unset: the one that was built with this bench.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_gastown-operator"), hide_default_value = true)]
    pub operator: PathBuf,
    /// The other operator.
    #[arg(long, env = "GO_ORIGINAL", hide_env_values = true)]
    pub original: Option<PathBuf>,
    /// Folder with the other operator's CRDs; unset: v1alpha1 of ours, alone and without a webhook.
    #[arg(long, env = "GO_ORIGINAL_CRDS", hide_env_values = true)]
    pub original_crds: Option<PathBuf>,
    /// The version that is asked of ours; v1alpha1 is converted for every request.
    #[arg(long, value_enum, default_value_t = Version::V1beta1)]
    pub ours_in: Version,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// Which scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    Burst,
    Sustained,
    Fairness,
    All,
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// So many at once, by a client with so many creates in flight.
    Burst { polecats: usize, namespaces: usize, in_flight: usize },
    /// So many a second.
    Sustained { polecats: usize, namespaces: usize, a_second: u32 },
    /// A crowd in one namespace before the operator starts; then a few in another, so many a second.
    Fairness { crowd: usize, others: usize, a_second: u32 },
}

impl Options {
    pub fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.into() }
    }

    /// Rounds of what is compared closely: five, unless more were asked for.
    pub fn close_rounds(&self) -> u8 {
        if self.quick { 1 } else { self.rounds.max(5) }
    }

    pub fn scenarios(&self) -> Vec<Scenario> {
        let part = if self.quick { 10 } else { 1 };
        let all = [
            (
                Wanted::Burst,
                Scenario::Burst { polecats: 300 / part, namespaces: 10, in_flight: 16 },
            ),
            (
                Wanted::Sustained,
                Scenario::Sustained { polecats: 2000 / part, namespaces: 20, a_second: 40 },
            ),
            (
                Wanted::Fairness,
                Scenario::Fairness { crowd: 10_000 / part, others: 50 / part, a_second: 2 },
            ),
        ];
        let wanted = |it: Wanted| self.scenario == Wanted::All || self.scenario == it;
        all.into_iter().filter(|(it, _)| wanted(*it)).map(|(_, it)| it).collect()
    }
}

impl Scenario {
    pub fn namespaces(self) -> usize {
        match self {
            Self::Burst { namespaces, .. } | Self::Sustained { namespaces, .. } => namespaces,
            Self::Fairness { .. } => 2,
        }
    }

    /// For people.
    pub fn title(self) -> String {
        match self {
            Self::Burst { polecats, namespaces, in_flight } => {
                format!(
                    "burst: {polecats} Polecats over {namespaces} namespaces, {in_flight} creates in flight"
                )
            }
            Self::Sustained { polecats, namespaces, a_second } => {
                format!(
                    "sustained: {polecats} Polecats over {namespaces} namespaces, {a_second} a second"
                )
            }
            Self::Fairness { crowd, others, a_second } => format!(
                "fairness: {crowd} Polecats queued in one namespace; meanwhile {others} in another, {a_second} a second"
            ),
        }
    }
}
