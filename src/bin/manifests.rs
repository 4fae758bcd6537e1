//! Writes every generated file; with `--check` compares them and fails on a difference.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Parser;
use gastown::{
    conversion::table::Version,
    manifests::{
        self,
        images::Images,
        mirror::Beside,
        operator::{EDITIONS, Edition},
    },
};

/// Writes every generated file from src/kinds.rs.
#[derive(Debug, Parser)]
struct Options {
    /// Write nothing; fail where a file is not what it would be.
    #[arg(long)]
    check: bool,
    /// The version that objects are stored in by the definitions: `v1alpha1` leads back to the Go original
    /// (docs/upgrade.md), and belongs beside `--into`, since `crds/` stores v1beta1.
    #[arg(long, default_value = "v1beta1", value_parser = version)]
    storage_version: Version,
    /// The folder below which files are written.
    #[arg(long, value_name = "FOLDER", default_value = env!("CARGO_MANIFEST_DIR"), hide_default_value = true)]
    into: PathBuf,
    /// Write the OLM bundle of this edition alone, and the lists for mirrors, with the images that are named; belongs beside
    /// `--into`.
    #[arg(long, value_parser = edition)]
    bundle: Option<Edition>,
    /// The operator's image in that bundle; a release names it by digest.
    #[arg(long, value_name = "IMAGE", requires = "bundle")]
    operator_image: Option<String>,
    /// The runner's.
    #[arg(long, value_name = "IMAGE", requires = "bundle")]
    runner_image: Option<String>,
    /// That of agents, where one is mirrored with the operator.
    #[arg(long, value_name = "IMAGE", requires = "bundle")]
    agent_image: Option<String>,
    /// That of the bundle itself, which is mirrored with what it names.
    #[arg(long, value_name = "IMAGE", requires = "bundle")]
    bundle_image: Option<String>,
    /// That of the catalog, which the set for mirrors leads to.
    #[arg(long, value_name = "IMAGE", requires = "bundle")]
    catalog_image: Option<String>,
    /// Where people read the sources of what is released and tell of faults.
    #[arg(long, value_name = "URL", requires = "bundle")]
    project_url: Option<String>,
}

impl Options {
    fn files(&self) -> anyhow::Result<Vec<(String, String)>> {
        let Some(edition) = self.bundle else {
            return manifests::files_storing(self.storage_version);
        };
        let set = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        let usual = Images::of(edition);
        let images = Images {
            operator: set(&self.operator_image).unwrap_or(usual.operator),
            runner: set(&self.runner_image).unwrap_or(usual.runner),
            agent: set(&self.agent_image),
        };
        let project = set(&self.project_url);
        let mut files = manifests::olm::released(edition, &images, project.as_deref())?;
        let usual = Beside::of(edition);
        let beside = Beside {
            bundle: set(&self.bundle_image).unwrap_or(usual.bundle),
            catalog: set(&self.catalog_image).unwrap_or(usual.catalog),
        };
        files.extend(manifests::mirror::of(edition, &images, &beside)?);
        Ok(files)
    }
}

fn edition(name: &str) -> Result<Edition, String> {
    let found = EDITIONS.into_iter().find(|it| it.name() == name);
    found.ok_or_else(|| "write community or enterprise".to_owned())
}

fn version(name: &str) -> Result<Version, String> {
    let all = [Version::V1alpha1, Version::V1beta1];
    let found = all.into_iter().find(|it| it.name() == name);
    found.ok_or_else(|| "write v1alpha1 or v1beta1".to_owned())
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let Options { check, into, .. } = &options;
    let mut stale = Vec::new();
    for (path, want) in options.files()? {
        let file = into.join(&path);
        if fs::read_to_string(&file).is_ok_and(|have| have == want) {
            continue;
        }
        if *check {
            stale.push(path);
        } else {
            fs::create_dir_all(file.parent().unwrap_or(into))?;
            fs::write(&file, want)?;
            println!("wrote {path}");
        }
    }
    if stale.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("not what src/kinds.rs says: {}; run `make manifests` and commit", stale.join(", "));
    Ok(ExitCode::FAILURE)
}
