//! What replicas write about shards in their logs, which is when they may act: read instead of asked, so that measuring
//! costs them nothing.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use gastown_testbed::Operator;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// A replica acts in a shard from now on.
pub const OWNED: &str = "Shard owned";
/// A replica ends its work in a shard, and gives it back then.
pub const GIVING: &str = "Giving the shard back";
/// It lost a shard, and ends its work there.
const LOST: &str = "Shard not owned any more; its work ends";

/// One line about a shard.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: Timestamp,
    pub shard: String,
    pub replica: String,
}

/// Lines of a replica's log with this message, from a moment on.
pub fn lines(operator: &Operator, message: &str, from: Timestamp) -> Result<Vec<Line>> {
    let path = operator.log.display();
    let text =
        std::fs::read_to_string(&operator.log).with_context(|| format!("failed to read {path}"))?;
    let mut lines = Vec::new();
    for line in text.lines().filter(|it| it.contains(message)) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let word = |name: &str| line.get(name).and_then(Value::as_str);
        let at = word("timestamp").and_then(|it| it.parse::<Timestamp>().ok());
        let at = at.with_context(|| format!("a line without a time in {path}"))?;
        if word("message") == Some(message) && at >= from {
            let shard =
                word("shard").with_context(|| format!("a line without a shard in {path}"))?;
            // Work had ended so long before it was written.
            let before = line.get("closed_ms").and_then(Value::as_i64).unwrap_or_default();
            let at = at - SignedDuration::from_millis(before);
            lines.push(Line { at, shard: shard.to_owned(), replica: operator.name.clone() });
        }
    }
    Ok(lines)
}

/// The same of several, in the order of time.
pub fn all<'a>(
    operators: impl IntoIterator<Item = &'a Operator>,
    message: &str,
    from: Timestamp,
) -> Result<Vec<Line>> {
    let mut all = Vec::new();
    for it in operators {
        all.extend(lines(it, message, from)?);
    }
    all.sort_by_key(|it| it.at);
    Ok(all)
}

/// The shards that a replica had to the end of its log.
pub fn held(operator: &Operator) -> Result<BTreeSet<String>> {
    let mut turns = Vec::new();
    for (message, owned) in [(OWNED, true), (GIVING, false), (LOST, false)] {
        let lines = lines(operator, message, Timestamp::MIN)?;
        turns.extend(lines.into_iter().map(|it| (it.at, it.shard, owned)));
    }
    turns.sort();
    let mut held = BTreeSet::new();
    for (_, shard, owned) in turns {
        if owned {
            held.insert(shard);
        } else {
            held.remove(&shard);
        }
    }
    Ok(held)
}

/// Milliseconds from one moment to another.
pub fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1e3
}

/// How long nobody acted in each shard that was given back.
pub fn gaps(given: &[Line], owned: &[Line]) -> Result<Vec<f64>> {
    let gap = |it: &Line| {
        let next = owned.iter().find(|next| next.shard == it.shard && next.at > it.at);
        let next =
            next.with_context(|| format!("{} gave shard {} to nobody", it.replica, it.shard))?;
        Ok(millis(it.at, next.at))
    };
    given.iter().map(gap).collect()
}
