//! How replicas agree on who acts, and what they heed of the Go original.

use clap::{ArgAction, Args, ValueEnum};

use crate::domain::original;

/// How replicas agree on who acts.
#[derive(Clone, Debug, Args)]
pub struct Election {
    /// Accepted as in the original; the election always takes place, also for one replica.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true")]
    pub leader_elect: bool,
    /// Name of the Lease.
    #[arg(long, default_value = "gastown-operator")]
    pub lease_name: String,
    /// Name of the Lease by which the Go original elects its leader, in the operator's namespace: while that changes, nothing
    /// is reconciled; afterwards it is held, so that an original waits that is started again. 0: pay no heed to it.
    #[arg(long, default_value = original::LEASE, value_name = "NAME")]
    pub original_lease: String,
    /// Times of the protocol: a crash is noticed in about 10 s (normal) or 5 s (fast).
    #[arg(long, value_enum, default_value_t)]
    pub failover: Failover,
    /// This replica's name; unset: the host's.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub replica: Option<String>,
    /// Uid of this replica's pod: lets a restarted container take its Lease back at once.
    #[arg(
        long,
        env = "POD_UID",
        default_value = "",
        hide_default_value = true,
        value_name = "UID"
    )]
    pub pod_uid: String,
}

/// Times of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Failover {
    #[default]
    Normal,
    Fast,
}

impl Election {
    /// The original's Lease, unless no heed is paid to it.
    pub fn heeded(&self) -> Option<&str> {
        let name = self.original_lease.as_str();
        (!matches!(name, "" | "0")).then_some(name)
    }
}
