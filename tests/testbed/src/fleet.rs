//! The programs of a testbed: each has to stay up, unless it was told to stop.

use std::{future::Future, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::future::{pending, select_all};
use rustix::process::Signal;
use tokio::{process::Child, time::timeout};

use crate::process::{Identity, Program, Roll, log_tail};

/// How long any one step may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a state is looked at that nobody reports.
const PERIOD: Duration = Duration::from_millis(25);

/// What was started, and has to stay up.
#[derive(Default)]
pub struct Fleet {
    /// Where pids are noted for whoever cleans up.
    pub roll: Option<Roll>,
    members: Vec<Member>,
}

struct Member {
    program: Program,
    /// None while it is stopped.
    child: Option<Child>,
}

impl Fleet {
    pub fn start(&mut self, program: Program) -> Result<()> {
        let child = Some(self.spawn(&program)?);
        self.members.push(Member { program, child });
        Ok(())
    }

    fn spawn(&self, program: &Program) -> Result<Child> {
        let child = program.start()?;
        if let (Some(roll), Some(pid)) = (&self.roll, child.id()) {
            roll.add(pid)?;
        }
        Ok(child)
    }

    /// Kills one as a power cut would, and waits until it is gone; the others stay.
    pub async fn stop_one(&mut self, name: &str) -> Result<()> {
        let Some(mut child) = self.member(name)?.child.take() else {
            bail!("{name} is stopped already")
        };
        child.kill().await.with_context(|| format!("failed to stop {name}"))
    }

    /// Stops one where it is, or lets it go on: it is there, and does nothing.
    pub fn freeze(&mut self, name: &str, freeze: bool) -> Result<()> {
        let child = self.member(name)?.child.as_ref();
        let pid = child.and_then(Child::id).and_then(|it| i32::try_from(it).ok());
        let it = pid.and_then(Identity::of).with_context(|| format!("{name} is stopped"))?;
        it.signal(if freeze { Signal::STOP } else { Signal::CONT });
        Ok(())
    }

    /// Starts one again that was stopped, as it was started first.
    pub fn start_again(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let member = self.members.get(index).filter(|it| it.child.is_none());
        let member = member.with_context(|| format!("{name} is running already"))?;
        let child = self.spawn(&member.program)?;
        self.member(name)?.child = Some(child);
        Ok(())
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.members.iter().position(|it| it.program.name == name);
        found.with_context(|| {
            let names: Vec<_> = self.members.iter().map(|it| it.program.name.as_str()).collect();
            format!("there is no program {name:?} here, only {}", names.join(", "))
        })
    }

    fn member(&mut self, name: &str) -> Result<&mut Member> {
        let index = self.index(name)?;
        self.members.get_mut(index).context("no such program")
    }

    /// Waits until something is so, or tells why it never will be.
    pub async fn until<F: Future<Output = bool>>(
        &mut self,
        what: &str,
        look: impl FnMut() -> F,
    ) -> Result<()> {
        let reached = async {
            let mut look = look;
            let mut period = tokio::time::interval(PERIOD);
            period.tick().await;
            while !look().await {
                period.tick().await;
            }
        };
        tokio::select! {
            it = timeout(PATIENCE, reached) => {
                it.with_context(|| format!("waited {} s for {what}", PATIENCE.as_secs())).with_context(|| self.logs())
            }
            it = self.first_end() => Err(it.context(format!("failed to wait for {what}"))),
        }
    }

    /// Resolves when anything ends that was not told to, with the reason.
    pub async fn first_end(&mut self) -> anyhow::Error {
        let ends = self.members.iter_mut().filter_map(|Member { program, child }| {
            let child = child.as_mut()?;
            Some(Box::pin(async move {
                let status =
                    child.wait().await.map_or_else(|it| it.to_string(), |it| it.to_string());
                let Program { name, log, .. } = program;
                anyhow!("{name} ended by itself ({status}); {}", log_tail(log))
            }))
        });
        let ends: Vec<_> = ends.collect();
        if ends.is_empty() { pending().await } else { select_all(ends).await.0 }
    }

    /// Kills all and reaps them: whoever inherits them may not.
    pub async fn end(self) {
        for mut child in self.members.into_iter().filter_map(|it| it.child) {
            let _ = child.kill().await;
        }
    }

    fn logs(&self) -> String {
        let logs = self.members.iter().map(|it| it.program.log.display().to_string());
        format!("the logs are {}", logs.collect::<Vec<_>>().join(", "))
    }
}
