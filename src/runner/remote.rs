//! What the remote has: its branches, asked once, before anything is cloned.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{access::Access, diagnosis, git::Git, log, problem::Problem, process::Output};
use crate::domain::{
    fields::{BASE_BRANCH, WORK_BRANCH},
    repository::BranchName,
    verdict::reason,
};

/// One exchange with the remote takes at most this long.
const EXCHANGE: Duration = Duration::from_secs(600);
/// Waits between tries, doubled each time up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(8);

/// A branch of the remote and the commit it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub branch: BranchName,
    pub commit: String,
}

/// Where the agent starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub head: Head,
    /// The work branch exists already, and its commits are continued.
    pub continued: bool,
}

/// Runs git against the remote, again and again while the host can't be reached and `until` has not come.
pub async fn exchange(
    access: &Access,
    git: &Git,
    doing: &str,
    arguments: &[&str],
    otherwise: &'static str,
    until: Instant,
) -> Result<Output, Problem> {
    let mut wait = FIRST_WAIT;
    loop {
        let output = git.run(arguments, EXCHANGE).await?;
        if output.is_success() {
            return Ok(output);
        }
        let problem = diagnosis::problem(doing, &output, otherwise, &access.scrubber);
        if problem.reason != reason::HOST_NOT_REACHABLE || Instant::now() + wait >= until {
            return Err(problem);
        }
        log::say(&format!("Trying again in {} ms: {problem}", wait.as_millis()));
        sleep(wait).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// Where to start: the work branch if the remote has it, else the branch that the spec names.
pub async fn origin(
    access: &Access,
    git: &Git,
    branch: &BranchName,
    work: &BranchName,
    until: Instant,
) -> Result<Origin, Problem> {
    let url = access.repository.to_string();
    let asked = questions(branch, work);
    let mut arguments = vec!["ls-remote", "--quiet", "--", url.as_str()];
    arguments.extend(asked.iter().map(String::as_str));
    let doing = format!("read the branches of {url}");
    let output = exchange(access, git, &doing, &arguments, reason::CLONE_REFUSED, until).await?;
    choose(&heads(&output.text()), branch, work).map_err(|it| it.problem(&url, branch, work))
}

/// References to ask for: both branches, and those whose names exclude the work branch's.
fn questions(branch: &BranchName, work: &BranchName) -> Vec<String> {
    let mut asked = vec![branch.reference(), work.reference(), format!("{}/*", work.reference())];
    let name = work.as_str();
    asked.extend(
        name.match_indices('/')
            .filter_map(|(at, _)| name.get(..at))
            .map(|it| format!("refs/heads/{it}")),
    );
    asked
}

/// Name and commit of every branch in the output of `git ls-remote`.
fn heads(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|it| it.split_once('\t'))
        .filter_map(|(commit, reference)| Some((reference.strip_prefix("refs/heads/")?, commit)))
        .filter(|(_, commit)| is_commit(commit))
        .collect()
}

/// 40 or 64 hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|it| it.is_ascii_digit() || matches!(it, b'a'..=b'f'))
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Unfit {
    Missing,
    Excluded(String),
}

impl Unfit {
    fn problem(&self, url: &str, branch: &BranchName, work: &BranchName) -> Problem {
        match self {
            Self::Missing => {
                let message = format!(
                    "{url} has neither the work branch {work} nor the branch {branch} to start from; \
                     create it or correct {BASE_BRANCH}"
                );
                Problem::new(reason::BRANCH_NOT_FOUND, message)
            }
            Self::Excluded(other) => {
                let message = format!(
                    "the work branch {work} can't exist beside the branch {other} of {url}, because git \
                     keeps branches like folders; choose another {WORK_BRANCH}"
                );
                Problem::new(reason::BRANCH_CONFLICT, message)
            }
        }
    }
}

fn choose(heads: &[(&str, &str)], branch: &BranchName, work: &BranchName) -> Result<Origin, Unfit> {
    let find = |of: &BranchName| {
        heads.iter().find(|(name, _)| *name == of.as_str()).map(|(_, commit)| *commit)
    };
    let origin = |of: &BranchName, commit: &str, continued| Origin {
        head: Head { branch: of.clone(), commit: commit.to_owned() },
        continued,
    };
    if let Some(commit) = find(work) {
        return Ok(origin(work, commit, true));
    }
    let inside =
        |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|it| it.starts_with('/'));
    let excludes = |name: &str| inside(work.as_str(), name) || inside(name, work.as_str());
    if let Some((name, _)) = heads.iter().find(|(name, _)| excludes(name)) {
        return Err(Unfit::Excluded((*name).to_owned()));
    }
    find(branch).map(|commit| origin(branch, commit, false)).ok_or(Unfit::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn where_a_run_starts() {
        let table = [
            (vec![("main", A)], Ok((A, false)), "the first attempt"),
            (vec![("main", A), ("fix/x", B)], Ok((B, true)), "earlier commits are continued"),
            (vec![("fix/x", B)], Ok((B, true)), "the branch to start from may be gone by then"),
            (vec![], Err(Unfit::Missing), "no branch"),
            (vec![("main2", A)], Err(Unfit::Missing), "another branch"),
            (
                vec![("main", A), ("fix", B)],
                Err(Unfit::Excluded("fix".into())),
                "a file where a folder must be",
            ),
            (
                vec![("main", A), ("fix/x/y", B)],
                Err(Unfit::Excluded("fix/x/y".into())),
                "the other way round",
            ),
        ];
        for (heads, want, because) in table {
            let chosen = choose(&heads, &"main".parse().unwrap(), &"fix/x".parse().unwrap());
            let got = chosen.map(|it| (it.head.commit, it.continued));
            assert_eq!(
                got,
                want.map(|(commit, continued)| (commit.to_owned(), continued)),
                "{because}"
            );
        }
    }

    #[test]
    fn a_hostile_list_is_read_as_data() {
        let text = format!(
            "{A}\trefs/heads/main\nnonsense\nzz\trefs/heads/bad\n{B}\trefs/tags/v1\n\
             {B}\trefs/x/refs/heads/main\n"
        );
        assert_eq!(heads(&text), [("main", A)]);
    }
}
