//! Every flag and environment variable, parsed once. The Go original's flags keep their names and meaning; one that
//! can't be done as asked ends the start with a word.

mod alone;
mod brakes;
mod election;
mod faults;
mod metrics;
mod outside;
mod pod_rules;
mod signals;
mod storage;
mod tls;
mod tracing;
mod unset;
mod webhooks;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};

use crate::{
    admission::pods::Platform,
    domain::{lease::Identity, log_level, pod::PodSettings, tenancy::House, tls_policy::TlsPolicy},
};

pub use brakes::Brakes;
pub use election::Election;
pub use faults::Faults;
pub use metrics::{Metrics, Serving};
pub use outside::Reach;
pub use pod_rules::PodRules;
pub use signals::Signals;
pub use storage::{Storage, StorageMigration};
pub use tls::Tls;
pub use tracing::Tracing;
pub use webhooks::{CertificateSource, ReferenceAccess, Webhooks};

/// The namespace file of a pod's service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Runs Gas Town on Kubernetes. A flag that is said twice counts as it was said last, as with the original's: what a manifest says
/// is changed by what somebody adds.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    args_override_self = true,
    about = "Runs AI coding agents as disposable workers, and proves what they did"
)]
pub struct Config {
    /// Kubeconfig to use; unset: KUBECONFIG, else the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long)]
    pub context: Option<String>,
    /// Namespace of the operator: its Lease lives here. Unset: that of the service account, else gastown-system.
    #[arg(long, env = "GASTOWN_NAMESPACE")]
    pub namespace: Option<String>,
    /// Namespaces to look after, separated by commas; unset: all.
    #[arg(long, env = "WATCH_NAMESPACE", value_delimiter = ',', value_name = "NAMESPACE")]
    pub watch_namespaces: Vec<String>,
    /// Passes at a time. Three quarters of them have a request under way, on a connection of its own.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Seconds that work under way gets to finish after SIGTERM. Where another replica waits for a shard, a pass in it gets half a
    /// second, and that one goes on from what was written.
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain_seconds: u64,
    /// Faults for tests of this very binary, such as `kill-before-write=2,panic-on=boom`.
    #[arg(long, hide = true, default_value = "")]
    pub test_faults: Faults,
    #[command(flatten, next_help_heading = "Pods")]
    pub pods: Pods,
    #[command(flatten, next_help_heading = "Pods and the world")]
    pub reach: Reach,
    #[command(flatten, next_help_heading = "Pods at the door")]
    pub pod_rules: PodRules,
    #[command(flatten, next_help_heading = "Brakes")]
    pub brakes: Brakes,
    #[command(flatten, next_help_heading = "Election")]
    pub election: Election,
    #[command(flatten, next_help_heading = "Storage")]
    pub storage: Storage,
    #[command(flatten, next_help_heading = "Endpoints")]
    pub endpoints: Endpoints,
    #[command(flatten, next_help_heading = "Metrics")]
    pub metrics: Metrics,
    #[command(flatten, next_help_heading = "Webhooks")]
    pub webhooks: Webhooks,
    #[command(flatten, next_help_heading = "TLS")]
    pub tls: Tls,
    #[command(flatten, next_help_heading = "Traces")]
    pub tracing: Tracing,
    #[command(flatten, next_help_heading = "Metrics and logs to a collector")]
    pub signals: Signals,
    #[command(flatten, next_help_heading = "Logs")]
    pub logs: Logs,
}

