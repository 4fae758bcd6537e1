//! Where traces go, by OpenTelemetry's own variables.

use std::path::{Path, PathBuf};

use clap::Args;

use super::alone::{self, Headers, LIMITS, TracesAlone, file, given, is_address, named};
use crate::{
    domain::{
        pod::{Outside, Telling},
        trace::{PLACE, Sampler},
    },
    otlp::{self, Protocol, Route, Signal},
};

/// What is told to a collector. Off without an endpoint.
#[derive(Clone, Debug, Args)]
pub struct Tracing {
    /// Proxies on the way there: those that agent pods are told of.
    #[arg(skip)]
    pub outside: Outside,
    /// Collector that takes traces by OTLP, such as `http://jaeger-collector.observability:4318`. Unset: nothing is recorded. Its
    /// headers come from `OTEL_EXPORTER_OTLP_HEADERS` alone, since they may hold a secret. What is said of one signal wins over
    /// what is said of all.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    #[command(flatten)]
    pub alone: TracesAlone,
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", hide = true, hide_env_values = true)]
    pub otlp_headers: Option<Headers>,
    /// Whether traces go there: otlp, or none.
    #[arg(long, env = "OTEL_TRACES_EXPORTER", default_value = "otlp", value_name = "NAME", value_parser = exporter)]
    pub otlp_traces_exporter: Exporter,
    /// How it is spoken to: http/protobuf, or grpc. http/json is not offered.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", default_value = "http/protobuf", value_name = "NAME", value_parser = protocol)]
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
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", default_value_t = 10_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(LIMITS))]
    pub otlp_timeout: u64,
    /// Name of this service in traces; unset: the service.name of --otlp-resource-attributes, else gastown-operator.
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME")]
    pub otlp_service_name: Option<String>,
    /// What else is said of this process, as `key=value,key=value`; a comma, an equals sign or a percent sign in one of them as
    /// in a URL: %2C, %3D, %25.
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
        num_args = 1,
        action = clap::ArgAction::Set,
        value_parser = boolean
    )]
    pub otlp_disabled: bool,
    /// Collector that agent pods tell their part of a run to by themselves and at once, over http/protobuf, such as
    /// `http://collector.observability:4318`. They show it nothing, and trust whom their programs trust. Unset: the operator
    /// tells of it once a run is over, as it does in any case.
    #[arg(long, env = "GASTOWN_RUNNER_OTLP_ENDPOINT", value_name = "URL")]
    pub runner_otlp_endpoint: Option<String>,
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
pub fn compression(name: &str) -> Result<Compression, &'static str> {
    match name {
        "" | "none" => Ok(Compression::Nothing),
        "gzip" => Ok(Compression::Gzip),
        _ => Err("write gzip or none"),
    }
}

/// True or false, in any case of letters, as the standard has it.
pub fn boolean(text: &str) -> Result<bool, &'static str> {
    match text.to_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("write true or false"),
    }
}

/// By OpenTelemetry's name; an empty one is the usual.
pub fn protocol(name: &str) -> Result<Protocol, &'static str> {
    match name {
        "" | "http/protobuf" => Ok(Protocol::Http),
        "grpc" => Ok(Protocol::Grpc),
        "http/json" => Err("http/json is not offered; write http/protobuf or grpc"),
        _ => Err("write http/protobuf or grpc"),
    }
}

impl Tracing {
    /// The way of traces; none where they go nowhere. An error says what can't be done as asked.
    pub fn route(&self) -> Result<Option<Route>, String> {
        alone::route(self, (Signal::Traces, self.otlp_traces_exporter), self.alone.said())
    }

    /// Which traces are recorded.
    pub fn sampler(&self) -> Result<Sampler, String> {
        Sampler::named(&self.otlp_sampler, self.otlp_sampler_arg.as_deref())
    }

    /// The file with the authority that the collector has to be signed by, where there is one.
    pub fn authority(&self) -> Option<&Path> {
        named(self.otlp_certificate.as_ref())
    }

    /// Which runs are recorded; none where nothing is.
    pub fn recorded(&self) -> Option<Sampler> {
        self.route().ok()??;
        self.sampler().ok()
    }

