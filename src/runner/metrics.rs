//! The pod's own metrics in Prometheus' text form: the original's two, and ours. Holds nothing that the agent wrote but
//! the time of its activity.

use std::{
    fmt::Write,
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{Router, http::header, routing::get};
use tokio::net::TcpListener;

use super::{lock::State, log, paths::Paths, settings::Settings};
use crate::domain::layout;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is measured.
#[derive(Clone)]
pub struct Metrics {
    since: Instant,
    labels: String,
    stamp: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    state: Option<State>,
    push_tries: u64,
    pushed: bool,
    push_time: Duration,
}

impl Metrics {
    pub fn new(paths: &Paths, settings: Option<&Settings>) -> Self {
        let label =
            |of: fn(&Settings) -> &String| settings.map(|it| escape(of(it))).unwrap_or_default();
        let (polecat, rig, bead) =
            (label(|it| &it.polecat), label(|it| &it.rig), label(|it| &it.issue));
        Self {
            since: Instant::now(),
            labels: format!("{{polecat=\"{polecat}\",rig=\"{rig}\",bead=\"{bead}\"}}"),
            stamp: paths.at(layout::ACTIVITY),
            seen: Arc::default(),
        }
    }

    pub fn state(&self, state: State) {
        self.change(|it| it.state = Some(state));
    }

    pub fn pushing(&self) {
        self.change(|it| it.push_tries += 1);
    }

    pub fn pushed(&self, pushed: bool, took: Duration) {
        self.change(|it| (it.pushed, it.push_time) = (pushed, took));
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Serves them until the process ends. A port that is taken keeps nobody from the run's end.
    pub async fn serve(&self, port: u16) -> io::Result<SocketAddr> {
        let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Ok(it) => it,
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?, // a node without IPv6
        };
        let address = listener.local_addr()?;
        let metrics = self.clone();
        let page = move || {
            let text = metrics.text();
            async move { ([(header::CONTENT_TYPE, TEXT)], text) }
        };
        let router = Router::new().route("/metrics", get(page));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                log::say(&format!("Failed to serve metrics: {error}"));
            }
        });
        Ok(address)
    }

    fn text(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let running = seen.state == Some(State::Running);
        let idle = fs::symlink_metadata(&self.stamp)
            .and_then(|it| it.modified())
            .ok()
            .and_then(|it| it.elapsed().ok());
        let flag = |it: bool| f64::from(u8::from(it));
        let rows = [
            (
                "polecat_execution_duration_seconds",
                "counter",
                "Total execution time of the polecat",
                self.since.elapsed().as_secs_f64(),
            ),
            (
                "polecat_agent_running",
                "gauge",
                "Agent container status (1=running, 0=stopped)",
                flag(running),
            ),
            (
                "gastown_agent_ended",
                "gauge",
                "The agent has ended (1) or not (0)",
                flag(seen.state == Some(State::Ended)),
            ),
            (
                "gastown_agent_idle_seconds",
                "gauge",
                "Seconds since the agent was last active",
                idle.unwrap_or_default().as_secs_f64(),
            ),
            (
                "gastown_push_tries",
                "gauge",
                "Pushes that were tried",
                flag(seen.push_tries > 0).max(seen.push_tries.min(1000) as f64),
            ),
            (
                "gastown_pushed",
                "gauge",
                "The remote has the agent's commits (1) or not (0)",
                flag(seen.pushed),
            ),
            (
                "gastown_push_seconds",
                "gauge",
                "Seconds from the agent's end to the end of the push",
                seen.push_time.as_secs_f64(),
            ),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in rows {
            // Writing into a string does not fail.
            let _written = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{} {value}",
                self.labels
            );
        }
        text
    }
}

/// A label's value.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_labels_stay_inside_their_quotes() {
        assert_eq!(escape("a\"} 1\nb\\"), "a\\\"} 1\\nb\\\\");
    }

    #[test]
    fn the_originals_names_are_there() {
        let metrics = Metrics::new(&Paths::new("/nowhere"), None);
        metrics.state(State::Running);
        let text = metrics.text();
        assert!(
            text.contains("polecat_agent_running{polecat=\"\",rig=\"\",bead=\"\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE polecat_execution_duration_seconds counter\n"), "{text}");
    }
}
