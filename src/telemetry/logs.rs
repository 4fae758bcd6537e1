//! Logs of one process: lines of JSON, or text. Secrets, prompts and keys are never logged. What is logged may be changed while
//! the process runs.

use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

use super::{bridge, lines::Lines};
use crate::{
    cluster::live,
    config::{LogFormat, Logs, Signals, Tracing},
    domain::{log_level, untrusted::fit},
};

/// Of a text that can't be followed as much is logged, in bytes.
const SHOWN: usize = 256;

/// Those of this process, once it logs.
static LEVELS: OnceLock<Levels> = OnceLock::new();

/// Starts logging, and making spans where they go anywhere. What a directive names wrongly is an error, not a guess.
pub fn start(logs: &Logs, tracing: &Tracing, signals: &Signals) -> anyhow::Result<()> {
    let usual = logs.filter();
    let (filter, levels) = Levels::new(&usual)
        .map_err(|error| anyhow::anyhow!("LOG_LEVEL {usual:?} can't be read: {error}"))?;
    let layer = match logs.format() {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed(),
    };
    let bridge = match tracing.route().map_err(anyhow::Error::msg)? {
        Some(_) => Some(bridge::layer(tracing.sampler().map_err(anyhow::Error::msg)?)),
        None => None,
    };
    let mut layers = vec![layer];
    if signals.logs(tracing).map_err(anyhow::Error::msg)?.is_some() {
        layers.push(Lines.boxed());
    }
    tracing_subscriber::registry().with(layers.with_filter(filter)).with(bridge).try_init()?;
    let _ = LEVELS.set(levels);
    Ok(())
}

/// Logs by these directives from now on; without any by those that this process was started with. What can't be read is said,
/// and changes nothing.
pub fn follow(wish: Option<&str>) {
    if let Some(levels) = LEVELS.get() {
        levels.follow(wish);
    }
}

/// What is logged, and what else could be.
struct Levels {
    /// What this process was started with.
    usual: String,
    state: Mutex<State>,
    put: reload::Handle<EnvFilter, Registry>,
}

/// Directives in force, and those that were refused last: each is said once.
#[derive(Debug, Default)]
struct State {
    now: String,
    refused: String,
}

impl Levels {
    fn new(usual: &str) -> anyhow::Result<(reload::Layer<EnvFilter, Registry>, Self)> {
        let (filter, put) = reload::Layer::new(filter(usual)?);
        let state = State { now: usual.to_owned(), refused: String::new() };
        Ok((filter, Self { usual: usual.to_owned(), state: Mutex::new(state), put }))
    }

    fn follow(&self, wish: Option<&str>) {
        let wish = wish.map(str::trim).filter(|it| !it.is_empty()).unwrap_or(&self.usual);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.now == wish {
            state.refused.clear();
            return;
        }
        if state.refused == wish {
            return;
        }
        let made =
            log_level::flaw(wish).map_or_else(|| filter(wish), |it| Err(anyhow::anyhow!(it)));
        let put = made.and_then(|it| Ok(self.put.reload(it)?));
        match put {
            Ok(()) => {
                tracing::warn!(directives = wish, before = state.now, "The log level was changed");
                *state = State { now: wish.to_owned(), refused: String::new() };
            }
            Err(error) => {
                let why = fit(&format!("{error:#}"), SHOWN);
                tracing::warn!(
                    why,
                    directives = state.now,
                    "The log level that is asked for can't be followed; the old one stays"
                );
                wish.clone_into(&mut state.refused);
            }
        }
    }
}

/// A filter by these directives.
fn filter(directives: &str) -> anyhow::Result<EnvFilter> {
    let filter = EnvFilter::try_new(directives)?;
    // The first says at each try that somebody else keeps house, and nothing above that level; the other repeats the whole of an
    // answer that it can't read, which may hold what an agent is told.
    let usual = [("kube_leader_election", "warn"), ("kube_client::client", "error")];
    let asked = |name: &str| directives.contains(name);
    let filter =
        usual.into_iter().filter(|(it, _)| !asked(it)).try_fold(filter, |it, (name, level)| {
            anyhow::Ok(it.add_directive(format!("{name}={level}").parse()?))
        })?;
    // Spans, and no lines: a line says which span it belongs to, whatever its level.
    [live::TARGET, live::PASS]
        .into_iter()
        .try_fold(filter, |it, spans| Ok(it.add_directive(format!("{spans}=info").parse()?)))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, MutexGuard},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
            self.0.lock().unwrap()
        }

        /// What was written since the last time.
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.lock())).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn speak() {
        tracing::debug!(target: "gastown::tasks::queue", "of the queue");
        tracing::debug!(target: "gastown::cluster", "of the cluster");
        tracing::info!(target: "gastown::cluster", "news");
    }

    #[test]
    fn modules_are_told_apart_and_the_level_follows_while_it_runs() {
        let lines = Lines::default();
        let (filter, levels) = Levels::new("info").unwrap();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            let said = |wish| {
                levels.follow(wish);
                speak();
                lines.take()
            };
            let quiet = said(None);
            assert!(quiet.contains("news") && !quiet.contains("of the queue"), "{quiet}");
            let loud = said(Some("info,gastown::tasks=debug"));
            assert!(loud.contains("of the queue") && !loud.contains("of the cluster"), "{loud}");
            assert!(loud.contains("The log level was changed"), "{loud}");
            let refused = said(Some("info,gastown=loud"));
            assert!(
                refused.contains("gastown=loud") && refused.contains("is no level"),
                "{refused}"
            );
            assert!(refused.contains("of the queue"), "the old one stays: {refused}");
            assert!(!said(Some("info,gastown=loud")).contains("is no level"), "once is enough");
            let off = said(Some("off"));
            assert!(!off.contains("news"), "{off}");
            let usual = said(None);
            assert!(usual.contains("news") && !usual.contains("of the queue"), "{usual}");
        });
    }
}
