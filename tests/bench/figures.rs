//! Turns runs into figures, and holds the goals that they are measured by.

use std::time::Instant;

use crate::{ledger::Course, options::Scenario, run::Run};

/// One figure of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub name: String,
    pub value: f64,
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
    /// At most this part of the original's.
    Ratio(f64),
}

/// Names of figures that goals are about.
const POD_P99: &str = "create -> pod p99, ms";
const WRITES: &str = "operator's writes per Polecat";
const CPU: &str = "operator's CPU-seconds per 1,000";
const PEAK: &str = "operator's peak RSS, MiB";
const WAIT: &str = "another's wait in our queue, longest, ms";
const RATE: &str = "pods made a second";
/// Part of the rate that was asked for which counts as sustained: a last pod that comes half a second late, as the goal for
/// p99 allows, takes a hundredth off 50 seconds.
pub const KEPT_UP: f64 = 0.985;

/// The goals of a scenario.
pub fn goals(scenario: Scenario) -> Vec<(&'static str, Limit)> {
    let costs =
        [(WRITES, Limit::AtMost(4.0)), (CPU, Limit::Ratio(0.35)), (PEAK, Limit::Ratio(0.35))];
    match scenario {
        Scenario::Burst { .. } => [vec![(POD_P99, Limit::Ratio(0.25))], costs.to_vec()].concat(),
        Scenario::Sustained { a_second, .. } => {
            let kept_up = Limit::AtLeast(KEPT_UP * f64::from(a_second));
            [vec![(POD_P99, Limit::Below(500.0)), (RATE, kept_up)], costs.to_vec()].concat()
        }
        Scenario::Fairness { .. } => {
            vec![
                (POD_P99, Limit::Below(1000.0)),
                // A bound of the histogram: all that it counts took at most that.
                (WAIT, Limit::AtMost(50.0)),
                (WRITES, Limit::AtMost(4.0)),
            ]
        }
    }
}

/// How many Polecats a run lost: not Done, or run more than once.
pub fn lost(run: &Run) -> usize {
    let whole = |it: &&Course| it.done.is_none() || it.pods.len() != 1;
    run.courses.iter().chain(&run.crowd).filter(whole).count()
}

/// Everything that a run says, in the order of the table.
pub fn figures(run: &Run) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut row = |name: &str, value: f64| figures.push(Figure { name: name.to_owned(), value });
    let all = count(run.courses.len() + run.crowd.len());
    let spans = |from: fn(&Course) -> Option<Instant>, to: fn(&Course) -> Option<Instant>| {
        let span =
            |it: &Course| Some(to(it)?.saturating_duration_since(from(it)?).as_secs_f64() * 1e3);
        sorted(run.courses.iter().filter_map(span).collect())
    };
    let answers = spans(|it| it.sent, |it| it.answered);
    row("(create answered p50, ms)", quantile(&answers, 0.5));
    row("(create answered p99, ms)", quantile(&answers, 0.99));
    let pods = spans(|it| it.sent, |it| it.pod);
    row("create -> pod p50, ms", quantile(&pods, 0.5));
    row("create -> pod p90, ms", quantile(&pods, 0.9));
    row(POD_P99, quantile(&pods, 0.99));
    row("create -> pod max, ms", quantile(&pods, 1.0));
    let ends = spans(|it| it.ended, |it| it.done);
    row("pod end -> Done p50, ms", quantile(&ends, 0.5));
    row("pod end -> Done p99, ms", quantile(&ends, 0.99));
    if let Some(queues) = &run.queues {
        let bound = |it: Option<f64>| it.map_or(f64::NAN, |it| it * 1e3);
        row("another's waits in our queue", queues.others.observed());
        row("another's wait in our queue p99, ms", bound(queues.others.bound(0.99)));
        row(WAIT, bound(queues.others.bound(1.0)));
        row("any namespace's turn p99, ms", bound(queues.turn.bound(0.99)));
        row("any namespace's turn, longest, ms", bound(queues.turn.bound(1.0)));
        row("anyone's wait in our queue p50, ms", bound(queues.wait.bound(0.5)));
        row("anyone's wait in our queue p99, ms", bound(queues.wait.bound(0.99)));
        row("anyone's wait, longest, ms", bound(queues.wait.bound(1.0)));
        row("crowd still waiting at the end", count(queues.still_waiting));
    }
    row(RATE, rate(run.courses.iter().chain(&run.crowd)));
    row(WRITES, count(run.requests.writes) / all);
    row("(its writes of Leases, per Polecat)", count(run.requests.lease_writes) / all);
    row("operator's requests per Polecat", count(run.requests.by_kind.values().sum()) / all);
    for (kind, times) in &run.requests.by_kind {
        let times = count(*times) / all;
        if times >= 0.005 {
            row(&format!("  {kind}"), times);
        }
    }
    row(CPU, run.cpu.operator / all * 1e3);
    row("(control plane's CPU-seconds per 1,000)", run.cpu.control_plane / all * 1e3);
    row(PEAK, run.peak_mib);
    row("Polecats", all);
    row("lost, or run twice", count(lost(run)));
    figures
}

/// Pods a second, from the first create or the first pod of a crowd to the last pod.
fn rate<'a>(courses: impl Iterator<Item = &'a Course> + Clone) -> f64 {
    let pods = courses.filter_map(|it| it.pod);
    let (first, last) = (pods.clone().min(), pods.clone().max());
    let seconds = first.zip(last).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
    count(pods.count()) / seconds.max(1e-3)
}

pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The least value that this part of all values does not exceed; not a number without any.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is small and not negative"
)]
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * count(sorted.len())).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "counts here stay far below 2^52")]
pub fn count(number: usize) -> f64 {
    number as f64
}
