//! What OpenTelemetry's variables say of one signal alone. It wins over what they say of all.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::tracing::{Compression, Exporter, Tracing, compression, protocol};
use crate::{
    otlp::{Protocol, Route, Signal, decoded},
    tls::Files,
};

/// Milliseconds that a sending may take.
pub const LIMITS: std::ops::RangeInclusive<u64> = 100..=120_000;

/// Headers, as a variable has them. They may hold a secret: nothing of them is shown.
#[derive(Clone)]
pub struct Headers(String);

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Headers")
    }
}

impl From<String> for Headers {
    fn from(it: String) -> Self {
        Self(it)
    }
}

/// What is said of one signal; what is empty is unset.
#[derive(Clone, Copy)]
pub struct Said<'a> {
    pub endpoint: Option<&'a str>,
    protocol: Option<&'a str>,
    headers: Option<&'a Headers>,
    timeout: Option<&'a str>,
    compression: Option<&'a str>,
    certificate: Option<&'a Path>,
    client_certificate: Option<&'a Path>,
    client_key: Option<&'a Path>,
}

macro_rules! alone {
    ($name:ident, $signal:literal, $upper:literal) => {
        #[doc = concat!("What is said of ", $signal, " alone.")]
        #[derive(Clone, Debug, Args)]
        pub struct $name {
            #[arg(id = concat!("otlp-", $signal, "-endpoint"), long = concat!("otlp-", $signal, "-endpoint"), env = concat!("OTEL_EXPORTER_OTLP_", $upper, "_ENDPOINT"), value_name = "URL", help = concat!("Collector of ", $signal, " alone: over http/protobuf the whole address, with its path"))]
            endpoint: Option<String>,
            #[arg(id = concat!("otlp-", $signal, "-protocol"), long = concat!("otlp-", $signal, "-protocol"), env = concat!("OTEL_EXPORTER_OTLP_", $upper, "_PROTOCOL"), value_name = "NAME", help = concat!("The protocol of ", $signal, " alone"))]
            protocol: Option<String>,
            #[arg(id = concat!("otlp-", $signal, "-headers"), long = concat!("otlp-", $signal, "-headers"), env = concat!("OTEL_EXPORTER_OTLP_", $upper, "_HEADERS"), hide = true, hide_env_values = true)]
            headers: Option<Headers>,
            #[arg(id = concat!("otlp-", $signal, "-batch-timeout"), long = concat!("otlp-", $signal, "-batch-timeout"), env = concat!("OTEL_EXPORTER_OTLP_", $upper, "_TIMEOUT"), value_name = "MS", help = concat!("Milliseconds that one sending of ", $signal, " may take"))]
            timeout: Option<String>,
            #[arg(id = concat!("otlp-", $signal, "-compression"), long = concat!("otlp-", $signal, "-compression"), env = concat!("OTEL_EXPORTER_OTLP_", $upper, "_COMPRESSION"), value_name = "NAME", help = concat!("How ", $signal, " are compressed"))]
            compression: Option<String>,
            #[arg(id = concat!("otlp-", $signal, "-certificate"), long = concat!("otlp-", $signal, "-certificate"), env = concat!("OTEL_EXPORTER_OTLP_", $upper, "_CERTIFICATE"), value_name = "FILE", value_parser = file(), help = concat!("The authority of the collector of ", $signal, " alone"))]
            certificate: Option<PathBuf>,
            #[arg(id = concat!("otlp-", $signal, "-client-certificate"), long = concat!("otlp-", $signal, "-client-certificate"), env = concat!("OTEL_EXPORTER_OTLP_", $upper, "_CLIENT_CERTIFICATE"), value_name = "FILE", value_parser = file(), help = "What that one is shown where it asks for a certificate")]
            client_certificate: Option<PathBuf>,
            #[arg(id = concat!("otlp-", $signal, "-client-key"), long = concat!("otlp-", $signal, "-client-key"), env = concat!("OTEL_EXPORTER_OTLP_", $upper, "_CLIENT_KEY"), value_name = "FILE", value_parser = file(), help = "File with its key")]
            client_key: Option<PathBuf>,
        }

        impl $name {
            pub fn said(&self) -> Said<'_> {
                Said {
                    endpoint: given(self.endpoint.as_deref()),
                    protocol: given(self.protocol.as_deref()),
                    headers: self.headers.as_ref(),
                    timeout: given(self.timeout.as_deref()),
                    compression: given(self.compression.as_deref()),
                    certificate: named(self.certificate.as_ref()),
                    client_certificate: named(self.client_certificate.as_ref()),
                    client_key: named(self.client_key.as_ref()),
                }
            }
        }
    };
}

alone!(TracesAlone, "traces", "TRACES");
alone!(MetricsAlone, "metrics", "METRICS");
alone!(LogsAlone, "logs", "LOGS");

/// A file's name, which may be empty: a template sets variables to nothing.
pub fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// A file; a variable that is empty names none.
pub fn named(file: Option<&PathBuf>) -> Option<&Path> {
    file.map(PathBuf::as_path).filter(|it| !it.as_os_str().is_empty())
}

