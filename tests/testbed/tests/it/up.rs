//! `testbed up` as scripts start it: what its flags ask for is so.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use gastown_testbed::{Ready, Testbed};

use crate::support::processes_of;

/// What etcd was started with.
fn etcd(ready: &Ready) -> Vec<String> {
    let lines = processes_of(ready).into_iter().map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = line.split(|it| *it == 0).map(|it| String::from_utf8_lossy(it).into_owned());
        words.collect::<Vec<_>>()
    });
    let found = lines.into_iter().find(|it| it[0].ends_with("/etcd"));
    found.expect("etcd runs")
}

#[tokio::test]
async fn the_audit_log_is_where_it_is_asked_for_and_writes_are_durable_when_that_is() {
    let folder = std::env::temp_dir().join(format!("testbed-up-{}", std::process::id()));
    let audit = folder.join("made/audit.log");
    let mut up = Command::new(env!("CARGO_BIN_EXE_testbed"));
    up.args(["up", "--replicas=0", "--fsync"]).arg("--audit").arg(&audit);
    let mut up = up.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(up.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Ready = serde_json::from_str(&line).unwrap();
    assert_eq!(ready.audit, audit);
    let mut ask = Command::new(&ready.kubectl);
    ask.args(["get", "--raw", "/api/v1/namespaces/audited"]).stderr(Stdio::null());
    ask.env_clear().env("KUBECONFIG", &ready.kubeconfig).env("HOME", &folder).status().unwrap();
    let noted = fs::read_to_string(&audit).unwrap();
    assert!(noted.contains("/api/v1/namespaces/audited"), "the last request is in it");
    let durable = etcd(&ready);
    assert!(!durable.iter().any(|it| it == "--unsafe-no-fsync"), "{durable:?}");
    drop(up.stdin.take());
    assert!(up.wait().unwrap().success());
    assert!(audit.exists() && !ready.dir.exists(), "the log stays, and nothing else does");
    fs::remove_dir_all(&folder).unwrap();

    let shared = etcd(Testbed::shared().await.unwrap());
    assert!(shared.iter().any(|it| it == "--unsafe-no-fsync"), "unasked, it is fast: {shared:?}");
}
