//! Takes the one bundle that was handed over: copies it out of the agent's reach, checks it, and puts its
//! objects into our bare clone. Opens nothing else that the agent could write but its report, and runs
//! nothing of it.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    time::Duration,
};

use super::{
    bundle, clone::BASE, contents, diagnosis, files, git::Git, paths::Paths, pointers,
    problem::Problem, process::Output,
};
use crate::domain::{
    layout,
    untrusted::Scrubber,
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

/// What was handed over, once it is in our own clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub commit: String,
    /// Commits after the base; all of its history where it does not continue the base.
    pub commits: u32,
    /// It descends from the base.
    pub continues: bool,
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

    /// Takes the bundle; nothing where none was handed over.
    pub async fn take(
        &self,
        paths: &Paths,
        base: &str,
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
        let (commit, not_base) = (head.commit.as_str(), format!("^{base}"));
        let output = self.git.run(&["cat-file", "-t", commit], CHECK).await?;
        if output.line() != "commit" {
            return Err(refused("what it hands over is no commit"));
        }
        let output = self
            .git
            .run(&["rev-list", "--objects", "--quiet", commit, &not_base, "--"], CHECK)
            .await?;
        must(&output, "objects are missing in it")?;
        let output = self.git.run(&["update-ref", "--no-deref", WORK, commit], CHECK).await?;
        must(&output, "its commit can't be kept")?;
        self.judge(commit, base).await.map(Some)
    }

    /// Fails where a commit that was taken names what it does not hold.
    pub async fn must_be_whole(&self, base: &str, commit: &str) -> Result<(), Problem> {
        contents::must_be_whole(&self.git, commit, reason::PUSH_FAILED).await?;
        pointers::none(&self.git, base, commit, reason::PUSH_FAILED).await
    }

    async fn judge(&self, commit: &str, base: &str) -> Result<Taken, Problem> {
        let output = self.git.run(&["merge-base", "--is-ancestor", base, commit], CHECK).await?;
        let continues = output.is_success();
        let output = self
            .git
            .run(&["rev-list", "--count", commit, &format!("^{base}"), "--"], CHECK)
            .await?;
        must(&output, "its commits can't be counted")?;
        Ok(Taken {
            commit: commit.to_owned(),
            commits: output.line().parse().unwrap_or(u32::MAX),
            continues,
        })
    }
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
    let handed = [words::BUNDLE, words::NOTHING, words::FAILED, words::TOO_LARGE];
    ended.handover = ended.handover.filter(|it| known(it, &handed));
    Some(ended.fit())
}
