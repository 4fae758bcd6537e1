//! Replicas that have nothing to do: what they hold in memory, and how soon one more is ready.

use std::{fmt::Write as _, fs, time::Duration};

use anyhow::{Context as _, Result};
use gastown_testbed::{Operator, OperatorOptions, Options, Testbed};

use super::{Asked, Spread, goal, machine, said};

/// What a replica may hold, in bytes.
const MEMORY: f64 = 25_000_000.0;
/// As people read bytes, and as that bound is said.
const MB: f64 = 1_000_000.0;
/// What a start may take, in seconds.
const READY: f64 = 2.0;
/// Of a second, in what the kernel tells programs.
const TICKS: f64 = 100.0;
/// What a start let go of and what comes back of it by and by has come then: that takes two minutes.
const REST: Duration = Duration::from_secs(135);

/// Three replicas as they are installed, then one beside them again and again, with its certificate in files.
pub async fn measure(asked: &Asked) -> Result<String> {
    let options = Options {
        replicas: 3,
        operator: Some(asked.operator.clone()),
        operator_flags: vec!["--runner-image=registry.example.com/runner:1".into()],
        fsync: true,
        ..Options::default()
    };
    let bed = Testbed::start(options).await?;
    tokio::time::sleep(REST).await;
    let held = bed.replicas.iter().map(|it| rss(it.pid)).collect::<Result<Vec<_>>>()?;
    let fits = held.iter().all(|it| *it <= MEMORY);
    let met = goal(&format!("<= {} MB each", MEMORY / MB), fits);
    let held = said(&held.iter().map(|it| it / MB).collect(), "MB");
    let rest = REST.as_secs();
    let mut text = format!(
        "RSS of each of three replicas at rest, {rest} s after all were ready: {held}{met}\n"
    );
    let mut took = Vec::new();
    for number in 0..asked.starts {
        took.push(start(&bed, asked, number).await?);
    }
    let took = Spread::from_iter(took);
    let met = goal("<= 2 s each", took.max() <= READY);
    let _ = writeln!(text, "start to ready, certificates present: {}{met}", said(&took, "s"));
    text += &machine::describe(&bed).await?;
    bed.stop().await?;
    Ok(text)
}

/// Seconds from the beginning of a process to `/readyz`; then it ends.
async fn start(bed: &Testbed, asked: &Asked, number: u16) -> Result<f64> {
    let options = OperatorOptions {
        program: Some(asked.operator.clone()),
        name: format!("start-{number}"),
        environment: vec![("POD_UID".into(), format!("uid-start-{number}"))],
        flags: vec!["--runner-image=registry.example.com/runner:1".into()],
        ..OperatorOptions::default()
    };
    let operator = Operator::start(bed, options).await?;
    operator.wait_ready().await?;
    let took = age(operator.pid)?;
    operator.terminate(Duration::from_secs(60)).await?;
    Ok(took)
}

/// Seconds since a process began, to a hundredth.
fn age(pid: u32) -> Result<f64> {
    let number = |it: Option<&str>| -> Result<f64> { Ok(it.context("no number")?.parse()?) };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let uptime = fs::read_to_string("/proc/uptime")?;
    // Behind the name, which may hold anything: the 22nd word of all, the first of which is the process's number.
    let (_, rest) = stat.rsplit_once(") ").context("no name in its stat")?;
    let ticks = number(rest.split_ascii_whitespace().nth(19))?;
    Ok(number(uptime.split_ascii_whitespace().next())? - ticks / TICKS)
}

/// Bytes that are resident.
fn rss(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_ascii_whitespace().next().context("no number")?.parse()?;
    Ok(kib * 1024.0)
}
