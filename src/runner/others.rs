//! What the agent committed beside what goes to the work branch: on other branches, in further work trees, on a HEAD
//! without a branch. All of it is the agent's to name and to number, so both are bounded.

use std::{collections::HashSet, fs, time::Duration};

use tokio::time::timeout;

use super::{bundle::MAX_REFERENCES, git::Git, log, process::Output, remote::is_commit};

/// The search takes at most this long: there is little time left where the pod was told to end.
const SEARCH: Duration = Duration::from_secs(5);
/// With more branches the ones that were committed to last are looked at.
const MAX_TIPS: usize = 1000;
/// More commits than an agent makes beside its work: somebody else's history, such as that of a repository that it fetched.
const MAX_COMMITS: usize = 1000;
/// With so many more, more names say no more.
const MAX_SAID: usize = 100;
const MAX_WORK_TREES: usize = 16;

/// What is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// References that git understands, none of which contains another.
    pub names: Vec<String>,
    /// There may be more, which is not handed over.
    pub left_out: bool,
}

/// A reference of the agent's and its commit.
struct Tip {
    name: String,
    commit: String,
}

/// Looks for commits that neither one of `known` nor a branch of the remote, as far as the agent's clone knows, contains.
pub async fn find(git: &Git, directory: &str, known: &[&str]) -> Others {
    let found = timeout(SEARCH, search(git, directory, known)).await;
    let found = found.unwrap_or_else(|_| Err(format!("no end after {} s", SEARCH.as_secs())));
    found.unwrap_or_else(|why| {
        log::say(&format!(
            "Failed to look for commits on other branches, which are not handed over if there are any: {why}"
        ));
        Others { names: Vec::new(), left_out: true }
    })
}

async fn search(git: &Git, directory: &str, known: &[&str]) -> Result<Others, String> {
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
    let mut seen: HashSet<String> = known.iter().map(|it| (*it).to_owned()).collect();
    tips.retain(|it| is_commit(&it.commit) && seen.insert(it.commit.clone()));
    if tips.is_empty() {
        return Ok(Others::default());
    }
    let most = format!("--max-count={}", MAX_COMMITS + 1);
    let mut arguments = vec!["rev-list", "--parents", &most];
    arguments.extend(tips.iter().map(|it| it.commit.as_str()));
    arguments.push("--not");
    arguments.extend(known);
    arguments.extend(["--remotes", "--"]);
    let output = must(git.run(&arguments, SEARCH).await.map_err(|it| it.message)?)?;
    let text = output.text();
    if text.lines().count() > MAX_COMMITS {
        let names: Vec<&str> = tips.iter().map(|it| it.name.as_str()).take(MAX_SAID).collect();
        let names = names.join(", ");
        return Err(format!("{names} have more than {MAX_COMMITS} commits of their own"));
    }
    Ok(choose(&tips, &text))
}

async fn branches(git: &Git) -> Result<Vec<Tip>, String> {
    let most = format!("--count={MAX_TIPS}");
    let format = "--format=%(objecttype) %(objectname) %(refname)";
    let question = ["for-each-ref", &most, "--sort=-committerdate", format, "refs/heads"];
    let output = must(git.run(&question, SEARCH).await.map_err(|it| it.message)?)?;
    let tip = |line: &str| {
        let (commit, name) = line.strip_prefix("commit ")?.split_once(' ')?;
        Some(Tip { name: name.to_owned(), commit: commit.to_owned() })
    };
    Ok(output.text().lines().filter_map(tip).collect())
}

fn must(output: Output) -> Result<Output, String> {
    if output.is_success() {
        return Ok(output);
    }
    Err(super::diagnosis::quote(&output.stderr, &crate::domain::untrusted::Scrubber::default()))
}

/// The tips with commits of their own, given those commits, each with its parents behind it.
fn choose(tips: &[Tip], commits: &str) -> Others {
    let mut own = HashSet::new();
    let mut contained = HashSet::new();
    for line in commits.lines() {
        let mut ids = line.split(' ');
        own.extend(ids.next());
        contained.extend(ids);
    }
    let is_one = |it: &&Tip| {
        let commit = it.commit.as_str();
        own.contains(commit) && !contained.contains(commit)
    };
    let mut names: Vec<_> = tips.iter().filter(is_one).map(|it| it.name.clone()).collect();
    let left = names.split_off(names.len().min(MAX_REFERENCES - 1));
    if !left.is_empty() {
        let names = left.get(..left.len().min(MAX_SAID)).unwrap_or_default().join(", ");
        log::say(&format!("Not handed over, since these are too many branches: {names}"));
    }
    Others { names, left_out: !left.is_empty() }
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
        let found = choose(&tips(&["c", "b", "x", "old"]), "c b\nb a\na base\nx base\n");
        let want =
            Others { names: vec!["refs/heads/c".into(), "refs/heads/x".into()], left_out: false };
        assert_eq!(found, want, "b is in c, and old has nothing of its own");
    }

    #[test]
    fn branches_without_end_are_cut_and_said() {
        let names: Vec<String> = (0..20).map(|it| format!("b{it}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = choose(&tips(&names), &names.join(" base\n"));
        assert_eq!((found.names.len(), found.left_out), (MAX_REFERENCES - 1, true));
    }
}
