//! The bench's own arithmetic on known input: checked before every bench and by `cargo test`, as a bench has no harness
//! for unit tests.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use gastown_testbed::audit::Event;
use serde_json::json;

use crate::{
    figures::{self, Figure, Limit, quantile},
    goals, load,
    machine::{self, Program},
    operators::Whose,
    options::{Scenario, Version},
    probes::{Histogram, counted, parse_cpu, parse_peak, total},
    run::{Queues, Run},
    table,
    to_hub::to_hub,
};

/// Fails naming what does not add up.
pub fn all() -> Result<()> {
    quantiles()?;
    processes()?;
    histograms()?;
    requests()?;
    loads()?;
    planes()?;
    tables()
}

fn quantiles() -> Result<()> {
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    for (part, want) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
        let got = quantile(&values, part);
        ensure!(got.total_cmp(&want).is_eq(), "quantile {part}: {got} instead of {want}");
    }
    ensure!(quantile(&[7.0], 0.99) > 6.0 && quantile(&[], 0.5).is_nan(), "quantiles of few values");
    Ok(())
}

fn processes() -> Result<()> {
    let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 4711 0 0";
    ensure!(parse_cpu(stat) == Some(2.0), "processor times: {:?}", parse_cpu(stat));
    let status = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n";
    ensure!(parse_peak(status) == Some(2.0), "peak memory: {:?}", parse_peak(status));
    ensure!(parse_cpu("7 (x) S 1").is_none() && parse_peak("").is_none(), "what is not there");
    Ok(())
}

fn histograms() -> Result<()> {
    let text = |low: u32, high: u32| {
        format!(
            "# TYPE turn histogram\nturn_sum{{controller=\"polecat\"}} 1.0\n\
             turn_bucket{{le=\"0.05\",controller=\"polecat\"}} {low}\nturn_bucket{{le=\"0.01\",controller=\"rig\"}} 1\n\
             turn_bucket{{le=\"+Inf\",controller=\"polecat\"}} {high}\n"
        )
    };
    let early = Histogram::parse(&text(90, 100), "turn")?;
    ensure!(
        early.bound(0.9) == Some(0.05) && early.bound(1.0) == Some(f64::INFINITY),
        "bounds of {early:?}"
    );
    let late = Histogram::parse(&text(190, 200), "turn")?.since(&early);
    ensure!(late.bound(1.0) == Some(0.05), "what came since: {late:?}");
    ensure!(early.since(&early).bound(1.0).is_none(), "nothing came since");
    ensure!(early.observed() > 99.5 && early.since(&early).observed() < 0.5, "how many there are");
    ensure!(Histogram::parse("", "turn")? == Histogram::default(), "an empty scrape");
    let text = "# TYPE lost counter\nlost_total{reason=\"full\"} 3\nlost_total{reason=\"no\"} 4\nlost_total_more 9\n";
    ensure!((total(text, "lost_total") - 7.0).abs() < 0.1, "the sum of a family");
    ensure!(total("lost_total 2\n", "lost_total") > 1.9, "one without labels");
    Ok(())
}

