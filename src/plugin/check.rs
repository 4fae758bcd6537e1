//! `kubectl gt check`: would the admission webhook let these pods in? Asks no cluster; the answer comes from the code that the
//! webhook runs.

mod input;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::admission::pods::{self, Standard, Subject, Violation, feedback};
use input::Object;

/// All allowed: 0, something refused: 1, bad input: 2.
#[derive(Debug, Args)]
pub struct Check {
    /// Files of YAML or JSON, folders of them (with the folders below), or - for the standard input
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE|FOLDER|-")]
    files: Vec<String>,
    /// Pod Security level, and the version of Kubernetes from which it is: restricted@latest, baseline@v1.25
    #[arg(long, default_value = "restricted@latest", value_name = "LEVEL@VERSION")]
    policy: Standard,
    /// Which rules decide
    #[arg(long, value_enum, default_value_t)]
    rules: Rules,
    /// One line of JSON for each object
    #[arg(long, short, value_enum)]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Rules {
    /// Pod Security
    Pss,
    /// All that the webhook holds against a pod
    #[default]
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
}

const REFUSED: u8 = 1;
const BAD_INPUT: u8 = 2;

/// Prints a verdict on each object; what could not be read is told on the standard error, and the rest is judged all the same.
pub fn run(asked: &Check) -> ExitCode {
    let mut input = input::read(&asked.files);
    let mut refused = false;
    for object in &input.objects {
        match judge(asked, object) {
            Ok(violations) => {
                refused |= !violations.is_empty();
                print!("{}", told(asked, object, &violations));
            }
            Err(why) => input.problems.push(format!("{}: {}: {why}", object.file, object.called())),
        }
    }
    for problem in &input.problems {
        eprintln!("kubectl gt check: {problem}");
    }
    match (input.problems.is_empty(), refused) {
        (false, _) => BAD_INPUT.into(),
        (true, true) => REFUSED.into(),
        (true, false) => ExitCode::SUCCESS,
    }
}

fn judge(asked: &Check, object: &Object) -> Result<Vec<Violation>, String> {
    let Some(subject) = object.subject()? else { return Ok(Vec::new()) };
    Ok(pods::judge::pod_security(&subject, asked.policy))
}

fn told(asked: &Check, object: &Object, violations: &[Violation]) -> String {
    if asked.output == Some(Format::Json) {
        let all = violations
            .iter()
            .map(|it| json!({"check": it.check, "path": it.path, "message": it.message}));
        let all: Vec<_> = all.collect();
        let line = json!({"file": object.file, "allowed": all.is_empty(), "violations": all});
        return format!("{line}\n");
    }
    let called = object.called();
    let Ok(Some(Subject { prefix, .. })) = object.subject() else {
        return format!("{}: {called}: allowed, it holds no pod\n", object.file);
    };
    if violations.is_empty() {
        return format!("{}: {called}: allowed\n", object.file);
    }
    let mut lines = vec![format!("{}: {called}: refused", object.file)];
    lines.extend(violations.iter().map(|it| format!("  {}: {}", it.path, it.message)));
    if let Some(patch) = feedback::patch(prefix, violations) {
        lines.push(
            "  what one value mends, as a patch (kubectl patch --local -f FILE -o yaml -p PATCH):"
                .into(),
        );
        lines.push(format!("  {patch}"));
    }
    lines.join("\n") + "\n"
}
