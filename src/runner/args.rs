//! The command line. The operator writes it into the pod; nothing of it comes from the repository or the
//! agent.

use clap::{Args, Parser, Subcommand, builder::RangedU64ValueParser};

use super::storage::VolumeLimit;
use crate::domain::layout::{MAX_SECONDS, env};

/// Largest bundle, in bytes, where nobody says otherwise.
const MAX_BUNDLE: u64 = 512 * 1024 * 1024;

/// A time in seconds: up to a year, so that no clock overflows. The operator asks for a day less at most.
fn seconds() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(0..=u64::from(MAX_SECONDS) + 86_400)
}

/// Runs inside the containers of an agent pod: clones, runs the agent, pushes, reports.
#[derive(Debug, Parser)]
#[command(name = "gt-runner", version)]
pub struct Arguments {
    /// Folder that stands for the container's root, for trials outside of one.
    #[arg(long, global = true, hide = true, default_value = "/")]
    pub root: String,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Clones the repository for the agent, and once more, bare, for the push.
    GitInit(GitInit),
    /// Runs the agent, ends it in time, hands its commits over as one bundle.
    Claude(Claude),
    /// Waits for the agent's end, pushes its commits, writes the verdict; serves the pod's metrics.
    Telemetry(Telemetry),
    /// Readiness of the agent: succeeds while it was active lately. Only reads a time stamp.
    Probe(Probe),
    /// Hands over what is committed so far. Called by `claude`.
    #[command(hide = true)]
    Checkpoint(Checkpoint),
    /// Prints the version.
    Version,
}

#[derive(Debug, Args)]
pub struct GitInit {
    /// Seconds to try again while the host can't be reached: long enough for several tries that time out, since a
    /// network's bad minute should not cost an attempt.
    #[arg(long, default_value_t = 120, value_parser = seconds())]
    pub retry_seconds: u64,
}

#[derive(Debug, Args)]
pub struct Claude {
    /// Seconds the agent may run.
    #[arg(long, env = env::DEADLINE_SECONDS, default_value_t = 3600, value_parser = seconds())]
    pub deadline_seconds: u64,
    /// Seconds without activity after which the agent is ended; 0: never.
    #[arg(long, env = env::MAX_IDLE_SECONDS, default_value_t = 0, value_parser = seconds())]
    pub max_idle_seconds: u64,
    /// Seconds between SIGTERM and SIGKILL when the agent is ended.
    #[arg(long, default_value_t = 10, value_parser = seconds())]
    pub grace_seconds: u64,
    /// Largest bundle that is made, in bytes: as much as `telemetry` takes.
    #[arg(long, env = env::MAX_BUNDLE_BYTES, default_value_t = MAX_BUNDLE)]
    pub max_bundle_bytes: u64,
    /// How much the agent's volumes may hold, each `/path=bytes`, separated by commas: the agent is ended at nine tenths of
    /// one, since the node would end the whole pod at once.
    #[arg(long, value_delimiter = ',')]
    pub volume_limits: Vec<VolumeLimit>,
    /// How much all of the pod's volumes may hold together, in bytes; the same as for one. 0: nobody knows.
    #[arg(long, env = env::STORAGE_LIMIT)]
    pub storage_limit: Option<u64>,
    /// Least seconds between two hand-overs of what is committed so far, for the case that the container
    /// is killed at once; 0: only at the end.
    #[arg(long, default_value_t = 15, value_parser = seconds())]
    pub checkpoint_seconds: u64,
    /// What follows are further arguments of `claude` from PATH, before its prompt, and no program.
    #[arg(long)]
    pub default_agent: bool,
    /// The agent and its arguments; without them `claude` from PATH, in print mode, with the task as its
    /// prompt.
    #[arg(last = true)]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub struct Telemetry {
    /// Seconds to wait for the hand-over once the pod is told to end.
    #[arg(long, default_value_t = 25, value_parser = seconds())]
    pub handover_seconds: u64,
    /// Seconds from SIGTERM to the verdict at the latest; the kubelet kills after 60.
    #[arg(long, default_value_t = 52, value_parser = seconds())]
    pub end_seconds: u64,
    /// Seconds from the agent's end to the verdict at the latest.
    #[arg(long, env = env::PUSH_SECONDS, default_value_t = 110, value_parser = seconds())]
    pub push_seconds: u64,
    /// Largest bundle that is taken, in bytes.
    #[arg(long, env = env::MAX_BUNDLE_BYTES, default_value_t = MAX_BUNDLE)]
    pub max_bundle_bytes: u64,
    /// Port of the metrics; 0 takes a free one.
    #[arg(long, default_value_t = crate::domain::layout::METRICS_PORT)]
    pub metrics_port: u16,
}

#[derive(Debug, Args)]
pub struct Checkpoint {
    /// Largest bundle that is made, in bytes.
    #[arg(long, default_value_t = MAX_BUNDLE)]
    pub max_bundle_bytes: u64,
}

#[derive(Debug, Args)]
pub struct Probe {
    /// Seconds without activity after which the agent counts as idle; 0: never.
    #[arg(long, env = env::MAX_IDLE_SECONDS, default_value_t = 0, value_parser = seconds())]
    pub max_idle_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_that_the_operator_asks_for_is_taken() {
        let most = MAX_SECONDS.to_string();
        let words =
            ["gt-runner", "claude", "--deadline-seconds", &most, "--max-idle-seconds", &most];
        assert!(Arguments::try_parse_from(words).is_ok());
        assert!(
            Arguments::try_parse_from(["gt-runner", "probe", "--max-idle-seconds", &most]).is_ok()
        );
    }

    /// SIGTERM reaches both containers at once, and the kubelet kills what is left after its grace: within that, the agent
    /// ends, hands over, and is pushed.
    #[test]
    fn the_end_of_a_pod_fits_into_its_grace() {
        let parsed = |part: &str| Arguments::parse_from(["gt-runner", part]).command;
        let (Command::Claude(claude), Command::Telemetry(telemetry)) =
            (parsed("claude"), parsed("telemetry"))
        else {
            panic!("each is what it is called");
        };
        assert_eq!(
            (claude.grace_seconds, telemetry.handover_seconds, telemetry.end_seconds),
            (10, 25, 52)
        );
        assert!(claude.grace_seconds < telemetry.handover_seconds);
        assert!(telemetry.handover_seconds < telemetry.end_seconds);
        let kill = crate::domain::pod::GRACE.as_secs();
        assert!(telemetry.end_seconds < kill, "{kill} s and the pod is killed");
        let reserve = crate::domain::pod::PodSettings::default().push_reserve.as_secs();
        assert_eq!(telemetry.push_seconds, reserve - 10, "the rest is for the verdict to be read");
    }
}
