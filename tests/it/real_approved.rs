//! What programs in a Polecat's pod offer under `tlsPolicy: fips`, on a real node: each one's ClientHello is taken apart on its way.
//! The runner's git goes through a proxy to a real server, and its commits arrive; the agent calls listeners that hang up.

use std::{
    io::{BufRead as _, BufReader, Write as _, copy},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc::{Sender, channel},
    thread,
};

use gastown::domain::tls_policy;
use gastown_testbed::{Node, Testbed, preconditions, tools::on_path};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::{
    hello::{self, Hello},
    preconditions::skip,
    real_node::{at, in_bare, repository},
    world::{World, phase_of},
};

type Told = Sender<(&'static str, Hello)>;

const TEST: &str = "what_programs_in_a_pod_offer_under_fips_lies_in_the_approved_set";
const IMAGE: &str = "localhost/callers:1";
/// Who pushes and clones.
const RUNNER: &str = "the runner's git";

/// What an agent runs to make one call, and what the same is called without the policy's settings.
struct Caller {
    who: &'static str,
    unheld: &'static str,
    /// `URL` and `ADDRESS` stand for where to call.
    line: &'static str,
    /// `None`: it is in the image anyway.
    needs: Option<&'static str>,
}

const fn caller(
    who: &'static str,
    unheld: &'static str,
    line: &'static str,
    needs: Option<&'static str>,
) -> Caller {
    Caller { who, unheld, line, needs }
}

const CALLERS: [Caller; 6] = [
    caller("git", "git without", "git ls-remote URL", None),
    caller("curl", "curl without", "curl -s URL", Some("curl")),
    caller("openssl", "openssl without", "openssl s_client -connect ADDRESS", Some("openssl")),
    caller("go", "go without", "caller URL", Some("go")),
    caller(
        "node https",
        "node https without",
        r#"node -e "require('https').get('URL').on('error', () => {})""#,
        Some("node"),
    ),
    caller(
        "node fetch",
        "node fetch without",
        r#"node -e "fetch('URL').catch(() => {})""#,
        Some("node"),
    ),
];

/// A proxy that tells what goes through it; its address.
fn proxy(ip: &str, told: &Told) -> String {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let told = told.clone();
    thread::spawn(move || {
        for caller in listener.incoming().map(Result::unwrap) {
            let told = told.clone();
            thread::spawn(move || tunnel(caller, &told));
        }
    });
    address
}

/// One CONNECT: its head, the first record, then bytes both ways.
fn tunnel(mut caller: TcpStream, told: &Told) {
    let head = BufReader::new(&caller).lines().map_while(Result::ok);
    let head: Vec<String> = head.take_while(|it| !it.is_empty()).collect();
    let to = head.first().and_then(|it| it.split(' ').nth(1)).unwrap_or_default();
    let Ok(mut server) = TcpStream::connect(to) else { return };
    let _gone = caller.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    let Some(record) = hello::first_record(&mut caller) else { return };
    let _over = told.send((RUNNER, Hello::read(&record)));
    let _gone = server.write_all(&record);
    thread::scope(|it| {
        it.spawn(|| (copy(&mut &caller, &mut &server), server.shutdown(Shutdown::Write)));
        let _ended = (copy(&mut &server, &mut &caller), caller.shutdown(Shutdown::Write));
    });
}

/// Gives the node an image with every caller that this machine has; which those are.
async fn callers(bed: &Testbed) -> Vec<&'static Caller> {
    let folder = tempfile::tempdir().unwrap();
    let mut programs = Vec::new();
    let mut present = Vec::new();
    for it in &CALLERS {
        let found = it.needs.map(|it| (it, on_path(it)));
        match found {
            Some((needs, None)) => {
                // `node` is a real node of Kubernetes to those who require one.
                let word = if needs == "node" { "nodejs" } else { needs };
                skip(TEST, word, &format!("{}: there is no {needs} here", it.who));
                continue;
            }
            Some(("go", _)) => programs.push(("caller", hello::go_program(folder.path()))),
            Some((name, Some(path))) => programs.push((name, path)),
            None => {}
        }
        present.push(it);
    }
    bed.make_agent_image(&programs, IMAGE).await.unwrap();
    present
}

