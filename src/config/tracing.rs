//! Where traces go, by OpenTelemetry's own variables.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Args, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};

use crate::domain::{
    pod::Outside,
    trace::{PLACE, Sampler},
};

/// What is told to a collector. Off without an endpoint.
#[derive(Clone, Debug, Args)]
pub struct Tracing {
    /// Proxies on the way there: those that agent pods are told of.
    #[arg(skip)]
    pub outside: Outside,
    /// Collector that takes traces by OTLP, such as `http://jaeger-collector.observability:4318`. Unset: nothing is recorded. Its
    /// headers come from `OTEL_EXPORTER_OTLP_HEADERS` alone, since they may hold a secret.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// The same for traces alone: over http/protobuf the whole address, with its path.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL")]
    pub otlp_traces_endpoint: Option<String>,
    /// Whether traces go there: otlp, or none.
    #[arg(long, env = "OTEL_TRACES_EXPORTER", default_value = "otlp", value_name = "NAME", value_parser = exporter)]
    pub otlp_traces_exporter: Exporter,
    /// How it is spoken to. http/json is not offered.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", value_enum, default_value_t)]
    pub otlp_protocol: Protocol,
    /// How what is sent is compressed: gzip, or none.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_COMPRESSION", default_value = "none", value_name = "NAME", value_parser = compression)]
    pub otlp_compression: Compression,
    /// File with the authority of the collector's certificate, in PEM; unset: those of the system.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CERTIFICATE", value_name = "FILE", value_parser = file())]
    pub otlp_certificate: Option<PathBuf>,
    /// File with the certificate that a collector is shown which asks for one, in PEM; read at the start.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", value_name = "FILE", value_parser = file())]
    pub otlp_client_certificate: Option<PathBuf>,
    /// File with its key.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_CLIENT_KEY", value_name = "FILE", value_parser = file())]
    pub otlp_client_key: Option<PathBuf>,
    /// File with a bearer token for the collector, read anew for every batch.
    #[arg(long, value_name = "FILE")]
    pub otlp_token_file: Option<PathBuf>,
    /// Milliseconds that one batch may take, retries included.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value_t = 10_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=120_000))]
    pub otlp_timeout: u64,
    /// Name of this service in traces.
    #[arg(
        long,
        env = "OTEL_SERVICE_NAME",
        default_value = "gastown-operator",
        value_name = "NAME"
    )]
    pub otlp_service_name: String,
    /// What else is said of this process, as `key=value,key=value`.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", default_value = "", value_name = "PAIRS")]
    pub otlp_resource_attributes: String,
    /// Which traces are recorded: `always_on`, `always_off` or `traceidratio`, or one of these after `parentbased_`.
    #[arg(
        long,
        env = "OTEL_TRACES_SAMPLER",
        default_value = "parentbased_always_on",
        value_name = "NAME"
    )]
    pub otlp_sampler: String,
    /// The share of traceidratio, 0.0 to 1.0.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", value_name = "SHARE")]
    pub otlp_sampler_arg: Option<String>,
    /// Spans that may wait to be sent; more are lost, and counted in `gastown_spans_lost_total`.
    #[arg(long, env = "OTEL_BSP_MAX_QUEUE_SIZE", default_value_t = 8192, value_name = "SPANS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub otlp_queue: u32,
    /// Milliseconds after which spans are sent also where a batch of 512 is not full.
    #[arg(long, env = "OTEL_BSP_SCHEDULE_DELAY", default_value_t = 1000, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub otlp_delay: u64,
    /// Switches it off, whatever else is set.
    #[arg(
        long,
        env = "OTEL_SDK_DISABLED",
        default_value = "false",
        value_name = "BOOL",
        num_args = 1
    )]
    pub otlp_disabled: bool,
    /// Groups whose members may have a run continue a trace of their own, by annotation gastown.io/traceparent; `*`: everybody.
    #[arg(long, value_delimiter = ',', default_value = "system:masters", value_name = "GROUP")]
    pub trace_callers: Vec<String>,
    /// Address of a trace's page, with {traceId} for its id: fills status.trace.url.
    #[arg(long, env = "GASTOWN_TRACE_URL_TEMPLATE", value_name = "URL")]
    pub trace_url_template: Option<String>,
}

/// Whether something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exporter {
    Otlp,
    Nowhere,
}

/// By OpenTelemetry's name; an empty one is none.
pub fn exporter(name: &str) -> Result<Exporter, String> {
    match name {
        "" | "otlp" => Ok(Exporter::Otlp),
        "none" => Ok(Exporter::Nowhere),
        _ => Err("write otlp or none; Prometheus reads /metrics, and the log is written to standard error, in any case".into()),
    }
}

