//! Many full lists at once through the shipped binary in a control group of 512 MiB: it holds as much as it has room for, lets
//! whoever comes on top wait, and nobody's list fails or is turned away. An API server with its watch cache asks for most objects one at
//! a time; one without asks like this.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gastown_testbed::{Node, Operator, OperatorOptions, Testbed};
use http::{Request, StatusCode};
use kube::{Client, Config, client::Body};
use serde_json::json;

use crate::{preconditions, waits};

const LISTS: usize = 8;
const LIMIT: usize = 512 << 20;
/// 7.5 kB each.
const FILLER: usize = 7000;

/// Objects of a list: half of a full one, of which `make test-full` takes the whole. `GASTOWN_FULL_LISTS` says otherwise.
fn crowd() -> usize {
    let usual = if waits::are_full() { 10_000 } else { 5000 };
    std::env::var("GASTOWN_FULL_LISTS")
        .map_or(usual, |it| it.parse().expect("a number in GASTOWN_FULL_LISTS"))
}

/// A control group with this limit, taken away at the end.
struct Group(PathBuf);

impl Group {
    /// Where memory is limited by groups, and we may make one.
    fn make(name: &str) -> Result<Self, String> {
        let roots = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(Path::new);
        let files = ["memory.limit_in_bytes", "memory.max"];
        for (root, file) in roots.iter().zip(files) {
            let path = root.join(name);
            if root.join("cgroup.procs").exists() && fs::create_dir(&path).is_ok() {
                let group = Self(path);
                let said = fs::write(group.0.join(file), LIMIT.to_string());
                return said.map(|()| group).map_err(|it| format!("no limit of memory: {it}"));
            }
        }
        Err("no control group with a limit of memory can be made".into())
    }

    /// A figure of it, by its name in the first or the second version.
    fn figure(&self, names: [&str; 2]) -> usize {
        let read = |it: &str| fs::read_to_string(self.0.join(it)).ok();
        names.into_iter().find_map(read).and_then(|it| it.trim().parse().ok()).unwrap_or_default()
    }

