//! Alerts by Prometheus' own rules and engine: each fires when it should, and not when it should not.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use gastown::manifests::alerts::ALERTS;
use serde_json::Value;

use crate::{generated::top, preconditions::skip};

const CASES: &str = "tests/it/promql/alerts.yaml";

#[test]
fn every_alert_has_a_case_that_fires_one_that_does_not_and_a_runbook() {
    let text = fs::read_to_string(top().join(CASES)).unwrap();
    let cases: Value = serde_saphyr::from_str(&text).unwrap();
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for case in cases["tests"].as_array().unwrap() {
        for it in case["alert_rule_test"].as_array().unwrap() {
            let told = it["exp_alerts"].as_array().is_some_and(|it| !it.is_empty());
            let into = if told { &mut fires } else { &mut silent };
            into.insert(it["alertname"].as_str().unwrap().to_owned());
        }
    }
    let all: BTreeSet<String> = ALERTS.iter().map(|it| it.name.to_owned()).collect();
    assert_eq!(fires, all, "fires");
    assert_eq!(silent, all, "does not fire");
    for name in all {
        let page = top().join(format!("docs/runbooks/{name}.md"));
        assert!(page.exists(), "{} is missing", page.display());
    }
}

#[test]
fn alerts_fire_when_they_should_and_not_otherwise() {
    let program = std::env::var("GASTOWN_PROMQL").unwrap_or_default();
    if !Path::new(&program).exists() {
        let why = "GASTOWN_PROMQL names no program; `make test-alerts` builds it";
        return skip("alerts_fire_when_they_should_and_not_otherwise", "promql", why);
    }
    let output = Command::new(program)
        .args(["rules", "deploy/monitoring/rules.yaml", CASES])
        .current_dir(top())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
}
