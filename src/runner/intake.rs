//! Takes what was handed over: copies a bundle out of the agent's reach, checks it, and puts its objects into our bare clone. The
//! one for the work branch comes first, and what else the agent committed is opened only after that one's end. Opens nothing else
//! that the agent could write but its report, and runs nothing of it.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    time::Duration,
};

use super::{
    bundle::{self, Head, Reference},
    clone::BASE,
    contents, diagnosis, files,
    git::Git,
    paths::Paths,
    pointers,
    problem::Problem,
    process::Output,
    report::called,
};
use crate::domain::{layout, repository::BranchName, untrusted::Scrubber, verdict::reason};

/// Keeps the taken commit among our references.
const WORK: &str = "refs/gastown/work";
/// Checks of a bundle take at most this long.
const CHECK: Duration = Duration::from_secs(300);
/// How git checks objects that it is given: as in a fetch, less what is harmless and common in old histories.
const STRICT: &str =
    "--strict=badTimezone=ignore,missingSpaceBeforeDate=ignore,zeroPaddedFilemode=ignore";
/// What git may ask of memory at once: an object that was made to burst this container fails instead.
const MAX_ALLOCATION: &str = "64m";

/// What was handed over for the work branch, once it is in our own clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub commit: String,
    /// Commits after the base; all of its history where it does not continue the base.
    pub commits: u32,
    /// It descends from the base.
    pub continues: bool,
    /// The agent's name of the branch that it is on, where nothing is for the work branch.
    pub elsewhere: Option<String>,
    /// What its bundle took of the room for both, in bytes.
    pub bytes: u64,
}

/// Commits on another branch of the agent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// The agent's name for it, fit for a message.
    pub name: String,
    pub commit: String,
}

/// A bundle that is ours by now, and of which no more than the head was looked at.
pub struct Opened {
    file: File,
    bytes: u64,
    head: Head,
}

impl Opened {
    /// What it hands over, by its own word.
    pub fn others(&self) -> Vec<Other> {
        let other = |it: &Reference| Other { name: called(&it.name), commit: it.commit.clone() };
        self.head.references.iter().map(other).collect()
    }
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
        let Some(opened) = open(paths, layout::BUNDLE, 1, max_bytes).await? else {
            return Ok(None);
        };
        let bytes = opened.bytes;
        let reference = opened.head.references.first().cloned();
        let Reference { commit, name } = reference.ok_or_else(|| refused("it holds nothing"))?;
        self.unpack(paths, opened).await?;
        let elsewhere = is_elsewhere(&name, work).then(|| called(&name));
        self.must_be_there(&commit, &[base]).await?;
        let output = self.git.run(&["update-ref", "--no-deref", WORK, &commit], CHECK).await?;
        must(&output, "its commit can't be kept")?;
        Ok(Some(Taken { elsewhere, bytes, ..self.judge(commit, base).await? }))
    }

    /// Puts the objects into our clone, as git checks them.
    pub async fn unpack(&self, paths: &Paths, opened: Opened) -> Result<(), Problem> {
        let Opened { mut file, head, .. } = opened;
        let rewound = file.seek(SeekFrom::Start(head.length));
        rewound.map_err(|it| Problem::volume("read", &paths.intake(), &it))?;
        let output =
            self.git.run_on(file, &["index-pack", "--stdin", "--fix-thin", STRICT], CHECK).await?;
        must(&output, "its objects fail git's checks")
    }

    /// Fails unless it is a commit, and all that it is made of is here; what one of `known` contains is.
    pub async fn must_be_there(&self, commit: &str, known: &[&str]) -> Result<(), Problem> {
        let output = self.git.run(&["cat-file", "-t", commit], CHECK).await?;
        if output.line() != "commit" {
            return Err(refused("what it hands over is no commit"));
        }
        let known: Vec<String> = known.iter().map(|it| format!("^{it}")).collect();
        let mut arguments = vec!["rev-list", "--objects", "--quiet", commit];
        arguments.extend(known.iter().map(String::as_str));
        arguments.push("--");
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
        Ok(Taken { commit, commits, continues, elsewhere: None, bytes: 0 })
    }
}

/// Whether the agent's side says that it is a branch other than the work branch. Anything else is for that one.
fn is_elsewhere(name: &str, work: &BranchName) -> bool {
    let branch = name.starts_with("refs/heads/") || name.starts_with("worktrees/");
    branch && name != work.reference()
}

/// Makes a bundle of the hand-over folder ours, and reads its head; nothing where there is none.
pub async fn open(
    paths: &Paths,
    name: &str,
    most: usize,
    max_bytes: u64,
) -> Result<Option<Opened>, Problem> {
    let (from, to) = (paths.at(name), paths.intake());
    let copied = tokio::task::spawn_blocking(move || copy(&from, &to, max_bytes)).await;
    let Some((mut file, bytes)) = copied.map_err(|it| refused(&it.to_string()))?? else {
        return Ok(None);
    };
    let head = bundle::read(BufReader::new(&mut file), most);
    let head = head.map_err(|it| refused(&it.to_string()))?;
    Ok(Some(Opened { file, bytes, head }))
}

/// Copies the bundle to our own volume, where nobody can change it under our hands. Answers with the
/// copy, rewound, and its size.
fn copy(from: &str, to: &str, max_bytes: u64) -> Result<Option<(File, u64)>, Problem> {
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
    if bytes > max_bytes { Err(too_large()) } else { Ok(Some((copy, bytes))) }
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
        "the bundle that the agent's container handed over is refused: {why}; nothing of it was pushed"
    );
    Problem::new(reason::BUNDLE_REFUSED, message)
}
