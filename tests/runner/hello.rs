//! What callers offer when they begin TLS: their ClientHello taken apart, and held against what is approved.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::Sender,
    thread,
};

/// TLS 1.2 and 1.3.
const VERSIONS: [u16; 2] = [0x0303, 0x0304];
/// AES-GCM of TLS 1.3, and with ECDHE of 1.2. The last one is no suite: it says that renegotiation is safe.
const SUITES: [u16; 7] = [0x1301, 0x1302, 0xc02b, 0xc02c, 0xc02f, 0xc030, 0x00ff];
/// P-256 and P-384.
const GROUPS: [u16; 2] = [0x0017, 0x0018];
/// What programs of Go in their own approved mode offer beside: P-521.
const GROUPS_OF_GO: [u16; 3] = [0x0017, 0x0018, 0x0019];

const GO: &str = r#"package main

import ("net/http"; "os")

func main() { _, _ = http.Get(os.Args[1]) }
"#;

/// What one caller offers.
#[derive(Debug, Default)]
pub struct Hello {
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
    pub fn read(record: &[u8]) -> Self {
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

    /// What it offers beyond the approved set, as `who` it is.
    pub fn strays(&self, who: &str) -> Vec<String> {
        let groups: &[u16] = if who == "go" { &GROUPS_OF_GO } else { &GROUPS };
        let of = |what: &str, offered: &[u16], set: &[u16]| -> Vec<String> {
            assert!(what == "shares" || !offered.is_empty(), "no {what} are offered");
            let beyond = offered.iter().filter(|it| !set.contains(it));
            beyond.map(|it| format!("{what} {it:04x}")).collect()
        };
        [
            of("versions", &self.versions, &VERSIONS),
            of("suites", &self.suites, &SUITES),
            of("groups", &self.groups, groups),
            of("shares", &self.shares, groups),
        ]
        .concat()
    }
}

/// The first record that a caller sends; `None` where it hangs up before.
pub fn first_record(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).ok()?;
    let mut record = vec![0; 5 + usize::from(number(&head[3..]))];
    record[..5].copy_from_slice(&head);
    stream.read_exact(&mut record[5..]).ok()?;
    Some(record)
}

/// Takes every caller's first record, tells what it offers under a name, and hangs up; the address to call.
pub fn listen(ip: &str, who: &'static str, told: &Sender<(&'static str, Hello)>) -> String {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let told = told.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let record = first_record(&mut stream);
            if record.is_some_and(|it| told.send((who, Hello::read(&it))).is_err()) {
                return;
            }
        }
    });
    address
}

/// Builds a static program of Go that makes one call, to its argument.
pub fn go_program(folder: &Path) -> PathBuf {
    let (source, program) = (folder.join("caller.go"), folder.join("caller"));
    fs::write(&source, GO).unwrap();
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(&source).env("CGO_ENABLED", "0");
    let output = build.env("GOFLAGS", "").env("GOWORK", "off").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}
