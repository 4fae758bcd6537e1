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

/// What OpenTelemetry's variable says of who tells, `key=value,key=value`, both of them as in a URL.
///
/// # Errors
/// The first piece that is no such pair.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pieces = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    pieces.map(|it| pair(it).ok_or_else(|| it.to_owned())).collect()
}

fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let plain = |it: &str| String::from_utf8(decoded(it.trim())?).ok();
    Some((plain(key)?, plain(value)?)).filter(|it| !it.0.is_empty())
}

/// Without the escapes of a URL.
pub fn decoded(text: &str) -> Option<Vec<u8>> {
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

/// Who tells: what the variable says, see [`pairs`], over which wins what it says by itself. Of a variable that cannot be read
/// nothing is said, as the standard wants; the operator does not start with one.
pub fn resource(variable: &str, own: &[(&str, &str)]) -> Resource {
    let said = pairs(variable).unwrap_or_default();
    let mut attributes: Vec<_> = said.iter().map(|(key, it)| text(key, it)).collect();
    attributes.retain(|it| own.iter().all(|(key, _)| *key != it.key));
    attributes.extend(own.iter().map(|(key, it)| text(key, it)));
    Resource { attributes, ..Resource::default() }
}

/// What the variable may say of one process, or of where it runs: of what others tell as well it would be wrong, and a backend
/// takes two copies of one span for two where their resources differ. Beginnings of names.
const OF_A_PROCESS: [&str; 10] = [
    "container.",
    "host.",
    "k8s.container.",
    "k8s.node.",
    "k8s.pod.",
    "k8s.replicaset.",
    "os.",
    "process.",
    "service.instance.",
    "service.version",
];

/// Who tells of what any process of any release may tell again: the same of all of them. See [`resource`].
pub fn of_all(variable: &str, own: &[(&str, &str)]) -> Resource {
    let mut all = resource(variable, own);
    all.attributes.retain(|it| !OF_A_PROCESS.iter().any(|of| it.key.starts_with(of)));
    all
}

/// What the runner says of itself; the same, whoever tells of its work. `variable`: see [`resource`].
pub fn runner(variable: &str) -> Resource {
    of_all(variable, &[("service.name", "gastown-runner")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_the_standard_writes_them() {
        #[rustfmt::skip]
        let table = [
            ("", Ok(vec![]), "nothing is said"),
            ("a=b", Ok(vec![("a", "b")]), "one"),
            (" a = b , c=d ,", Ok(vec![("a", "b"), ("c", "d")]), "room around, and a comma at the end"),
            ("team=a%2Cb%3Dc", Ok(vec![("team", "a,b=c")]), "what would part them is written as in a URL"),
            ("town=M%C3%BCnchen", Ok(vec![("town", "München")]), "and so is what is no ASCII"),
            ("k%65y=100%25", Ok(vec![("key", "100%")]), "keys too"),
            ("a==", Ok(vec![("a", "=")]), "the first equals sign parts them"),
            ("a=", Ok(vec![("a", "")]), "a value may be empty"),
            ("a=b,plain", Err("plain"), "no pair"),
            ("=b", Err("=b"), "no key"),
            ("a=%zz", Err("a=%zz"), "no escape"),
            ("a=%f", Err("a=%f"), "half of one"),
            ("a=%ff", Err("a=%ff"), "no text"),
        ];
        for (variable, want, because) in table {
            let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            let want = want.map(|all| all.into_iter().map(own).collect::<Vec<_>>());
            assert_eq!(pairs(variable), want.map_err(ToOwned::to_owned), "{because}");
        }
    }

    #[test]
    fn what_is_said_by_itself_wins_over_the_variable() {
        let it = resource("service.name=x,team=a%2Cb", &[("service.name", "y")]);
        assert_eq!(it.attributes, [text("team", "a,b"), text("service.name", "y")]);
        assert_eq!(resource("team", &[]).attributes, [], "nothing of what can't be read");
    }

    #[test]
    fn what_is_told_again_by_another_process_says_nothing_of_either() {
        let pod = "town=bar,k8s.pod.name=operator-0,k8s.namespace.name=x,host.name=a,service.instance.id=7,service.version=1,process.pid=3";
        let want = [text("town", "bar"), text("k8s.namespace.name", "x")];
        let of = |own: &str| [&want[..], &[text("service.name", own)]].concat();
        assert_eq!(of_all(pod, &[("service.name", "town")]).attributes, of("town"));
        assert_eq!(
            runner(pod).attributes,
            of("gastown-runner"),
            "nor is the runner the operator's pod"
        );
    }
}
