//! Two processes of which client-go makes one the leader.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use gastown_testbed::Testbed;
use k8s_openapi::jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use crate::options::Options;

/// Longer than any election takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between the beginnings of rounds, or a multiple of it.
const ROUND: Duration = Duration::from_secs(3);

/// The program: the one asked for, or built now.
pub fn program(options: &Options) -> Result<PathBuf> {
    if let Some(path) = &options.elector {
        return Ok(path.clone());
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = project.join("target/client-go-elector");
    let mut build = std::process::Command::new("go");
    build
        .current_dir(project.join("tests/bench/elector"))
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off");
    build
        .args(["build", "-trimpath", "-mod=readonly", "-ldflags", "-s -w", "-o"])
        .arg(&output)
        .arg(".");
    let status = build.status().context("failed to run go, which builds what is compared with")?;
    ensure!(
        status.success(),
        "go build of tests/bench/elector failed; --elector names one that is built"
    );
    Ok(output)
}

/// The leader, and who waits.
pub struct Pair<'a> {
    testbed: &'a Testbed,
    program: &'a Path,
    lease: &'a str,
    made: usize,
    /// When rounds begin: it knows nothing of renewals, so that ends fall anywhere between two.
    clock: Interval,
    leader: Process,
    waiting: Process,
}

struct Process {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl<'a> Pair<'a> {
    pub async fn start(testbed: &'a Testbed, program: &'a Path, lease: &'a str) -> Result<Self> {
        let mut leader = start(testbed, program, lease, 1)?;
        leader.says("leads").await?;
        let mut waiting = start(testbed, program, lease, 2)?;
        waiting.says("follows").await?;
        let mut clock = interval(ROUND);
        clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Self { testbed, program, lease, made: 2, clock, leader, waiting })
    }

    /// Ends the leader as a crash would.
    pub async fn kill(&mut self) -> Result<()> {
        self.leader.child.kill().await.context("failed to kill the leader")
    }

    /// Ends it in good order; returns when it has ended to lead.
    pub async fn terminate(&mut self) -> Result<Timestamp> {
        let pid = self.leader.child.id().and_then(|it| Pid::from_raw(i32::try_from(it).ok()?));
        kill_process(pid.context("the leader has ended")?, Signal::TERM)?;
        self.leader.says("ends").await
    }

    /// Waits until the other one leads, and starts one more to wait.
    pub async fn succeeded(&mut self) -> Result<Timestamp> {
        let at = self.waiting.says("leads").await?;
        self.made += 1;
        let mut next = start(self.testbed, self.program, self.lease, self.made)?;
        // It has seen the Lease before the next round begins.
        next.says("follows").await?;
        self.leader = std::mem::replace(&mut self.waiting, next);
        self.clock.tick().await;
        Ok(at)
    }
}

fn start(testbed: &Testbed, program: &Path, lease: &str, number: usize) -> Result<Process> {
    let identity = format!("elector-{number}");
    let kubeconfig = testbed.kubeconfig_for(&identity, Some("system:masters"))?;
    let mut command = Command::new(program);
    command.arg(format!("--kubeconfig={}", kubeconfig.display()));
    command.arg(format!("--lease={lease}")).arg(format!("--identity={identity}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child =
        command.spawn().with_context(|| format!("failed to start {}", program.display()))?;
    let output = child.stdout.take().context("it has no output")?;
    Ok(Process { child, said: BufReader::new(output).lines() })
}

impl Process {
    /// Waits until it says this; returns when that was.
    async fn says(&mut self, what: &str) -> Result<Timestamp> {
        let said = async {
            while let Some(line) = self.said.next_line().await? {
                if let Some((word, nanos)) = line.split_once(' ')
                    && word == what
                {
                    return Ok(Timestamp::from_nanosecond(nanos.parse()?)?);
                }
            }
            bail!("a process of client-go ended before it said {what:?}")
        };
        timeout(PATIENCE, said)
            .await
            .with_context(|| format!("waited for {what:?} of client-go"))?
    }
}
