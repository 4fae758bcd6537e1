//! What a collector in trouble costs: Polecats a second of a burst, from the first create to the last Done, beside those with a
//! collector that takes everything, in turns, each on a control plane of its own.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    figures::{self, count, quantile, sorted},
    machine,
    operators::Whose,
    options::{Options, Scenario},
    run::{self, Run},
    town::Town,
};

/// At least so many times what goes through with a collector that is well.
const GOAL: f64 = 0.98;
const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

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

    async fn answer(self, mut stream: TcpStream) {
        let mut buffer = vec![0; 64 * 1024];
        // Whether it has taken all of a request is not known here; what it says comes early at worst.
        while stream.read(&mut buffer).await.is_ok_and(|it| it > 0) {
            let text = match self {
                Self::Well => TAKEN,
                Self::Slow => {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    TAKEN
                }
                Self::Busy => {
                    "HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"
                }
                Self::Garbage => "\0\u{1}garbage\r\n\r\n",
                Self::Refusing | Self::Dying => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nab",
            };
            if stream.write_all(text.as_bytes()).await.is_err() || self == Self::Dying {
                return;
            }
        }
    }

    /// Its address, and what answers there.
    async fn start(self) -> Result<(String, JoinSet<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("failed to listen")?;
        let endpoint = format!("http://{}", listener.local_addr().context("no address")?);
        let mut task = JoinSet::new();
        if self != Self::Refusing {
            task.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(self.answer(stream));
                }
            });
        }
        Ok((endpoint, task))
    }
}

/// What one run gave.
struct Passed {
    collector: Collector,
    a_second: f64,
    peak_mib: f64,
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
            let asked = (Whose::Ours, Whose::Ours.version(options));
            let program = options.operator.clone();
            let run = run::run(&town, scenario, asked, program, round.into()).await;
            let run = run.with_context(|| format!("round {round}, {}", collector.name()))?;
            lost += figures::lost(&run);
            let passed = Passed { collector, a_second: rate(&run), peak_mib: run.peak_mib };
            eprintln!(
                "round {round}, {}: {:.2} Polecats a second, {:.1} MiB",
                collector.name(),
                passed.a_second,
                passed.peak_mib
            );
            all.push(passed);
            machine = machine::describe(&town.testbed).await?;
            town.testbed.stop().await?;
        }
    }
    println!("{}\n{machine}", table(&scenario.title(), &all));
    println!(
        "command: make bench-telemetry; every run is recorded, and metrics and lines of the log are sent as well"
    );
    Ok(lost)
}

/// From the first create to the last Done.
fn rate(run: &Run) -> f64 {
    let first = run.courses.iter().filter_map(|it| it.sent).min();
    let last = run.courses.iter().filter_map(|it| it.done).max();
    let seconds = first.zip(last).map_or(f64::NAN, |(first, last)| (last - first).as_secs_f64());
    count(run.courses.len()) / seconds
}

fn table(title: &str, all: &[Passed]) -> String {
    let mut text = format!("\n{title}\n");
    let _ = writeln!(
        text,
        "{:<20} {:>34} {:>7} {:>16} {:>10}",
        "collector", "Polecats/s, median (min..max)", "ratio", "goal", "RSS, MiB"
    );
    let of = |collector: Collector, value: fn(&Passed) -> f64| {
        sorted(all.iter().filter(|it| it.collector == collector).map(value).collect())
    };
    let base = quantile(&of(Collector::Well, |it| it.a_second), 0.5);
    for collector in Collector::EACH {
        let rates = of(collector, |it| it.a_second);
        let median = quantile(&rates, 0.5);
        let ratio = median / base;
        let goal = match collector {
            Collector::Well => String::new(),
            _ if ratio >= GOAL => format!(">= {GOAL}: met"),
            _ => format!(">= {GOAL}: MISSED"),
        };
        let (least, most) = (quantile(&rates, 0.0), quantile(&rates, 1.0));
        let _ = writeln!(
            text,
            "{:<20} {:>34} {ratio:>7.3} {goal:>16} {:>10.1}",
            collector.name(),
            format!("{median:.2} ({least:.2}..{most:.2})"),
            quantile(&of(collector, |it| it.peak_mib), 0.5),
        );
    }
    text
}
