//! Hands over what the agent committed: in one bundle what is for the work branch, and then, in another, what it committed beside
//! that. Runs git on a repository that the agent could have made anything of, which is harmless here alone: this container holds
//! no credential of git or the cluster.

use std::{fs, time::Duration};

use tokio::time::Instant;

use super::{
    bundle::Reference,
    bundling::{Wanted, Writer},
    diagnosis, files,
    git::Git,
    log,
    others::{self, Known, Others},
    paths::Paths,
    problem::Problem,
    process::Output,
    report::{self, Report},
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
/// All that is done about other branches: `telemetry` waits for it, and not for long where the pod was told to end.
const BESIDE: Duration = Duration::from_secs(8);

/// With more filters in its configuration a repository is not asked for uncommitted changes.
const MAX_FILTERS: usize = 100;

/// What is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundled {
    /// The commit for the work branch.
    commit: Option<String>,
    /// References beside it.
    others: Vec<String>,
    /// References that are not handed over.
    left: Vec<String>,
    /// There may be more commits, on other branches than these.
    unknown: bool,
}

impl Bundled {
    /// What it is, for a sentence.
    pub fn said(&self) -> String {
        let commit = self.commit.iter().map(|it| format!("commit {it}"));
        let all: Vec<String> = commit.chain(self.others.iter().cloned()).collect();
        let rest = if self.in_part() { ", and not all that was committed elsewhere" } else { "" };
        let all = if self.is_empty() { "nothing".to_owned() } else { all.join(", ") };
        all + rest
    }

    const fn is_empty(&self) -> bool {
        self.commit.is_none() && self.others.is_empty()
    }

    const fn in_part(&self) -> bool {
        self.unknown || !self.left.is_empty()
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

    /// Clears what the agent left in the hand-over folder, and writes the mark, the bundles and the report
    /// there. False where the agent's repository could not be read: then the last checkpoint stays.
    pub async fn make(&self, ended: Ended) -> bool {
        let (folder, bundle, beside) = (
            self.paths.at(layout::HANDOVER.path),
            self.paths.at(layout::BUNDLE),
            self.paths.at(layout::BESIDE),
        );
        if let Err(error) = files::clear(&folder, &[&bundle, &beside]) {
            log::say(&format!("Failed to clear {folder}: {error}"));
        }
        mark_begun(self.paths);
        let mut report = Report { ended, ..Report::default() };
        // Should this container be cut off while it looks at other branches.
        let made = self.write(|| self.report(&mut report, words::PARTLY)).await;
        let (word, said) = match made {
            Ok(Some(it)) => {
                report.not_handed_over = report::some(&it.left);
                let word = match (it.is_empty(), it.in_part()) {
                    (true, _) => words::FAILED,
                    (false, true) => words::PARTLY,
                    (false, false) => words::BUNDLE,
                };
                (word, format!("Handed over {}", it.said()))
            }
            Ok(None) => {
                for path in [bundle, beside] {
                    remove(&path);
                }
                (words::NOTHING, "The agent committed nothing".to_owned())
            }
            Err(problem) => {
                let large = problem.reason == reason::BUNDLE_TOO_LARGE;
                let word = if large { words::TOO_LARGE } else { words::FAILED };
                (word, format!("Failed to hand over, commits may be lost: {problem}"))
            }
        };
        log::say(&said);
        self.report(&mut report, word);
        matches!(word, words::BUNDLE | words::PARTLY | words::NOTHING)
    }

    fn report(&self, report: &mut Report, word: &str) {
        report.ended.handover = Some(word.to_owned());
        if let Err(error) = report.write(self.paths) {
            log::say(&format!("Failed to write {}: {error}", self.paths.at(layout::ENDED)));
        }
    }

    /// Writes the bundles, each complete or not at all. Nothing where there is no commit after the base. Writes
    /// nothing into the agent's volumes, which it may have filled.
    pub async fn bundle(&self) -> Result<Option<Bundled>, Problem> {
        self.write(|| ()).await
    }

    /// The same; tells when the work branch's is written, which nothing else is ever in.
    async fn write(&self, worked: impl FnOnce()) -> Result<Option<Bundled>, Problem> {
        // A repository that the agent made anew has no base to leave out.
        let base = self.commit(&self.start.base).await?;
        let mut work = None;
        if let Some(name) = self.head().await? {
            work = Some(self.first(&name, base.as_deref()).await?.commit);
            worked();
        }
        self.beside(base.as_deref(), work).await
    }

    fn writer(&self) -> Writer {
        let folder = self.paths.at(layout::REPOSITORY);
        Writer { git: self.git.clone(), folder, max_file: self.max_bundle }
    }

    async fn first(&self, name: &str, base: Option<&str>) -> Result<Reference, Problem> {
        let names = [name.to_owned()];
        let without: Vec<&str> = base.into_iter().collect();
        let (path, max_bytes) = (self.paths.at(layout::BUNDLE), self.max_bundle);
        let written = self
            .writer()
            .write(&Wanted { path, names: &names, without: &without, max_bytes, limit: BUNDLING })
            .await?;
        written
            .into_iter()
            .next()
            .ok_or_else(|| Problem::new(reason::HANDOVER_FAILED, "its bundle holds nothing"))
    }

    /// Hands over what else was committed. Where something is for the work branch, nothing that happens here is a failure.
    async fn beside(
        &self,
        base: Option<&str>,
        work: Option<String>,
    ) -> Result<Option<Bundled>, Problem> {
        let until = Instant::now() + BESIDE;
        let directory = format!("{}/.git", self.paths.at(layout::REPOSITORY));
        let known = Known { base, work: work.as_deref() };
        let Others { mut names, mut left, unknown } =
            others::find(&self.git, &directory, known).await;
        let commit = work.clone();
        let mut others = Vec::new();
        let mut first = work;
        if first.is_none() {
            if names.is_empty() && left.is_empty() && !unknown {
                return Ok(None);
            }
            if names.is_empty() {
                return Ok(Some(Bundled { commit, others, left, unknown }));
            }
            let (name, it) = self.first_of(&mut names, &mut left, base).await?;
            others.push(name);
            first = Some(it);
        }
        let without: Vec<&str> = base.into_iter().chain(first.as_deref()).collect();
        let written = self.write_beside(&names, &without, until).await;
        let (handed, not): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|it| written.contains(it));
        others.extend(handed);
        left.extend(not);
        if others.len() == usize::from(commit.is_none()) && left.is_empty() && !unknown {
            remove(&self.paths.at(layout::BESIDE)); // what a checkpoint left there is gone from the repository
        }
        Ok(Some(Bundled { commit, others, left, unknown }))
    }

