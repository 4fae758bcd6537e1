//! Runs git: arguments as a list, an environment of our own making, a configuration that no repository,
//! user or system adds to, an end after a time limit. Never through a shell.

use std::{
    fs::File,
    io,
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    problem::Problem,
    process::{self, Output},
};
use crate::domain::verdict::reason;

/// What git may not do, whatever a repository asks for.
const HARDENED: [&str; 31] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.askPass=",
    "core.pager=cat",
    "credential.helper=",
    "protocol.allow=never",
    "http.followRedirects=false",
    "http.sslVerify=true",
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=100",
    "transfer.fsckObjects=true",
    "transfer.credentialsInUrl=die",
    "fetch.fsck.badTimezone=ignore", // harmless, and common in old histories
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    "submodule.recurse=false",
    "push.recurseSubmodules=no",
    "push.gpgSign=false",
    "commit.gpgSign=false",
    "core.fsync=none", // our volumes do not outlive the node's memory in any case
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.directory=*", // the volumes may belong to another user of the pod; what we run there is only this
    "init.templateDir=",
    "diff.external=",
    "pack.threads=1", // each has memory of its own, and our containers may use one processor of a node's many
    "core.bigFileThreshold=8m", // larger files are streamed, never held in memory or made deltas of
];

/// Keeps git within a small container's memory, whatever it is given: a container that holds more than it may is killed at
/// once, and its commits are lost with it.
const SPARING: [&str; 5] = [
    "pack.windowMemory=16m",
    "pack.deltaCacheSize=8m",
    "core.deltaBaseCacheLimit=16m",
    "core.packedGitWindowSize=8m",
    "core.packedGitLimit=64m",
];

/// The variables that git may inherit: where programs are, how the cluster reaches the world, and what a TLS policy sets.
const INHERITED: [&str; 12] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "https_proxy",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "OPENSSL_CONF",
    "GNUTLS_SYSTEM_PRIORITY_FILE",
    "GIT_SSL_VERSION",
];

/// A way to run git.
#[derive(Clone, Debug)]
pub struct Git {
    environment: Vec<(String, String)>,
    configuration: Vec<String>,
}

impl Git {
    /// Git on the repository `directory`, with `home` for its temporary files.
    pub fn new(directory: &str, home: &str) -> Self {
        let ours = [
            ("GIT_DIR", directory),
            ("HOME", home),
            ("TMPDIR", home),
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "false"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
        ];
        Self {
            environment: ours
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            configuration: HARDENED.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    /// The same with more variables.
    #[must_use]
    pub fn with(mut self, variables: &[(String, String)]) -> Self {
        self.environment.extend_from_slice(variables);
        self
    }

    /// The same with more settings, each `name=value`.
    #[must_use]
    pub fn set(mut self, settings: &[String]) -> Self {
        self.configuration.extend_from_slice(settings);
        self
    }

    /// The same in little memory.
    #[must_use]
    pub fn sparing(self) -> Self {
        self.set(&SPARING.map(str::to_owned))
    }

    /// Runs git to its end, or to `limit`, when it and all that it started are killed.
    pub async fn run(&self, arguments: &[&str], limit: Duration) -> Result<Output, Problem> {
        self.feed(Stdio::null(), arguments, limit).await
    }

    /// As [`Self::run`], and keeps of the output only the records, each ended by NUL, whose first bytes are `wanted`: for
    /// output of any length.
    pub async fn select(
        &self,
        wanted: impl Fn(&[u8]) -> bool,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Output, Problem> {
        let command = self.command(arguments);
        process::select(command, limit, wanted).await.map_err(|it| missing(&it))
    }

    /// As [`Self::run`], with a file as standard input, read from where it stands.
    pub async fn run_on(
        &self,
        input: File,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Output, Problem> {
        self.feed(Stdio::from(input), arguments, limit).await
    }

    async fn feed(
        &self,
        input: Stdio,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Output, Problem> {
        process::run(self.command(arguments), input, limit).await.map_err(|it| missing(&it))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| INHERITED.iter().any(|it| name == it)));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        for setting in &self.configuration {
            command.arg("-c").arg(setting);
        }
        command.args(arguments);
        command
    }
}

fn missing(error: &io::Error) -> Problem {
    let message =
        format!("failed to run git: {error}; use an image that has git, such as the runner's own");
    Problem::new(reason::GIT_MISSING, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Duration {
        Duration::from_secs(60)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn neither_the_user_nor_the_repository_configures_us() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_string_lossy().into_owned();
        std::fs::write(
            folder.path().join(".gitconfig"),
            "[core]\n  hooksPath = /evil\n[alias]\n  x = !id\n",
        )
        .unwrap();
        let git = Git::new(&format!("{home}/r.git"), &home);
        assert!(git.run(&["init", "--quiet", "--bare"], limit()).await.unwrap().is_success());
        let said = git.run(&["config", "core.hooksPath"], limit()).await.unwrap();
        assert_eq!(said.line(), "/dev/null");
        assert!(!git.run(&["x"], limit()).await.unwrap().is_success(), "an alias of the user's");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_run_ends_at_its_limit_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_string_lossy().into_owned();
        let git = Git::new(&home, &home).set(&["alias.wait=!sleep 3600".to_owned()]);
        let output = git.run(&["wait"], Duration::from_millis(200)).await.unwrap();
        assert!(output.timed_out && !output.is_success());
    }
}
