//! Makes the bundle of what the agent committed, and hands it over. Runs git on a repository that the
//! agent could have made anything of, which is harmless here alone: this container holds no credential of
//! git or the cluster.

use std::{fs, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    diagnosis, files,
    git::Git,
    log,
    others::{self, Others},
    paths::Paths,
    problem::Problem,
    process::Output,
    tools::Start,
};
use crate::domain::{
    layout,
    untrusted::Scrubber,
    verdict::{Ended, reason, words},
};

/// A question to git takes at most this long, and the bundle this: a repository may be made to keep git
/// waiting.
const QUESTION: Duration = Duration::from_secs(5);
const BUNDLING: Duration = Duration::from_secs(90);

/// What git says of a program of its own that wrote more than it may: SIGXFSZ.
const TOO_LARGE_SIGNAL: &str = "died of signal 25";

/// With more filters in its configuration a repository is not asked for uncommitted changes.
const MAX_FILTERS: usize = 100;

/// What a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundled {
    /// The commit for the work branch.
    commit: Option<String>,
    /// References beside it.
    others: Vec<String>,
    /// There may be more commits, on other branches than these.
    in_part: bool,
}

impl Bundled {
    /// What it is, for a sentence.
    pub fn said(&self) -> String {
        let commit = self.commit.iter().map(|it| format!("commit {it}"));
        let all: Vec<String> = commit.chain(self.others.iter().cloned()).collect();
        let rest = if self.in_part { ", and not all that was committed elsewhere" } else { "" };
        format!("{}{rest}", all.join(", "))
    }
}

/// The agent's repository after its end.
pub struct Handover<'a> {
    paths: &'a Paths,
    start: &'a Start,
    max_bundle: u64,
    git: Git,
}

impl<'a> Handover<'a> {
    pub fn new(paths: &'a Paths, start: &'a Start, max_bundle: u64) -> Self {
        let repository = paths.at(layout::REPOSITORY);
        let work_tree = ("GIT_WORK_TREE".to_owned(), repository.clone());
        let git = Git::new(&format!("{repository}/.git"), &paths.home());
        let git = git.with(&[work_tree]).sparing();
        Self { paths, start, max_bundle, git }
    }

    /// Clears what the agent left in the hand-over folder, and writes the mark, the bundle and the report
    /// there. False where the agent's repository could not be read: then the last checkpoint stays.
    pub async fn make(&self, mut ended: Ended) -> bool {
        let (folder, bundle) =
            (self.paths.at(layout::HANDOVER.path), self.paths.at(layout::BUNDLE));
        if let Err(error) = files::clear(&folder, &bundle) {
            log::say(&format!("Failed to clear {folder}: {error}"));
        }
        mark_begun(self.paths);
        let (word, said) = match self.bundle().await {
            Ok(Some(it)) => {
                let word = if it.in_part { words::PARTLY } else { words::BUNDLE };
                (word, format!("Handed over {}", it.said()))
            }
            Ok(None) => {
                files::remove(&bundle)
                    .unwrap_or_else(|it| log::say(&format!("Left {bundle}: {it}")));
                (words::NOTHING, "The agent committed nothing".to_owned())
            }
            Err(problem) => {
                let large = problem.reason == reason::BUNDLE_TOO_LARGE;
                let word = if large { words::TOO_LARGE } else { words::FAILED };
                (word, format!("Failed to hand over, commits may be lost: {problem}"))
            }
        };
        log::say(&said);
        ended.handover = Some(word.to_owned());
        let path = self.paths.at(layout::ENDED);
        let json = serde_json::to_vec(&ended).map_err(std::io::Error::from);
        if let Err(error) = json.and_then(|it| files::write(&path, &it, 0o644)) {
            log::say(&format!("Failed to write {path}: {error}"));
        }
        matches!(word, words::BUNDLE | words::PARTLY | words::NOTHING)
    }

