//! Writes a bundle of what the agent committed: complete or not at all, of a bounded size, of what was asked for and nothing else.

use std::{fs, io::BufReader, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    bundle::{self, Reference},
    diagnosis, files,
    git::Git,
    log,
    problem::Problem,
};
use crate::domain::{untrusted::Scrubber, verdict::reason};

/// What git says of a program of its own that wrote more than it may: SIGXFSZ.
const TOO_LARGE_SIGNAL: &str = "died of signal 25";

/// What it says where nothing is in a bundle.
const EMPTY: &str = "Refusing to create empty bundle";

/// A bundle that is to be made: of these references, without what those commits contain.
pub struct Wanted<'a> {
    pub path: String,
    pub names: &'a [String],
    pub without: &'a [&'a str],
    pub max_bytes: u64,
    pub limit: Duration,
}

/// Has git write them.
pub struct Writer {
    pub git: Git,
    /// The agent's clone.
    pub folder: String,
    /// Of any file that this process writes, in bytes.
    pub max_file: u64,
}

impl Writer {
    /// Answers with what the bundle holds, by its own word: all that was asked for, in any order.
    pub async fn write(&self, of: &Wanted<'_>) -> Result<Vec<Reference>, Problem> {
        let path = &of.path;
        let beside = format!("{path}.{}", std::process::id()); // a checkpoint may be on its way
        let held = self.make(of, &beside).await;
        let moved = held.and_then(|held| {
            let moved = fs::rename(&beside, path);
            moved.map(|()| held).map_err(|it| Problem::volume("rename", &beside, &it))
        });
        if moved.is_err() {
            for left in [beside.clone(), format!("{beside}.lock")] {
                files::remove(&left).unwrap_or_else(|it| log::say(&format!("Left {left}: {it}")));
            }
        }
        moved
    }

    /// git bundles nothing by an ambiguous name, and may not fail for it. A full one is where there is a branch called
    /// `refs/heads/x` too, and `heads/x` is not.
    async fn make(&self, of: &Wanted<'_>, path: &str) -> Result<Vec<Reference>, Problem> {
        let short = |it: &String| it.strip_prefix("refs/").unwrap_or(it).to_owned();
        let short: Vec<String> = of.names.iter().map(short).collect();
        for names in [of.names, short.as_slice()] {
            let made = self.make_bundle(of, names, path).await?;
            let held = if made { held(path, of.names)? } else { None };
            if let Some(held) = held {
                return Ok(held);
            }
        }
        let names = of.names.join(", ");
        let message = format!("git does not make a bundle of {names}; see what branches there are");
        Err(Problem::new(reason::HANDOVER_FAILED, message))
    }

    /// Never more than `telemetry` takes: a bundle that outgrew the volume would have the node end the pod at once. False where
    /// git finds nothing for it.
    async fn make_bundle(
        &self,
        of: &Wanted<'_>,
        names: &[String],
        path: &str,
    ) -> Result<bool, Problem> {
        let excluded: Vec<String> = of.without.iter().map(|it| format!("^{it}")).collect();
        let mut arguments = vec!["bundle", "create", "--quiet", path];
        arguments.extend(names.iter().chain(&excluded).map(String::as_str));
        limit_files(of.max_bytes)?;
        let output = self.git.run(&arguments, of.limit).await;
        limit_files(self.max_file)?;
        let output = output?;
        if output.is_success() {
            return Ok(true);
        }
        if output.stderr.contains(EMPTY) {
            return Ok(false);
        }
        if !output.stderr.contains(TOO_LARGE_SIGNAL) && !output.stderr.contains("File too large") {
            let said = diagnosis::quote(&output.stderr, &Scrubber::default());
            let message = format!("failed to make the bundle of {}: git said: {said}", self.folder);
            return Err(Problem::new(reason::HANDOVER_FAILED, message));
        }
        let message = format!(
            "the bundle of the agent's commits would be larger than {} bytes; have the agent commit less",
            of.max_bytes
        );
        Err(Problem::new(reason::BUNDLE_TOO_LARGE, message))
    }
}

/// Limits every file that this process and what it starts write from now on. Itself, it writes none of that size.
fn limit_files(bytes: u64) -> Result<(), Problem> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    let limited = setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum });
    limited
        .map_err(|it| Problem::volume("limit the size of files in", "this container", &it.into()))
}

/// What a bundle holds, if that is all that was asked for.
fn held(path: &str, names: &[String]) -> Result<Option<Vec<Reference>>, Problem> {
    let file = files::open_plain(path).map_err(|it| Problem::volume("read", path, &it))?;
    let head = bundle::read(BufReader::new(file), names.len());
    let unreadable = |it| format!("the bundle that git made can't be handed over: {it}");
    let head = head.map_err(|it| Problem::new(reason::HANDOVER_FAILED, unreadable(it)))?;
    let is_there = |name: &String| head.references.iter().any(|it| it.name == *name);
    Ok(Some(head.references.clone()).filter(|_| names.iter().all(is_there)))
}
