//! Metrics and logs to a collector, beside traces, by OpenTelemetry's own variables.

use std::time::Duration;

use clap::Args;

use super::{
    alone::{self, LogsAlone, MetricsAlone},
    tracing::{Exporter, Tracing, exporter},
};
use crate::otlp::{Route, Signal};

/// What else is told to the collector of the traces, or to another. Off without an endpoint.
#[derive(Clone, Debug, Args)]
pub struct Signals {
    /// Whether metrics go to the collector: otlp, or none. They are those of /metrics, which is served all the same.
    #[arg(long, env = "OTEL_METRICS_EXPORTER", default_value = "otlp", value_name = "NAME", value_parser = exporter)]
    pub otlp_metrics_exporter: Exporter,
    /// Whether lines of the log go to the collector: otlp, or none. They are written all the same.
    #[arg(long, env = "OTEL_LOGS_EXPORTER", default_value = "otlp", value_name = "NAME", value_parser = exporter)]
    pub otlp_logs_exporter: Exporter,
    #[command(flatten)]
    metrics: MetricsAlone,
    #[command(flatten)]
    logs: LogsAlone,
    /// Milliseconds from one sending of the metrics to the next.
    #[arg(long, env = "OTEL_METRIC_EXPORT_INTERVAL", default_value_t = 60_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub otlp_metrics_interval: u64,
    /// Milliseconds that one of them may take; --otlp-metrics-batch-timeout or --otlp-timeout may say less.
    #[arg(long, env = "OTEL_METRIC_EXPORT_TIMEOUT", default_value_t = 30_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=120_000))]
    pub otlp_metrics_timeout: u64,
    /// Lines that may wait to be sent; more are lost, and counted in `gastown_log_lines_lost_total`.
    #[arg(long, env = "OTEL_BLRP_MAX_QUEUE_SIZE", default_value_t = 2048, value_name = "LINES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub otlp_logs_queue: u32,
    /// Milliseconds after which lines are sent also where a batch of 512 is not full.
    #[arg(long, env = "OTEL_BLRP_SCHEDULE_DELAY", default_value_t = 1000, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub otlp_logs_delay: u64,
}

impl Signals {
    /// The way of metrics; none where they go nowhere. An error says what can't be done as asked.
    pub fn metrics(&self, shared: &Tracing) -> Result<Option<Route>, String> {
        let exporter = self.otlp_metrics_exporter;
        let route = alone::route(shared, (Signal::Metrics, exporter), self.metrics.said())?;
        let most = Duration::from_millis(self.otlp_metrics_timeout);
        Ok(route.map(|it| Route { limit: it.limit.min(most), ..it }))
    }

    /// The same of lines of the log.
    pub fn logs(&self, shared: &Tracing) -> Result<Option<Route>, String> {
        alone::route(shared, (Signal::Logs, self.otlp_logs_exporter), self.logs.said())
    }