    /// Writes the bundle, complete or not at all. Nothing where there is no commit after the base. Writes
    /// nothing into the agent's volumes, which it may have filled.
    pub async fn bundle(&self) -> Result<Option<Bundled>, Problem> {
        let main = self.head().await?;
        // A repository that the agent made anew has no base to leave out.
        let base = self.commit(&self.start.base).await?;
        let known = main.iter().map(|it| it.1.as_str()).chain(base.as_deref()).collect::<Vec<_>>();
        let directory = format!("{}/.git", self.paths.at(layout::REPOSITORY));
        let Others { names: others, left_out: in_part } =
            others::find(&self.git, &directory, &known).await;
        let Some((main, commit)) = main else {
            if others.is_empty() && !in_part {
                return Ok(None);
            }
            if others.is_empty() {
                let message = "it is not known whether other branches hold commits";
                return Err(Problem::new(reason::HANDOVER_FAILED, message));
            }
            self.write(&others, base.as_deref()).await?;
            return Ok(Some(Bundled { commit: None, others, in_part }));
        };
        let commit = Some(commit);
        let all: Vec<String> = std::iter::once(&main).chain(&others).cloned().collect();
        match self.write(&all, base.as_deref()).await {
            Err(problem) if !others.is_empty() => {
                log::say(&format!("Handing over {main} without other branches: {problem}"));
                self.write(&[main], base.as_deref()).await?;
                Ok(Some(Bundled { commit, others: Vec::new(), in_part: true }))
            }
            made => made.map(|()| Some(Bundled { commit, others, in_part })),
        }
    }

    async fn write(&self, names: &[String], base: Option<&str>) -> Result<(), Problem> {
        let bundle = self.paths.at(layout::BUNDLE);
        let beside = format!("{bundle}.{}", std::process::id()); // a checkpoint may be on its way
        let excluded = base.map(|it| format!("^{it}"));
        let mut arguments = vec!["bundle", "create", "--quiet", &beside];
        arguments.extend(names.iter().chain(&excluded).map(String::as_str));
        let made = self.make_bundle(&arguments).await;
        let moved = made.and_then(|()| {
            fs::rename(&beside, &bundle).map_err(|it| Problem::volume("rename", &beside, &it))
        });
        if moved.is_err() {
            for left in [beside.clone(), format!("{beside}.lock")] {
                files::remove(&left).unwrap_or_else(|it| log::say(&format!("Left {left}: {it}")));
            }
        }
        moved
    }

    /// Never more than `telemetry` takes: a bundle that outgrew the volume would have the node end the pod at once.
    async fn make_bundle(&self, arguments: &[&str]) -> Result<(), Problem> {
        let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
        let limit = Rlimit { current: Some(self.max_bundle), maximum };
        // Of this process and what it starts from now on; itself, it writes no file of that size.
        setrlimit(Resource::Fsize, limit).map_err(|it| {
            Problem::volume("limit the size of files in", "this container", &it.into())
        })?;
        let output = self.git.run(arguments, BUNDLING).await?;
        if output.is_success() {
            return Ok(());
        }
        if !output.stderr.contains(TOO_LARGE_SIGNAL) && !output.stderr.contains("File too large") {
            return Err(self.failed("make the bundle", &output));
        }
        let message = format!(
            "the bundle of the agent's commits would be larger than {} bytes; have the agent commit less",
            self.max_bundle
        );
        Err(Problem::new(reason::BUNDLE_TOO_LARGE, message))
    }

    /// The reference and the commit for the work branch: its own; where the agent went on from it on
    /// another branch that it left checked out, that one's.
    async fn head(&self) -> Result<Option<(String, String)>, Problem> {
        let branch = format!("refs/heads/{}", self.start.branch);
        let work = self.after_base(&branch).await?.map(|it| (branch, it));
        let head = self.after_base("HEAD").await?.map(|it| ("HEAD".to_owned(), it));
        let (work, head) = match (work, head) {
            (Some(work), Some(head)) if work.1 != head.1 => (work, head),
            (one, other) => return Ok(one.or(other)),
        };
        if self.descends(&work.1, &head.1).await? {
            return Ok(Some(head));
        }
        Ok(Some(work)) // the other, too, where git did not say in time: it is then handed over beside it
    }

