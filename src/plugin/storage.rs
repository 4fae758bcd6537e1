//! `kubectl gt storage`: in which versions objects lie, and the migration to one of them, with the way back.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Output, polecat::encode, table};
use crate::{
    cluster::{
        Cluster,
        reading::Reader,
        storage::{Ending, Migration, SETTLE, Step},
    },
    domain::storage::{Definition, Standing},
    kinds,
};

/// In which versions objects lie; without a command: say it.
#[derive(Debug, Args)]
pub struct Storage {
    #[command(subcommand)]
    command: Option<Command>,
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write every object once, as it is, so that all lie in the storage version; then forget the older ones
    Migrate(Migrate),
}

#[derive(Debug, Args)]
struct Migrate {
    /// Resources, such as polecats; none: all
    resources: Vec<String>,
    /// First make this the storage version; v1alpha1 is the way back to the Go original
    #[arg(long, value_name = "VERSION")]
    storage_version: Option<String>,
    /// Write nothing: say what would be done, and read every object in the version it would be written in
    #[arg(long)]
    dry_run: bool,
    /// Most objects a second
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
}

/// How one resource stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    resource: String,
    storage_version: String,
    stored_versions: Vec<String>,
    objects: u64,
    state: String,
}

/// Runs a command; the answer is what it prints.
pub async fn run(reader: &Reader, asked: &Storage) -> anyhow::Result<String> {
    let cluster = reader.in_person();
    match &asked.command {
        None => status(&cluster, asked.output).await,
        Some(Command::Migrate(it)) => migrate(&cluster, it).await,
    }
}

async fn status(cluster: &Cluster, output: Output) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for name in kinds::convertible() {
        let migration = Migration { cluster, name: &name, rate: 1, tell: &quiet };
        let resource = plural(&name).to_owned();
        let Some(found) = migration.definition().await? else {
            let state = "not installed".into();
            let row = Row {
                resource,
                storage_version: String::new(),
                stored_versions: vec![],
                objects: 0,
                state,
            };
            rows.push(row);
            continue;
        };
        let objects = migration.count(&found).await?;
        let state = state(&found, objects);
        let Definition { storage: storage_version, stored: stored_versions, .. } = found;
        rows.push(Row { resource, storage_version, stored_versions, objects, state });
    }
    if output != Output::Table {
        return encode(&serde_json::to_value(&rows)?, output);
    }
    let cells = |it: &Row| {
        let stored = it.stored_versions.join(",");
        vec![
            it.resource.clone(),
            it.storage_version.clone(),
            stored,
            it.objects.to_string(),
            it.state.clone(),
        ]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    Ok(table::render(&["RESOURCE", "STORAGE", "STORED", "OBJECTS", "STATE"], &rows))
}

/// In words. No request tells in which version an object lies, so it is how many there may be.
fn state(of: &Definition, objects: u64) -> String {
    match (of.standing(), of.said()) {
        (Standing::Settled, _) if !of.converted && of.versions.len() > 1 => format!(
            "all in {}; writes are refused while nobody converts: is the operator there?",
            of.storage
        ),
        (Standing::Settled, _) => format!("all in {}", of.storage),
        (Standing::Unconverted(old), _) => {
            format!(
                "up to {objects} in {}; not to be migrated, the conversion is switched off",
                old.join(", ")
            )
        }
        (Standing::Behind(_), Some(("Migrating" | "WritesRefused", text))) => text.to_owned(),
        (Standing::Behind(old), _) => {
            format!("up to {objects} in {}: kubectl gt storage migrate", old.join(", "))
        }
    }
}

async fn migrate(cluster: &Cluster, asked: &Migrate) -> anyhow::Result<String> {
    let names = chosen(&asked.resources)?;
    let target = asked.storage_version.as_deref();
    let (mut lines, mut open) = (Vec::new(), Vec::new());
    if !asked.dry_run {
        prepare(cluster, &names, target).await?;
    }
    for name in &names {
        let resource = plural(name);
        let tell = |step: &Step| eprintln!("{resource}: {step}");
        let migration = Migration { cluster, name, rate: asked.rate, tell: &tell };
        if asked.dry_run {
            lines.push(format!("{resource}: {}\n", foretold(&migration, target).await?));
            continue;
        }
        let (done, words) = words(&migration.run().await?);
        if !done {
            open.push(resource);
        }
        lines.push(format!("{resource}: {words}\n"));
    }
    if open.is_empty() {
        return Ok(lines.concat());
    }
    print!("{}", lines.concat());
    anyhow::bail!("not migrated: {}", open.join(", "))
}

/// Makes a version the storage version, where one was asked for, and waits until every API server knows it.
async fn prepare(cluster: &Cluster, names: &[String], target: Option<&str>) -> anyhow::Result<()> {
    let mut behind = false;
    for name in names {
        let migration = Migration { cluster, name, rate: 1, tell: &quiet };
        if let Some(version) = target {
            anyhow::ensure!(
                migration.store_as(version).await?,
                "{} is not served as {version}, or not installed; kubectl gt storage shows what there is",
                plural(name)
            );
        }
        let found = migration.definition().await?;
        behind |= found.is_some_and(|it| matches!(it.standing(), Standing::Behind(_)));
    }
    if behind {
        eprintln!(
            "begins in {} s, when every API server knows its storage version",
            SETTLE.as_secs()
        );
        tokio::time::sleep(SETTLE).await;
    }
    Ok(())
}