/// What agent pods are made of.
#[derive(Clone, Debug, Args)]
pub struct Pods {
    /// Image with gt-runner, git and ssh, for git-init and telemetry.
    #[arg(long, env = "RELATED_IMAGE_RUNNER", value_name = "IMAGE")]
    pub runner_image: Option<String>,
    /// Image of the agent where a Polecat names none.
    #[arg(long, env = "RELATED_IMAGE_AGENT", value_name = "IMAGE")]
    pub agent_image: Option<String>,
    /// Image of git-init, instead of the runner's.
    #[arg(long, env = "GASTOWN_GIT_IMAGE", value_name = "IMAGE")]
    pub git_image: Option<String>,
    /// Image of the agent, whatever a Polecat names.
    #[arg(long, env = "GASTOWN_CLAUDE_IMAGE", value_name = "IMAGE")]
    pub claude_image: Option<String>,
    /// Image of telemetry, instead of the runner's. Of the same release: the agent waits for its word.
    #[arg(long, env = "GASTOWN_TELEMETRY_IMAGE", value_name = "IMAGE")]
    pub telemetry_image: Option<String>,
    /// Seconds after the agent's deadline for handing over and pushing.
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(30..=3600))]
    pub push_reserve: u64,
    /// Seconds a finished pod is kept; unset: as long as its Polecat.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=2_147_483_647))]
    pub finished_pod_ttl: Option<u64>,
    /// Seconds after the agent's end until a run is called over without its verdict; one that comes later is added.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub verdict_wait: u64,
    /// Seconds that a pod may stay unready beyond its agent's idle limit until it is deleted, and one that was told to end may
    /// stay beyond its grace until its node is called silent.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=3600))]
    pub idle_grace: u64,
    /// Seconds that a pod may be pending until its Events are read to say why; where they say nothing, once more after 16 times
    /// as long.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub pending_patience: u64,
    /// What the TLS of every agent pod is held to, also where its Rig says `default`.
    #[arg(long, env = "GASTOWN_TLS_POLICY", value_enum, default_value_t, value_name = "POLICY")]
    pub tls_policy: TlsPolicyChoice,
    /// Let the cluster autoscaler remove a node under a working agent.
    #[arg(long)]
    pub safe_to_evict: bool,
}

/// What the TLS of agent pods is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TlsPolicyChoice {
    /// What a Rig says; else what programs do by themselves
    #[default]
    Default,
    /// Approved settings alone
    Fips,
}

impl From<TlsPolicyChoice> for TlsPolicy {
    fn from(it: TlsPolicyChoice) -> Self {
        match it {
            TlsPolicyChoice::Default => Self::Default,
            TlsPolicyChoice::Fips => Self::Fips,
        }
    }
}

/// Plain HTTP endpoints.
#[derive(Clone, Debug, Args)]
pub struct Endpoints {
    /// Address of /livez, /readyz and /healthz.
    #[arg(long, default_value = ":8081", value_name = "ADDRESS")]
    pub health_probe_bind_address: String,
}

/// What is logged, and how.
#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// Level, or directives such as `info,gastown=debug`; may be changed while it runs by kubectl gt log-level.
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
    /// Lines of JSON, or text.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// The original's switch for text logs at debug level.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub zap_devel: Option<bool>,
    /// The original's word for the format: json or console.
    #[arg(long, value_name = "ENCODER")]
    pub zap_encoder: Option<String>,
    /// The original's word for the level: debug, info, error, or a number above 0 for debug.
    #[arg(long, value_name = "LEVEL")]
    pub zap_log_level: Option<String>,
    /// Accepted; there are no stack traces in these logs.
    #[arg(long, value_name = "LEVEL", hide = true)]
    pub zap_stacktrace_level: Option<String>,
    /// Accepted where it means what we write: iso8601, rfc3339 or rfc3339nano.
    #[arg(long, value_name = "ENCODING", hide = true)]
    pub zap_time_encoding: Option<String>,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

impl Config {
    /// Requests of passes at a time: three in four passes have one.
    pub fn requests(&self) -> usize {
        (usize::from(self.concurrency) * 3 / 4).max(1)
    }

