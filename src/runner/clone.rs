//! `git-init`: makes a bare clone that is pushed from later and that the agent never sees, and from it
//! the agent's own clone. Writes the credential into neither.

use std::{fs, process::ExitCode, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use super::{
    FAILED,
    access::Access,
    args::GitInit,
    contents, credentials, diagnosis, files,
    git::Git,
    last_words, log,
    paths::Paths,
    problem::Problem,
    process::Output,
    remote::{self, Head, Origin},
    settings::Settings,
    times,
    tools::{self, Start},
};
use crate::domain::{layout, repository::BranchName, verdict::reason};

/// Where the bare clone keeps the commit that the agent starts from.
pub const BASE: &str = "refs/gastown/base";
/// What git does on our own volumes takes at most this long.
const LOCAL: Duration = Duration::from_secs(600);

/// Clones, and leaves a word where that fails.
pub async fn main(paths: &Paths, arguments: &GitInit) -> ExitCode {
    let begun = Instant::now();
    let until = begun + Duration::from_secs(arguments.retry_seconds);
    let ended = tokio::select! {
        cloned = clone(paths, until) => cloned,
        told = told_to_end() => Err(told),
    };
    match ended {
        Ok(()) => {
            times::keep_clone(paths, times::of(begun.elapsed()));
            last_words::clear(paths);
            ExitCode::SUCCESS
        }
        Err(problem) => {
            last_words::leave(paths, &problem);
            ExitCode::from(FAILED)
        }
    }
}

/// The first process of a container has no default action for a signal, so it must listen.
async fn told_to_end() -> Problem {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return Problem::new(
            reason::TERMINATED,
            "failed to listen for signals; look at the node's limits",
        );
    };
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Problem::new(
        reason::TERMINATED,
        "the pod was told to end during the clone; nothing was run, start a new attempt",
    )
}

async fn clone(paths: &Paths, until: Instant) -> Result<(), Problem> {
    let settings = Settings::read()?;
    let (branch, work) = (settings.branch()?, settings.work_branch()?);
    let access = Access::prepare(paths, settings.repository(paths)?)?;
    credentials::signing_key(paths)?; // read by `telemetry`; better refused before an agent has run
    tools::lay(paths, &settings)?;
    let bare = paths.at(layout::BARE);
    let git = access.git(&bare, paths);
    log::say(&format!("Reading the branches of {}", access.repository));
    let origin = remote::origin(&access, &git, &branch, &work, until).await?;
    let from = if origin.continued { "continuing" } else { "starting from" };
    log::say(&format!("Cloning: {from} {} at {}", origin.head.branch, origin.head.commit));
    let head = fetch(&access, &git, &bare, &origin, until).await?;
    let local_git = Git::new(&bare, &paths.home());
    contents::must_be_whole(&local_git, &head.commit, reason::CLONE_REFUSED).await?;
    Workspace { paths, access: &access, settings: &settings, work: &work }
        .make(&bare, &head)
        .await?;
    Start { base: head.commit, branch: work.to_string() }.write(paths)?;
    log::say(&format!("Cloned; the agent's branch is {work}"));
    Ok(())
}

/// Fills the bare clone with the one commit. The branch may have moved since it was listed.
async fn fetch(
    access: &Access,
    git: &Git,
    bare: &str,
    origin: &Origin,
    until: Instant,
) -> Result<Head, Problem> {
    let Origin { head, .. } = origin;
    files::remove(bare).map_err(|it| Problem::volume("clear", bare, &it))?;
    let format =
        format!("--object-format={}", if head.commit.len() == 64 { "sha256" } else { "sha1" });
    let local = Local { git: git.clone(), access };
    local
        .must("make the bare clone", &["init", "--quiet", "--bare", "--template=", &format])
        .await?;
    let url = access.repository.to_string();
    let refspec = format!("+{}:{BASE}", head.branch.reference());
    let arguments = [
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--no-write-fetch-head",
        "--",
        &url,
        &refspec,
    ];
    let doing = format!("clone branch {} of {url}", head.branch);
    remote::exchange(access, git, &doing, &arguments, reason::CLONE_REFUSED, until).await?;
    let commit = format!("{BASE}^{{commit}}");
    let output = local.must("read the cloned commit", &["rev-parse", "--verify", &commit]).await?;
    Ok(Head { branch: head.branch.clone(), commit: output.line().to_owned() })
}

/// Git on our own volumes: reaches nobody.
struct Local<'a> {
    git: Git,
    access: &'a Access,
}

impl Local<'_> {
    async fn must(&self, doing: &str, arguments: &[&str]) -> Result<Output, Problem> {
        let output = self.git.run(arguments, LOCAL).await?;
        if output.is_success() {
            return Ok(output);
        }
        Err(diagnosis::problem(doing, &output, reason::CLONE_REFUSED, &self.access.scrubber))
    }
}

/// The agent's clone.
struct Workspace<'a> {
    paths: &'a Paths,
    access: &'a Access,
    settings: &'a Settings,
    work: &'a BranchName,
}

impl Workspace<'_> {
    async fn make(&self, bare: &str, head: &Head) -> Result<(), Problem> {
        let folder = self.paths.at(layout::REPOSITORY);
        files::remove(&folder)
            .and_then(|()| fs::create_dir(&folder))
            .map_err(|it| Problem::volume("make", &folder, &it))?;
        let git_dir = format!("{folder}/.git");
        let git = Git::new(&git_dir, &self.paths.home())
            .with(&[("GIT_WORK_TREE".to_owned(), folder)])
            .set(&["protocol.file.allow=always".to_owned()]);
        let git = Local { git, access: self.access };
        let format =
            format!("--object-format={}", if head.commit.len() == 64 { "sha256" } else { "sha1" });
        git.must("make the agent's clone", &["init", "--quiet", "--template=", &format]).await?;
        self.configure(&git).await?;
        tools::lay_hook(self.paths, &git_dir)?;
        // Copied, not fetched: git runs the other side of a local fetch through a shell, and none is ever started here.
        files::copy_tree(&format!("{bare}/objects"), &format!("{git_dir}/objects"))
            .and_then(|()| {
                files::copy_if_there(&format!("{bare}/shallow"), &format!("{git_dir}/shallow"))
            })
            .map_err(|it| Problem::volume("fill", &git_dir, &it))?;
        let tracking = format!("refs/remotes/origin/{}", head.branch);
        let note = ["update-ref", &tracking, &head.commit];
        git.must("note where the agent's branch began", &note).await?;
        let checkout = [
            "checkout",
            "--quiet",
            "--force",
            "--no-track",
            "-B",
            self.work.as_str(),
            &head.commit,
            "--",
        ];
        git.must("check the agent's branch out", &checkout).await.map(|_| ())
    }

    async fn configure(&self, git: &Local<'_>) -> Result<(), Problem> {
        let url = self.access.repository.to_string();
        let lines = [
            ("user.name", self.settings.author_name.as_str()),
            ("user.email", self.settings.author_email.as_str()),
            ("remote.origin.url", url.as_str()),
            ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
        ];
        for (name, value) in lines {
            git.must("configure the agent's clone", &["config", "--local", name, value]).await?;
        }
        Ok(())
    }
}
