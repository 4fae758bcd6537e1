//! A guarded program ends with whoever asked for it.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::support::until;

fn guarded() -> (Child, PathBuf) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.args(["guard", "--", "/bin/sleep", "600"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut guard = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let process = PathBuf::from(format!("/proc/{}", line.trim()));
    assert!(process.exists());
    (guard, process)
}

/// Gone, or a zombie that its new parent has not looked at yet.
fn has_ended(process: &std::path::Path) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[tokio::test]
async fn it_ends_when_the_pipe_closes() {
    let (mut guard, process) = guarded();
    drop(guard.stdin.take());
    until("the program to end", || has_ended(&process)).await;
    assert_eq!(guard.wait().unwrap().code(), Some(137));
}

#[tokio::test]
async fn it_ends_when_its_guard_is_killed() {
    let (mut guard, process) = guarded();
    guard.kill().unwrap();
    guard.wait().unwrap();
    until("the program to end", || has_ended(&process)).await;
}
