//! Metrics and logs to the collector, a task each. They alone wait for it; what it does not take is lost, and counted. Of metrics
//! a sending that is lost loses no figure: the next one says it again.

use std::{collections::BTreeMap, time::Duration};

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::InstrumentationScope,
    logs::v1::{LogRecord, ResourceLogs},
    metrics::v1::{ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, sleep_until, timeout_at},
};

use super::{
    export::{Pace, fill, or_last},
    figures::{self, Span},
    lines,
};
use crate::{
    cluster::{
        meters::{Lost, Meters},
        spans,
    },
    config::{Signals, Tracing},
    otlp::{self, Outcome, Route, Signal, Wire},
};

/// Lines sent at once.
const BATCH: usize = 512;
/// How long what is there may take to be sent once this process ends.
const LAST: Duration = Duration::from_secs(3);
/// The same failure is said once in so long.
const SAID: Duration = Duration::from_secs(60);
/// What this service is called where nobody says otherwise.
const SERVICE: &str = "gastown-operator";
/// A collector that knows no such signal is left alone for so long.
const LEFT_ALONE: Duration = Duration::from_secs(600);

/// What is scraped.
pub type Scrape = Box<dyn Fn() -> Option<String> + Send>;

/// The tasks that send.
#[derive(Debug)]
pub struct Sending {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// Begins to send what has an endpoint.
pub fn begin(
    (settings, shared): (&Signals, &Tracing),
    replica: &str,
    meters: &Meters,
    scrape: Scrape,
) -> anyhow::Result<Sending> {
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let to = |it: &Route| Destination::new(it, shared, replica, meters);
    if let Some(route) = settings.metrics(shared).map_err(anyhow::Error::msg)? {
        let interval = Duration::from_millis(settings.otlp_metrics_interval);
        tasks.spawn(metrics(to(&route)?, scrape, interval, stopped.clone()));
    }
    if let Some(route) = settings.logs(shared).map_err(anyhow::Error::msg)? {
        let length = usize::try_from(settings.otlp_logs_queue).unwrap_or(usize::MAX);
        let queue = lines::begin(length, meters);
        let delay = Duration::from_millis(settings.otlp_logs_delay);
        tasks.spawn(logs(to(&route)?, queue, delay, stopped));
    } else {
        lines::none();
    }
    Ok(Sending { tasks, stop })
}

impl Sending {
    /// Sends what is there, in a bounded time, and ends.
    pub async fn end(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST + Duration::from_secs(1), all).await;
    }
}

/// Where a signal goes, and what was said of that.
pub(super) struct Destination {
    pub(super) wire: Wire,
    pub(super) resource: Resource,
    signal: Signal,
    meters: Meters,
    /// When a failure was said last.
    said: Option<Instant>,
    alone_until: Option<Instant>,
    /// Before then it asked to be sent nothing.
    busy_until: Option<Instant>,
}

impl Destination {
    pub(super) fn new(
        route: &Route,
        shared: &Tracing,
        replica: &str,
        meters: &Meters,
    ) -> anyhow::Result<Self> {
        let (wire, signal) = (Wire::new(route)?, route.signal);
        let (endpoint, protocol) = (&*route.endpoint, route.protocol);
        tracing::info!(endpoint, ?protocol, signal = signal.name(), "Sending to a collector");
        let resource = resource(shared, replica);
        let meters = meters.clone();
        Ok(Self { wire, resource, signal, meters, said: None, alone_until: None, busy_until: None })
    }

    /// Whether it makes sense to send now.
    fn open(&self) -> bool {
        let now = Instant::now();
        [self.alone_until, self.busy_until].iter().flatten().all(|it| *it <= now)
    }

    /// Waits for as long as it asked for: what comes meanwhile stays in its queue.
    pub(super) async fn ready(&self) {
        if let Some(it) = self.busy_until {
            sleep_until(it).await;
        }
    }

