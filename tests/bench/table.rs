//! Prints figures for people: ours beside the original's, each with its goal.

use std::fmt::Write as _;

use crate::{
    figures::{Figure, Limit, quantile, sorted},
    goals::word,
    operators::Whose,
};

/// Rounds of ours that a goal is judged by, at the least.
pub const ENOUGH: usize = 3;

/// Runs of one scenario, in the order in which they were made.
pub type Runs = Vec<(Whose, Vec<Figure>)>;

/// The table of one scenario.
pub fn table(title: &str, runs: &Runs, goals: &[(&str, Limit)]) -> String {
    let rounds = runs.iter().filter(|it| it.0 == Whose::Ours).count();
    let mut text = format!("\n{title}\n");
    if rounds < ENOUGH {
        let _ = writeln!(
            text,
            "NOTE: {rounds} of at least {ENOUGH} rounds: a first look, by which no goal is judged"
        );
    }
    let line = |text: &mut String, cells: [&str; 5]| {
        let [name, ours, original, ratio, goal] = cells;
        let _ = writeln!(text, "{name:<42} {ours:>25} {original:>25} {ratio:>7}  {goal}");
    };
    line(&mut text, ["median (min..max) of rounds", "ours", "original", "ratio", "goal"]);
    for name in names(runs) {
        let (ours, original) =
            (Values::of(runs, Whose::Ours, name), Values::of(runs, Whose::Original, name));
        let ratio = ours.median / original.median;
        let goal = goals
            .iter()
            .find(|(it, _)| it == &name)
            .map(|(_, limit)| judge(*limit, (ours.median, ratio), rounds));
        let ratio = if ratio.is_finite() { format!("{ratio:.2}") } else { String::new() };
        line(&mut text, [name, &ours.cell(), &original.cell(), &ratio, &goal.unwrap_or_default()]);
    }
    text
}

/// Names in the order of our figures; those that only the original has come where it has them.
fn names(runs: &Runs) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let ours = runs.iter().filter(|it| it.0 == Whose::Ours);
    for (_, figures) in ours.chain(runs.iter().filter(|it| it.0 == Whose::Original)) {
        let mut after = 0;
        for Figure { name, .. } in figures {
            if let Some(at) = names.iter().position(|it| it == name) {
                after = at + 1;
            } else {
                names.insert(after, name);
                after += 1;
            }
        }
    }
    names
}

/// What the rounds of one operator gave for one figure.
struct Values {
    median: f64,
    least: f64,
    most: f64,
}

impl Values {
    fn of(runs: &Runs, whose: Whose, name: &str) -> Self {
        let figures = runs.iter().filter(|it| it.0 == whose).flat_map(|it| &it.1);
        let values = sorted(figures.filter(|it| it.name == name).map(|it| it.value).collect());
        Self {
            median: quantile(&values, 0.5),
            least: quantile(&values, 0.0),
            most: quantile(&values, 1.0),
        }
    }

    fn cell(&self) -> String {
        if self.median.is_nan() {
            return "-".to_owned();
        }
        let [median, least, most] = [self.median, self.least, self.most].map(number);
        if least == most { median } else { format!("{median} ({least}..{most})") }
    }
}

/// Three digits that matter.
fn number(it: f64) -> String {
    let size = it.abs();
    if it.is_infinite() {
        "beyond".to_owned()
    } else if size >= 100.0 || it.fract() == 0.0 {
        format!("{it:.0}")
    } else if size >= 10.0 {
        format!("{it:.1}")
    } else {
        format!("{it:.2}")
    }
}

fn judge(limit: Limit, (value, ratio): (f64, f64), rounds: usize) -> String {
    let (words, met) = match limit {
        Limit::AtLeast(least) => (format!(">= {}", number(least)), value >= least),
        Limit::AtMost(most) => (format!("<= {}", number(most)), value <= most),
        Limit::Below(bound) => (format!("< {}", number(bound)), value < bound),
        Limit::Ratio(_) if ratio.is_nan() => return "not judged without GO_ORIGINAL".to_owned(),
        Limit::Ratio(most) => (format!("<= {most} x"), ratio <= most),
    };
    verdict(&words, met, rounds)
}

/// What is said of a goal after so many rounds.
pub fn verdict(goal: &str, met: bool, rounds: usize) -> String {
    let verdict = if rounds < ENOUGH { "not judged by so few rounds" } else { word(met) };
    format!("{goal}: {verdict}")
}
