//! Figures, ratios and goals, for people.

use std::fmt::Write as _;

use crate::{What, measure::Figures};

/// What everything was measured on.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|it| it.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = value(&read("/proc/cpuinfo"), "model name");
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    format!(
        "machine: {}, {} cores, {}, Linux {}",
        model.unwrap_or_else(|| "unknown processor".into()),
        std::thread::available_parallelism().map_or(0, usize::from),
        memory.unwrap_or_default(),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A table of medians, and how many goals were missed.
pub fn table(
    title: &str,
    rounds: &[(What, Figures)],
    body: usize,
    objects: usize,
) -> (String, usize) {
    let median = |what: What, of: fn(&Figures) -> f64| {
        let mut all: Vec<f64> =
            rounds.iter().filter(|it| it.0 == what).map(|it| of(&it.1)).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let seconds = |what| median(what, |it| it.seconds);
    let peak = |what| median(what, |it| mebibytes(it.peak));
    let body = mebibytes(body);
    // The goals are for lists of this size.
    let full = objects >= 10_000;
    let rows = [
        ("seconds of one core, review", seconds(What::Review), full.then_some(1.0)),
        ("seconds of one core, /convert", seconds(What::Route), full.then_some(1.0)),
        ("seconds of one core, Vec<Value>", seconds(What::Typed), None),
        ("  ours of theirs", seconds(What::Review) / seconds(What::Typed), Some(0.35)),
        ("extra MiB at most, review", peak(What::Review), None),
        ("  of the body", peak(What::Review) / body, full.then_some(2.0)),
        ("MiB at most with the body, /convert", peak(What::Route), None),
        ("  beyond the body, of the body", peak(What::Route) / body - 1.0, full.then_some(2.0)),
        ("extra MiB at most, Vec<Value>", peak(What::Typed), None),
        ("  ours of theirs", peak(What::Review) / peak(What::Typed), Some(0.15)),
        ("one object, median, us", median(What::Single, |it| it.single[0]), None),
        ("one object, p99, us", median(What::Single, |it| it.single[1]), Some(2000.0)),
        ("one object, slowest, us", median(What::Single, |it| it.single[2]), None),
    ];
    let mut text = format!("{title}\n");
    let mut missed = 0;
    let compared = rounds.iter().any(|it| it.0 == What::Typed);
    let with_types = |name: &str| name.contains("Vec<Value>") || name.contains("ours of theirs");
    for (name, value, goal) in rows.into_iter().filter(|it| compared || !with_types(it.0)) {
        let goal = goal.map(|most| {
            let met = value <= most;
            missed += usize::from(!met);
            format!("  <= {most}: {}", if met { "met" } else { "MISSED" })
        });
        let _ = writeln!(text, "{name:<38} {value:>9.3}{}", goal.unwrap_or_default());
    }
    (text, missed)
}
