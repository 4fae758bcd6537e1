//! Takes the one bundle that was handed over: copies it out of the agent's reach, checks it, and puts its
//! objects into our bare clone. Opens nothing else that the agent could write but its report, and runs
//! nothing of it.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    time::Duration,
};

use super::{
    bundle::{self, Reference},
    clone::BASE,
    contents, diagnosis, files,
    git::Git,
    paths::Paths,
    pointers,
    problem::Problem,
    process::Output,
};
use crate::domain::{
    layout,
    repository::BranchName,
    untrusted::{Scrubber, fit},
    verdict::{Ended, reason, words},
};

/// Keeps the taken commit among our references.
const WORK: &str = "refs/gastown/work";
/// Checks of a bundle take at most this long.
const CHECK: Duration = Duration::from_secs(300);
/// Largest report, in bytes.
const MAX_REPORT: u64 = 16 * 1024;
/// How git checks objects that it is given: as in a fetch, less what is harmless and common in old histories.
const STRICT: &str =
    "--strict=badTimezone=ignore,missingSpaceBeforeDate=ignore,zeroPaddedFilemode=ignore";
/// What git may ask of memory at once: an object that was made to burst this container fails instead.
const MAX_ALLOCATION: &str = "64m";
/// Longest name of a branch of the agent's in a message, in bytes.
const MAX_NAME: usize = 60;

/// What was handed over, once it is in our own clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub commit: String,
    /// Commits after the base; all of its history where it does not continue the base.
    pub commits: u32,
    /// It descends from the base.
    pub continues: bool,
    /// The agent's name of the branch that it is on, where nothing is for the work branch.
    pub elsewhere: Option<String>,
    /// What the agent committed beside it.
    pub others: Vec<Other>,
}

/// Commits on another branch of the agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// The agent's name for it, fit for a message.
    pub name: String,
    pub commit: String,
}

/// Our own bare clone.
pub struct Clone {
    git: Git,
}

impl Clone {
    pub fn open(paths: &Paths) -> Self {
        let limit = ("GIT_ALLOC_LIMIT".to_owned(), MAX_ALLOCATION.to_owned());
        Self { git: Git::new(&paths.at(layout::BARE), &paths.home()).with(&[limit]).sparing() }
    }

    /// The commit that the agent began with.
    pub async fn base(&self) -> Result<String, Problem> {
        let output = self.git.run(&["rev-parse", "--verify", BASE], CHECK).await?;
        if output.is_success() {
            return Ok(output.line().to_owned());
        }
        let said = diagnosis::quote(&output.stderr, &Scrubber::default());
        Err(Problem::new(
            reason::VOLUME_UNUSABLE,
            format!("failed to read the clone that git-init made: {said}"),
        ))
    }

    /// Takes the bundle of commits for the branch `work`; nothing where none was handed over.
    pub async fn take(
        &self,
        paths: &Paths,
        base: &str,
        work: &BranchName,
        max_bytes: u64,
    ) -> Result<Option<Taken>, Problem> {
        let (from, to) = (paths.at(layout::BUNDLE), paths.intake());
        let copied = tokio::task::spawn_blocking(move || copy(&from, &to, max_bytes)).await;
        let Some(mut file) = copied.map_err(|it| refused(&it.to_string()))?? else {
            return Ok(None);
        };
        let head =
            bundle::read(BufReader::new(&mut file)).map_err(|it| refused(&it.to_string()))?;
        let rewound = file.seek(SeekFrom::Start(head.length));
        rewound.map_err(|it| Problem::volume("read", &paths.intake(), &it))?;
        let output =
            self.git.run_on(file, &["index-pack", "--stdin", "--fix-thin", STRICT], CHECK).await?;
        must(&output, "its objects fail git's checks")?;
        let Reference { commit, name } = head.first;
        let elsewhere = is_elsewhere(&name, work).then(|| called(&name));
        let other = |it: Reference| Other { name: called(&it.name), commit: it.commit };
        let others: Vec<Other> = head.others.into_iter().map(other).collect();
        let all: Vec<&str> = std::iter::once(&commit)
            .chain(others.iter().map(|it| &it.commit))
            .map(String::as_str)
            .collect();
        self.must_be_there(&all, base).await?;
        let output = self.git.run(&["update-ref", "--no-deref", WORK, &commit], CHECK).await?;
        must(&output, "its commit can't be kept")?;
        Ok(Some(Taken { elsewhere, others, ..self.judge(commit, base).await? }))
    }

