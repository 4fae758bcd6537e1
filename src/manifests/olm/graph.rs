//! Which release comes after which. OLM goes along these edges alone, so no release may fall out of the catalog: who runs it
//! would get no update any more.
//!
//! # Why nothing is skipped
//! What a release no longer takes was taken with a warning by the one before, and what is stored is carried over by it
//! (docs/support.md: one release at a time). So each replaces the one before it, and neither `skips` nor `skipRange` leads past.

use serde_json::{Value, json};

use super::PACKAGE;

/// Every version that was released, in the order in which that was done; the last is this one. A release begins with its row
/// here.
pub const RELEASES: &[&str] = &["0.5.0"];

/// What a channel says of these versions, in their order: the names of their CSVs, and which each replaces.
pub fn entries(releases: &[&str]) -> Vec<Value> {
    let name = |version: &str| format!("{PACKAGE}.v{version}");
    let before = std::iter::once(None).chain(releases.iter().map(Some));
    let entry = |(version, before): (&&str, Option<&&str>)| match before {
        Some(before) => json!({"name": name(version), "replaces": name(before)}),
        None => json!({"name": name(version)}),
    };
    releases.iter().zip(before).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_replaces_the_one_before_it() {
        let name = |it: &str| format!("gastown-operator.v{it}");
        let want = [
            json!({"name": name("0.5.0")}),
            json!({"name": name("0.5.1"), "replaces": name("0.5.0")}),
            json!({"name": name("0.6.0"), "replaces": name("0.5.1")}),
        ];
        assert_eq!(entries(&["0.5.0", "0.5.1", "0.6.0"]), want);
    }
}
