//! The pod's own metrics in Prometheus' text form: the original's two, and ours. Holds nothing that the
//! agent wrote but the time of its activity.

use std::{
    fmt::Write,
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::{lock::State, log, paths::Paths, settings::Settings};
use crate::domain::layout;

/// Whoever asks shares the pod's network with the agent: few at once, small requests, no waiting.
const MAX_CONNECTIONS: usize = 16;
const MAX_REQUEST: usize = 8192;
const PATIENCE: Duration = Duration::from_secs(5);

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
    push_tries: u32,
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
        tokio::spawn(self.clone().accept(listener));
        Ok(address)
    }

    async fn accept(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let metrics = self.clone();
                    tokio::spawn(async move {
                        // Whoever asked is gone or too slow; the next one may ask again.
                        let _answered = timeout(PATIENCE, metrics.answer(stream)).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    log::say(&format!("Failed to accept a connection to the metrics: {error}"));
                    tokio::time::sleep(PATIENCE).await; // out of descriptors, most likely
                }
            }
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut request = Vec::new();
        while request.len() < MAX_REQUEST && !request.windows(4).any(|it| it == b"\r\n\r\n") {
            if stream.read_buf(&mut request).await? == 0 {
                break;
            }
        }
        stream.write_all(self.response(&request).as_bytes()).await?;
        stream.shutdown().await
    }

    /// The whole answer to a request's head. HTTP/1.1 in its smallest form: one answer, then the end.
    fn response(&self, request: &[u8]) -> String {
        let line = request.split(|it| *it == b'\r').next().unwrap_or_default();
        let mut words = line.split(|it| *it == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split(|it| *it == b'?').next();
        let (status, body) = match (method, path) {
            (b"GET", Some(b"/metrics")) => ("200 OK", self.text()),
            (b"GET", _) => ("404 Not Found", "only /metrics is here\n".to_owned()),
            _ => ("405 Method Not Allowed", "only GET is answered\n".to_owned()),
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
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
            ("gastown_push_tries", "gauge", "Pushes that were tried", f64::from(seen.push_tries)),
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
    fn one_page_is_served() {
        let metrics = Metrics::new(&Paths::new("/nowhere"), None);
        let table: [(&[u8], &str, &str); 6] = [
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200", "as Prometheus asks"),
            (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200", "with a query"),
            (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", "404", "nothing else is here"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405", "nothing is taken"),
            (b"\xff\xfe", "405", "no request at all"),
            (b"", "405", "nothing"),
        ];
        for (request, status, because) in table {
            let response = metrics.response(request);
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{because}: {response}");
        }
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
