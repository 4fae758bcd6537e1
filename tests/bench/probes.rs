//! Reads what a run cost: the operator's processor time and memory from the kernel, its requests from the audit log, its
//! own histograms from its metrics.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use gastown_testbed::{Operator, Testbed, audit::Event, http_get};
use k8s_openapi::jiff::Timestamp;

use crate::load::WARM;

/// Clock ticks a second in `/proc`, the same on every Linux this runs on.
const TICKS: f64 = 100.0;

/// Processor seconds, user and system, of all threads so far.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    parse_cpu(&stat).with_context(|| format!("{path} has no processor times"))
}

/// The program's name stands in parentheses and may itself hold blanks and parentheses.
pub fn parse_cpu(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut ticks = after_name.split_ascii_whitespace().skip(11).map(str::parse::<f64>);
    Some((ticks.next()?.ok()? + ticks.next()?.ok()?) / TICKS)
}

/// The most memory that was resident at once, in MiB.
pub fn peak_mib(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    parse_peak(&text).with_context(|| format!("{path} has no VmHWM"))
}

pub fn parse_peak(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// What one user asked for.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// By verb and resource, such as `patch polecats/status`.
    pub by_kind: BTreeMap<String, usize>,
    /// Of every resource but Leases: those follow the clock and no Polecat.
    pub writes: usize,
    pub lease_writes: usize,
}

/// Counts the requests of one user since then, without those of the warming up; those for Leases apart.
pub async fn requests(testbed: &Testbed, user: &str, since: Timestamp) -> Result<Requests> {
    Ok(counted(&testbed.audit_events().await?, user, since))
}

pub fn counted(events: &[Event], user: &str, since: Timestamp) -> Requests {
    let mut counted = Requests::default();
    let of_load = |it: &&Event| it.user == user && it.namespace != WARM && it.time >= since;
    for event in events.iter().filter(of_load) {
        if event.resource == "leases" {
            counted.lease_writes += usize::from(event.is_write());
            continue;
        }
        let slash = if event.subresource.is_empty() { "" } else { "/" };
        let what = format!("{} {}{slash}{}", event.verb, event.resource, event.subresource);
        let refused = if event.code < 400 { String::new() } else { format!(" ({})", event.code) };
        *counted.by_kind.entry(what + &refused).or_default() += 1;
        counted.writes += usize::from(event.is_write());
    }
    counted
}

/// A histogram of the polecat controller: upper bounds in seconds, and how many were at most that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    /// From the text of a scrape.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let prefix = format!("{name}_bucket{{");
        let mut buckets = Vec::new();
        for line in text.lines().filter_map(|it| it.strip_prefix(&prefix)) {
            let Some((labels, count)) = line.split_once("} ") else {
                bail!("a bucket without count: {line}")
            };
            if labels.contains("controller=\"polecat\"") {
                let bound = labels.split_once("le=\"").and_then(|(_, it)| it.split_once('"'));
                let bound = bound.with_context(|| format!("a bucket without bound: {line}"))?.0;
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
                buckets.push((bound, count.trim().parse()?));
            }
        }
        buckets.sort_by(|(left, _), (right, _)| f64::total_cmp(left, right));
        Ok(Self(buckets))
    }

    /// What was added since an earlier scrape.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            earlier
                .0
                .iter()
                .find(|(it, _)| f64::total_cmp(it, &bound).is_eq())
                .map_or(0.0, |it| it.1)
        };
        Self(self.0.iter().map(|&(bound, count)| (bound, count - before(bound))).collect())
    }

    /// How many observations it has.
    pub fn observed(&self) -> f64 {
        self.0.last().map_or(0.0, |it| it.1)
    }

    /// The least bound that this part of all observations kept; `None` without any.
    pub fn bound(&self, part: f64) -> Option<f64> {
        let all = self.0.last()?.1;
        (all > 0.0)
            .then(|| self.0.iter().find(|(_, count)| *count >= part * all))
            .flatten()
            .map(|it| it.0)
    }
}

/// The sum of a family's figures, whatever their labels.
pub fn total(text: &str, family: &str) -> f64 {
    let of =
        |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let figures = text.lines().filter(of).filter_map(|line| line.rsplit_once(' '));
    figures.filter_map(|(_, figure)| figure.parse::<f64>().ok()).sum()
}

/// Our operator's metrics.
pub async fn scrape(operator: &Operator) -> Result<String> {
    for _ in 0..5 {
        if let Ok((200, text)) = http_get(&operator.metrics).await {
            return Ok(text);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("{} does not answer at {}", operator.name, operator.metrics)
}