    /// The commit of a reference, unless it is the base or one before it. In doubt it is neither.
    async fn after_base(&self, name: &str) -> Result<Option<String>, Problem> {
        let Some(commit) = self.commit(name).await? else { return Ok(None) };
        let base = &self.start.base;
        let old = commit == *base || self.descends(&commit, base).await?;
        Ok(Some(commit).filter(|_| !old))
    }

    async fn commit(&self, name: &str) -> Result<Option<String>, Problem> {
        let name = format!("{name}^{{commit}}");
        let output = self.git.run(&["rev-parse", "--verify", "--quiet", &name], QUESTION).await?;
        if output.timed_out || output.stderr.contains("fatal:") {
            return Err(self.failed("read the agent's branches", &output));
        }
        Ok(Some(output.line().to_owned())
            .filter(|it| output.is_success() && super::remote::is_commit(it)))
    }

    async fn descends(&self, ancestor: &str, commit: &str) -> Result<bool, Problem> {
        Ok(self
            .git
            .run(&["merge-base", "--is-ancestor", ancestor, commit], QUESTION)
            .await?
            .is_success())
    }

    /// Says in the log what was left uncommitted: it is never committed for the agent.
    pub async fn say_what_is_uncommitted(&self) {
        let Ok(Some(without_filters)) = self.without_filters().await else { return };
        let git = self.git.clone().set(&without_filters);
        let questions: [&[&str]; 3] = [
            &["diff-files", "--name-only", "-z", "--ignore-submodules"],
            &["diff-index", "--cached", "--name-only", "-z", "--ignore-submodules", "HEAD"],
            &["ls-files", "--others", "--exclude-standard", "--directory", "-z"],
        ];
        let mut files = 0;
        for question in questions {
            if let Ok(output) = git.run(question, QUESTION).await {
                files += output.stdout.split(|it| *it == 0).filter(|it| !it.is_empty()).count();
            }
        }
        if files > 0 {
            log::say(&format!(
                "Leaving {files} uncommitted changes behind: only commits are handed over"
            ));
        }
    }

    /// Settings that keep git from running the agent's filters when it compares files. Nothing where
    /// there are too many.
    async fn without_filters(&self) -> Result<Option<Vec<String>>, Problem> {
        let question = ["config", "--name-only", "-z", "--get-regexp", r"^filter\."];
        let output = self.git.run(&question, QUESTION).await?;
        let text = output.text();
        let names: Vec<&str> = text.split('\0').filter(|it| !it.is_empty()).collect();
        let plain = |it: &&str| !it.contains('=') && it.rsplit_once('.').is_some();
        if names.len() > MAX_FILTERS || !names.iter().all(plain) {
            return Ok(None);
        }
        Ok(Some(names.iter().map(|it| format!("{it}=")).collect()))
    }

    fn failed(&self, doing: &str, output: &Output) -> Problem {
        let said = diagnosis::quote(&output.stderr, &Scrubber::default());
        let folder = self.paths.at(layout::REPOSITORY);
        Problem::new(
            reason::HANDOVER_FAILED,
            format!("failed to {doing} of {folder}: git said: {said}"),
        )
    }
}

/// Lays the mark anew where the agent removed it. A volume that is full is no reason to say so twice a second.
pub fn keep_mark(paths: &Paths) {
    let mark = paths.at(layout::BEGUN);
    if fs::symlink_metadata(&mark).is_err() {
        let _tried_again_soon = files::write(&mark, b"", 0o644);
    }
}

/// Says that a runner is there. Written while the lock is held.
pub fn mark_begun(paths: &Paths) {
    let mark = paths.at(layout::BEGUN);
    if let Err(error) = files::write(&mark, b"", 0o644) {
        log::say(&format!("Failed to write {mark}: {error}"));
    }
}
