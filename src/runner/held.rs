//! Which of the commits that the agent made or merged the remote has already: those are somebody else's, and keep their ids.
//! Nothing is fetched.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{access::Access, diagnosis, git::Git, log, problem::Problem, push, remote::is_commit};
use crate::domain::verdict::reason;

/// One question to the remote may take this share of the time that is left, and no longer than that: the push needs no answer,
/// and the rest of the time.
const SHARE: u32 = 8;
const LIMIT: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Commits that the remote has, such that all it has of the histories of `tips` are these and what they contain. A remote that
/// can't compare tells where its branches stand: then one that has moved on since the agent merged it is not recognised. Asked
/// again where the remote was not reached; none where it does not answer in a small share of the time until `until`.
pub async fn by_remote(access: &Access, git: &Git, tips: &[&str], until: Instant) -> Vec<String> {
    let patience = (until.saturating_duration_since(Instant::now()) / SHARE).min(LIMIT);
    let until = Instant::now() + patience * 2;
    let mut wait = FIRST_WAIT;
    loop {
        let limit = || patience.min(until.saturating_duration_since(Instant::now()));
        let problem = match once(access, git, tips, limit).await {
            Ok(commits) => return commits,
            Err(problem) => problem,
        };
        if !push::may_pass(&problem) || Instant::now() + wait >= until {
            log::say(&format!("Signing what others committed too, if there is any: {problem}"));
            return Vec::new();
        }
        log::say(&format!("Trying again in {} ms: {problem}", wait.as_millis()));
        sleep(wait).await;
        wait *= 2;
    }
}

async fn once(
    access: &Access,
    git: &Git,
    tips: &[&str],
    limit: impl Fn() -> Duration,
) -> Result<Vec<String>, Problem> {
    let url = access.repository.to_string();
    let tips: Vec<String> = tips.iter().map(|it| format!("--negotiation-tip={it}")).collect();
    let mut arguments = vec!["fetch", "--quiet", "--negotiate-only"];
    arguments.extend(tips.iter().map(String::as_str));
    arguments.extend(["--", &url]);
    let output = git.run(&arguments, limit()).await?;
    if output.is_success() {
        return Ok(commits(&output.text()));
    }
    let said = diagnosis::quote(&output.stderr, &access.scrubber);
    log::say(&format!("Going by the branches of {url}, since it does not say what it has: {said}"));
    let output = git.run(&["ls-remote", "--quiet", "--heads", "--", &url], limit()).await?;
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