/// Every write counts, whatever of; those of Leases apart, and none from before the load.
fn requests() -> Result<()> {
    let at = |second: &str| format!("2026-01-01T00:00:{second}Z").parse();
    let event = |user: &str, verb: &str, resource: &str, namespace: &str| -> Result<Event> {
        Ok(Event {
            verb: verb.into(),
            user: user.into(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: namespace.into(),
            name: "x".into(),
            code: 200,
            user_agent: String::new(),
            uri: String::new(),
            time: at("01")?,
            done: at("01")?,
            annotations: BTreeMap::new(),
            lease: None,
        })
    };
    let events = [
        event("ours-1", "patch", "polecats", "a")?,
        event("ours-1", "create", "events", "a")?,
        event("ours-1", "update", "shardmaps", "b")?,
        event("ours-1", "create", "configmaps", "a")?,
        event("ours-1", "create", "subjectaccessreviews", "")?,
        event("ours-1", "get", "polecats", "a")?,
        event("ours-1", "update", "leases", "b")?,
        event("ours-1", "patch", "polecats", load::WARM)?,
        event("player", "patch", "pods", "a")?,
        Event { time: at("00")?, ..event("ours-1", "create", "shardmaps", "b")? },
    ];
    let counted = counted(&events, "ours-1", at("01")?);
    let all: usize = counted.by_kind.values().sum();
    ensure!(
        (counted.writes, counted.lease_writes, all) == (4, 1, 6),
        "what is counted: {counted:?}"
    );
    Ok(())
}

/// Either version asks for the same.
fn loads() -> Result<()> {
    let old = json!({
        "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat", "metadata": {},
        "spec": load::spec("p", Version::V1alpha1),
    });
    let old = to_hub(serde_json::from_value(old)?).spec;
    let new: gastown::api::v1beta1::PolecatSpec =
        serde_json::from_value(load::spec("p", Version::V1beta1))?;
    ensure!(old == new, "the versions ask for different work: {old:?} and {new:?}");
    Ok(())
}

fn tables() -> Result<()> {
    let run = |whose, name: &str, value| (whose, vec![Figure { name: name.to_owned(), value }]);
    let runs = vec![
        run(Whose::Ours, "wait", 10.0),
        run(Whose::Original, "wait", 40.0),
        run(Whose::Ours, "wait", 12.0),
        run(Whose::Original, "more", 1.0),
        run(Whose::Ours, "wait", 5.0),
    ];
    for (limit, want) in [
        (Limit::AtLeast(10.0), ">= 10: met"),
        (Limit::AtLeast(10.5), ">= 10.5: MISSED"),
        (Limit::Ratio(0.25), "<= 0.25 x: met"),
        (Limit::Ratio(0.2), "<= 0.2 x: MISSED"),
        (Limit::Below(10.0), "< 10: MISSED"),
        (Limit::AtMost(10.0), "<= 10: met"),
    ] {
        let text = table::table("title", &runs, &[("wait", limit)]);
        let row = text.lines().find(|it| it.starts_with("wait")).unwrap_or_default();
        ensure!(row.contains(want), "{limit:?} in {row:?}");
        ensure!(goals::hold(&text).is_err() == want.contains("MISSED"), "{limit:?}: {text}");
        ensure!(row.contains("10 (5..12)") && row.contains(" 0.25 "), "{row:?}");
        ensure!(text.contains("\nmore "), "a row that only one has: {text}");
        ensure!(!text.contains("NOTE"), "three rounds are enough: {text}");
        let few =
            table::table("title", &runs.get(1..).unwrap_or_default().to_vec(), &[("wait", limit)]);
        ensure!(few.contains("NOTE: 2 of at least 3 rounds"), "{few}");
        ensure!(few.contains("not judged by so few rounds"), "{few}");
        ensure!(
            !few.contains(": met") && !few.contains("MISSED"),
            "two rounds judge nothing: {few}"
        );
    }
    goals()
}

/// What the issue asks for is judged in each scenario, each limit by the figure that it is about, and nothing else is.
fn goals() -> Result<()> {
    let sustained = Scenario::Sustained { polecats: 4, namespaces: 2, a_second: 40 };
    let fairness = Scenario::Fairness { crowd: 4, others: 2, a_second: 2 };
    let burst = Scenario::Burst { polecats: 4, namespaces: 2, in_flight: 1 };
    let (pod_p99, writes) = ("create -> pod p99, ms", "operator's writes per Polecat");
    let costs = [
        (writes, Limit::AtMost(4.0)),
        ("operator's CPU-seconds per 1,000", Limit::Ratio(0.35)),
        ("operator's peak RSS, MiB", Limit::Ratio(0.35)),
    ];
    let kept_up = ("pods made a second", Limit::AtLeast(figures::KEPT_UP * 40.0));
    let queue = ("another's wait in our queue, longest, ms", Limit::AtMost(50.0));
    for (scenario, want) in [
        (burst, [vec![(pod_p99, Limit::Ratio(0.25))], costs.to_vec()].concat()),
        (sustained, [vec![(pod_p99, Limit::Below(500.0)), kept_up], costs.to_vec()].concat()),
        (fairness, vec![(pod_p99, Limit::Below(1000.0)), queue, (writes, Limit::AtMost(4.0))]),
    ] {
        let goals = figures::goals(scenario);
        ensure!(goals == want, "{scenario:?} is judged by {goals:?} instead of {want:?}");
        let queues = matches!(scenario, Scenario::Fairness { .. }).then(Queues::default);
        let rows = figures::figures(&Run { queues, ..Run::default() });
        let ours = vec![(Whose::Ours, rows.clone())];
        let text = table::table("title", &ours, &goals);
        for (name, _) in want {
            let of_that_name = rows.iter().filter(|it| it.name == name).count();
            ensure!(of_that_name == 1, "{of_that_name} rows are called {name}");
            let row = text.lines().find(|it| it.starts_with(name)).unwrap_or_default();
            ensure!(row.contains("judged"), "{name} is printed without its goal: {row:?}");
        }
    }
    Ok(())
}

/// What is said of a control plane is what its programs were started with.
fn planes() -> Result<()> {
    let program = |name: &str, argument: &str, stopped| Program {
        pid: 1,
        name: name.to_owned(),
        arguments: vec!["--data-dir=/x".to_owned(), argument.to_owned()],
        stopped,
    };
    let etcd = || program("etcd", "--name=x", false);
    let server = || program("kube-apiserver", "--audit-log-path=/x/audit.log", false);
    for (programs, want) in [
        (
            vec![server(), etcd(), program("kube-scheduler", "", true)],
            "1 API server, 1 etcd with fsync, audit log on, scheduler frozen",
        ),
        (
            vec![server(), program("etcd", "--unsafe-no-fsync", false)],
            "1 API server, 1 etcd WITHOUT fsync, audit log on, no scheduler",
        ),
        (
            vec![
                program("kube-apiserver", "", false),
                etcd(),
                program("kube-scheduler", "", false),
            ],
            "1 API server, 1 etcd with fsync, audit log off, scheduler at work",
        ),
    ] {
        let said = machine::plane(&programs);
        ensure!(said == want, "{programs:?} are called {said:?} instead of {want:?}");
    }
    let own = machine::programs(&std::env::current_dir()?.join("no such folder"))?;
    ensure!(own.is_empty(), "nobody was told of a folder that is not there: {own:?}");
    Ok(())
}
