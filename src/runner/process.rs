//! Runs one program to its end or to a time limit, with bounded output. Whatever it started ends with it
//! where it does not end by itself.

use std::{borrow::Cow, io, os::unix::process::CommandExt, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What is kept of standard output and of standard error, in bytes. The rest is read and dropped.
const MAX_STDOUT: usize = 4 * 1024 * 1024;
const MAX_STDERR: usize = 32 * 1024;

/// What a program left.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub timed_out: bool,
}

impl Output {
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output as text.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Standard output without white space around it; empty where it is no text.
    pub fn line(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_default().trim()
    }
}

/// Runs a program in a process group of its own.
pub async fn run(
    mut command: std::process::Command,
    input: Stdio,
    limit: Duration,
) -> io::Result<Output> {
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let group = child.id().and_then(|it| i32::try_from(it).ok()).and_then(Pid::from_raw);
    let guard = KillGroup(group);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = tokio::time::timeout(limit, async {
        tokio::join!(head(stdout, MAX_STDOUT), tail(stderr, MAX_STDERR), child.wait())
    });
    let Ok((stdout, stderr, status)) = ended.await else {
        drop(guard);
        let stderr = "timed out".to_owned();
        return Ok(Output { timed_out: true, stderr, ..Output::default() });
    };
    guard.over();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Output { code: status?.code(), stdout, stderr, timed_out: false })
}

/// Kills the program and what it started unless it came to its end, also where nobody waits for it any more.
struct KillGroup(Option<Pid>);

impl KillGroup {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for KillGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nothing is left to do where the group is gone already.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The first bytes of a stream; the rest is read and dropped.
async fn head(stream: Option<impl AsyncRead + Unpin>, max: usize) -> Vec<u8> {
    read(stream, |kept, chunk| {
        let room = max.saturating_sub(kept.len());
        kept.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
    })
    .await
}

/// The last bytes of a stream: what a program says at its end is why it ended.
async fn tail(stream: Option<impl AsyncRead + Unpin>, max: usize) -> Vec<u8> {
    read(stream, |kept, chunk| {
        kept.extend_from_slice(chunk);
        if kept.len() > 2 * max {
            kept.drain(..kept.len() - max);
        }
    })
    .await
}

async fn read(
    stream: Option<impl AsyncRead + Unpin>,
    keep: impl Fn(&mut Vec<u8>, &[u8]),
) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let Some(mut stream) = stream else { return Vec::new() };
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        keep(&mut kept, buffer.get(..read).unwrap_or_default());
    }
    kept
}
