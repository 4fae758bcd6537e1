//! `kubectl gt check`: would the admission webhook let these pods in? Asks no cluster; the answer comes from the code that the
//! webhook runs.

mod input;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use serde_json::json;

use crate::admission::pods::{
    self, Judgement, Platform, Question, RuntimeClasses, Standard, Subject, Tables, Violation,
    feedback, ours::SWITCHABLE, unset,
};
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
    /// Whose cluster the pods are for
    #[arg(long, value_enum, default_value_t)]
    platform: On,
    /// File with the Namespace that they are for: OpenShift takes ranges of users, groups and levels from its annotations
    #[arg(long, value_name = "FILE")]
    namespace_file: Option<String>,
    /// Rule of ours that does not hold, such as ours.hostAliases; more than once, if need be
    #[arg(long = "except", value_name = "RULE", value_parser = PossibleValuesParser::new(SWITCHABLE))]
    exceptions: Vec<String>,
    /// Runtime class that pods may name, as the operator's --runtime-classes has it; more than once, if need be
    #[arg(long = "runtime-class", value_name = "NAME", value_parser = RuntimeClasses::named)]
    runtime_classes: Vec<String>,
    /// One line of JSON for each object
    #[arg(long, short, value_enum)]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Rules {
    /// Pod Security
    Pss,
    /// The security context constraint that OpenShift would choose, of restricted-v2 and restricted-v3
    Scc,
    /// What the operator refuses beyond Pod Security
    Ours,
    /// All that the webhook holds against a pod
    #[default]
    All,
}

impl Rules {
    const fn tables(self) -> Tables {
        let all = matches!(self, Self::All);
        Tables {
            pss: all || matches!(self, Self::Pss),
            scc: all || matches!(self, Self::Scc),
            ours: all || matches!(self, Self::Ours),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum On {
    /// What a security context constraint would refuse is advice
    #[default]
    Kubernetes,
    /// It decides
    Openshift,
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
    let namespace = asked.namespace_file.as_deref().map(input::namespace).transpose();
    let namespace = match &namespace {
        Ok(it) => it.as_ref(),
        Err(why) => {
            eprintln!("kubectl gt check: {why}");
            return BAD_INPUT.into();
        }
    };
    let exceptions: Vec<&'static str> = SWITCHABLE
        .into_iter()
        .filter(|it| asked.exceptions.iter().any(|asked| asked == it))
        .collect();
    let question = Question {
        standard: asked.policy,
        tables: asked.rules.tables(),
        platform: match asked.platform {
            On::Kubernetes => Platform::Kubernetes,
            On::Openshift => Platform::OpenShift,
        },
        exceptions: &exceptions,
        runtime_classes: RuntimeClasses::of(asked.runtime_classes.clone()),
        fips: false,
        namespace,
    };
    for object in &input.objects {
        let subject = match object.subject() {
            Ok(subject) => subject,
            Err(why) => {
                input.problems.push(format!("{}: {}: {why}", object.file, object.called()));
                continue;
            }
        };
        let written = (&*object.kind, &object.json);
        let judgement = subject.as_ref().map(|it| pods::judge_written(written, it, &question));
        let judgement = judgement.unwrap_or_default();
        refused |= !judgement.violations.is_empty();
        let text = match asked.output {
            Some(Format::Json) => line(object, &judgement),
            None => report(object, subject.as_ref(), &judgement, &question),
        };
        write(&text, &mut input.problems);
    }
    for problem in input.notes.iter().chain(&input.problems) {
        eprintln!("kubectl gt check: {problem}");
    }
    match (input.problems.is_empty(), refused) {
        (false, _) => BAD_INPUT.into(),
        (true, true) => REFUSED.into(),
        (true, false) => ExitCode::SUCCESS,
    }
}

/// Onto the standard output. Whoever closed it, as `head` does, has read enough: the exit code is still that of all objects.
fn write(text: &str, problems: &mut Vec<String>) {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
            problems
                .push(format!("the standard output can't be written: {why}; is the disk full?"));
        }
        Ok(()) | Err(_) => {}
    }
}

fn line(object: &Object, judgement: &Judgement) -> String {
    let one = |it: &Violation| json!({"check": it.check, "path": it.path, "message": it.message});
    let all: Vec<_> = judgement.violations.iter().map(one).collect();
    let line = json!({"file": object.file, "allowed": all.is_empty(), "violations": all});
    format!("{line}\n")
}

fn report(
    object: &Object,
    subject: Option<&Subject<'_>>,
    judgement: &Judgement,
    question: &Question<'_>,
) -> String {
    let Judgement { violations, advice, scc } = judgement;
    let called = format!("{}: {}", object.file, object.called());
    let Some(subject) = subject else { return format!("{called}: allowed, it holds no pod\n") };
    let verdict = if violations.is_empty() { "allowed" } else { "refused" };
    let by = scc
        .filter(|_| advice.is_empty() && violations.is_empty())
        .map(|it| format!(", by SCC {it} on OpenShift"));
    let mut lines = vec![format!("{called}: {verdict}{}", by.unwrap_or_default())];
    lines.extend(violations.iter().map(|it| format!("  {}: {}", it.path, it.message)));
    if let Some(patch) = feedback::patch(subject.prefix, violations) {
        lines.push(
            "  what one value mends, as a patch (kubectl patch --local -f FILE -o yaml -p PATCH):"
                .into(),
        );
        lines.push(format!("  {patch}"));
    }
    lines.extend(set_at_the_door(object, judgement, question));
    lines.extend(advice.iter().map(|it| format!("  on OpenShift: {}: {}", it.path, it.message)));
    lines.join("\n") + "\n"
}

/// How much of it the operator's webhook would set by itself, and not refuse.
fn set_at_the_door(object: &Object, was: &Judgement, question: &Question<'_>) -> Option<String> {
    let all = question.tables == Tables::ALL && question.platform == Platform::Kubernetes;
    let mended = all.then(|| unset::mended(&object.kind, &object.json, false)).flatten()?;
    let subject = Subject::of(&object.kind, &mended).ok()??;
    let left = pods::judge(&subject, question).violations.len();
    let (count, set) = (was.violations.len(), was.violations.len().checked_sub(left)?);
    (set > 0).then(|| {
        format!("  unset, and set by the operator's webhook where that looks at such pods: {set} of {count}")
    })
}
