//! Logs of one process: lines of JSON, or text. Secrets, prompts and keys are never logged.

use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::bridge;
use crate::{
    cluster::live,
    config::{LogFormat, Logs, Tracing},
};

/// Starts logging, and making spans where they go anywhere. What a directive names wrongly is an error, not a guess.
pub fn start(logs: &Logs, tracing: &Tracing) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(logs.filter())
        .map_err(|error| anyhow::anyhow!("LOG_LEVEL {:?} can't be read: {error}", logs.filter()))?;
    // It says at each try that somebody else keeps house, and nothing above that level.
    let told = logs.filter().contains("kube_leader_election");
    let filter =
        if told { filter } else { filter.add_directive("kube_leader_election=warn".parse()?) };
    // Spans, and no lines: a line says which span it belongs to, whatever its level.
    let filter = filter.add_directive(format!("{}=info", live::TARGET).parse()?);
    let layer = match logs.format() {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed(),
    };
    let bridge = match tracing.endpoint() {
        Some(_) => Some(bridge::layer(tracing.sampler().map_err(anyhow::Error::msg)?)),
        None => None,
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).with(bridge).try_init()?;
    Ok(())
}