    /// What can't be done as asked.
    pub fn flaw(&self, shared: &Tracing) -> Option<String> {
        self.metrics(shared).err().or_else(|| self.logs(shared).err())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{config::Config, otlp::Protocol};

    fn of(args: &[&str]) -> Config {
        Config::try_parse_from(std::iter::once("gastown-operator").chain(args.iter().copied()))
            .unwrap()
    }

    fn routes(config: &Config) -> [Option<Route>; 2] {
        let Config { signals, tracing, .. } = config;
        [signals.metrics(tracing).unwrap(), signals.logs(tracing).unwrap()]
    }

    /// Flags, where metrics and logs go then, and why.
    type Row<'r> = (&'r [&'r str], Option<&'r str>, Option<&'r str>, &'r str);

    #[test]
    fn signals_go_where_the_variables_say() {
        let base = "--otlp-endpoint=http://c:4318/";
        let table: &[Row<'_>] = &[
            (&[], None, None, "off without an endpoint"),
            (
                &[base],
                Some("http://c:4318/v1/metrics"),
                Some("http://c:4318/v1/logs"),
                "with paths",
            ),
            (
                &[base, "--otlp-metrics-exporter=none"],
                None,
                Some("http://c:4318/v1/logs"),
                "one off",
            ),
            (
                &[base, "--otlp-logs-exporter="],
                Some("http://c:4318/v1/metrics"),
                Some("http://c:4318/v1/logs"),
                "empty is unset",
            ),
            (&[base, "--otlp-disabled=true"], None, None, "all off"),
            (
                &[base, "--otlp-protocol=grpc"],
                Some("http://c:4318/"),
                Some("http://c:4318/"),
                "no path",
            ),
            (
                &["--otlp-logs-endpoint=http://l/x"],
                None,
                Some("http://l/x"),
                "of its own, as it is",
            ),
        ];
        for (args, metrics, logs, because) in table {
            let config = of(args);
            let at = |it: Option<Route>| it.map(|it| it.endpoint);
            let [to_metrics, to_logs] = routes(&config);
            assert_eq!(at(to_metrics).as_deref(), *metrics, "{because}");
            assert_eq!(at(to_logs).as_deref(), *logs, "{because}");
            assert_eq!(config.flaw(), None, "{because}");
        }
        let args = ["gastown-operator", "--otlp-metrics-exporter=prometheus"];
        let said = Config::try_parse_from(args).unwrap_err().to_string();
        assert!(said.contains("otlp or none"), "{said}");
        assert!(of(&["--otlp-logs-endpoint=here"]).flaw().unwrap().contains("no address"));
    }

    #[test]
    fn headers_are_read_and_never_shown() {
        let config = of(&[
            "--otlp-endpoint=http://c",
            "--otlp-headers=a=b, X-Scope-OrgID=my%20town",
            "--otlp-logs-headers=a=c",
            "--otlp-traces-headers=a=d",
        ]);
        let [metrics, logs] = routes(&config).map(|it| it.unwrap().headers);
        assert_eq!(logs["a"], "c", "the signal's own");
        assert_eq!(logs["x-scope-orgid"], "my town");
        assert_eq!(metrics["a"], "b");
        assert_eq!(config.tracing.route().unwrap().unwrap().headers["a"], "d");
        assert!(!format!("{config:?}").contains("my%20town"));
        assert!(!format!("{:?}", config.tracing.route()).contains("town"));
        for bad in ["secret", "a=%zz", "b c=d"] {
            let flaw = of(&["--otlp-endpoint=http://c", &format!("--otlp-headers={bad}")]).flaw();
            let flaw = flaw.unwrap();
            assert!(flaw.contains("OTEL_EXPORTER_OTLP_HEADERS") && !flaw.contains(bad), "{flaw}");
        }
    }

    /// All that may be said of one signal is heeded for that one, and for no other.
    #[test]
    fn what_is_said_of_one_signal_wins_there() {
        let base =
            ["--otlp-endpoint=http://c:4318", "--otlp-compression=none", "--otlp-timeout=5000"];
        let all = |args: &[&str]| {
            let config = of(&[&base[..], args].concat());
            let [metrics, logs] = routes(&config).map(Option::unwrap);
            [config.tracing.route().unwrap().unwrap(), metrics, logs]
        };
        let signals = ["traces", "metrics", "logs"];
        for (at, signal) in signals.into_iter().enumerate() {
            let flags = [
                "protocol=grpc",
                "batch-timeout=700",
                "compression=gzip",
                "certificate=own.crt",
                "client-certificate=c.crt",
                "client-key=c.key",
            ];
            let flags = flags.map(|it| format!("--otlp-{signal}-{it}"));
            let routes = all(&flags.each_ref().map(String::as_str));
            for (other, route) in routes.iter().enumerate() {
                let own = other == at;
                assert_eq!((route.protocol == Protocol::Grpc, route.gzip), (own, own), "{route:?}");
                assert_eq!(route.endpoint == "http://c:4318", own, "no path over gRPC: {route:?}");
                let limit = Duration::from_millis(if own { 700 } else { 5000 });
                assert_eq!(route.limit, limit, "{route:?}");
                assert_eq!(route.authority.is_some(), own, "{route:?}");
                assert_eq!(route.own.is_some(), own, "{route:?}");
            }
            for (flag, why) in [
                ("protocol=http/json", "not offered"),
                ("batch-timeout=soon", "milliseconds"),
                ("compression=zstd", "gzip or none"),
                ("client-key=k", "both, or neither"),
            ] {
                let flaw = of(&[base[0], &format!("--otlp-{signal}-{flag}")]).flaw().unwrap();
                let variable = format!("OTEL_EXPORTER_OTLP_{}_", signal.to_uppercase());
                assert!(flaw.contains(&variable) && flaw.contains(why), "{flaw}");
            }
        }
        assert_eq!(
            all(&["--otlp-metrics-batch-timeout="])[1].limit.as_millis(),
            5000,
            "empty is unset"
        );
        let [_, metrics, _] = all(&["--otlp-metrics-batch-timeout=60000"]);
        assert_eq!(
            metrics.limit.as_millis(),
            30_000,
            "no longer than a sending of metrics may take"
        );
    }
}