    fn killed(&self) -> bool {
        let text = ["memory.oom_control", "memory.events"]
            .map(|it| fs::read_to_string(self.0.join(it)).unwrap_or_default())
            .concat();
        text.lines().any(|it| it.strip_prefix("oom_kill ").is_some_and(|it| it != "0"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel gives a group up a moment after its last process, and tells nobody.
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

async fn start_within(bed: &Testbed, group: &Group, program: &Path) -> Operator {
    let script = bed.dir.join("within.sh");
    let text = format!(
        "#!/bin/sh\nset -e\necho $$ > {}/cgroup.procs\nexec {} \"$@\"\n",
        group.0.display(),
        program.display()
    );
    gastown_testbed::program::write(&script, text).unwrap();
    let options = OperatorOptions {
        program: Some(script),
        name: "full-lists".into(),
        namespace: "full-lists".into(),
        flags: vec!["--watch-namespaces=full-lists".into()],
        ..OperatorOptions::default()
    };
    let operator = Operator::start(bed, options).await.unwrap();
    operator.wait_ready().await.unwrap();
    operator
}

/// Speaks to it as the API server does.
pub fn caller(operator: &Operator) -> Client {
    let mut config = Config::new(operator.webhook.parse().unwrap());
    let lines = operator.authority.lines().filter(|it| !it.starts_with('-'));
    config.root_cert = Some(vec![STANDARD.decode(lines.collect::<String>()).unwrap()]);
    Client::try_from(config).unwrap()
}

/// A full list, as an API server asks for it in the other version.
fn body(count: usize) -> String {
    let one = |number: usize| {
        json!({
            "apiVersion": "gastown.gastown.io/v1beta1", "kind": "BeadStore",
            "metadata": {"name": format!("beads-{number}"), "annotations": {"filler": "x".repeat(FILLER)}},
            "spec": {"rigRef": {"name": "greeter"}, "prefix": "gt-", "syncIntervalSeconds": 7},
        })
        .to_string()
    };
    let objects: Vec<_> = (0..count).map(one).collect();
    format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{{"uid":"u","desiredAPIVersion":"gastown.gastown.io/v1alpha1","objects":[{}]}}}}"#,
        objects.join(",")
    )
}

/// Asks once.
async fn converted(client: Client, body: Bytes) {
    let request = Request::post("/convert?timeout=30s").header("content-type", "application/json");
    let request = request.body(Body::from(body)).unwrap();
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "nobody is told to come again");
    let bytes = answer.into_body().collect_bytes().await.unwrap();
    let text = str::from_utf8(&bytes).unwrap();
    assert!(text.contains(r#""status":"Success""#), "{:?}", text.get(..500));
    assert_eq!(text.matches(r#""syncInterval":"7s""#).count(), crowd(), "each of them");
}

/// What is small as a text and large as what is made of it, and what is large at once: none of it ends the process.
async fn refuses_what_unfolds(operator: &Operator) {
    let head = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","request":{"uid":"u","desiredAPIVersion":"gastown.gastown.io/v1beta1","objects":["#;
    let object = r#"{"apiVersion":"gastown.gastown.io/v1alpha1","kind":"Polecat","metadata":{"name":"max"},"spec":{"rig":"r""#;
    let members = |count| {
        let all: Vec<_> = (0..count).map(|it| format!(r#","{it:x}":0"#)).collect();
        all.concat()
    };
    let table = [
        (format!("{head}{}0]}}}}", "0,".repeat(100 << 20)), 400, "fewer than 64 bytes", "numbers"),
        (
            format!("{head}{object},\"x\":\"{}\"}}}}]}}}}", "x".repeat(32 << 20)),
            200,
            "Polecat max (object 0)",
            "a large object",
        ),
        (
            format!("{head}{object}{}}}}}]}}}}", members(1_500_000)),
            200,
            "Polecat max (object 0)",
            "fields",
        ),
        (
            format!("{head}{object}{}}}}}]}}}}", members(249_000)),
            413,
            "fewer objects",
            "fewer of them",
        ),
    ];
    for (body, status, words, because) in table {
        let request =
            Request::post("/convert?timeout=30s").header("content-type", "application/json");
        let request = request.body(Body::from(body.into_bytes())).unwrap();
        let answer = caller(operator).send(request).await.unwrap();
        let got = answer.status();
        let text = answer.into_body().collect_bytes().await.unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let begin: String = text.chars().take(500).collect();
        assert_eq!(got, status, "{because}: {begin}");
        assert!(text.contains(words), "{because}: {begin}");
        assert_eq!(operator.ended(), None, "{because}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_full_lists_at_once_in_512_mib_and_none_fails() {
    let me = "eight_full_lists_at_once_in_512_mib_and_none_fails";
    let Some(program) = preconditions::release_binary(me) else { return };
    let group = match Group::make(&format!("gastown-full-lists-{}", std::process::id())) {
        Ok(group) => group,
        Err(why) => return preconditions::skip(me, "cgroup", &why),
    };
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let operator = start_within(bed, &group, &program).await;
    refuses_what_unfolds(&operator).await;
    let body = Bytes::from(body(crowd()));
    let began = Instant::now();
    let calls = (0..LISTS).map(|_| tokio::spawn(converted(caller(&operator), body.clone())));
    for answered in futures::future::join_all(calls).await {
        answered.expect("a list failed");
    }
    let peak = group.figure(["memory.max_usage_in_bytes", "memory.peak"]);
    eprintln!(
        "{LISTS} lists of {} objects, {} MiB each, in {:.1?}: {} MiB of {} at most",
        crowd(),
        body.len() >> 20,
        began.elapsed(),
        peak >> 20,
        LIMIT >> 20
    );
    assert!(peak > body.len(), "it was not in its group: {peak}");
    assert!(peak < LIMIT && !group.killed(), "{peak}");
    assert_eq!(operator.ended(), None, "it is the same process");
}