    /// What agent pods are told of a collector; none where they are told of none.
    pub fn telling(&self) -> Option<Telling> {
        let base = given(self.runner_otlp_endpoint.as_deref())?;
        Some(Telling {
            sampler: self.recorded()?,
            endpoint: Signal::Traces.below(base),
            resource: self.otlp_resource_attributes.clone(),
        })
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
        let of_pods = given(self.runner_otlp_endpoint.as_deref()).filter(|_| !self.otlp_disabled);
        // Not shown: it may hold a password.
        if of_pods.is_some_and(|it| !is_address(it) || it.contains('@')) {
            return Some(
                "--runner-otlp-endpoint: it is no address, or holds a name and password, which pods would show; write one \
                 such as http://collector:4318"
                    .into(),
            );
        }
        match self.route() {
            Err(why) => Some(why),
            Ok(None) => of_pods.map(|_| {
                "--runner-otlp-endpoint: set --otlp-endpoint as well; what pods tell would hang on what nobody tells".into()
            }),
            Ok(Some(_)) => self.sampler().err(),
        }
    }

    /// Whether what else is said of this process can be read.
    pub fn readable(&self) -> Result<(), String> {
        otlp::pairs(&self.otlp_resource_attributes).map(drop).map_err(|it| {
            format!(
                "OTEL_RESOURCE_ATTRIBUTES (--otlp-resource-attributes): {it:?} is no key=value with both as in a URL; write \
                 such as deployment.environment.name=test,team=a%2Cb"
            )
        })
    }

    /// What this service is called, where somebody said so: in its own variable, else among what else is said.
    pub fn service_name(&self) -> Option<&str> {
        given(self.otlp_service_name.as_deref())
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
        assert_eq!((it.authority(), it.flaw()), (None, None));
        let to = "--otlp-endpoint=http://c";
        let empty = empty.into_iter().chain([to]).collect::<Vec<_>>();
        assert!(parsed(&empty).route().unwrap().unwrap().own.is_none());
        let it = parsed(&[to, "--otlp-certificate=ca.pem", "--otlp-client-certificate=c.pem"]);
        assert_eq!(it.authority(), Some(Path::new("ca.pem")));
        assert!(it.flaw().is_some_and(|it| it.contains("both, or neither")), "a key is missing");
        let it = parsed(&[to, "--otlp-client-certificate=c.pem", "--otlp-disabled=true"]);
        assert_eq!(it.flaw(), None, "nothing is sent");
    }

    #[test]
    fn what_cannot_be_read_of_this_process_ends_the_start_where_something_is_told() {
        let bad = "--otlp-resource-attributes=team=%zz";
        let flaw = parsed(&["--otlp-endpoint=http://c", bad]).flaw().unwrap();
        assert!(flaw.contains("OTEL_RESOURCE_ATTRIBUTES") && flaw.contains("team=%zz"), "{flaw}");
        assert_eq!(parsed(&[bad]).flaw(), None, "nothing is told");
        let fine = "--otlp-resource-attributes=team=a%2Cb,";
        assert_eq!(parsed(&["--otlp-endpoint=http://c", fine]).flaw(), None);
    }

    #[test]
    fn an_address_names_nobody() {
        let flaw = parsed(&["--otlp-endpoint=http://max:hunter2@c/x"]).flaw().unwrap();
        assert!(flaw.contains("OTLP_HEADERS") && !flaw.contains("hunter2"), "{flaw}");
        assert_eq!(parsed(&["--otlp-endpoint=http://c/team@x"]).flaw(), None, "that is a path");
    }

    #[test]
    fn runs_are_recorded_where_traces_go_somewhere() {
        let it = parsed(&["--otlp-endpoint=http://c", "--otlp-sampler=always_off"]);
        assert_eq!(it.recorded(), Some(Sampler::named("always_off", None).unwrap()));
        let none = parsed(&["--otlp-endpoint=http://c", "--otlp-traces-exporter=none"]);
        assert_eq!([parsed(&[]).recorded(), none.recorded()], [None, None]);
    }

    #[test]
    fn pods_are_told_of_a_collector_that_needs_no_secret() {
        let both = |runner: &str| {
            parsed(&["--otlp-endpoint=http://c", &format!("--runner-otlp-endpoint={runner}")])
        };
        let it = both("http://node-collector:4318/");
        assert_eq!(it.flaw(), None);
        assert_eq!(it.telling().unwrap().endpoint, "http://node-collector:4318/v1/traces");
        assert_eq!(both("").telling(), None);
        for bad in ["collector:4318", "http://max:hunter2@collector"] {
            let flaw = both(bad).flaw().unwrap();
            assert!(flaw.contains("--runner-otlp-endpoint") && !flaw.contains("hunter2"), "{flaw}");
        }
        let flaw = parsed(&["--runner-otlp-endpoint=http://c"]).flaw().unwrap();
        assert!(flaw.contains("hang on"), "what they tell would hang on nothing: {flaw}");
        assert_eq!(
            parsed(&["--runner-otlp-endpoint=http://c", "--otlp-disabled=true"]).flaw(),
            None
        );
    }
}
