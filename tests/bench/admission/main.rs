//! What a review of a pod costs: our operator, as it is released, beside kubernetes' own Pod Security webhook, with the same
//! certificate, the same pods and the same caller, in turns. Processor time is that of each server's process.

#![expect(clippy::indexing_slicing, reason = "a wrong place of a bench may end it")]
#![expect(clippy::disallowed_methods, reason = "a bench is no operator, and asks as it likes")]

mod caller;
mod pods;
mod servers;

use std::{fmt::Write as _, hint::black_box, path::PathBuf, time::Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use gastown::admission::pods::{Platform, Question, RuntimeClasses, Standard, Tables, door};
use gastown_testbed::Testbed;
use serde_json::Value;

use caller::{Caller, Latencies};
use servers::{Server, Servers};

/// Reviews of a second while latencies are measured.
const RATE: u32 = 500;
/// What one evaluation may take, in microseconds, and of how large a pod.
const EVALUATION: (f64, usize) = (150.0, 15_000);

#[derive(Debug, Parser)]
struct Asked {
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Measurements of each.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Kubernetes' webhook, where it is built already.
    #[arg(long, value_name = "PROGRAM")]
    webhook: Option<PathBuf>,
}

/// One measurement of one server.
#[derive(Clone, Debug, Default)]
struct Figures {
    /// Reviews for each second of its processor time.
    per_cpu_second: f64,
    /// Reviews of a second with eight callers at once.
    per_second: f64,
    p50: f64,
    p99: f64,
    resident: f64,
}

fn main() -> Result<()> {
    let asked = Asked::parse();
    gastown::tls::install_provider()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let missed = runtime.block_on(async {
        let durable = gastown_testbed::Options { fsync: true, ..Default::default() };
        let testbed = Testbed::start(durable).await?;
        testbed.install_crds().await?;
        let program = servers::podsecurity(asked.webhook.as_deref())?;
        let servers = Servers::start(&testbed, &program).await?;
        let missed = tokio::task::block_in_place(|| bench(&asked, &servers));
        drop(servers);
        testbed.stop().await?;
        missed
    })?;
    ensure!(missed == 0, "{missed} goals were missed");
    Ok(())
}

fn bench(asked: &Asked, servers: &Servers) -> Result<usize> {
    println!("{}", machine());
    let mut missed = 0;
    for bytes in [2_700, 12_000] {
        let body = pods::review(&pods::pod(bytes));
        for server in servers.both() {
            let allowed = caller::verdict(server, &body)?;
            let refused = caller::verdict(server, &pods::review(&pods::privileged(bytes)))?;
            ensure!(allowed && !refused, "{} judges neither pod as it is", server.name);
        }
        let mut rounds = [Vec::new(), Vec::new()];
        for _ in 0..asked.rounds {
            for (server, figures) in servers.both().into_iter().zip(&mut rounds) {
                figures.push(measure(asked, server, &body)?);
            }
        }
        let (text, lacking) = table(bytes, body.len(), &rounds.map(|it| medians(&it)));
        println!("{text}");
        missed += lacking;
    }
    let micros = evaluation()?;
    let (goal, bytes) = EVALUATION;
    println!(
        "evaluation of a pod of {bytes} bytes: {micros:.0} µs; goal {goal:.0}: {}",
        verdict(micros <= goal)
    );
    Ok(missed + usize::from(micros > goal))
}

fn measure(asked: &Asked, server: &Server, body: &str) -> Result<Figures> {
    let mut callers: Vec<_> =
        (0..8).map(|_| Caller::connect(server, body)).collect::<Result<_>>()?;
    for it in &mut callers {
        it.call()?; // what only the first one costs
    }
    let (used, begun) = (server.processor_time()?, Instant::now());
    let made = caller::as_many_as_can_be(&mut callers, asked.seconds)?;
    let (used, took) = (server.processor_time()? - used, begun.elapsed().as_secs_f64());
    let Latencies { p50, p99 } = caller::at_a_rate(&mut callers, RATE, asked.seconds)?;
    let made = f64::from(made);
    let resident = server.resident_mebibytes()?;
    Ok(Figures { per_cpu_second: made / used, per_second: made / took, p50, p99, resident })
}

fn medians(all: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut all: Vec<_> = all.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Figures {
        per_cpu_second: of(|it| it.per_cpu_second),
        per_second: of(|it| it.per_second),
        p50: of(|it| it.p50),
        p99: of(|it| it.p99),
        resident: of(|it| it.resident),
    }
}

/// Figure, ours, theirs, and the bound of the ratio, if there is one: at least (true) or at most.
type Row = (&'static str, fn(&Figures) -> f64, Option<(bool, f64)>);

fn table(pod: usize, review: usize, [ours, theirs]: &[Figures; 2]) -> (String, usize) {
    let rows: [Row; 5] = [
        ("reviews per CPU-second", |it| it.per_cpu_second, Some((true, 3.0))),
        ("reviews per second, 8 callers", |it| it.per_second, None),
        ("p50 at 500/s, ms", |it| it.p50, None),
        ("p99 at 500/s, ms", |it| it.p99, Some((false, 0.5))),
        ("RSS, MiB", |it| it.resident, Some((false, 0.5))),
    ];
    let mut text = format!("\na pod of {pod} bytes, a review of {review}\n");
    let _ = writeln!(text, "{:<32}{:>12}{:>14}{:>8}  goal", "", "ours", "kubernetes", "ratio");
    let mut missed = 0;
    for (name, figure, goal) in rows {
        let (one, other) = (figure(ours), figure(theirs));
        let ratio = one / other;
        let met =
            goal.is_none_or(|(least, bound)| if least { ratio >= bound } else { ratio <= bound });
        missed += usize::from(!met);
        let goal = goal.map_or_else(String::new, |(least, bound)| {
            format!("{} {bound}: {}", if least { ">=" } else { "<=" }, verdict(met))
        });
        let _ = writeln!(text, "{name:<32}{one:>12.2}{other:>14.2}{ratio:>8.2}  {goal}");
    }
    (text, missed)
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// Microseconds of one evaluation of a pod that was read.
fn evaluation() -> Result<f64> {
    const TIMES: u32 = 5_000;
    let pod: Value = pods::pod(EVALUATION.1);
    let question = Question {
        standard: Standard::default(),
        tables: Tables { scc: false, ..Tables::ALL },
        platform: Platform::Kubernetes,
        exceptions: &[],
        runtime_classes: RuntimeClasses::default(),
        fips: false,
        namespace: None,
    };
    let asked = door::Asked { kind: "Pod", subresource: "", user: "ada", object: &pod, old: None };
    let answer = door::answer(&asked, &question, &[], Vec::new());
    anyhow::ensure!(answer.refusal.is_none(), "the pod that is measured is refused");
    let begun = Instant::now();
    for _ in 0..TIMES {
        black_box(door::answer(black_box(&asked), &question, &[], Vec::new()));
    }
    let micros = begun.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES);
    Ok(micros)
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|it| it.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    format!(
        "machine: {}, {} cores, {}, Linux {}; shared by caller, servers and an API server at rest; load before {}",
        value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".into()),
        std::thread::available_parallelism().map_or(0, usize::from),
        value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default(),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split_whitespace().next().unwrap_or_default()
    )
}
