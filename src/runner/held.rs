//! Which of the commits that the agent made or merged the remote has already: those are somebody else's, and keep their ids.
//! Nothing is fetched.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{access::Access, diagnosis, git::Git, log, problem::Problem, push, remote::is_commit};
use crate::domain::verdict::reason;

/// How long one question to the remote may take.
const LIMIT: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Commits that the remote has, such that all it has of the histories of `tips` are these and what they contain. A remote that
/// can't compare tells where its branches stand: then one that has moved on since the agent merged it is not recognised.
/// Asked again and again until there is an answer or `until` has come.
pub async fn by_remote(
    access: &Access,
    git: &Git,
    tips: &[&str],
    until: Instant,
) -> Result<Vec<String>, Problem> {
    let mut wait = FIRST_WAIT;
    loop {
        let problem = match once(access, git, tips).await {
            Err(problem) if push::may_pass(&problem) && Instant::now() + wait < until => problem,
            answer => return answer,
        };
        log::say(&format!("Trying again in {} ms: {problem}", wait.as_millis()));
        sleep(wait).await;
        wait = (wait * 2).min(LAST_WAIT);
    }
}

async fn once(access: &Access, git: &Git, tips: &[&str]) -> Result<Vec<String>, Problem> {
    let url = access.repository.to_string();
    let tips: Vec<String> = tips.iter().map(|it| format!("--negotiation-tip={it}")).collect();
    let mut arguments = vec!["fetch", "--quiet", "--negotiate-only"];
    arguments.extend(tips.iter().map(String::as_str));
    arguments.extend(["--", &url]);
    let output = git.run(&arguments, LIMIT).await?;
    if output.is_success() {
        return Ok(commits(&output.text()));
    }
    let said = diagnosis::quote(&output.stderr, &access.scrubber);
    log::say(&format!("Going by the branches of {url}, since it does not say what it has: {said}"));
    let output = git.run(&["ls-remote", "--quiet", "--heads", "--", &url], LIMIT).await?;
    if output.is_success() {
        return Ok(commits(&output.text()));
    }
    let doing = format!("read the branches of {url}");
    Err(diagnosis::problem(&doing, &output, reason::PUSH_FAILED, &access.scrubber))
}

/// The first word of every line that begins with a commit.
fn commits(text: &str) -> Vec<String> {
    let first = |line: &str| line.split('\t').next().map(str::to_owned);
    text.lines().filter_map(first).filter(|it| is_commit(it)).collect()
}