    /// Reads the command line, with Go's single dash allowed before long names.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args =
            args.into_iter().enumerate().map(|(at, it)| if at == 0 { it } else { two_dashes(it) });
        let mut command = unset::without_empty(Self::command());
        let mut found = command.try_get_matches_from_mut(args)?;
        Self::from_arg_matches_mut(&mut found).map_err(|it| it.format(&mut command))
    }

    /// What can't be done as asked, in words; checked before anything is opened.
    pub fn flaw(&self) -> Option<String> {
        if self.election.heeded() == Some(&self.election.lease_name) {
            return Some("--original-lease must not be that of --lease-name".into());
        }
        if let Err(why) = self.metrics.serving() {
            return Some(why);
        }
        for (flag, text) in [
            ("--health-probe-bind-address", &self.endpoints.health_probe_bind_address),
            ("--webhook-bind-address", &self.webhooks.webhook_bind_address),
        ] {
            if let Err(why) = address(text) {
                return Some(format!("{flag}: {why}"));
            }
        }
        let told = || self.tracing.flaw().or_else(|| self.signals.flaw(&self.tracing));
        let rest = self.tls.flaw().or_else(told).or_else(|| self.logs.flaw());
        rest.or_else(|| self.reach.flaw())
    }

    /// Flags of the original's that were given and change nothing here, each with the reason.
    pub fn remarks(&self) -> Vec<&'static str> {
        let alone = "--leader-elect=false changes nothing: several replicas share the work out, and one takes all of it";
        let traces = "--zap-stacktrace-level changes nothing: these logs have no stack traces";
        let all = [
            (!self.election.leader_elect, alone),
            (self.logs.zap_stacktrace_level.is_some(), traces),
        ];
        all.into_iter().filter_map(|(given, why)| given.then_some(why)).collect()
    }

    /// Whether reviews are served, and with them a certificate kept.
    pub fn serves_webhooks(&self) -> bool {
        let it = &self.webhooks;
        !it.disable_webhooks && address(&it.webhook_bind_address).is_ok_and(|it| it.is_some())
    }

    /// The operator's own namespace.
    pub fn own_namespace(&self) -> String {
        let given = self.namespace.clone().filter(|it| !it.is_empty());
        let mounted =
            || std::fs::read_to_string(NAMESPACE_FILE).ok().map(|it| it.trim().to_owned());
        given.or_else(mounted).unwrap_or_else(|| "gastown-system".into())
    }

    /// Namespaces to look after; empty: all.
    pub fn scope(&self) -> Vec<String> {
        self.watch_namespaces
            .iter()
            .map(|it| it.trim().to_owned())
            .filter(|it| !it.is_empty())
            .collect()
    }

    /// What holds where a Rig does not say it.
    pub fn house(&self) -> House {
        House { tenancy: self.brakes.tenancy.into(), tls_policy: self.pods.tls_policy.into() }
    }

    /// Settings of agent pods.
    pub fn pod_settings(&self) -> PodSettings {
        let it = self.pods.clone();
        let set = |image: Option<String>| image.filter(|it| !it.is_empty());
        PodSettings {
            git_image: set(it.git_image).or(set(it.runner_image.clone())),
            agent_image: set(it.agent_image),
            agent_image_override: set(it.claude_image),
            telemetry_image: set(it.telemetry_image).or(set(it.runner_image)),
            push_reserve: Duration::from_secs(it.push_reserve),
            finished_pod_ttl: it.finished_pod_ttl.map(Duration::from_secs),
            verdict_wait: Duration::from_secs(it.verdict_wait),
            idle_grace: Duration::from_secs(it.idle_grace),
            hold_node: !it.safe_to_evict,
            pending_patience: Duration::from_secs(it.pending_patience),
            max_active_deadline: self.brakes.max_active_deadline,
            paused: self.brakes.paused,
            max_running_per_namespace: self.brakes.max_running_per_namespace,
            house: self.house(),
            fixed_users: self.pod_rules.known_platform() != Some(Platform::OpenShift),
            outside: self.reach.outside(),
            trace_url: self.tracing.page(),
            recorded: self.tracing.recorded(),
            telling: self.tracing.telling(),
        }
    }

    /// Who this replica is, with a nonce of this process.
    pub fn identity(&self, nonce: String) -> Identity {
        let host =
            || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|it| it.trim().to_owned());
        let pod = self
            .election
            .replica
            .clone()
            .or_else(|| host().ok())
            .unwrap_or_else(|| "operator".into());
        Identity { pod, pod_uid: self.election.pod_uid.clone(), nonce }
    }
}

impl Logs {
    /// The filter, with the original's words understood.
    pub fn filter(&self) -> String {
        match self.zap_log_level.as_deref() {
            None if self.zap_devel == Some(true)
                && matches!(self.log_level.trim(), "" | "info") =>
            {
                "debug".into()
            }
            None if self.log_level.trim().is_empty() => "info".into(),
            None => self.log_level.clone(),
            Some("panic" | "dpanic" | "fatal") => "error".into(),
            Some(level) if level.parse::<u8>().is_ok_and(|it| it > 0) => "debug".into(),
            Some(level) => level.to_owned(),
        }
    }

