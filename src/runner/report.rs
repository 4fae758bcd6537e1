//! What the agent's container says of its end, in a file of the hand-over folder: the runner writes it in `claude`, and the agent
//! could have; `telemetry` reads it.

use std::io;

use serde_json::{Value, json};

use super::{files, paths::Paths};
use crate::domain::{
    layout,
    untrusted::{Scrubber, fit},
    verdict::{Ended, words},
};

/// Largest report, in bytes.
const MAX_BYTES: u64 = 16 * 1024;
/// Longest name of a branch of the agent's in a message, in bytes, and most of them.
const MAX_NAME: usize = 60;
const MAX_NAMES: usize = 8;
/// The field beside those of [`Ended`].
const NOT_HANDED_OVER: &str = "notHandedOver";

/// The agent's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub ended: Ended,
    /// Branches with commits of the agent's that are not handed over, fit for a message.
    pub not_handed_over: Vec<String>,
}

impl Report {
    pub fn write(&self, paths: &Paths) -> io::Result<()> {
        let mut json = serde_json::to_value(&self.ended)?;
        if let (Value::Object(fields), false) = (&mut json, self.not_handed_over.is_empty()) {
            fields.insert(NOT_HANDED_OVER.to_owned(), json!(self.not_handed_over));
        }
        files::write(&paths.at(layout::ENDED), &serde_json::to_vec(&json)?, 0o644)
    }

    /// Nothing where it is none. Words that we don't know are left out.
    pub fn read(paths: &Paths) -> Option<Self> {
        let text = files::read_plain(&paths.at(layout::ENDED), MAX_BYTES).ok()?;
        let mut json: Value = serde_json::from_str(&text).ok()?;
        let names = json.as_object_mut()?.remove(NOT_HANDED_OVER).unwrap_or_else(|| json!([]));
        let names: Vec<String> = serde_json::from_value(names).ok()?;
        let mut ended: Ended = serde_json::from_value(json).ok()?;
        let known = |it: &String, among: &[&str]| among.contains(&it.as_str());
        ended.stopped = ended.stopped.filter(|it| known(it, &words::STOPPED));
        let handed =
            [words::BUNDLE, words::PARTLY, words::NOTHING, words::FAILED, words::TOO_LARGE];
        ended.handover = ended.handover.filter(|it| known(it, &handed));
        let not_handed_over = names.iter().take(MAX_NAMES + 1).map(|it| called(it)).collect();
        Some(Self { ended: ended.fit(), not_handed_over })
    }
}

/// A branch's name as people know it. The agent chose it.
pub fn called(name: &str) -> String {
    let name = name.strip_prefix("refs/heads/").unwrap_or(name);
    fit(&Scrubber::default().scrub(name), MAX_NAME)
}

/// The same of some of them, and how many more there are.
pub fn some(names: &[String]) -> Vec<String> {
    let mut some: Vec<String> = names.iter().take(MAX_NAMES).map(|it| called(it)).collect();
    if let more @ 1.. = names.len().saturating_sub(MAX_NAMES) {
        some.push(format!("{more} more"));
    }
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(&root.path().to_string_lossy());
        std::fs::create_dir_all(paths.at(layout::HANDOVER.path)).unwrap();
        let names: Vec<String> = (0..10).map(|it| format!("refs/heads/b{it}")).collect();
        for not_handed_over in [Vec::new(), some(&names)] {
            let ended = Ended { exit_code: 7, seconds: 1.5, ..Ended::default() };
            let report = Report { ended, not_handed_over };
            report.write(&paths).unwrap();
            assert_eq!(Report::read(&paths), Some(report));
        }
        assert_eq!(some(&names).last().map(String::as_str), Some("2 more"));
    }
}