    /// Has the first that can be bundled in the place of the work branch.
    async fn first_of(
        &self,
        names: &mut Vec<String>,
        left: &mut Vec<String>,
        base: Option<&str>,
    ) -> Result<(String, String), Problem> {
        let mut why = Problem::new(reason::HANDOVER_FAILED, "no branch has commits of the agent's");
        while !names.is_empty() {
            let name = names.remove(0);
            match self.first(&name, base).await {
                Ok(it) => return Ok((name, it.commit)),
                Err(problem) => why = problem,
            }
            log::say(&format!("Not handing over {name}: {why}"));
            left.push(name);
        }
        Err(why)
    }

    /// Writes the other bundle with what is left of the room for both; one after the other where all at once is too much.
    /// Answers with the names in it.
    async fn write_beside(
        &self,
        names: &[String],
        without: &[&str],
        until: Instant,
    ) -> Vec<String> {
        let work = fs::symlink_metadata(self.paths.at(layout::BUNDLE)).map_or(0, |it| it.len());
        let max_bytes = self.max_bundle.saturating_sub(work);
        let path = self.paths.at(layout::BESIDE);
        let write = async |names: &[String]| {
            let limit = until.saturating_duration_since(Instant::now());
            let written = self
                .writer()
                .write(&Wanted { path: path.clone(), names, without, max_bytes, limit })
                .await;
            written.map(|it| it.into_iter().map(|it| it.name).collect::<Vec<_>>())
        };
        if names.is_empty() {
            return Vec::new();
        }
        let mut written = match write(names).await {
            Ok(written) => return written,
            Err(problem) if names.len() == 1 => {
                log::say(&format!("Not handing over {}: {problem}", names.join(", ")));
                return Vec::new();
            }
            Err(problem) => {
                log::say(&format!("Handing over other branches one after the other: {problem}"));
                Vec::new()
            }
        };
        for name in names {
            let more: Vec<String> = written.iter().chain([name]).cloned().collect();
            match write(&more).await {
                Ok(now) => written = now,
                Err(problem) => log::say(&format!("Not handing over {name}: {problem}")),
            }
        }
        written
    }

    /// The reference for the work branch: its own; where the agent went on from it on another branch that it left checked
    /// out, that one's.
    async fn head(&self) -> Result<Option<String>, Problem> {
        let branch = format!("refs/heads/{}", self.start.branch);
        let work = self.after_base(&branch).await?;
        let head = self.after_base("HEAD").await?;
        let goes_on = match (&work, &head) {
            (None, None) => return Ok(None),
            (Some(work), Some(head)) => work != head && self.descends(work, head).await?,
            (work, _) => work.is_none(),
        };
        Ok(Some(if goes_on { "HEAD".to_owned() } else { branch })) // the other, too, where git did not say in time: it is then handed over beside it
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

fn remove(path: &str) {
    files::remove(path).unwrap_or_else(|it| log::say(&format!("Left {path}: {it}")));
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