    /// The format, with the original's words understood.
    pub fn format(&self) -> LogFormat {
        match self.zap_encoder.as_deref() {
            Some("console") => LogFormat::Text,
            Some(_) => LogFormat::Json,
            None if self.zap_devel == Some(true) => LogFormat::Text,
            None => self.log_format,
        }
    }

    fn flaw(&self) -> Option<String> {
        if let Some(flaw) = log_level::flaw(&self.filter()) {
            let named = self.zap_log_level.as_ref().map(|_| "--zap-log-level");
            return Some(format!("{}: {flaw}", named.unwrap_or("LOG_LEVEL (--log-level)")));
        }
        if self.zap_encoder.as_deref().is_some_and(|it| !matches!(it, "json" | "console")) {
            return Some("--zap-encoder: must be json or console".into());
        }
        let known = ["iso8601", "rfc3339", "rfc3339nano"];
        match self.zap_time_encoding.as_deref() {
            Some(it) if !known.contains(&it.to_lowercase().as_str()) => Some(format!(
                "--zap-time-encoding: times are written as RFC 3339; {it} is not among {known:?}"
            )),
            _ => None,
        }
    }
}

/// An address to listen on: `IP:PORT`, `:PORT` for every interface by IPv6 and IPv4, `0` for none.
pub fn address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "0" || text.is_empty() {
        return Ok(None);
    }
    let full = if text.starts_with(':') {
        format!("[::]{text}")
    } else {
        text.replace("localhost:", "127.0.0.1:")
    };
    full.parse()
        .map(Some)
        .map_err(|_| format!("{text:?} is no address; write IP:PORT, :PORT, or 0 for none"))
}

