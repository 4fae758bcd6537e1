//! What telemetry costs: the same program with no endpoint, with one run in a hundred recorded, and with all of them, in
//! turns, each on a control plane of its own. Metrics and lines of the log are sent along in both, as they are by default.
//! The collector takes everything at once, and decodes what it counts. Webhooks stand before Polecats and their pods, as where it is
//! installed, and are traced as well.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use anyhow::{Context as _, Result};
use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    figures::{self, count, quantile, sorted},
    goals::hold,
    machine,
    operators::Whose,
    options::{Options, Scenario},
    run,
    table::verdict,
    town::Town,
};

/// How much is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Nothing,
    Hundredth,
    All,
}

impl Share {
    const EACH: [Self; 3] = [Self::Nothing, Self::Hundredth, Self::All];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no endpoint",
            Self::Hundredth => "1 % of runs",
            Self::All => "100 % of runs",
        }
    }

    /// At most so many times the processor time without.
    fn goal(self) -> f64 {
        match self {
            Self::Nothing => 1.0,
            Self::Hundredth => 1.05,
            Self::All => 1.15,
        }
    }

    fn environment(self, endpoint: &str) -> Vec<(String, String)> {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let endpoint = set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        match self {
            Self::Nothing => Vec::new(),
            Self::Hundredth => vec![
                endpoint,
                set("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                set("OTEL_TRACES_SAMPLER_ARG", "0.01"),
            ],
            Self::All => vec![endpoint],
        }
    }
}

/// What one run gave.
struct Cost {
    share: Share,
    /// CPU-seconds per 1,000 Polecats.
    cpu: f64,
    peak_mib: f64,
    /// Per Polecat.
    spans: f64,
}

/// Measures, and prints the table; returns how many Polecats were lost.
pub async fn bench(options: &Options) -> Result<usize> {
    let part = if options.quick { 10 } else { 1 };
    let scenario = Scenario::Sustained { polecats: 900 / part, namespaces: 10, a_second: 30 };
    let collector = Collector::start().await?;
    let (mut costs, mut lost, mut machine) = (Vec::new(), 0, String::new());
    for round in 1..=options.close_rounds() {
        // Whoever is first in a round is last in the next, so that no place is always the same one's.
        let mut order = Share::EACH;
        if round % 2 == 0 {
            order.reverse();
        }
        for share in order {
            let mut town = Town::start(scenario.namespaces(), Whose::Ours, None).await?;
            town.environment = share.environment(&collector.endpoint);
            town.webhooks = true;
            let before = collector.spans();
            let asked = (Whose::Ours, Whose::Ours.version(options));
            let program = options.operator.clone();
            let run = run::run(&town, scenario, asked, program, round.into()).await;
            let run = run.with_context(|| format!("round {round}, {}", share.name()))?;
            lost += figures::lost(&run);
            let polecats = count(run.courses.len());
            let cost = Cost {
                share,
                cpu: run.cpu.operator / polecats * 1e3,
                peak_mib: run.peak_mib,
                spans: count(collector.spans() - before) / polecats,
            };
            eprintln!(
                "round {round}, {}: {:.3} CPU-seconds per 1,000, {:.1} MiB, {:.2} spans a Polecat",
                share.name(),
                cost.cpu,
                cost.peak_mib,
                cost.spans
            );
            costs.push(cost);
            machine = machine::describe(&town.testbed).await?;
            town.testbed.stop().await?;
        }
    }
    let table = table(&scenario.title(), &costs, options.close_rounds().into());
    println!("{table}\n{machine}");
    println!("command: make bench-telemetry; with webhooks, whose calls are in the processor time");
    hold(&table)?;
    Ok(lost)
}

fn table(title: &str, costs: &[Cost], rounds: usize) -> String {
    let mut text = format!("\n{title}\n");
    let _ = writeln!(
        text,
        "{:<14} {:>34} {:>7} {:>16} {:>10} {:>14}",
        "recorded",
        "CPU-s per 1,000, median (min..max)",
        "ratio",
        "goal",
        "RSS, MiB",
        "spans/Polecat"
    );
    let of = |share: Share, value: fn(&Cost) -> f64| {
        sorted(costs.iter().filter(|it| it.share == share).map(value).collect())
    };
    let base = quantile(&of(Share::Nothing, |it| it.cpu), 0.5);
    for share in Share::EACH {
        let cpu = of(share, |it| it.cpu);
        let median = quantile(&cpu, 0.5);
        let (least, most) = (quantile(&cpu, 0.0), quantile(&cpu, 1.0));
        let ratio = median / base;
        let goal = match share {
            Share::Nothing => String::new(),
            _ => verdict(&format!("<= {}", share.goal()), ratio <= share.goal(), rounds),
        };
        let _ = writeln!(
            text,
            "{:<14} {:>34} {ratio:>7.3} {goal:>16} {:>10.1} {:>14.2}",
            share.name(),
            format!("{median:.3} ({least:.3}..{most:.3})"),
            quantile(&of(share, |it| it.peak_mib), 0.5),
            quantile(&of(share, |it| it.spans), 0.5),
        );
    }
    text
}

/// Takes what is sent to it, and counts.
struct Collector {
    endpoint: String,
    spans: Arc<AtomicUsize>,
    /// Ends with it.
    _task: JoinSet<()>,
}

impl Collector {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to listen")?;
        let endpoint = format!("http://{}", listener.local_addr().context("no address")?);
        let spans = Arc::new(AtomicUsize::new(0));
        // Figures and lines of the log come along, as they do by default.
        let also = || post(async || StatusCode::OK);
        let routes = Router::new()
            .route("/v1/traces", post(take))
            .route("/v1/metrics", also())
            .route("/v1/logs", also())
            .with_state(spans.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            _ = axum::serve(listener, routes).await;
        });
        Ok(Self { endpoint, spans, _task: task })
    }

    fn spans(&self) -> usize {
        self.spans.load(Relaxed)
    }
}

async fn take(State(spans): State<Arc<AtomicUsize>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let scopes = request.resource_spans.iter().flat_map(|it| &it.scope_spans);
    spans.fetch_add(scopes.map(|it| it.spans.len()).sum(), Relaxed);
    StatusCode::OK
}
