//! Metrics and logs to a collector, beside traces, by OpenTelemetry's own variables.

use std::time::Duration;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::tracing::{Exporter, Protocol, Tracing, exporter};

/// What else is told to the collector of the traces, or to another. Off without an endpoint.
#[derive(Clone, Args)]
pub struct Signals {
    /// Whether metrics go to the collector: otlp, or none. They are those of /metrics, which is served all the same.
    #[arg(long, env = "OTEL_METRICS_EXPORTER", default_value = "otlp", value_name = "NAME", value_parser = exporter)]
    pub otlp_metrics_exporter: Exporter,
    /// Whether lines of the log go to the collector: otlp, or none. They are written all the same.
    #[arg(long, env = "OTEL_LOGS_EXPORTER", default_value = "otlp", value_name = "NAME", value_parser = exporter)]
    pub otlp_logs_exporter: Exporter,
    /// Collector for metrics alone: over http/protobuf the whole address, with its path.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", value_name = "URL")]
    pub otlp_metrics_endpoint: Option<String>,
    /// The same for logs.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", value_name = "URL")]
    pub otlp_logs_endpoint: Option<String>,
    /// Milliseconds from one sending of the metrics to the next.
    #[arg(long, env = "OTEL_METRIC_EXPORT_INTERVAL", default_value_t = 60_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub otlp_metrics_interval: u64,
    /// Milliseconds that one of them may take.
    #[arg(long, env = "OTEL_METRIC_EXPORT_TIMEOUT", default_value_t = 30_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=120_000))]
    pub otlp_metrics_timeout: u64,
    /// Lines that may wait to be sent; more are lost, and counted in `gastown_log_lines_lost_total`.
    #[arg(long, env = "OTEL_BLRP_MAX_QUEUE_SIZE", default_value_t = 2048, value_name = "LINES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub otlp_logs_queue: u32,
    /// Milliseconds after which lines are sent also where a batch of 512 is not full.
    #[arg(long, env = "OTEL_BLRP_SCHEDULE_DELAY", default_value_t = 1000, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub otlp_logs_delay: u64,
    /// Headers of the collector; from the environment, since they may hold a secret.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide = true, hide_env_values = true)]
    otlp_headers: Option<String>,
    /// The same for metrics alone.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_METRICS_HEADERS", hide = true, hide_env_values = true)]
    otlp_metrics_headers: Option<String>,
    /// The same for logs alone.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_LOGS_HEADERS", hide = true, hide_env_values = true)]
    otlp_logs_headers: Option<String>,
}

/// Without the headers.
impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signals")
            .field("metrics", &self.otlp_metrics_exporter)
            .field("logs", &self.otlp_logs_exporter)
            .finish_non_exhaustive()
    }
}

/// What is told beside traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Metrics,
    Logs,
}

impl Signal {
    /// As it is called in paths and words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// The variable that switches it off.
    pub const fn switch(self) -> &'static str {
        match self {
            Self::Metrics => "OTEL_METRICS_EXPORTER",
            Self::Logs => "OTEL_LOGS_EXPORTER",
        }
    }
}

impl Signals {
    /// Whether a signal goes anywhere, and where: over http with the path, over gRPC without.
    pub fn endpoint(&self, signal: Signal, shared: &Tracing) -> Option<String> {
        let (exporter, own) = match signal {
            Signal::Metrics => (self.otlp_metrics_exporter, &self.otlp_metrics_endpoint),
            Signal::Logs => (self.otlp_logs_exporter, &self.otlp_logs_endpoint),
        };
        let given = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        if shared.otlp_disabled || exporter == Exporter::Nowhere {
            return None;
        }
        if let Some(whole) = given(own) {
            return Some(whole);
        }
        let base = given(&shared.otlp_endpoint)?;
        Some(match shared.otlp_protocol {
            Protocol::Http => format!("{}/v1/{}", base.trim_end_matches('/'), signal.name()),
            Protocol::Grpc => base,
        })
    }

    /// What is sent beside it; the signal's own headers win.
    pub fn headers(&self, signal: Signal) -> Result<HeaderMap, String> {
        let own = match signal {
            Signal::Metrics => &self.otlp_metrics_headers,
            Signal::Logs => &self.otlp_logs_headers,
        };
        let mut all = HeaderMap::new();
        for text in [&self.otlp_headers, own].into_iter().flatten() {
            for pair in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
                // Not shown: it may be a secret.
                let (name, value) = header(pair).ok_or(
                    "OTEL_EXPORTER_OTLP_HEADERS, or one for a signal: write name=value,name=value, each value as in a URL",
                )?;
                all.insert(name, value);
            }
        }
        Ok(all)
    }

    /// How long one sending may take.
    pub const fn timeout(&self, signal: Signal, shared: &Tracing) -> Duration {
        match signal {
            Signal::Metrics => Duration::from_millis(self.otlp_metrics_timeout),
            Signal::Logs => shared.timeout(),
        }
    }

    /// What can't be done as asked.
    pub fn flaw(&self, shared: &Tracing) -> Option<String> {
        [Signal::Metrics, Signal::Logs].into_iter().find_map(|signal| {
            let endpoint = self.endpoint(signal, shared)?;
            if let Err(why) = self.headers(signal) {
                return Some(why);
            }
            let web = endpoint.starts_with("http://") || endpoint.starts_with("https://");
            (!web || endpoint.parse::<http::Uri>().is_err()).then(|| {
                format!(
                    "OTEL_EXPORTER_OTLP_ENDPOINT (--otlp-endpoint), or --otlp-{}-endpoint: {endpoint:?} is no address; write \
                     one such as http://collector:4318",
                    signal.name()
                )
            })
        })
    }
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let name = name.trim().to_lowercase().parse().ok()?;
    let mut value = HeaderValue::from_bytes(&decoded(value.trim())?).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// Without the escapes of a URL.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(it) = bytes.next() {
        plain.push(if it == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            it
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::Config;

    fn of(args: &[&str]) -> Config {
        Config::try_parse_from(std::iter::once("gastown-operator").chain(args.iter().copied()))
            .unwrap()
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
            let at = |signal| config.signals.endpoint(signal, &config.tracing);
            assert_eq!(at(Signal::Metrics).as_deref(), *metrics, "{because}");
            assert_eq!(at(Signal::Logs).as_deref(), *logs, "{because}");
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
        ]);
        let all = config.signals.headers(Signal::Logs).unwrap();
        assert_eq!(all["a"], "c", "the signal's own");
        assert_eq!(all["x-scope-orgid"], "my town");
        assert_eq!(config.signals.headers(Signal::Metrics).unwrap()["a"], "b");
        assert!(!format!("{:?}", config.signals).contains("town"));
        for bad in ["secret", "a=%zz", "b c=d"] {
            let flaw = of(&["--otlp-endpoint=http://c", &format!("--otlp-headers={bad}")]).flaw();
            let flaw = flaw.unwrap();
            assert!(flaw.contains("OTEL_EXPORTER_OTLP_HEADERS") && !flaw.contains(bad), "{flaw}");
        }
    }
}
