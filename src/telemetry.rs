//! What this process tells of itself: logs, and traces to a collector. Names of attributes stand in [`attributes`]. Secrets,
//! prompts and keys are in none of it.

mod bridge;
mod export;
mod figures;
mod lines;
mod logs;
mod signals;

pub use crate::domain::trace::attributes;
pub use logs::{follow, start};
pub use signals::Scrape;

use crate::{
    cluster::{meters::Meters, spans::Spans},
    config::{Signals, Tracing},
};

/// What sends to a collector.
#[derive(Debug)]
pub struct Telling(export::Exporting, signals::Sending);

/// Begins to send what has an endpoint: spans, the figures of a scrape, lines of the log. `who`: this replica, and its nonce.
pub fn begin(
    (tracing, signals): (&Tracing, &Signals),
    who: (&str, &str),
    meters: &Meters,
    scrape: Scrape,
) -> anyhow::Result<(Spans, Telling)> {
    let (spans, exporting) = export::begin(tracing, who, meters)?;
    let sending = signals::begin((signals, tracing), who.0, meters, scrape)?;
    Ok((spans, Telling(exporting, sending)))
}

impl Telling {
    /// Sends what is there, in a bounded time, and ends.
    pub async fn end(self) {
        tokio::join!(self.0.end(), self.1.end());
    }
}
