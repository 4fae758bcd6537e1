//! What the kernel says of this process, under the names that every client library of Prometheus has for it.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::cluster::meters::table;

/// Ticks of a second in /proc, on every architecture of Linux that there is.
const TICKS: f64 = 100.0;

#[derive(Debug)]
pub struct Process;

/// Times of this process in /proc/self/stat, in seconds: on processors, and from the machine's start to its own.
fn times() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Its name may hold anything; what follows its last bracket is numbers.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(((ticks(11)? + ticks(12)?) / TICKS, ticks(19)? / TICKS))
}

/// When the machine started, in seconds since 1970.
fn booted() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|it| it.strip_prefix("btime "))?.trim().parse().ok()
}

fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<i64>().ok().map(|kib| kib * 1024)
}

fn open() -> Option<i64> {
    let count = std::fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(count).ok()
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauges = [("process_resident_memory_bytes", resident()), ("process_open_fds", open())];
        for (name, value) in gauges {
            if let Some(value) = value {
                tell(&mut encoder, name, &ConstGauge::new(value))?;
            }
        }
        if let Some((used, since)) = times() {
            tell(&mut encoder, "process_cpu_seconds_total", &ConstCounter::new(used))?;
            if let Some(booted) = booted() {
                tell(&mut encoder, "process_start_time_seconds", &ConstGauge::new(booted + since))?;
            }
        }
        Ok(())
    }
}

fn tell(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    let help = table::row(name).map_or("", |it| it.help);
    let name = if name.ends_with("_total") { name.trim_end_matches("_total") } else { name };
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