/// What the agent runs: every call with the policy's settings, and as a control without them.
fn script(ip: &str, callers: &[&'static Caller], told: &Told) -> String {
    let unset: Vec<_> = tls_policy::VARIABLES.iter().map(|it| format!("-u {}", it.0)).collect();
    let mut lines = Vec::new();
    for it in callers {
        for (who, before) in [(it.who, String::new()), (it.unheld, unset.join(" "))] {
            let address = hello::listen(ip, who, told);
            let line = it.line.replace("URL", &format!("https://{address}/"));
            lines.push(format!("env {before} {} </dev/null", line.replace("ADDRESS", &address)));
        }
    }
    lines.push("echo 'Good bye.' >> greeting.txt; git commit -qam more".into());
    lines.join("\n")
}

async fn make_token(world: &World) {
    let git = world.bed.git.as_ref().unwrap();
    let host = git.https.trim_start_matches("https://").trim_end_matches('/');
    let authority = std::fs::read_to_string(&git.ca).unwrap();
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "token"}, "stringData": {
            "username": git.user, "token": git.token, "host": host, "ca.crt": authority,
        }}))
        .unwrap();
    let secrets = Api::namespaced(world.client.clone(), &world.namespace);
    secrets.create(&PostParams::default(), &secret).await.unwrap();
}

#[tokio::test]
async fn what_programs_in_a_pod_offer_under_fips_lies_in_the_approved_set() {
    if !preconditions::allow(TEST, Node::Real).unwrap() {
        return;
    }
    let bed = Testbed::shared_with(Node::Real).await.unwrap();
    let present = callers(bed).await;
    let (told, heard) = channel();
    let ip = bed.host_address.to_string();
    let proxy = format!("http://{}", proxy(&ip, &told));
    let variables = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", ip.as_str())];
    let flags = ["--tls-policy=fips"];
    let world = World::with_variables_on(bed, "real-approved", &[], &flags, &variables).await;
    make_token(&world).await;
    let git = bed.git.as_ref().unwrap();
    repository(git, "real-approved");
    let script = script(&ip, &present, &told);
    drop(told);
    let edit = |it: &mut Value| {
        at(it, git, "real-approved", "Call everybody");
        it["spec"]["agentConfig"] = json!({"command": ["/bin/sh", "-xc", script]});
        let it = &mut it["spec"]["kubernetes"];
        it["image"] = json!(IMAGE);
        it["gitRepository"] = json!(format!("{}real-approved.git", git.https));
        it["gitSecretRef"] = json!({"name": "token"});
        it.as_object_mut().unwrap().remove("sshKnownHostsConfigMapRef");
    };
    world.create("max", edit).await;
    let done = world.condition("max", "Pushed", "True/Pushed").await;
    assert_eq!(phase_of(&done), "Done");
    let file = in_bare(git, "real-approved", &["show", "feature/gt-abc12:greeting.txt"]);
    assert_eq!(file, "Hello.\nGood bye.\n");

    let heard: Vec<_> = heard.try_iter().collect();
    let ends = [heard.first(), heard.last()].map(|it| it.map(|it| it.0));
    assert_eq!(ends, [Some(RUNNER); 2], "git-init clones first, and telemetry pushes last");
    let of = |who: &str| -> Vec<_> {
        let hellos: Vec<_> =
            heard.iter().filter(|it| it.0 == who).map(|it| it.1.strays(who)).collect();
        assert!(!hellos.is_empty(), "{who} did not call");
        hellos.concat()
    };
    for who in present.iter().map(|it| it.who).chain([RUNNER]) {
        assert_eq!(of(who), [""; 0], "{who}");
    }
    for it in present {
        assert_ne!(of(it.unheld), [""; 0], "{}: who is not held offers more", it.who);
    }
}