    /// Counts what became of so many.
    pub(super) fn note(&mut self, count: usize, outcome: Outcome) {
        let (lost, reason, why) = match outcome {
            Outcome::Taken(rejected) => {
                let rejected = usize::try_from(rejected).unwrap_or(count).min(count);
                self.sent(count - rejected);
                if rejected == 0 {
                    return;
                }
                (rejected, "refused", "it took a part alone".into())
            }
            Outcome::Busy { why, after } => {
                self.busy_until = after.map(|it| Instant::now() + it.min(LEFT_ALONE));
                (count, "refused", why)
            }
            Outcome::Refused(why) => (count, "refused", why),
            Outcome::NoAnswer => (count, "no-answer", "it did not answer in time".into()),
            Outcome::Unknown => {
                self.alone_until = Some(Instant::now() + LEFT_ALONE);
                let why =
                    format!("it takes none; set {}=none if it never will", self.signal.switch());
                (count, "refused", why)
            }
        };
        self.lose(lost, reason);
        if self.said.is_none_or(|it| it.elapsed() > SAID) {
            self.said = Some(Instant::now());
            let signal = self.signal.name();
            tracing::warn!(signal, reason, why, "The collector did not take what was sent");
        }
    }

    fn sent(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        match self.signal {
            Signal::Traces => self.meters.spans_sent.inc_by(count),
            Signal::Metrics => self.meters.metrics_sent.inc_by(count),
            Signal::Logs => self.meters.lines_sent.inc_by(count),
        };
    }

    pub(super) fn lose(&self, count: usize, reason: &'static str) {
        let family = match self.signal {
            Signal::Traces => &self.meters.spans_lost,
            Signal::Metrics => &self.meters.metrics_lost,
            Signal::Logs => &self.meters.lines_lost,
        };
        let lost = family.get_or_create(&Lost { reason });
        lost.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// Who this process says that it is.
fn resource(shared: &Tracing, replica: &str) -> Resource {
    let rest = [("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", replica)];
    let own: Vec<_> = called(shared).into_iter().chain(rest).collect();
    otlp::resource(&shared.otlp_resource_attributes, &own)
}

/// Who any replica says that it is where it tells what another may tell again.
pub(super) fn of_all(shared: &Tracing) -> Resource {
    let own: Vec<_> = called(shared).into_iter().collect();
    otlp::of_all(&shared.otlp_resource_attributes, &own)
}

/// What this service is called; nothing where the variable says it.
fn called(shared: &Tracing) -> Option<(&str, &str)> {
    let (said, name) = (&shared.otlp_resource_attributes, "service.name");
    let elsewhere = || otlp::pairs(said).unwrap_or_default().into_iter().any(|it| it.0 == name);
    match shared.service_name() {
        None if elsewhere() => None,
        given => Some((name, given.unwrap_or(SERVICE))),
    }
}

/// Sends the figures each interval, and once more at the end.
async fn metrics(
    mut route: Destination,
    scrape: Scrape,
    interval: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let from = spans::now();
    let mut period = tokio::time::interval_at(Instant::now() + interval, interval);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            biased;
            _ = stopped.wait_for(|it| *it) => true,
            _ = period.tick() => false,
        };
        if route.open()
            && let Some(text) = scrape()
        {
            let request =
                figures_of(&text, Span { from, to: spans::now() }, route.resource.clone());
            let until = Instant::now() + LAST;
            let sent = async {
                // One under way when this process ends has as long as the last.
                tokio::select! {
                    it = route.wire.send(&request) => it,
                    () = over(stopped.clone(), last, until) => Outcome::NoAnswer,
                }
            };
            let outcome = sent.await;
            route.note(1, outcome);
        }
        if last {
            return;
        }
    }
}

/// The end of patience once this process ends.
async fn over(mut stopped: watch::Receiver<bool>, last: bool, until: Instant) {
    if !last {
        let _ = stopped.wait_for(|it| *it).await;
        return tokio::time::sleep(LAST).await;
    }
    sleep_until(until).await;
}

fn figures_of(text: &str, span: Span, resource: Resource) -> ExportMetricsServiceRequest {
    let scope = InstrumentationScope { name: "gastown".into(), ..InstrumentationScope::default() };
    let metrics = figures::read(text, span);
    let scope = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
    let of = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![of] }
}