/// How what is sent is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Nothing,
    Gzip,
}

/// By OpenTelemetry's name; an empty one is none.
fn compression(name: &str) -> Result<Compression, &'static str> {
    match name {
        "" | "none" => Ok(Compression::Nothing),
        "gzip" => Ok(Compression::Gzip),
        _ => Err("write gzip or none"),
    }
}

/// How the collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    #[default]
    #[value(name = "http/protobuf")]
    Http,
    #[value(name = "grpc")]
    Grpc,
}

/// A file's name, which may be empty: a template sets variables to nothing.
fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// A file; a variable that is empty names none.
fn named(file: Option<&PathBuf>) -> Option<&Path> {
    file.map(PathBuf::as_path).filter(|it| !it.as_os_str().is_empty())
}

impl Tracing {
    /// Whether traces go anywhere, and where: over http with the path, over gRPC without.
    pub fn endpoint(&self) -> Option<String> {
        let given = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        if self.otlp_disabled || self.otlp_traces_exporter == Exporter::Nowhere {
            return None;
        }
        if let Some(whole) = given(&self.otlp_traces_endpoint) {
            return Some(whole);
        }
        let base = given(&self.otlp_endpoint)?;
        Some(match self.otlp_protocol {
            Protocol::Http => format!("{}/v1/traces", base.trim_end_matches('/')),
            Protocol::Grpc => base,
        })
    }

    /// Which traces are recorded.
    pub fn sampler(&self) -> Result<Sampler, String> {
        Sampler::named(&self.otlp_sampler, self.otlp_sampler_arg.as_deref())
    }

    /// How long one batch may take.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.otlp_timeout)
    }

    /// The file with the authority that the collector has to be signed by, where there is one.
    pub fn authority(&self) -> Option<&Path> {
        named(self.otlp_certificate.as_ref())
    }

    /// The files with what the collector is shown: certificate and key.
    pub fn own_certificate(&self) -> Option<(&Path, &Path)> {
        named(self.otlp_client_certificate.as_ref()).zip(named(self.otlp_client_key.as_ref()))
    }

    /// The template of a trace's page.
    pub fn page(&self) -> Option<String> {
        self.trace_url_template.clone().filter(|it| !it.is_empty())
    }

    /// What can't be done as asked.
    pub fn flaw(&self) -> Option<String> {
        let web = |it: &str| it.starts_with("http://") || it.starts_with("https://");
        if let Some(template) = self.page()
            && (!template.contains(PLACE) || !web(&template) || template.len() > 1024)
        {
            return Some(format!(
                "--trace-url-template: {template:?} is no address of a trace's page; write one such as \
                 https://jaeger.example.com/trace/{PLACE}"
            ));
        }
        if self.otlp_disabled {
            return None;
        }
        let both = [&self.otlp_client_certificate, &self.otlp_client_key];
        let [certificate, key] = both.map(|it| named(it.as_ref()).is_some());
        if certificate != key {
            return Some(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY: set both, or neither"
                    .into(),
            );
        }
        let endpoint = self.endpoint()?;
        if !web(&endpoint) || endpoint.parse::<http::Uri>().is_err() {
            return Some(format!(
                "OTEL_EXPORTER_OTLP_ENDPOINT (--otlp-endpoint): {endpoint:?} is no address; write one such as \
                 http://collector:4318"
            ));
        }
        self.sampler().err()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        tracing: Tracing,
    }

    fn parsed(flags: &[&str]) -> Tracing {
        Alone::try_parse_from(std::iter::once(&"x").chain(flags)).unwrap().tracing
    }

    #[test]
    fn what_is_set_to_nothing_names_no_file() {
        let empty = ["--otlp-certificate=", "--otlp-client-certificate=", "--otlp-client-key="];
        let it = parsed(&empty);
        assert_eq!((it.authority(), it.own_certificate(), it.flaw()), (None, None, None));
        let it = parsed(&["--otlp-certificate=ca.pem", "--otlp-client-certificate=c.pem"]);
        assert_eq!(it.authority(), Some(Path::new("ca.pem")));
        assert!(it.flaw().is_some_and(|it| it.contains("both, or neither")), "a key is missing");
        let it = parsed(&["--otlp-client-certificate=c.pem", "--otlp-disabled=true"]);
        assert_eq!(it.flaw(), None, "nothing is sent");
    }
}
