//! What the agent committed beside what goes to the work branch: on other branches, in further work trees, on a HEAD
//! without a branch. All of it is the agent's to name and to number, so both are bounded.

use std::{collections::HashSet, fs, io, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{bundle::MAX_REFERENCES, diagnosis, files, git::Git, log, remote::is_commit};
use crate::domain::untrusted::Scrubber;

/// The search takes at most this long: there is little time left where the pod was told to end.
const SEARCH: Duration = Duration::from_secs(5);
/// With more branches the ones that were committed to last are looked at.
const MAX_TIPS: usize = 1000;
/// With more commits on all of them together it is not known which branch holds which.
const MAX_LISTED: usize = 20_000;
/// Most commits that are handed over. More are hardly an agent's own beside its work: somebody else's history, such as that of a
/// repository that it fetched.
const MAX_COMMITS: usize = 1000;
/// What goes to the work branch is known up to so many commits: a branch that leaves it earlier is not handed over.
const MAX_WORK: usize = 10_000;
/// Most branches.
const MAX_NAMES: usize = MAX_REFERENCES;
/// With so many more, more names say no more.
const MAX_SAID: usize = 100;
const MAX_WORK_TREES: usize = 16;
/// Largest list of the commits that the clone has without their parents, in bytes.
const MAX_SHALLOW: u64 = 1024 * 1024;

/// What is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// References that git understands, none of which contains another, and whose commits, without those for the work branch, can
    /// be taken.
    pub names: Vec<String>,
    /// References that are not handed over.
    pub left: Vec<String>,
    /// There may be more.
    pub unknown: bool,
}

/// A reference of the agent's and its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tip {
    name: String,
    commit: String,
}

/// What `telemetry` has by the time that it looks at the others: the base and nothing before it, and what is for the work
/// branch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    pub base: Option<&'a str>,
    pub work: Option<&'a str>,
}

impl<'a> Known<'a> {
    fn commits(self) -> impl Iterator<Item = &'a str> {
        self.base.into_iter().chain(self.work)
    }
}

/// Looks for commits that neither what is `known` nor a branch of the remote, as far as the agent's clone knows, contains.
pub async fn find(git: &Git, directory: &str, known: Known<'_>) -> Others {
    let until = Instant::now() + SEARCH;
    let found = timeout_at(until, search(git, directory, known)).await;
    let found = found.unwrap_or_else(|_| Err(format!("no end after {} s", SEARCH.as_secs())));
    match found {
        Ok((fit, tips)) => choose(git, fit, tips, until).await,
        Err(why) => {
            log::say(&format!(
                "Failed to look for commits on other branches, which are not handed over if there are any: {why}"
            ));
            Others { unknown: true, ..Others::default() }
        }
    }
}

async fn search<'a>(
    git: &Git,
    directory: &str,
    known: Known<'a>,
) -> Result<(Fit<'a>, Tips), String> {
    let mut tips = branches(git).await?;
    let mut heads = vec!["HEAD".to_owned()];
    heads.extend(work_trees(directory).into_iter().map(|it| format!("worktrees/{it}/HEAD")));
    for name in heads {
        let question = ["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")];
        let output = git.run(&question, SEARCH).await.map_err(|it| it.message)?;
        if output.timed_out {
            return Err(format!("no word of {name}"));
        }
        tips.push(Tip { name, commit: output.line().to_owned() });
    }
    let mut seen: HashSet<String> = known.commits().map(str::to_owned).collect();
    tips.retain(|it| is_commit(&it.commit) && seen.insert(it.commit.clone()));
    if tips.is_empty() {
        return Ok((Fit::default(), Tips::default()));
    }
    let most = format!("--max-count={}", MAX_LISTED + 1);
    let mut arguments = vec!["rev-list", "--parents", &most];
    arguments.extend(tips.iter().map(|it| it.commit.as_str()));
    arguments.push("--not");
    arguments.extend(known.commits());
    arguments.extend(["--remotes", "--"]);
    let text = must(git, &arguments).await?;
    if text.lines().count() > MAX_LISTED {
        let names: Vec<&str> = tips.iter().map(|it| it.name.as_str()).take(MAX_SAID).collect();
        let names = names.join(", ");
        return Err(format!("{names} have more than {MAX_LISTED} commits of their own"));
    }
    let tips = sort(&tips, &text);
    Ok((Fit::new(git, directory, known).await?, tips))
}

async fn branches(git: &Git) -> Result<Vec<Tip>, String> {
    let most = format!("--count={MAX_TIPS}");
    let format = "--format=%(objecttype) %(objectname) %(refname)";
    let question = ["for-each-ref", &most, "--sort=-committerdate", format, "refs/heads"];
    let tip = |line: &str| {
        let (commit, name) = line.strip_prefix("commit ")?.split_once(' ')?;
        Some(Tip { name: name.to_owned(), commit: commit.to_owned() })
    };
    Ok(must(git, &question).await?.lines().filter_map(tip).collect())
}

async fn must(git: &Git, question: &[&str]) -> Result<String, String> {
    let output = git.run(question, SEARCH).await.map_err(|it| it.message)?;
    if output.is_success() {
        return Ok(output.text().into_owned());
    }
    Err(diagnosis::quote(&output.stderr, &Scrubber::default()))
}

/// The tips with commits of their own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tips {
    last: Vec<Tip>,
    /// Contained in one of those: of interest where that one can't be handed over.
    inner: Vec<Tip>,
}