type Queue = mpsc::Receiver<(&'static str, LogRecord)>;

/// Sends lines in batches, as spans are.
async fn logs(
    mut route: Destination,
    mut queue: Queue,
    delay: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let (mut batch, mut pace) = (Vec::new(), Pace::every(delay));
    let until = loop {
        let taken = async {
            route.ready().await;
            let take = |it| {
                batch.push(it);
                1
            };
            fill(&mut queue, BATCH, &mut pace, take).await
        };
        tokio::select! {
            biased;
            _ = stopped.wait_for(|it| *it) => break Instant::now() + LAST,
            more = taken => if !more { break Instant::now() + LAST },
        }
        let count = batch.len();
        if !route.open() {
            batch.clear();
            route.lose(count, "refused");
            continue;
        }
        let request = lines_of(std::mem::take(&mut batch), route.resource.clone());
        let stop = async { drop(stopped.wait_for(|it| *it).await) };
        let (outcome, last) = or_last(route.wire.patiently(&request), stop, LAST).await;
        route.note(count, outcome.unwrap_or(Outcome::NoAnswer));
        if let Some(until) = last {
            break until;
        }
    };
    queue.close();
    while let Ok(it) = queue.try_recv() {
        batch.push(it);
    }
    while !batch.is_empty() {
        let rest = batch.split_off(batch.len().min(BATCH));
        let count = batch.len();
        let request = lines_of(batch, route.resource.clone());
        let outcome = timeout_at(until, route.wire.send(&request)).await;
        route.note(count, outcome.unwrap_or(Outcome::NoAnswer));
        batch = rest;
    }
}

fn lines_of(batch: Vec<(&'static str, LogRecord)>, resource: Resource) -> ExportLogsServiceRequest {
    let mut modules: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (module, record) in batch {
        modules.entry(module).or_default().push(record);
    }
    let of = ResourceLogs {
        resource: Some(resource),
        scope_logs: modules.into_iter().map(lines::scope).collect(),
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: vec![of] }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use axum::{
        Router,
        body::Bytes,
        extract::State,
        http::{HeaderMap, StatusCode},
    };
    use clap::Parser as _;
    use flate2::read::GzDecoder;
    use prost::Message as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        config::Config,
        otlp::{proxy::tests::proxy, text},
    };

    /// Answers of a collector, the last one for ever, and what it took.
    #[derive(Clone, Default)]
    struct Collector {
        answers: Arc<[u16]>,
        asked: Arc<AtomicUsize>,
        /// Bytes on the way.
        sent: Arc<AtomicUsize>,
        taken: Arc<Mutex<Vec<Bytes>>>,
    }

    /// No answer at all.
    const SILENCE: u16 = 0;
    /// What some web server says to anything, with 200.
    const PAGE: u16 = 1;

    async fn answer(
        State(it): State<Collector>,
        headers: HeaderMap,
        body: Bytes,
    ) -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
        let at = it.asked.fetch_add(1, Ordering::SeqCst);
        it.sent.fetch_add(body.len(), Ordering::SeqCst);
        let code = it.answers.get(at).or(it.answers.last()).copied().unwrap();
        if code == SILENCE {
            std::future::pending::<()>().await;
        }
        if code == 200 {
            it.taken.lock().unwrap().push(unpacked(&headers, body));
        }
        let page = if code == PAGE { "<!doctype html>" } else { "" };
        let code = if code == PAGE { 200 } else { code };
        let patience = if code == 429 { "60" } else { "0" };
        (StatusCode::from_u16(code).unwrap(), [("retry-after", patience)], page)
    }

    fn unpacked(headers: &HeaderMap, body: Bytes) -> Bytes {
        if headers.get("content-encoding").is_none_or(|it| it != "gzip") {
            return body;
        }
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
        plain.into()
    }

    /// A route of a signal to a collector that answers so.
    async fn route(signal: Signal, answers: &[u16], flags: &[&str]) -> (Destination, Collector) {
        let _ = crate::tls::install_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/x", listener.local_addr().unwrap());
        let collector = Collector { answers: answers.into(), ..Collector::default() };
        let routes = Router::new().fallback(answer).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (to(signal, &endpoint, flags), collector)
    }

    fn parsed(signal: Signal, endpoint: &str, flags: &[&str]) -> Config {
        let to = format!("--otlp-{}-endpoint={endpoint}", signal.name());
        let args = ["gastown-operator", &to].into_iter().chain(flags.iter().copied());
        Config::try_parse_from(args).unwrap()
    }

    fn way(Config { signals, tracing, .. }: &Config, signal: Signal) -> Route {
        let way = match signal {
            Signal::Traces => tracing.route(),
            Signal::Metrics => signals.metrics(tracing),
            Signal::Logs => signals.logs(tracing),
        };
        way.unwrap().unwrap()
    }

    fn to(signal: Signal, endpoint: &str, flags: &[&str]) -> Destination {
        let config = parsed(signal, endpoint, flags);
        let way = way(&config, signal);
        Destination::new(&way, &config.tracing, "replica-0", &Meters::default()).unwrap()
    }

    /// Sends so many lines, one batch after another, to the end.
    async fn send_lines(route: Destination, batches: &[usize]) -> Meters {
        let meters = route.meters.clone();
        let (lines, queue) = mpsc::channel(16);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(logs(route, queue, Duration::from_millis(10), stopped));
        let mut so_far = 0;
        for count in batches {
            for _ in 0..*count {
                lines.send(("gastown::tasks", LogRecord::default())).await.unwrap();
            }
            so_far += u64::try_from(*count).unwrap();
            while told(&meters) < so_far {
                tokio::task::yield_now().await;
            }
        }
        stop.send_replace(true);
        task.await.unwrap();
        meters
    }

    fn lost(meters: &Meters, reason: &'static str) -> u64 {
        meters.lines_lost.get_or_create(&Lost { reason }).get()
    }

    fn told(meters: &Meters) -> u64 {
        meters.lines_sent.get() + lost(meters, "refused") + lost(meters, "no-answer")
    }

    #[tokio::test]
    async fn lines_that_a_busy_collector_did_not_take_are_sent_again() {
        let (route, collector) = route(Signal::Logs, &[503, 200], &[]).await;
        let meters = send_lines(route, &[3]).await;
        assert_eq!((meters.lines_sent.get(), lost(&meters, "refused")), (3, 0));
        let taken = collector.taken.lock().unwrap();
        let request = ExportLogsServiceRequest::decode(taken[0].clone()).unwrap();
        let of = &request.resource_logs[0];
        assert!(
            of.resource
                .as_ref()
                .unwrap()
                .attributes
                .contains(&text("service.instance.id", "replica-0"))
        );
        assert_eq!(of.scope_logs[0].scope.as_ref().unwrap().name, "gastown::tasks");
        assert_eq!(of.scope_logs[0].log_records.len(), 3);
    }

    #[test]
    fn a_service_is_called_as_its_own_variable_says_or_else_as_the_other_does() {
        #[rustfmt::skip]
        let table: [(&[&str], &str, &str); 4] = [
            (&[], "gastown-operator", "nobody says"),
            (&["--otlp-resource-attributes=service.name=town"], "town", "one of many"),
            (&["--otlp-resource-attributes=service.name=town", "--otlp-service-name=own"], "own", "its own wins"),
            (&["--otlp-resource-attributes=service.name=town", "--otlp-service-name="], "town", "an empty one says nothing"),
        ];
        for (flags, want, because) in table {
            let config = parsed(Signal::Logs, "http://c", flags);
            for said in [resource(&config.tracing, "replica-0"), of_all(&config.tracing)] {
                let mut names = said.attributes;
                names.retain(|it| it.key == "service.name");
                assert_eq!(names, [text("service.name", want)], "{because}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_sent_is_compressed_where_that_is_asked_for() {
        let (route, collector) = route(Signal::Logs, &[200], &["--otlp-compression=gzip"]).await;
        send_lines(route, &[500]).await;
        let sizes: usize = {
            let taken = collector.taken.lock().unwrap();
            let lines = |it: &Bytes| ExportLogsServiceRequest::decode(it.clone()).unwrap();
            let of = |it: &Bytes| lines(it).resource_logs[0].scope_logs[0].log_records.len();
            taken.iter().map(of).sum()
        };
        assert_eq!(sizes, 500, "it can be read again");
        let sent = collector.sent.load(Ordering::SeqCst);
        let plain: usize = collector.taken.lock().unwrap().iter().map(Bytes::len).sum();
        assert!(sent > 0 && sent < plain, "{sent} of {plain} bytes");
    }

    #[tokio::test]
    async fn what_is_not_taken_is_counted_and_who_takes_none_is_left_alone() {
        let (refusing, _) = route(Signal::Logs, &[400], &[]).await;
        assert_eq!(lost(&send_lines(refusing, &[2]).await, "refused"), 2);
        let (silent, _) = route(Signal::Logs, &[SILENCE], &["--otlp-timeout=100"]).await;
        assert_eq!(lost(&send_lines(silent, &[2]).await, "no-answer"), 2);
        let (knows_none, collector) = route(Signal::Logs, &[404], &[]).await;
        assert_eq!(lost(&send_lines(knows_none, &[1, 1, 1]).await, "refused"), 3);
        assert_eq!(collector.asked.load(Ordering::SeqCst), 1, "once is enough to know");
    }

    #[tokio::test]
    async fn what_a_web_server_answers_with_a_page_is_lost_and_counted() {
        let (web, _) = route(Signal::Logs, &[PAGE], &[]).await;
        let meters = send_lines(web, &[2]).await;
        assert_eq!((lost(&meters, "refused"), meters.lines_sent.get()), (2, 0));
    }

    #[tokio::test]
    async fn a_collector_that_asks_for_more_patience_than_there_is_has_answered_and_is_heeded() {
        let (busy, collector) = route(Signal::Logs, &[429, 200], &["--otlp-timeout=1000"]).await;
        let meters = busy.meters.clone();
        let (lines, queue) = mpsc::channel(16);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(logs(busy, queue, Duration::from_millis(10), stopped));
        let line = || ("gastown::tasks", LogRecord::default());
        lines.send(line()).await.unwrap();
        while told(&meters) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!((lost(&meters, "refused"), lost(&meters, "no-answer")), (1, 0));
        lines.send(line()).await.unwrap();
        lines.send(line()).await.unwrap();
        stop.send_replace(true);
        task.await.unwrap();
        assert_eq!(meters.lines_sent.get(), 2, "they waited, and go with the end");
        assert_eq!(collector.asked.load(Ordering::SeqCst), 2, "nothing was sent meanwhile");
    }

    #[tokio::test]
    async fn figures_are_sent_each_interval_and_at_the_end() {
        let (route, collector) = route(Signal::Metrics, &[500, 200], &[]).await;
        let meters = route.meters.clone();
        let (stop, stopped) = watch::channel(false);
        let scrape = Box::new(|| Some("# TYPE x gauge\nx 5\n# EOF\n".to_owned()));
        let task = tokio::spawn(metrics(route, scrape, Duration::from_millis(20), stopped));
        while meters.metrics_sent.get() == 0 {
            tokio::task::yield_now().await;
        }
        let before = collector.asked.load(Ordering::SeqCst);
        stop.send_replace(true);
        task.await.unwrap();
        assert!(collector.asked.load(Ordering::SeqCst) > before, "once more");
        assert_eq!(meters.metrics_lost.get_or_create(&Lost { reason: "refused" }).get(), 1);
        let taken = collector.taken.lock().unwrap();
        let request = ExportMetricsServiceRequest::decode(taken[0].clone()).unwrap();
        assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics[0].name, "x");
    }

    /// One that speaks gRPC, and answers once with this status.
    async fn grpc(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let path = request.uri().path().to_owned();
                let known = path == "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
                let head = http::Response::builder().header("content-type", "application/grpc");
                let mut body = respond.send_response(head.body(()).unwrap(), false).unwrap();
                body.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
                let mut trailers = http::HeaderMap::new();
                let status = if known { status } else { "12" };
                trailers.insert("grpc-status", status.parse().unwrap());
                body.send_trailers(trailers).unwrap();
            }
        });
        endpoint
    }

    #[tokio::test]
    async fn grpc_is_spoken_too() {
        let _ = crate::tls::install_provider();
        let flags = ["--otlp-protocol=grpc"];
        let batch = || lines_of(vec![("m", LogRecord::default())], Resource::default());
        let route = to(Signal::Logs, &grpc("0").await, &flags);
        assert_eq!(route.wire.send(&batch()).await, Outcome::Taken(0));
        let route = to(Signal::Logs, &grpc("8").await, &flags);
        assert!(
            matches!(route.wire.send(&batch()).await, Outcome::Busy { .. }),
            "resources exhausted"
        );
        let route = to(Signal::Metrics, &grpc("0").await, &flags);
        let figures = figures_of("", Span { from: 0, to: 0 }, Resource::default());
        assert_eq!(route.wire.send(&figures).await, Outcome::Unknown, "it takes logs alone");
    }

    #[tokio::test]
    async fn grpc_goes_through_a_proxy_too() {
        let _ = crate::tls::install_provider();
        let collector = grpc("0").await;
        let address = collector.strip_prefix("http://").unwrap().parse().unwrap();
        let (through, asked) = proxy(address).await;
        let to = "http://collector.town.example:4317";
        let mut config = parsed(Signal::Logs, to, &["--otlp-protocol=grpc"]);
        config.tracing.outside.http_proxy = Some(through);
        let wire = Wire::new(&way(&config, Signal::Logs)).unwrap();
        let batch = lines_of(vec![("m", LogRecord::default())], Resource::default());
        assert_eq!(wire.send(&batch).await, Outcome::Taken(0));
        let asked = asked.lock().unwrap().clone();
        assert!(asked[0].starts_with("CONNECT collector.town.example:4317 "), "{asked:?}");
    }
}
