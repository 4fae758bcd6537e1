//! What a collector in trouble costs: Polecats a second of a burst, from the first create to the last Done, beside those with a
//! collector that takes everything, in turns, each on a control plane of its own.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::{
    figures::{self, count, quantile, sorted},
    goals::hold,
    machine,
    operators::Whose,
    options::{Options, Scenario},
    probes,
    run::{self, Run},
    table::verdict,
    town::Town,
};

/// At least so many times what goes through with a collector that is well.
const THROUGH: f64 = 0.98;
/// At most so many times the memory.
const MEMORY: f64 = 1.25;
/// What is counted of spans that were lost.
const LOST: &str = "gastown_spans_lost_total";
const GARBAGE: &[u8] = b"\0\x01garbage\r\n\r\n";
const BROKEN_OFF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nab";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collector {
    Well,
    /// Nobody listens.
    Refusing,
    /// It answers after five seconds.
    Slow,
    /// 429.
    Busy,
    /// What it says is no HTTP.
    Garbage,
    /// It ends within its answer.
    Dying,
}

impl Collector {
    const EACH: [Self; 6] =
        [Self::Well, Self::Refusing, Self::Slow, Self::Busy, Self::Garbage, Self::Dying];

    const fn name(self) -> &'static str {
        match self {
            Self::Well => "takes everything",
            Self::Refusing => "refuses connections",
            Self::Slow => "answers after 5 s",
            Self::Busy => "answers 429",
            Self::Garbage => "answers garbage",
            Self::Dying => "dies in its answer",
        }
    }

    /// Whether it never takes anything, so that everything is lost.
    const fn takes_none(self) -> bool {
        matches!(self, Self::Refusing | Self::Busy | Self::Garbage | Self::Dying)
    }

    async fn answer(self) -> Response {
        if self == Self::Slow {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        match self {
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
            _ => StatusCode::OK.into_response(),
        }
    }

    /// Its address, and what answers there.
    async fn start(self) -> Result<(String, JoinSet<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to listen")?;
        let endpoint = format!("http://{}", listener.local_addr().context("no address")?);
        let mut task = JoinSet::new();
        match self {
            Self::Refusing => drop(listener),
            Self::Garbage => _ = task.spawn(say(listener, GARBAGE)),
            Self::Dying => _ = task.spawn(say(listener, BROKEN_OFF)),
            Self::Well | Self::Slow | Self::Busy => {
                let routes = Router::new().fallback(move |_: Bytes| self.answer());
                let routes = routes.layer(DefaultBodyLimit::disable());
                task.spawn(async move {
                    _ = axum::serve(listener, routes).await;
                });
            }
        }
        Ok((endpoint, task))
    }
}

/// Says this to whoever says anything, and hangs up.
async fn say(listener: TcpListener, text: &'static [u8]) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            if stream.read(&mut vec![0; 64 * 1024]).await.is_ok_and(|it| it > 0) {
                _ = stream.write_all(text).await;
            }
        });
    }
}

/// What one run gave.
struct Passed {
    collector: Collector,
    a_second: f64,
    peak_mib: f64,
    /// Spans that it says were lost.
    lost: f64,
}

/// Measures, and prints the table; returns how many Polecats were lost.
pub async fn bench(options: &Options) -> Result<usize> {
    let part = if options.quick { 10 } else { 1 };
    let scenario = Scenario::Burst { polecats: 300 / part, namespaces: 10, in_flight: 16 };
    let (mut all, mut lost, mut machine) = (Vec::new(), 0, String::new());
    for round in 1..=options.close_rounds() {
        // Whoever is first in a round is last in the next, so that no place is always the same one's.
        let mut order = Collector::EACH;
        if round % 2 == 0 {
            order.reverse();
        }
        for collector in order {
            let (endpoint, _task) = collector.start().await?;
            let mut town = Town::start(scenario.namespaces(), Whose::Ours, None).await?;
            town.environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT".into(), endpoint)];
            town.webhooks = true;
            let asked = (Whose::Ours, Whose::Ours.version(options));
            let program = options.operator.clone();
            let run = run::run(&town, scenario, asked, program, round.into()).await;
            let run = run.with_context(|| format!("round {round}, {}", collector.name()))?;
            lost += figures::lost(&run);
            let passed = Passed {
                collector,
                a_second: rate(&run),
                peak_mib: run.peak_mib,
                lost: probes::total(&run.metrics, LOST),
            };
            eprintln!(
                "round {round}, {}: {:.2} Polecats a second, {:.1} MiB, {:.0} spans lost",
                collector.name(),
                passed.a_second,
                passed.peak_mib,
                passed.lost
            );
            all.push(passed);
            machine = machine::describe(&town.testbed).await?;
            town.testbed.stop().await?;
        }
    }
    let table = table(&scenario.title(), &all, options.close_rounds().into());
    println!("{table}\n{machine}");
    println!(
        "command: cargo bench --bench polecats -- --troubled; every run is recorded, and metrics and lines of the log are sent as well"
    );
    hold(&table)?;
    Ok(lost)
}

/// From the first create to the last Done.
fn rate(run: &Run) -> f64 {
    let first = run.courses.iter().filter_map(|it| it.sent).min();
    let last = run.courses.iter().filter_map(|it| it.done).max();
    let seconds = first.zip(last).map_or(f64::NAN, |(first, last)| (last - first).as_secs_f64());
    count(run.courses.len()) / seconds
}

fn table(title: &str, all: &[Passed], rounds: usize) -> String {
    let mut text = format!("\n{title}\n");
    let mut line = |cells: [&str; 7]| {
        let [name, rate, ratio, through, memory, bounded, lost] = cells;
        let _ = writeln!(
            text,
            "{name:<20} {rate:>30} {ratio:>6} {through:<18} {memory:>9} {bounded:<18} {lost}"
        );
    };
    line([
        "collector",
        "Polecats/s, median (min..max)",
        "ratio",
        "",
        "RSS, MiB",
        "",
        "spans lost, least of a round",
    ]);
    let of = |collector: Collector, value: fn(&Passed) -> f64| {
        sorted(all.iter().filter(|it| it.collector == collector).map(value).collect())
    };
    let median = |collector, value| quantile(&of(collector, value), 0.5);
    let (rate, memory) = (|it: &Passed| it.a_second, |it: &Passed| it.peak_mib);
    let base = (median(Collector::Well, rate), median(Collector::Well, memory));
    for collector in Collector::EACH {
        let (rates, mib) = (of(collector, rate), median(collector, memory));
        let through = quantile(&rates, 0.5) / base.0;
        // In every round: one that says nothing of what it lost would hide in a median.
        let lost = quantile(&of(collector, |it| it.lost), 0.0);
        let judged = |judges: bool, words: &str, met| {
            if judges { verdict(words, met, rounds) } else { String::new() }
        };
        let troubled = collector != Collector::Well;
        line([
            collector.name(),
            &format!(
                "{:.2} ({:.2}..{:.2})",
                quantile(&rates, 0.5),
                quantile(&rates, 0.0),
                quantile(&rates, 1.0)
            ),
            &format!("{through:.3}"),
            &judged(troubled, &format!(">= {THROUGH}"), through >= THROUGH),
            &format!("{mib:.1}"),
            &judged(troubled, &format!("<= {MEMORY} x"), mib <= MEMORY * base.1),
            &format!("{lost:.0} {}", judged(collector.takes_none(), "> 0", lost > 0.0)),
        ]);
    }
    text
}