/// What is said; a variable that is empty says nothing.
pub fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|it| !it.is_empty())
}

/// Whether it can be the address of a collector.
pub fn is_address(text: &str) -> bool {
    let web = text.starts_with("http://") || text.starts_with("https://");
    web && text.parse::<http::Uri>().is_ok_and(|it| it.host().is_some())
}

/// Whether an address holds a name, or a name and password.
fn names_somebody(text: &str) -> bool {
    let authority = text.split_once("://").map_or(text, |it| it.1).split(['/', '?', '#']).next();
    authority.is_some_and(|it| it.contains('@'))
}

/// Refuses what is no address of a collector's, or holds more.
fn addressed(endpoint: &str, signal: Signal) -> Result<(), String> {
    if names_somebody(endpoint) {
        return Err(format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT (--otlp-endpoint), or --otlp-{}-endpoint: it holds a name and password, which the log \
             would show and nobody would send; give them by OTEL_EXPORTER_OTLP_HEADERS",
            signal.name()
        ));
    }
    if !is_address(endpoint) {
        return Err(format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT (--otlp-endpoint), or --otlp-{}-endpoint: {endpoint:?} is no address; write one \
             such as http://collector:4318",
            signal.name()
        ));
    }
    Ok(())
}

/// The way of a signal, by what is said of it and of all; none where it goes nowhere. An error says what can't be done.
pub fn route(
    shared: &Tracing,
    (signal, exporter): (Signal, Exporter),
    said: Said<'_>,
) -> Result<Option<Route>, String> {
    let endpoint = said.endpoint.or(given(shared.otlp_endpoint.as_deref()));
    let (Some(base), false, Exporter::Otlp) = (endpoint, shared.otlp_disabled, exporter) else {
        return Ok(None);
    };
    let wrong = |what: &str, flag: &str, why: &str| {
        let (name, upper) = (signal.name(), signal.name().to_uppercase());
        format!("OTEL_EXPORTER_OTLP_{upper}_{what} (--otlp-{name}-{flag}): {why}")
    };
    shared.readable()?;
    let own = said.protocol.map(protocol).transpose();
    let protocol =
        own.map_err(|it| wrong("PROTOCOL", "protocol", it))?.unwrap_or(shared.otlp_protocol);
    let endpoint = match protocol {
        Protocol::Http if said.endpoint.is_none() => signal.below(base),
        _ => base.to_owned(),
    };
    addressed(&endpoint, signal)?;
    let own = said.compression.map(compression).transpose();
    let compression = own
        .map_err(|it| wrong("COMPRESSION", "compression", it))?
        .unwrap_or(shared.otlp_compression);
    let limit = match said.timeout.map(|it| it.parse().ok().filter(|it| LIMITS.contains(it))) {
        Some(Some(it)) => it,
        Some(None) => {
            return Err(wrong(
                "TIMEOUT",
                "batch-timeout",
                "write milliseconds, from 100 to 120000",
            ));
        }
        None => shared.otlp_timeout,
    };
    Ok(Some(Route {
        signal,
        endpoint,
        protocol,
        headers: headers([shared.otlp_headers.as_ref(), said.headers])?,
        token: shared.otlp_token_file.clone(),
        gzip: compression == Compression::Gzip,
        limit: Duration::from_millis(limit),
        authority: said.certificate.or(shared.authority()).map(Into::into),
        own: shown(shared, signal, said)?,
        outside: shared.outside.clone(),
    }))
}

/// What the collector is shown where it asks: the signal's own pair, or that of all.
fn shown(shared: &Tracing, signal: Signal, said: Said<'_>) -> Result<Option<Files>, String> {
    let own = (said.client_certificate, said.client_key);
    let all = [&shared.otlp_client_certificate, &shared.otlp_client_key];
    let [certificate, key] = all.map(|it| named(it.as_ref()));
    let (pair, of) = match own {
        (None, None) => ((certificate, key), String::new()),
        own => (own, format!("{}_", signal.name().to_uppercase())),
    };
    match pair {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(Files { certificate: certificate.into(), key: key.into() }))
        }
        _ => Err(format!(
            "OTEL_EXPORTER_OTLP_{of}CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_{of}CLIENT_KEY: set both, or neither"
        )),
    }
}

/// What is sent beside it; of two of the same name the later wins.
fn headers(all: [Option<&Headers>; 2]) -> Result<HeaderMap, String> {
    let mut found = HeaderMap::new();
    for Headers(text) in all.into_iter().flatten() {
        for pair in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            // Not shown: it may be a secret.
            let (name, value) = header(pair).ok_or(
                "OTEL_EXPORTER_OTLP_HEADERS, or one for a signal: write name=value,name=value, each value as in a URL",
            )?;
            found.insert(name, value);
        }
    }
    Ok(found)
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let name = name.trim().to_lowercase().parse().ok()?;
    let mut value = HeaderValue::from_bytes(&decoded(value.trim())?).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}