    /// Fails unless all of them are commits, and all that they are made of is here.
    async fn must_be_there(&self, commits: &[&str], base: &str) -> Result<(), Problem> {
        for commit in commits {
            let output = self.git.run(&["cat-file", "-t", commit], CHECK).await?;
            if output.line() != "commit" {
                return Err(refused("what it hands over is no commit"));
            }
        }
        let not_base = format!("^{base}");
        let mut arguments = vec!["rev-list", "--objects", "--quiet"];
        arguments.extend(commits);
        arguments.extend([not_base.as_str(), "--"]);
        must(&self.git.run(&arguments, CHECK).await?, "objects are missing in it")
    }

    /// Fails where a commit that was taken names what it does not hold.
    pub async fn must_be_whole(&self, base: &str, commit: &str) -> Result<(), Problem> {
        contents::must_be_whole(&self.git, commit, reason::PUSH_FAILED).await?;
        pointers::none(&self.git, base, commit, reason::PUSH_FAILED).await
    }

    async fn judge(&self, commit: String, base: &str) -> Result<Taken, Problem> {
        let output = self.git.run(&["merge-base", "--is-ancestor", base, &commit], CHECK).await?;
        let continues = output.is_success();
        let output = self
            .git
            .run(&["rev-list", "--count", &commit, &format!("^{base}"), "--"], CHECK)
            .await?;
        must(&output, "its commits can't be counted")?;
        let commits = output.line().parse().unwrap_or(u32::MAX);
        Ok(Taken { commit, commits, continues, elsewhere: None, others: Vec::new() })
    }
}

/// Whether the agent's side says that it is a branch other than the work branch. Anything else is for that one.
fn is_elsewhere(name: &str, work: &BranchName) -> bool {
    let branch = name.starts_with("refs/heads/") || name.starts_with("worktrees/");
    branch && name != work.reference()
}

/// A branch's name as people know it. The agent chose it.
fn called(name: &str) -> String {
    let name = name.strip_prefix("refs/heads/").unwrap_or(name);
    fit(&Scrubber::default().scrub(name), MAX_NAME)
}

/// Copies the bundle to our own volume, where nobody can change it under our hands. Answers with the
/// copy, rewound.
fn copy(from: &str, to: &str, max_bytes: u64) -> Result<Option<File>, Problem> {
    let source = match files::open_plain(from) {
        Ok(it) => it,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(&format!("it can't be opened: {error}"))),
    };
    let too_large = || {
        let message = format!(
            "the bundle of the agent's commits is larger than {max_bytes} bytes; raise the cap or have \
             the agent commit less"
        );
        Problem::new(reason::BUNDLE_TOO_LARGE, message)
    };
    if source.metadata().map_err(|it| refused(&it.to_string()))?.len() > max_bytes {
        return Err(too_large());
    }
    let write = || -> io::Result<(File, u64)> {
        files::remove(to)?;
        let mut copy = File::options().read(true).write(true).create_new(true).open(to)?;
        let bytes = io::copy(&mut source.take(max_bytes + 1), &mut copy)?;
        copy.rewind()?;
        Ok((copy, bytes))
    };
    let (copy, bytes) = write().map_err(|it| Problem::volume("write", to, &it))?;
    if bytes > max_bytes { Err(too_large()) } else { Ok(Some(copy)) }
}

fn must(output: &Output, otherwise: &str) -> Result<(), Problem> {
    if output.is_success() {
        return Ok(());
    }
    let said = diagnosis::quote(&output.stderr, &Scrubber::default());
    Err(refused(&format!("{otherwise}; git said: {said}")))
}

fn refused(why: &str) -> Problem {
    let message = format!(
        "the bundle that the agent's container handed over is refused: {why}; nothing was pushed"
    );
    Problem::new(reason::BUNDLE_REFUSED, message)
}

/// What the agent's container says of its end. Words that we don't know are left out.
pub fn report(paths: &Paths) -> Option<Ended> {
    let text = files::read_plain(&paths.at(layout::ENDED), MAX_REPORT).ok()?;
    let mut ended: Ended = serde_json::from_str(&text).ok()?;
    let known = |it: &String, among: &[&str]| among.contains(&it.as_str());
    ended.stopped = ended.stopped.filter(|it| known(it, &words::STOPPED));
    let handed = [words::BUNDLE, words::PARTLY, words::NOTHING, words::FAILED, words::TOO_LARGE];
    ended.handover = ended.handover.filter(|it| known(it, &handed));
    Some(ended.fit())
}
