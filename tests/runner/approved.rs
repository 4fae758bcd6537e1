//! What programs of a pod offer under `tlsPolicy: fips`: a listener takes each one's ClientHello apart. git is the runner's own,
//! the others are run by the agent, with the variables and files that the policy brings.

use std::{
    fs,
    io::Read as _,
    net::TcpListener,
    path::PathBuf,
    process::Command,
    sync::mpsc::{Receiver, channel},
    thread,
};

use gastown::domain::{
    layout::{self, env},
    tls_policy,
};

use crate::pod::{PATIENCE, Pod, has, skip};

/// TLS 1.2 and 1.3.
const VERSIONS: [u16; 2] = [0x0303, 0x0304];
/// AES-GCM of TLS 1.3, and with ECDHE of 1.2. The last one is no suite: it says that renegotiation is safe.
const SUITES: [u16; 7] = [0x1301, 0x1302, 0xc02b, 0xc02c, 0xc02f, 0xc030, 0x00ff];
/// P-256, P-384 and P-521.
const GROUPS: [u16; 3] = [0x0017, 0x0018, 0x0019];

const GO: &str = r#"package main

import ("net/http"; "os")

func main() { _, _ = http.Get(os.Args[1]) }
"#;

/// What one caller offers.
#[derive(Debug, Default)]
struct Hello {
    versions: Vec<u16>,
    suites: Vec<u16>,
    groups: Vec<u16>,
    shares: Vec<u16>,
}

fn number(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn numbers(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(number).collect()
}

/// Takes off the front what is as long as it says, in `width` bytes.
fn sized<'a>(bytes: &mut &'a [u8], width: usize) -> &'a [u8] {
    let length = bytes[..width].iter().fold(0, |sum, it| sum << 8 | usize::from(*it));
    let taken = &bytes[width..width + length];
    *bytes = &bytes[width + length..];
    taken
}

impl Hello {
    /// From a whole record.
    fn read(record: &[u8]) -> Self {
        assert_eq!((record[0], record[5]), (22, 1), "a ClientHello");
        let mut rest = &record[9..];
        let legacy = number(rest);
        rest = &rest[34..];
        sized(&mut rest, 1);
        let mut it = Self { suites: numbers(sized(&mut rest, 2)), ..Self::default() };
        sized(&mut rest, 1);
        let mut extensions = sized(&mut rest, 2);
        while !extensions.is_empty() {
            let kind = number(extensions);
            extensions = &extensions[2..];
            let mut body = sized(&mut extensions, 2);
            match kind {
                43 => it.versions = numbers(sized(&mut body, 1)),
                10 => it.groups = numbers(sized(&mut body, 2)),
                51 => {
                    let mut shares = sized(&mut body, 2);
                    while !shares.is_empty() {
                        it.shares.push(number(shares));
                        shares = &shares[2..];
                        sized(&mut shares, 2);
                    }
                }
                _ => {}
            }
        }
        if it.versions.is_empty() {
            it.versions.push(legacy);
        }
        it
    }

    /// What it offers beyond the approved set.
    fn strays(&self) -> Vec<String> {
        let of = |what: &str, offered: &[u16], set: &[u16]| -> Vec<String> {
            assert!(what == "shares" || !offered.is_empty(), "no {what} are offered");
            let beyond = offered.iter().filter(|it| !set.contains(it));
            beyond.map(|it| format!("{what} {it:04x}")).collect()
        };
        [
            of("versions", &self.versions, &VERSIONS),
            of("suites", &self.suites, &SUITES),
            of("groups", &self.groups, &GROUPS),
            of("shares", &self.shares, &GROUPS),
        ]
        .concat()
    }
}

/// Takes every caller's first record, and hangs up.
fn listen() -> (String, Receiver<Hello>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, hellos) = channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let mut head = [0; 5];
            if stream.read_exact(&mut head).is_err() {
                continue; // nobody's handshake
            }
            let mut record = vec![0; 5 + usize::from(number(&head[3..]))];
            record[..5].copy_from_slice(&head);
            if stream.read_exact(&mut record[5..]).is_ok()
                && told.send(Hello::read(&record)).is_err()
            {
                return;
            }
        }
    });
    (address, hellos)
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
    if let Some(program) = go_program(&pod) {
        commands.push(("go", vec![program.display().to_string(), url.clone()]));
    }
    for (name, words) in commands {
        if !has(&words[0]) {
            skip(TEST, name, &format!("there is no {name} here"));
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

/// Whatever a program offers that has ended: also where it tries again.
fn keep_to_the_set(hellos: &Receiver<Hello>, who: &str, said: &str) {
    let first = hellos.recv_timeout(PATIENCE);
    let first = first.unwrap_or_else(|_| panic!("{who} did not call: {said}"));
    for hello in std::iter::once(first).chain(hellos.try_iter()) {
        assert_eq!(hello.strays(), [""; 0], "{who}: {hello:?}");
    }
}

/// The same without the policy: the set would be worth nothing if everybody kept to it anyway.
#[test]
fn without_the_policy_more_is_offered() {
    let (address, hellos) = listen();
    let mut pod = pod(&address);
    pod.variables.retain(|(name, _)| !tls_policy::sets(name));
    assert_eq!(pod.git_init().code(), 1);
    let hello = hellos.recv_timeout(PATIENCE).unwrap();
    let strays = hello.strays();
    assert!(strays.iter().any(|it| it.starts_with("suites")), "ChaCha20 and more: {strays:?}");
    assert!(strays.iter().any(|it| it.starts_with("groups")), "X25519 and more: {strays:?}");
}

fn go_program(pod: &Pod) -> Option<PathBuf> {
    let test = "what_the_runner_and_its_programs_offer_lies_in_the_approved_set";
    if !has("go") {
        skip(test, "go", "there is no Go here");
        return None;
    }
    let (source, program) = (pod.path("caller.go"), pod.path("caller"));
    fs::write(&source, GO).unwrap();
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(&source).env("CGO_ENABLED", "0");
    let output = build.env("GOFLAGS", "").env("GOWORK", "off").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}
