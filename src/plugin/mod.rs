//! `kubectl gt`: reads what the operator has written, and says it to people or programs. Every failure says what and why.

mod check;
mod doctor;
mod log_level;
mod pause;
mod polecat;
mod report;
mod shards;
mod storage;
mod table;
mod trace;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{cluster::reading::Reader, manifests};

#[derive(Debug, Parser)]
#[command(name = "kubectl gt", version, about = "Gas Town from the command line")]
struct Cli {
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    context: Option<String>,
    /// Namespace; unset: that of the context, for shards and doctor the one that the operator is installed in by default.
    #[arg(long, short, global = true)]
    namespace: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Polecats: one worker each
    #[command(subcommand)]
    Polecat(Polecat),
    /// Keep Polecats of a namespace or a Rig from beginning; running ones go on
    #[command(subcommand)]
    Pause(pause::Target),
    /// Let them begin again
    #[command(subcommand)]
    Resume(pause::Target),
    /// Shards of the operator: who owns them; split and merge
    Shards(shards::Asked),
    /// In which versions objects lie in the API server's storage, and how to migrate them
    Storage(storage::Storage),
    /// Say of pods, and of what makes pods, whether admission would let them in; asks no cluster
    Check(check::Check),
    /// Examine an installation, or a cluster before one, by reading and dry runs alone; exit code 0, 1 or 2
    Doctor(doctor::Doctor),
    /// Show a run as a tree with durations: from the API, or from Jaeger
    Trace(trace::Asked),
    /// Pack what somebody who helps needs to see, without secrets: objects, Events, shards, logs
    Report(report::Asked),
    /// What every replica of the operator logs: shows it, or changes it without a restart
    LogLevel(log_level::Asked),
    /// The version of this program
    Version,
}

#[derive(Debug, Subcommand)]
enum Polecat {
    /// List them, of one Rig or of all
    List {
        /// Only those of this Rig
        rig: Option<String>,
        /// In every namespace
        #[arg(long, short = 'A')]
        all_namespaces: bool,
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
    /// Say how one stands, and what to do where it is stuck
    Status {
        /// Its name, or RIG/NAME
        name: String,
        #[arg(long, short, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
    Yaml,
}

/// Called by this name, as the runner's image has it, it answers `oc adm must-gather`.
const GATHER: &str = "gather";
/// Where that looks for what was gathered.
const GATHERED: &str = "/must-gather";

/// As they were given; as `gather` those of a report, of everything unless others are given.
fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<_> = given.into_iter().collect();
    if all.first().and_then(|it| Path::new(it).file_name()).is_some_and(|it| it == GATHER) {
        let usual = ["--all", "--output", GATHERED].map(OsString::from);
        let more = if all.len() > 1 { &[][..] } else { &usual[..] };
        let report = std::iter::once("report".into()).chain(more.iter().cloned());
        all.splice(1..1, report);
    }
    all
}

/// Runs one command; what it prints is the answer.
pub async fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse_from(arguments(std::env::args_os()));
    if matches!(cli.command, Command::Version) {
        println!("kubectl-gt {}", env!("CARGO_PKG_VERSION"));
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Check(asked) = &cli.command {
        return Ok(check::run(asked));
    }
    if let Command::Doctor(asked) = &cli.command {
        return Ok(doctor::run(cli.context.clone(), cli.namespace.as_deref(), asked).await);
    }
    let reader = Reader::connect(cli.context.clone()).await?;
    let namespace = cli.namespace.clone().unwrap_or_else(|| reader.namespace.clone());
    let text = match cli.command {
        Command::Version | Command::Check(_) | Command::Doctor(_) => String::new(),
        Command::Shards(asked) => {
            let namespace = cli.namespace.as_deref().unwrap_or(manifests::NAMESPACE);
            shards::run(&reader, namespace, asked).await?
        }
        Command::Report(asked) => report::run(&reader, &namespace, &asked).await?,
        Command::LogLevel(asked) => {
            let namespace = cli.namespace.as_deref().unwrap_or(manifests::NAMESPACE);
            log_level::run(&reader, namespace, &asked).await?
        }
        Command::Trace(asked) => trace::run(&reader, &namespace, &asked).await?,
        Command::Storage(asked) => storage::run(&reader, &asked).await?,
        Command::Pause(target) => pause::set(&reader, &target, true).await?,
        Command::Resume(target) => pause::set(&reader, &target, false).await?,
        Command::Polecat(Polecat::List { rig, all_namespaces, output }) => {
            let namespace = (!all_namespaces).then_some(namespace.as_str());
            let mut all = reader.polecats(namespace).await?;
            all.retain(|it| {
                rig.as_ref()
                    .is_none_or(|rig| it.data.pointer("/spec/rig").is_some_and(|it| it == rig))
            });
            polecat::list(&all, all_namespaces, output)?
        }
        Command::Polecat(Polecat::Status { name, output }) => {
            let (rig, name) =
                name.split_once('/').map_or((None, name.as_str()), |(rig, name)| (Some(rig), name));
            let found = reader.polecat(&namespace, name).await?;
            let of = found
                .data
                .pointer("/spec/rig")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default();
            anyhow::ensure!(rig.is_none_or(|rig| rig == of), "Polecat {name} belongs to Rig {of}");
            polecat::status(&found, output)?
        }
    };
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_gather_is_a_report_of_everything() {
        let of = |line: &str| {
            let all = arguments(line.split(' ').map(Into::into));
            let cli = Cli::try_parse_from(&all).map(|it| format!("{:?}", it.command));
            (all.len(), cli.unwrap_or_default())
        };
        let (_, command) = of("/usr/bin/gather");
        assert!(command.contains("all: true") && command.contains("/must-gather"), "{command}");
        let (_, command) = of("/usr/bin/gather -o x.tgz");
        assert!(command.contains("all: false") && command.contains("x.tgz"), "{command}");
        assert_eq!(of("kubectl-gt version"), (2, "Version".into()));
    }
}
