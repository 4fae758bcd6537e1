//! OpenTelemetry's variables as a template leaves them: empty, and in letters of any case.

use std::process::{Command, Output};

use clap::CommandFactory as _;
use gastown::config::Config;

/// The operator with these variables and no others, asked for what ends at once: what it is told is read before.
fn started(variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gastown-operator"));
    command.arg("--crypto-report").env_clear().envs(variables.iter().copied());
    command.output().unwrap()
}

#[test]
fn a_variable_that_is_empty_is_as_if_unset() {
    let command = Config::command();
    let names = command.get_arguments().filter_map(|it| it.get_env()?.to_str());
    let all: Vec<_> = names.filter(|it| it.starts_with("OTEL_")).collect();
    assert!(all.len() > 30, "they are found: {all:?}");
    // With an endpoint, so that all that is said of the way there is read.
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    for name in all.iter().filter(|it| **it != endpoint.0) {
        let output = started(&[endpoint, (name, "")]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let every: Vec<_> = all.iter().map(|it| (*it, "")).collect();
    assert!(started(&every).status.success(), "all of them");
}

#[test]
fn a_switch_is_read_in_any_case_of_letters_and_nonsense_ends_the_start_with_its_name() {
    // Read at all: a way there that can't be.
    let way = ("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere");
    for (value, off) in [("true", true), ("TRUE", true), ("False", false), ("", false)] {
        let output = started(&[way, ("OTEL_SDK_DISABLED", value)]);
        assert_eq!(output.status.success(), off, "{value:?}");
    }
    for (name, value, told) in [
        ("OTEL_SDK_DISABLED", "yes", "--otlp-disabled"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "--otlp-queue"),
    ] {
        let output = started(&[(name, value)]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(told), "{name}: {said}");
    }
}