/// What would be done, found out by reading alone.
async fn foretold(migration: &Migration<'_>, target: Option<&str>) -> anyhow::Result<String> {
    let Some(found) = migration.definition().await? else { return Ok("not installed".into()) };
    let version = target.unwrap_or(&found.storage);
    anyhow::ensure!(
        found.versions.iter().any(|it| it == version),
        "{} is not served as {version}, but as {}",
        found.plural,
        found.versions.join(", ")
    );
    let stored_otherwise: Vec<_> =
        found.stored.iter().filter(|it| *it != version).cloned().collect();
    if found.storage == version && stored_otherwise.is_empty() {
        return Ok(format!("nothing to do, all lie in {version}"));
    }
    if !found.converted {
        return Ok(words(&Ending::Unconverted { old: stored_otherwise }).1);
    }
    let objects = migration.readable(&found, version).await?;
    let first = if found.storage == version {
        String::new()
    } else {
        format!("would make {version} the storage version; ")
    };
    let seconds = objects.div_ceil(u64::from(migration.rate.max(1)));
    let forget = stored_otherwise.join(", ");
    let forget = if forget.is_empty() { found.storage.clone() } else { forget };
    Ok(format!(
        "{first}would write {objects} objects as {version}, which takes about {seconds} s, and then forget {forget}; all of \
         them can be read as {version}"
    ))
}

/// Whether that is the end, and how it reads.
fn words(ending: &Ending) -> (bool, String) {
    match ending {
        Ending::Missing => (true, "not installed".into()),
        Ending::Nothing { storage } => (true, format!("nothing to do, all lie in {storage}")),
        Ending::Migrated { storage, written: Some(count) } => {
            (true, format!("migrated: {count} objects written, all lie in {storage}"))
        }
        Ending::Migrated { storage, written: None } => {
            (true, format!("migrated by the API server: all lie in {storage}"))
        }
        Ending::Unconverted { old } => {
            let old = old.join(", ");
            (
                false,
                format!(
                    "objects may lie in {old}, and the conversion is switched off, so that a write would cut them: \
                install the operator's CRDs again first"
                ),
            )
        }
        Ending::Refused { count, first } => {
            let first = first.join(", ");
            (
                false,
                format!(
                    "{count} objects could not be written, among them {first}; mend or delete them, then migrate again"
                ),
            )
        }
        Ending::Restless => (
            false,
            "the definition changed again and again; migrate again when that is over".into(),
        ),
    }
}

/// Names of the definitions that are meant.
fn chosen(resources: &[String]) -> anyhow::Result<Vec<String>> {
    let all: Vec<String> = kinds::convertible().collect();
    for it in resources {
        let known: Vec<_> = all.iter().map(|it| plural(it)).collect();
        anyhow::ensure!(
            known.contains(&it.as_str()),
            "no resource {it} has two versions; there are {}",
            known.join(", ")
        );
    }
    let meant =
        |name: &String| resources.is_empty() || resources.iter().any(|it| it == plural(name));
    Ok(all.into_iter().filter(meant).collect())
}

fn plural(name: &str) -> &str {
    name.split_once('.').map_or(name, |(it, _)| it)
}

fn quiet(_: &Step) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_chosen_by_name() {
        let names =
            |all: &[&str]| chosen(&all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&[]).unwrap().len(), 6);
        assert_eq!(names(&["rigs"]).unwrap(), ["rigs.gastown.gastown.io"]);
        let words = names(&["pods"]).unwrap_err().to_string();
        assert!(words.contains("pods") && words.contains("beadstores"), "{words}");
    }

    #[test]
    fn a_state_says_how_many_there_may_be_and_what_to_do() {
        let words = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        let behind = Definition {
            storage: "v1beta1".into(),
            stored: words(&["v1alpha1", "v1beta1"]),
            converted: true,
            ..Definition::default()
        };
        assert_eq!(state(&behind, 5), "up to 5 in v1alpha1: kubectl gt storage migrate");
        let settled = Definition { stored: words(&["v1beta1"]), ..behind.clone() };
        assert_eq!(state(&settled, 5), "all in v1beta1");
        let cut = Definition { converted: false, ..behind.clone() };
        assert!(state(&cut, 5).contains("switched off"));
        let versions = words(&["v1beta1", "v1alpha1"]);
        let settled = Definition { versions, stored: words(&["v1beta1"]), ..cut };
        assert!(state(&settled, 5).contains("nobody converts"), "nothing is cut yet");
    }

    #[test]
    fn what_is_open_is_no_success() {
        let open = Ending::Refused { count: 1, first: vec!["town/beads (422)".into()] };
        let (done, text) = words(&open);
        assert!(!done && text.contains("town/beads (422)"), "{text}");
        assert!(words(&Ending::Migrated { storage: "v1beta1".into(), written: Some(3) }).0);
    }
}
