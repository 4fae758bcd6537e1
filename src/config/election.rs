//! How replicas agree on who acts, and what they heed of the Go original.

use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use crate::domain::{lease::Times, original};

/// How replicas agree on who acts.
#[derive(Clone, Debug, Args)]
pub struct Election {
    /// Accepted as in the original; the election always takes place, also for one replica: `false` is warned about.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true")]
    pub leader_elect: bool,
    /// Name of the Lease that the installation brings: while it is free, nobody was ever here, and the first replica need not
    /// wait until whoever had deleted the Leases of the shards has lapsed.
    #[arg(long, default_value = "gastown-operator")]
    pub lease_name: String,
    /// Shards of a new installation: so many parts of the namespaces are shared out among the replicas. One that is there
    /// already keeps its own (kubectl gt shards).
    #[arg(long, default_value_t = 64, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: u16,
    /// Names this build, as the hash of the pod template does: while several are alive, shards only move to the youngest.
    #[arg(long, env = "POD_TEMPLATE_HASH", default_value = env!("CARGO_PKG_VERSION"), value_name = "NAME")]
    pub build: String,
    /// Zone of this replica: shards are spread over zones.
    #[arg(long, env = "ZONE", default_value = "", hide_default_value = true)]
    pub zone: String,
    /// Name of the Lease by which the Go original elects its leader, in the operator's namespace: while that changes, nothing
    /// is reconciled; afterwards it is held, so that an original waits that is started again. 0: pay no heed to it.
    #[arg(long, default_value = original::LEASE, value_name = "NAME")]
    pub original_lease: String,
    /// Times of the protocol: a crash is noticed in about 10 s (normal) or 5 s (fast). It sets the three that follow, so it
    /// goes with none of them.
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["lease_duration", "renew_deadline", "retry_period"])]
    pub failover: Failover,
    /// How long a replica must have been seen to stand still until its shards are taken over; unset: as --failover says.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub lease_duration: Option<Duration>,
    /// How long a replica may act after it has sent its last renewal: less than 9/11 of --lease-duration.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub renew_deadline: Option<Duration>,
    /// How often it renews: at least three times within --renew-deadline.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub retry_period: Option<Duration>,
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
    /// Times of the protocol.
    pub fn times(&self) -> Times {
        let Times { wait, valid, renew } = match self.failover {
            Failover::Normal => Times::DEFAULT,
            Failover::Fast => Times::FAST,
        };
        Times {
            wait: self.lease_duration.unwrap_or(wait),
            valid: self.renew_deadline.unwrap_or(valid),
            renew: self.retry_period.unwrap_or(renew),
        }
    }

    /// The original's Lease, unless no heed is paid to it.
    pub fn heeded(&self) -> Option<&str> {
        let name = self.original_lease.as_str();
        (!matches!(name, "" | "0")).then_some(name)
    }
}

/// Seconds, such as `7.5` or `7.5s`.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>();
    let seconds = number.ok().and_then(|it| Duration::try_from_secs_f64(it).ok());
    let fine = seconds.filter(|it| *it <= Times::LONGEST);
    fine.ok_or_else(|| format!("{text:?} is no number of seconds between 0 and 3600, such as 7.5"))
}
