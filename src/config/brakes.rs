//! Flags that keep Polecats from beginning.

use clap::{ArgAction, Args, ValueEnum};

use crate::domain::tenancy::Tenancy;

/// What keeps Polecats from beginning. Running ones are never touched.
#[derive(Clone, Debug, Args)]
pub struct Brakes {
    /// Make no new pods, whatever is asked for. One Namespace or Rig: kubectl gt pause.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    pub paused: bool,
    /// Most seconds that a Polecat may ask for its agent; one that asks for more is refused. Unset: no bound.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..))]
    pub max_active_deadline: Option<i64>,
    /// Most Polecats of one namespace that may run; the others wait, oldest first. Unset: no bound.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_running_per_namespace: Option<u32>,
    /// Who may use a Rig that does not say it: with open, every namespace; with strict, none.
    #[arg(long, value_enum, default_value_t)]
    pub tenancy: TenancyWord,
}

/// The words of `--tenancy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TenancyWord {
    #[default]
    Open,
    Strict,
}

impl From<TenancyWord> for Tenancy {
    fn from(word: TenancyWord) -> Self {
        match word {
            TenancyWord::Open => Self::Open,
            TenancyWord::Strict => Self::Strict,
        }
    }
}
