//! `kubectl gt doctor`: examines a cluster before an installation, or an installation, by reading and by server-side dry
//! run alone. [`read`] asks; everything else judges what it brought.

mod certificates;
mod definitions;
mod facts;
mod hooks;
mod namespaces;
mod read;
mod rights;
mod road;
mod rows;
mod running;
mod selector;

use std::process::ExitCode;

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use serde_json::Value;

use crate::{cluster::reading::Reader, manifests};
use facts::Facts;
use rows::Row;

/// All well: 0, something failed: 1, the cluster could not be asked, or bad arguments: 2. What can't be known for want of a
/// right is told as unknown, and fails nothing.
#[derive(Debug, Args)]
pub struct Doctor {
    /// What stands in the way of an installation, instead of what is the matter with one
    #[arg(long)]
    before_install: bool,
    /// Check that is left out, such as openshift.scc; more than once, if need be
    #[arg(long = "except", value_name = "CHECK", value_parser = PossibleValuesParser::new(CHECKS))]
    exceptions: Vec<String>,
    /// One line of JSON for each check
    #[arg(long, short, value_enum)]
    output: Option<Format>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
}

const FAILED: u8 = 1;
const NOT_ASKED: u8 = 2;

/// Every check.
const CHECKS: [&str; 21] = [
    "kubernetes.version",
    "original.acts",
    "definitions.present",
    "definitions.owner",
    "definitions.conversion",
    "storage.migration",
    "webhooks.ours",
    "webhooks.foreign",
    "webhooks.reached",
    "certificates.bundles",
    "certificates.served",
    "podsecurity.operator",
    "podsecurity.polecats",
    "pods.polecats",
    "openshift.scc",
    "rights.installer",
    "rights.operator",
    "install.dryrun",
    "operator.ready",
    "operator.leases",
    "operator.degraded",
];

/// Prints what was found; what could not be asked is told on the standard error.
pub async fn run(context: Option<String>, namespace: Option<&str>, asked: &Doctor) -> ExitCode {
    match examined(context, namespace.unwrap_or(manifests::NAMESPACE), asked).await {
        Ok(rows) => {
            let text = match asked.output {
                Some(Format::Json) => rows::lines(&rows),
                None => rows::shown(&rows),
            };
            print!("{text}");
            if rows::any_failed(&rows) { FAILED.into() } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!(
                "kubectl gt doctor: {error:#}; is this the right cluster (--context), and may you log in to it?"
            );
            NOT_ASKED.into()
        }
    }
}

async fn examined(
    context: Option<String>,
    namespace: &str,
    asked: &Doctor,
) -> anyhow::Result<Vec<Row>> {
    let reader = Reader::connect(context).await?;
    let installed = manifests::installed(namespace)?;
    let facts = read::all(&reader, namespace, asked.before_install, &installed).await?;
    let mut rows = judged(&facts, &installed);
    rows.retain(|row| !asked.exceptions.iter().any(|it| it == row.id));
    Ok(rows)
}

/// The rows of an examination, in the order in which one would mend what they find.
fn judged(facts: &Facts, installed: &[Value]) -> Vec<Row> {
    let of_cluster = [running::version(facts), running::original(facts)];
    let of_definitions =
        [definitions::owner(facts), definitions::conversion(facts), definitions::storage(facts)];
    let of_others = [
        hooks::foreign(facts),
        namespaces::of_operator(facts),
        namespaces::of_polecats(facts),
        namespaces::constraints(facts),
        rights::rights(facts),
    ];
    let both = of_cluster.into_iter().chain(of_definitions).chain(of_others);
    if facts.before {
        return both.chain([rights::installing(facts)]).collect();
    }
    both.chain([
        definitions::present(facts),
        hooks::ours(facts, installed),
        hooks::reached(facts),
        certificates::bundles(facts),
        certificates::served(facts),
        namespaces::pods(facts),
        running::ready(facts),
        running::leases(facts),
        running::degraded(facts),
    ])
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_check_can_be_left_out_by_its_name() {
        let rows = |before| {
            let facts = Facts { before, namespace: "town".into(), ..Facts::default() };
            judged(&facts, &[]).into_iter().map(|it| it.id)
        };
        let all: BTreeSet<_> = rows(true).chain(rows(false)).collect();
        assert_eq!(all, BTreeSet::from(CHECKS));
        assert!(rows(true).all(|it| !it.starts_with("operator.")), "nothing runs yet");
    }
}
