//! OTLP: what is said to a collector, and the way there. What is sent when, and what becomes of that which was not taken, is the
//! business of who sends: `telemetry` for the operator, `runner` for what happened in its pod.

pub mod http;
mod post;
pub mod proxy;
pub mod spans;
mod stream;
mod wire;

use std::{path::PathBuf, time::Duration};

use ::http::HeaderMap;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
};

pub use post::{MAX_ANSWER, Outcome, Post};
pub use wire::Wire;

use crate::{domain::pod::Outside, tls::Files};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// As it is called in paths and words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// The variable that switches it off.
    pub const fn switch(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_TRACES_EXPORTER",
            Self::Metrics => "OTEL_METRICS_EXPORTER",
            Self::Logs => "OTEL_LOGS_EXPORTER",
        }
    }

    /// Where a collector takes it over HTTP, below this address.
    pub fn below(self, base: &str) -> String {
        format!("{}/v1/{}", base.trim_end_matches('/'), self.name())
    }
}

/// How the collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http,
    Grpc,
}

/// Where one signal goes, and how.
#[derive(Clone, Debug)]
pub struct Route {
    pub signal: Signal,
    /// Over HTTP with the path, over gRPC without.
    pub endpoint: String,
    pub protocol: Protocol,
    /// Sensitive ones, of which nothing is logged.
    pub headers: HeaderMap,
    /// File with a bearer token, read anew for every sending.
    pub token: Option<PathBuf>,
    pub gzip: bool,
    /// How long one sending may take, tries that follow included.
    pub limit: Duration,
    /// Who the collector has to be signed by, in PEM; none: the system's authorities say.
    pub authority: Option<PathBuf>,
    /// What the collector is shown where it asks.
    pub own: Option<Files>,
    /// Proxies on the way.
    pub outside: Outside,
}

/// An attribute that is a text.
pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = AnyValue { value: Some(value) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// Who tells: `pairs` as OpenTelemetry's variable has them, `key=value,key=value`, over which what it says by itself wins.
pub fn resource(pairs: &str, own: &[(&str, &str)]) -> Resource {
    let pairs = pairs.split(',').filter_map(|it| it.split_once('='));
    let mut attributes: Vec<_> = pairs.map(|(key, it)| text(key.trim(), it.trim())).collect();
    attributes.retain(|it| own.iter().all(|(key, _)| *key != it.key));
    attributes.extend(own.iter().map(|(key, it)| text(key, it)));
    Resource { attributes, ..Resource::default() }
}

/// What the runner says of itself; the same, whoever tells of its work. `pairs`: see [`resource`].
pub fn runner(pairs: &str) -> Resource {
    let own = [("service.name", "gastown-runner"), ("service.version", env!("CARGO_PKG_VERSION"))];
    resource(pairs, &own)
}
