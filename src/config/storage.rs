//! What becomes of objects that lie in storage in an older version.

use clap::{Args, ValueEnum};

/// What becomes of objects that lie in storage in an older version.
#[derive(Clone, Copy, Debug, Args)]
pub struct Storage {
    /// Where objects may lie in storage in an older version: say so, and leave it to `kubectl gt storage migrate` (Manual);
    /// or write each of them once, as it is (Auto).
    #[arg(long, value_enum, ignore_case = true, default_value_t, value_name = "WHO")]
    pub storage_migration: StorageMigration,
    /// Most objects a second that a migration writes.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub storage_migration_rate: u32,
    /// Switch off the conversion of the definitions that have this operator convert, and exit: for when it was taken away, so
    /// that what it leaves in storage is read without it. Replicas that still run give the conversion back.
    #[arg(long)]
    pub end_conversion: bool,
}

/// Who begins a migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StorageMigration {
    #[default]
    #[value(name = "Manual")]
    Manual,
    #[value(name = "Auto")]
    Auto,
}
