//! How figures of one kind are spread.

use std::fmt;

use anyhow::{Result, ensure};

/// Figures in milliseconds, sorted.
#[derive(Clone, Debug, Default)]
pub struct Spread(Vec<f64>);

impl FromIterator<f64> for Spread {
    fn from_iter<T: IntoIterator<Item = f64>>(all: T) -> Self {
        let mut all: Vec<f64> = all.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }
}

impl Spread {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn max(&self) -> f64 {
        self.part(1.0)
    }

    /// The least figure that this part of all does not exceed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank is small and not negative"
    )]
    pub fn part(&self, part: f64) -> f64 {
        let rank = (part * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [least, half, most, max] = [0.0, 0.5, 0.99, 1.0].map(|it| self.part(it));
        write!(
            f,
            "n {:>5}  min {least:>8.1}  p50 {half:>8.1}  p99 {most:>8.1}  max {max:>8.1} ms",
            self.len()
        )
    }
}

/// One row of a table, with what is wanted.
pub fn row(name: &str, figures: &Spread, goal: Option<(f64, f64)>) -> String {
    let goal = goal.map(|(p99, max)| {
        let met = figures.part(0.99) <= p99 && figures.max() <= max;
        format!("  p99 <= {p99:.0}, max <= {max:.0}: {}", if met { "met" } else { "MISSED" })
    });
    format!("{name:<44} {figures}{}\n", goal.unwrap_or_default())
}

/// Fails naming what does not add up.
pub fn check() -> Result<()> {
    let hundred: Spread = (1..=100).rev().map(f64::from).collect();
    for (part, want) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
        let got = hundred.part(part);
        ensure!(got.total_cmp(&want).is_eq(), "part {part}: {got} instead of {want}");
    }
    ensure!(Spread::default().max().is_nan(), "nothing has no maximum");
    ensure!(row("", &hundred, Some((99.0, 100.0))).contains("met"), "a goal that is met");
    ensure!(row("", &hundred, Some((98.0, 100.0))).contains("MISSED"), "a goal that is not");
    ensure!(
        row("", &Spread::default(), Some((98.0, 100.0))).contains("MISSED"),
        "nothing meets none"
    );
    Ok(())
}