/// `-name` as Go allows it, in clap's form.
fn two_dashes(arg: OsString) -> OsString {
    match arg.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
            format!("-{text}").into()
        }
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::Times;

    fn parse(args: &[&str]) -> Config {
        Config::from_args(
            std::iter::once("gastown-operator").chain(args.iter().copied()).map(Into::into),
        )
        .unwrap()
    }

    #[test]
    fn the_originals_flags_keep_their_meaning() {
        let config = parse(&[
            "-leader-elect",
            "--metrics-bind-address=127.0.0.1:8080",
            "--health-probe-bind-address=:8081",
            "--zap-devel=true",
            "--disable-webhooks",
        ]);
        assert!(config.election.leader_elect && config.webhooks.disable_webhooks);
        assert_eq!(config.flaw(), None);
        assert_eq!(
            (config.logs.format(), config.logs.filter().as_str()),
            (LogFormat::Text, "debug")
        );
    }

    #[test]
    fn what_cannot_be_done_ends_the_start_with_a_word() {
        let table: [(&[&str], &str); 4] = [
            (&["--lease-name=9a7b81dd.gastown.io"], "--original-lease"),
            (&["--metrics-bind-address=:8443", "--metrics-secure=false"], "127.0.0.1:PORT"),
            (&["--metrics-cert-key=tls.key"], "--metrics-cert-path"),
            (&["--webhook-bind-address=nowhere"], "no address"),
        ];
        for (args, want) in table {
            let flaw = parse(args).flaw().unwrap_or_default();
            assert!(flaw.contains(want), "{args:?}: {flaw}");
        }
    }

    /// What a manifest says is changed by what somebody adds, such as by the chart's `extraArgs`.
    #[test]
    fn of_what_is_said_twice_the_last_counts() {
        let twice = [
            "--drain-seconds=20",
            "--metrics-bind-address=:8443",
            "--metrics-bind-address=[::1]:9000",
            "--drain-seconds=60",
        ];
        let config = parse(&twice);
        assert_eq!(config.drain_seconds, 60);
        assert_eq!(config.metrics.metrics_bind_address, "[::1]:9000");
        let namespaces = parse(&["--watch-namespaces=a", "--watch-namespaces=b"]).watch_namespaces;
        assert_eq!(namespaces, ["a", "b"], "but for what is a list");
        let access = |args: &[&str]| parse(args).webhooks.reference_access;
        assert_eq!(access(&[]), ReferenceAccess::Warn);
        let twice = ["--reference-access=enforce", "--reference-access=off"];
        assert_eq!(access(&twice), ReferenceAccess::Off);
    }

    #[test]
    fn failover_sets_all_three_times_and_goes_with_none_of_them() {
        let times = |args: &[&str]| parse(args).election.times();
        assert_eq!(times(&[]), Times::DEFAULT);
        assert_eq!(times(&["--failover=fast"]), Times::FAST);
        for flag in ["--lease-duration=15", "--renew-deadline=3", "--retry-period=1"] {
            parse(&[flag]);
            let args = ["gastown-operator", "--failover=fast", flag];
            let said = Config::try_parse_from(args).unwrap_err().to_string();
            let name = flag.split('=').next().unwrap();
            assert!(said.contains("--failover") && said.contains(name), "{said}");
        }
    }

    #[test]
    fn a_level_that_is_none_ends_the_start() {
        let table = [
            ("info", None, "a level"),
            ("INFO,gastown=Debug", None, "any case, and directives"),
            (" ", None, "as good as unset"),
            ("loud", Some("loud"), "a bare word is no module here"),
            ("info,gastown=loud", Some("gastown=loud"), "nor is this a level"),
            ("info,", Some(""), "a directive is missing"),
        ];
        for (text, want, because) in table {
            let flaw = parse(&[&format!("--log-level={text}")]).flaw();
            match want {
                None => assert_eq!(flaw, None, "{because}"),
                Some(part) => {
                    let said = format!("LOG_LEVEL (--log-level): {part:?} is no level");
                    assert!(flaw.as_deref().is_some_and(|it| it.starts_with(&said)), "{flaw:?}");
                }
            }
        }
    }

    #[test]
    fn words_of_the_original_for_logs_are_understood_or_told_of() {
        use LogFormat::{Json, Text};
        let table: [(&[&str], &str, LogFormat, &str); 6] = [
            (&["--zap-devel"], "debug", Text, "all that its switch means"),
            (&["--zap-devel", "--log-level=warn"], "warn", Text, "but a level that was asked for"),
            (&["--zap-log-level=2"], "debug", Json, "a number"),
            (&["--zap-log-level=panic"], "error", Json, "a word of zap's alone"),
            (&["--zap-encoder=console"], "info", Text, "its word for text"),
            (&["--log-format=text", "--zap-encoder=json"], "info", Json, "and for JSON"),
        ];
        for (flags, level, format, because) in table {
            let logs = parse(flags).logs;
            assert_eq!((&*logs.filter(), logs.format()), (level, format), "{because}");
        }
        let flaw = parse(&["--zap-log-level=loud"]).flaw().unwrap();
        assert!(flaw.starts_with("--zap-log-level: "), "the flag that was given: {flaw}");
        assert_eq!(parse(&["--leader-elect"]).remarks(), [""; 0]);
        let told = parse(&["--leader-elect=false", "--zap-stacktrace-level=error"]).remarks();
        assert!(told[0].starts_with("--leader-elect=false ") && told.len() == 2, "{told:?}");
    }

    #[test]
    fn seconds_are_checked() {
        for flag in ["--finished-pod-ttl=2147483648", "--drain-seconds=3601", "--push-reserve=1"] {
            let args = ["gastown-operator", flag].map(OsString::from);
            let error = Config::from_args(args).unwrap_err().to_string();
            assert!(error.contains("is not in"), "{flag}: {error}");
        }
    }

    #[test]
    fn the_images_of_the_original_win() {
        let config =
            parse(&["--runner-image=runner:1", "--git-image=git:1", "--agent-image=agent:1"]);
        let settings = config.pod_settings();
        assert_eq!(settings.git_image.as_deref(), Some("git:1"));
        assert_eq!(settings.telemetry_image.as_deref(), Some("runner:1"));
        assert_eq!(settings.agent_image.as_deref(), Some("agent:1"));
    }
}
