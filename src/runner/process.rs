//! Runs one program to its end or to a time limit, with bounded output. Whatever it started ends with it
//! where it does not end by itself.

use std::{borrow::Cow, io, os::unix::process::CommandExt, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::ChildStdout,
};

/// What is kept of standard output and of standard error, in bytes. The rest is read and dropped.
const MAX_STDOUT: usize = 4 * 1024 * 1024;
const MAX_STDERR: usize = 32 * 1024;
/// What is kept of one record, in bytes.
const MAX_RECORD: usize = 8 * 1024;

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
    command: std::process::Command,
    input: Stdio,
    limit: Duration,
) -> io::Result<Output> {
    keeping(command, input, limit, async |stdout| head(stdout, MAX_STDOUT).await).await
}

/// As [`run`], and keeps only the wanted among the records of standard output, each ended by NUL.
pub async fn select(
    command: std::process::Command,
    limit: Duration,
    wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<Output> {
    keeping(command, Stdio::null(), limit, async |stdout| records(stdout, wanted).await).await
}

async fn keeping(
    mut command: std::process::Command,
    input: Stdio,
    limit: Duration,
    keep: impl AsyncFnOnce(Option<ChildStdout>) -> Vec<u8>,
) -> io::Result<Output> {
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let group = child.id().and_then(|it| i32::try_from(it).ok()).and_then(Pid::from_raw);
    let guard = KillGroup(group);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = tokio::time::timeout(limit, async {
        tokio::join!(keep(stdout), tail(stderr, MAX_STDERR), child.wait())
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

/// The wanted records of a stream, as many as there is room for, each cut to [`MAX_RECORD`].
async fn records(
    stream: Option<impl AsyncRead + Unpin>,
    wanted: impl Fn(&[u8]) -> bool,
) -> Vec<u8> {
    let mut found = Vec::new();
    let rest = read(stream, |record, chunk| {
        for byte in chunk {
            if *byte != 0 {
                if record.len() < MAX_RECORD {
                    record.push(*byte);
                }
                continue;
            }
            if wanted(record) && found.len() + record.len() < MAX_STDOUT {
                found.append(record);
                found.push(0);
            }
            record.clear();
        }
    })
    .await;
    drop(rest); // a record without an end: the program's exit code says why
    found
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
    mut keep: impl FnMut(&mut Vec<u8>, &[u8]),
) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let Some(mut stream) = stream else { return Vec::new() };
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        keep(&mut kept, buffer.get(..read).unwrap_or_default());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn wanted_records_are_found_however_much_there_is() {
        let script = r"head -c 6000000 /dev/zero | tr '\0' 'a'; printf '\0b one\0'; \
                       for i in $(seq 20000); do printf 'a %0400d\0' $i; done; printf 'b two\0b no end'";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script]);
        let limit = Duration::from_secs(60);
        let output = select(command, limit, |it| it.starts_with(b"b ")).await.unwrap();
        assert!(output.is_success());
        assert_eq!(output.text(), "b one\0b two\0");
    }
}