/// Sorts them out, given their own commits, each with its parents behind it.
fn sort(tips: &[Tip], commits: &str) -> Tips {
    let mut own = HashSet::new();
    let mut contained = HashSet::new();
    for line in commits.lines() {
        let mut ids = line.split(' ');
        own.extend(ids.next());
        contained.extend(ids);
    }
    let tips = tips.iter().filter(|it| own.contains(it.commit.as_str())).cloned();
    let (inner, last) = tips.partition(|it| contained.contains(it.commit.as_str()));
    Tips { last, inner }
}

/// Chooses as many as can be taken; the others are said by name.
async fn choose(git: &Git, mut fit: Fit<'_>, tips: Tips, until: Instant) -> Others {
    let last = tips.last.into_iter().map(|it| (true, it));
    let tips = last.chain(tips.inner.into_iter().map(|it| (false, it)));
    let mut found = Others::default();
    for (is_last, Tip { name, commit }) in tips {
        if fit.taken.contains(&commit) {
            continue;
        }
        let looked = if found.names.len() == MAX_NAMES {
            Err("these are too many branches".to_owned())
        } else {
            let looked = timeout_at(until, fit.look(git, &commit)).await;
            looked.unwrap_or_else(|_| Err("there is no time left to look at it".to_owned()))
        };
        match looked {
            Ok(()) => found.names.push(name),
            Err(why) => {
                if found.left.len() < MAX_SAID {
                    log::say(&format!("Not handing over {name}: {why}"));
                }
                // With the one that contains it all is said.
                found.left.extend(Some(name).filter(|_| is_last));
            }
        }
    }
    found
}

/// Judges whether `telemetry` could take a branch.
#[derive(Debug, Default)]
struct Fit<'a> {
    known: Known<'a>,
    /// Commits for the work branch.
    for_work: HashSet<String>,
    /// Commits whose parents the agent's clone does not have.
    shallow: HashSet<String>,
    /// Commits of the branches that were found fit.
    taken: HashSet<String>,
}

impl<'a> Fit<'a> {
    async fn new(git: &Git, directory: &str, known: Known<'a>) -> Result<Self, String> {
        let path = format!("{directory}/shallow");
        let shallow = match files::read_plain(&path, MAX_SHALLOW) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|it| format!("{path} can't be read: {it}"))?,
        };
        let not_base = known.base.map(|it| format!("^{it}"));
        let most = format!("--max-count={MAX_WORK}");
        let mut for_work = String::new();
        if let Some(work) = known.work {
            let mut arguments = vec!["rev-list", &most, work];
            arguments.extend(not_base.as_deref());
            arguments.push("--");
            for_work = must(git, &arguments).await?;
        }
        let set = |it: String| it.lines().map(str::to_owned).collect();
        let taken = HashSet::new();
        Ok(Self { known, for_work: set(for_work), shallow: set(shallow), taken })
    }

    /// Goes by all that would be in the bundle, also by what a branch of the remote has.
    async fn look(&mut self, git: &Git, commit: &str) -> Result<(), String> {
        let most = format!("--max-count={}", MAX_COMMITS + 1);
        let known: Vec<String> = self.known.commits().map(|it| format!("^{it}")).collect();
        let mut arguments = vec!["rev-list", "--boundary", &most, commit];
        arguments.extend(known.iter().map(String::as_str));
        arguments.push("--");
        let text = must(git, &arguments).await?;
        let commits = || text.lines().filter(|it| !it.starts_with('-'));
        let new = commits().filter(|it| !self.taken.contains(*it)).count();
        if self.taken.len() + new > MAX_COMMITS {
            return Err(format!(
                "with it there would be more than {MAX_COMMITS} commits beside the work branch"
            ));
        }
        if commits().any(|it| self.shallow.contains(it)) {
            return Err("its history is cut off in the agent's clone".to_owned());
        }
        let is_known = |it: &str| self.known.base == Some(it) || self.for_work.contains(it);
        if !text.lines().filter_map(|it| it.strip_prefix('-')).all(is_known) {
            return Err("it goes on from what was there before the agent's base".to_owned());
        }
        self.taken.extend(commits().map(str::to_owned));
        Ok(())
    }
}

/// What git calls the further work trees of the repository. The folder is the agent's: what git would not have made is no name.
pub fn work_trees(directory: &str) -> Vec<String> {
    let Ok(folder) = fs::read_dir(format!("{directory}/worktrees")) else { return Vec::new() };
    let plain = |it: &String| {
        it.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
            && !it.starts_with('.')
            && !it.contains("..")
    };
    let entries = folder.take(MAX_WORK_TREES).map_while(Result::ok);
    entries.filter_map(|it| it.file_name().into_string().ok()).filter(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tips(names: &[&str]) -> Vec<Tip> {
        let tip = |it: &&str| Tip { name: format!("refs/heads/{it}"), commit: (*it).to_owned() };
        names.iter().map(tip).collect()
    }

    #[test]
    fn what_another_contains_is_not_handed_over_twice() {
        let found = sort(&tips(&["c", "b", "x", "old"]), "c b\nb a\na base\nx base\n");
        let want = Tips { last: tips(&["c", "x"]), inner: tips(&["b"]) };
        assert_eq!(found, want, "b is in c, and old has nothing of its own");
    }
}
