//! What an examination says: a row for each check, with what was found and how to mend it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::plugin::table;

/// How a check or a finding of it stands, from good to bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    #[default]
    Ok,
    /// Worth knowing, or worth doing when there is time; fails nothing.
    Advice,
    /// Who asks may not know it.
    Unknown,
    Failed,
}

impl State {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub state: State,
    /// The object that it is about.
    pub place: String,
    pub found: String,
    /// What to do about it.
    pub fix: String,
}

impl Finding {
    pub fn failed(
        place: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { state: State::Failed, place: place.into(), found: found.into(), fix: fix.into() }
    }

    pub fn advice(
        place: impl Into<String>,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { state: State::Advice, ..Self::failed(place, found, fix) }
    }

    /// What can't be known, in the API server's words.
    pub fn unknown(place: impl Into<String>, why: &str) -> Self {
        let fix = "ask again as somebody who may read that, such as cluster-admin";
        Self { state: State::Unknown, ..Self::failed(place, why, fix) }
    }
}

/// A check and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub id: &'static str,
    /// The question, for people.
    pub what: &'static str,
    /// What was found where nothing is the matter.
    pub well: String,
    pub findings: Vec<Finding>,
}

impl Row {
    /// As bad as the worst that was found.
    pub fn state(&self) -> State {
        self.findings.iter().map(|it| it.state).max().unwrap_or_default()
    }

    fn json(&self) -> Value {
        let one = |it: &Finding| json!({"state": it.state.name(), "where": it.place, "found": it.found, "fix": it.fix});
        json!({
            "id": self.id, "what": self.what, "state": self.state().name(),
            "found": if self.findings.is_empty() { &self.well } else { "" },
            "findings": self.findings.iter().map(one).collect::<Vec<_>>(),
        })
    }
}

/// Whether anything failed.
pub fn any_failed(rows: &[Row]) -> bool {
    rows.iter().any(|it| it.state() == State::Failed)
}

/// One line of JSON for each check.
pub fn lines(rows: &[Row]) -> String {
    rows.iter().fold(String::new(), |mut text, it| {
        let _ = writeln!(text, "{}", it.json());
        text
    })
}

/// A table, and below it each finding with what to do; once, where the same mends several that follow one another.
pub fn shown(rows: &[Row]) -> String {
    let cells = |it: &Row| {
        let found = match &*it.findings {
            [] => it.well.clone(),
            [one] => format!("{}: {}", one.place, one.found),
            [first, ..] => {
                format!("{}: {} (and {} more)", first.place, first.found, it.findings.len() - 1)
            }
        };
        let line = found.lines().next().unwrap_or_default();
        vec![it.id.to_owned(), it.state().name().to_owned(), cut(line)]
    };
    let all: Vec<_> = rows.iter().map(cells).collect();
    let mut text = table::render(&["CHECK", "STATE", "FOUND"], &all);
    for row in rows.iter().filter(|it| !it.findings.is_empty()) {
        let _ = writeln!(text, "\n{}: {}", row.id, row.what);
        // One hundred rights that one command gives are told what to do once.
        for alike in row.findings.chunk_by(|one, next| one.fix == next.fix) {
            for it in alike {
                let _ = writeln!(text, "  {}: {}: {}", it.state.name(), it.place, it.found);
            }
            let _ = writeln!(text, "    {}", alike.first().map_or("", |it| &*it.fix));
        }
    }
    let count = |state| rows.iter().filter(|it| it.state() == state).count();
    let _ = writeln!(
        text,
        "\n{} checks: {} ok, {} advice, {} unknown, {} failed",
        rows.len(),
        count(State::Ok),
        count(State::Advice),
        count(State::Unknown),
        count(State::Failed)
    );
    text
}

/// What fits into a row of the table: all of it stands below.
fn cut(line: &str) -> String {
    const WIDEST: usize = 96;
    if line.chars().count() <= WIDEST {
        return line.to_owned();
    }
    line.chars().take(WIDEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &'static str, findings: Vec<Finding>) -> Row {
        Row { id, what: "is it?", well: "it is".into(), findings }
    }

    #[test]
    fn a_row_is_as_bad_as_its_worst_finding_and_only_failures_fail() {
        let (advice, unknown) = (Finding::advice("a", "b", "c"), Finding::unknown("a", "denied"));
        let rows = [row("x", vec![]), row("y", vec![unknown.clone(), advice])];
        assert_eq!((rows[0].state(), rows[1].state()), (State::Ok, State::Unknown));
        assert!(!any_failed(&rows), "advice and what can't be known fail nothing");
        let failed = row("z", vec![unknown, Finding::failed("a", "b", "c")]);
        assert_eq!(failed.state(), State::Failed);
        assert!(any_failed(&[failed]));
    }

    #[test]
    fn both_forms_say_what_where_and_how_to_mend_it() {
        let finding = Finding::failed("Namespace town", "is gone", "make it again");
        let rows = [row("good", vec![]), row("bad", vec![finding])];
        let text = shown(&rows);
        for part in
            ["good", "it is", "Namespace town: is gone", "make it again", "1 ok", "1 failed"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = lines(&rows);
        let all: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        assert_eq!((&all[0]["state"], &all[0]["found"]), (&json!("ok"), &json!("it is")));
        let want = json!({"state": "failed", "where": "Namespace town", "found": "is gone", "fix": "make it again"});
        assert_eq!(all[1]["findings"], json!([want]));
    }

    #[test]
    fn what_mends_several_is_said_once_below_them() {
        let of = |place: &str, fix: &str| Finding::failed(place, "is gone", fix);
        let text = shown(&[row("bad", vec![of("a", "one"), of("b", "one"), of("c", "two")])]);
        let (_, below) = text.split_once("bad: is it?\n").unwrap();
        let want =
            "  failed: a: is gone\n  failed: b: is gone\n    one\n  failed: c: is gone\n    two\n";
        assert!(below.starts_with(want), "{below}");
    }

    #[test]
    fn a_long_line_is_cut_in_the_table_alone() {
        let long = "x".repeat(200);
        let text = shown(&[row("bad", vec![Finding::failed("a", &*long, "mend")])]);
        assert!(text.lines().nth(1).unwrap().chars().count() < 120, "{text}");
        assert!(text.contains(&long), "it stands below");
    }
}
