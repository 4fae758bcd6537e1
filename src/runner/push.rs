//! Pushes one commit to one branch, never by force, and tells a remote that refuses from one that can't
//! be reached.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{access::Access, diagnosis, git::Git, log, problem::Problem};
use crate::domain::{repository::BranchName, verdict::reason};

/// One push takes at most this long; the caller's own limit may come earlier.
const LIMIT: Duration = Duration::from_secs(3600);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(10);

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The remote's branch stands on the commit.
    Taken,
    /// The remote, or git on seeing what the remote has, refuses; in its words.
    Rejected(String),
    /// It did not come to that.
    Failed(Problem),
}

/// Pushes, again and again until the remote takes or refuses the commit, or `until` has come. Only what a person must mend
/// ends it earlier: a connection is cut off in more ways than anybody knows the words of.
pub async fn push(
    access: &Access,
    git: &Git,
    commit: &str,
    branch: &BranchName,
    until: Instant,
) -> Outcome {
    let mut wait = FIRST_WAIT;
    loop {
        let outcome = once(access, git, commit, branch).await;
        let Outcome::Failed(problem) = &outcome else { return outcome };
        if !may_pass(problem) || Instant::now() + wait >= until {
            return outcome;
        }
        log::say(&format!("Trying again in {} ms: {problem}", wait.as_millis()));
        sleep(wait).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

/// Whether a failure may be gone in a moment.
pub fn may_pass(problem: &Problem) -> bool {
    matches!(problem.reason, reason::HOST_NOT_REACHABLE | reason::PUSH_FAILED)
}

async fn once(access: &Access, git: &Git, commit: &str, branch: &BranchName) -> Outcome {
    let (url, refspec) =
        (access.repository.to_string(), format!("{commit}:{}", branch.reference()));
    let arguments =
        ["push", "--porcelain", "--no-follow-tags", "--no-signed", "--", &url, &refspec];
    let output = match git.run(&arguments, LIMIT).await {
        Ok(it) => it,
        Err(problem) => return Outcome::Failed(problem),
    };
    if output.is_success() {
        return Outcome::Taken;
    }
    let text = output.text();
    let Some(word) = rejection(&text) else {
        let doing = format!("push branch {branch} to {url}");
        let problem = diagnosis::problem(&doing, &output, reason::PUSH_FAILED, &access.scrubber);
        return Outcome::Failed(problem);
    };
    let mut said = access.scrubber.scrub(word);
    if word.contains("remote rejected") {
        said.push_str("; it said: ");
        said.push_str(&diagnosis::quote(&output.stderr, &access.scrubber));
    }
    Outcome::Rejected(said)
}

/// The last field of the line that begins with `!`, such as `[rejected] (fetch first)`.
fn rejection(porcelain: &str) -> Option<&str> {
    let line = porcelain.lines().find(|it| it.starts_with("!\t"))?;
    line.splitn(3, '\t').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_told_from_a_failure() {
        let text = "To /x\n!\taaaa:refs/heads/w\t[rejected] (fetch first)\nDone\n";
        assert_eq!(rejection(text), Some("[rejected] (fetch first)"));
        assert_eq!(rejection("To /x\n*\taaaa:refs/heads/w\t[new branch]\nDone\n"), None);
        assert_eq!(rejection(""), None);
    }
}
