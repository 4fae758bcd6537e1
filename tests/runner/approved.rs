//! What programs of a pod offer under `tlsPolicy: fips`: a listener takes each one's ClientHello apart. git is the runner's own,
//! the others are run by the agent, with the variables and files that the policy brings. The runner's own TLS, by which it tells
//! a collector, keeps to the set without the policy as well.

use std::{
    fs,
    process::Command,
    sync::mpsc::{Receiver, channel},
};

use gastown::domain::{
    layout::{self, env},
    tls_policy,
};

use crate::{
    hello::{self, Hello},
    pod::{PATIENCE, Pod, has, skip},
    telling,
    whole::COMMIT,
};

type Hellos = Receiver<(&'static str, Hello)>;

fn listen() -> (String, Hellos) {
    let (told, hellos) = channel();
    (hello::listen("127.0.0.1", "", &told), hellos)
}

/// A pod whose repository is that listener; its variables name the files where the runner really lays them.
fn pod(address: &str) -> Pod {
    let mut pod = Pod::new();
    let tools = pod.volume(layout::TOOLS).display().to_string();
    for (name, value) in tls_policy::VARIABLES {
        pod.set(name, &value.replace(layout::TOOLS.path, &tools));
    }
    pod.set(env::GIT_REPOSITORY, &format!("https://{address}/a.git"));
    let folder = pod.volume(layout::GIT_CREDS);
    for (key, value) in [("username", "u"), ("token", "t-0123456789"), ("host", address)] {
        fs::write(folder.join(key), value).unwrap();
    }
    pod
}

#[test]
fn what_the_runner_and_its_programs_offer_lies_in_the_approved_set() {
    const TEST: &str = "what_the_runner_and_its_programs_offer_lies_in_the_approved_set";
    let (address, hellos) = listen();
    let pod = pod(&address);
    // It lays the files, calls, and fails, since nobody answers.
    let ended = pod.git_init();
    assert_eq!(ended.code(), 1);
    keep_to_the_set(&hellos, "git", &ended.stderr);
    // Of their own, so that nobody's call is taken for another's.
    let (address, hellos) = listen();
    let url = format!("https://{address}/");
    let script = "fetch(process.argv[1]).catch(() => {})";
    let request = "require('https').get(process.argv[1]).on('error', () => {})";
    let mut commands: Vec<(&str, Vec<String>)> = [
        ("curl", vec!["curl", "-s", &url]),
        ("openssl", vec!["openssl", "s_client", "-connect", &address]),
        ("node", vec!["node", "-e", request, &url]),
        ("node", vec!["node", "-e", script, &url]),
    ]
    .map(|(name, words)| (name, words.into_iter().map(str::to_owned).collect()))
    .into();
    if has("go") {
        let program = hello::go_program(&pod.path(""));
        commands.push(("go", vec![program.display().to_string(), url.clone()]));
    } else {
        skip(TEST, "go", "there is no Go here");
    }
    for (name, words) in commands {
        if !has(&words[0]) {
            // `node` is a real node of Kubernetes to those who require one.
            let word = if name == "node" { "nodejs" } else { name };
            skip(TEST, word, &format!("there is no {name} here"));
            continue;
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.envs(pod.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(std::process::Stdio::null());
        let output = command.output().unwrap();
        keep_to_the_set(&hellos, name, &String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn what_the_runner_itself_offers_a_collector_lies_in_the_approved_set() {
    let (address, hellos) = listen();
    // The collector hangs up on it, and the run goes on.
    let pod = telling::told_of(&format!("https://{address}/v1/traces"));
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    // It tells of the clone while the agent has not begun.
    let (_, hello) = hellos.recv_timeout(PATIENCE).expect("it calls the collector");
    assert_eq!(hello.strays("the runner"), [""; 0], "{hello:?}");
    pod.script(&[], COMMIT).end().succeeded();
    telemetry.end().succeeded();
}

/// Whatever a program offers that has ended: also where it tries again.
fn keep_to_the_set(hellos: &Hellos, who: &str, said: &str) {
    let first = hellos.recv_timeout(PATIENCE);
    let first = first.unwrap_or_else(|_| panic!("{who} did not call: {said}"));
    for (_, hello) in std::iter::once(first).chain(hellos.try_iter()) {
        assert_eq!(hello.strays(who), [""; 0], "{who}: {hello:?}");
    }
}

/// The same without the policy: the set would be worth nothing if everybody kept to it anyway.
#[test]
fn without_the_policy_more_is_offered() {
    let (address, hellos) = listen();
    let mut pod = pod(&address);
    pod.variables.retain(|(name, _)| !tls_policy::sets(name));
    assert_eq!(pod.git_init().code(), 1);
    let (_, hello) = hellos.recv_timeout(PATIENCE).unwrap();
    let strays = hello.strays("git");
    assert!(strays.iter().any(|it| it.starts_with("suites")), "ChaCha20 and more: {strays:?}");
    assert!(strays.iter().any(|it| it.starts_with("groups")), "X25519 and more: {strays:?}");
}
