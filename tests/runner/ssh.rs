//! Runs over a real ssh server on the loopback: keys, host keys, ports, and a key that must never be seen.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use gastown::domain::{
    layout::{self, env},
    verdict::reason,
};

use crate::{
    pod::{ANY_UID, Pod, Process, has, may_change_user, skip},
    whole::COMMIT,
};

const SSHD: &str = "/usr/sbin/sshd";

/// An ssh server that takes one key.
struct Server {
    folder: PathBuf,
    port: u16,
    _process: Process,
}

impl Server {
    /// In the pod's folder, for whoever runs the test. Nothing where there is none; then the test is skipped.
    fn start(pod: &Pod, test: &str) -> Option<Self> {
        if !has(SSHD) || !has("ssh-keygen") || !has("ssh") {
            skip(test, "sshd", "openssh-server is not installed");
            return None;
        }
        let folder = pod.path("sshd");
        fs::create_dir(&folder).unwrap();
        for name in ["host", "client", "stranger"] {
            let file = folder.join(name);
            let status = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(file)
                .status();
            assert!(status.unwrap().success());
        }
        fs::copy(folder.join("client.pub"), folder.join("authorized")).unwrap();
        if rustix::process::getuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap(); // the server insists on it
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.display();
        let config = format!(
            "Port {free}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPidFile none\nAcceptEnv GIT_PROTOCOL\nMaxStartups 100\n"
        );
        fs::write(folder.join("config"), config).unwrap();
        let mut command = Command::new(SSHD);
        command.args(["-D", "-e", "-f"]).arg(folder.join("config"));
        let mut process = Process::start(command);
        process.wait_for("Server listening on");
        Some(Self { folder, port: free, _process: process })
    }

    fn key(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    fn known_hosts(&self, of: &str) -> String {
        let key = self.key(&format!("{of}.pub"));
        let words: Vec<&str> = key.split_whitespace().take(2).collect();
        format!("[127.0.0.1]:{} {}\n", self.port, words.join(" "))
    }

    fn url(&self, pod: &Pod) -> String {
        let name = Command::new("id").arg("-un").output().unwrap().stdout;
        let name = String::from_utf8(name).unwrap();
        format!("ssh://{}@127.0.0.1:{}{}", name.trim(), self.port, pod.remote().display())
    }
}

fn secret(pod: &Pod, key: &str, value: &str) {
    fs::write(pod.volume(layout::GIT_CREDS).join(key), value).unwrap();
}

#[test]
fn a_run_over_ssh_shows_the_key_to_nobody() {
    let mut pod = Pod::new();
    let Some(server) = Server::start(&pod, "a_run_over_ssh_shows_the_key_to_nobody") else {
        return;
    };
    let url = server.url(&pod);
    pod.set(env::GIT_REPOSITORY, &url);
    secret(&pod, "ssh-privatekey", server.key("client").replace('\n', "\r\n").trim_end());
    fs::write(pod.volume(layout::KNOWN_HOSTS).join("known_hosts"), server.known_hosts("host"))
        .unwrap();
    let clone = pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let agent = pod.script(&[], &format!("env; {COMMIT}")).end().succeeded();
    let telemetry = telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(
        (verdict.reason.as_str(), pod.head("fix/x")),
        (reason::PUSHED, verdict.commit.clone()),
        "{verdict:?}"
    );
    let key = server.key("client");
    let canaries: Vec<&str> = key.lines().filter(|it| !it.starts_with("-----")).collect();
    let said =
        [&clone, &agent, &telemetry].map(|it| format!("{}{}", it.stdout, it.stderr)).concat();
    for canary in canaries {
        assert!(!said.contains(canary) && !pod.last_words(layout::TELEMETRY).contains(canary));
        pod.agent_never_sees(canary.as_bytes());
    }
    for home in [layout::INIT_HOME, layout::TELEMETRY_HOME] {
        assert!(!pod.volume(home).join(".gastown").exists(), "the copy is gone with its use");
    }
}

#[test]
fn keys_and_hosts_that_do_not_fit() {
    let mut pod = Pod::new();
    let Some(server) = Server::start(&pod, "keys_and_hosts_that_do_not_fit") else { return };
    let url = server.url(&pod);
    pod.set(env::GIT_REPOSITORY, &url);
    let (client, stranger) = (server.key("client"), server.key("stranger"));
    let broken =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n".to_owned();
    let (right, wrong) = (server.known_hosts("host"), server.known_hosts("stranger"));
    let nowhere = format!("{url}.not-here");
    let table = [
        (&url, "id_ed25519", &client, None, reason::HOST_KEY_UNKNOWN, "known_hosts"),
        (&url, "id_ed25519", &client, Some(&wrong), reason::HOST_KEY_MISMATCH, "another key"),
        (&url, "id_ed25519", &stranger, Some(&right), reason::CREDENTIALS_REFUSED, "deploy keys"),
        (
            &url,
            "id_rsa",
            &broken,
            Some(&right),
            reason::CREDENTIALS_MALFORMED,
            "no private key that ssh can read",
        ),
        (
            &nowhere,
            "id_ed25519",
            &client,
            Some(&right),
            reason::REPOSITORY_NOT_FOUND,
            "check the path",
        ),
    ];
    for (url, name, key, known_hosts, word, says) in table {
        let folder = pod.volume(layout::GIT_CREDS);
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        secret(&pod, name, key);
        if let Some(text) = known_hosts {
            secret(&pod, "known_hosts", text);
        }
        pod.set(env::GIT_REPOSITORY, url);
        assert_eq!(pod.git_init().code(), 1);
        let failure = pod.failure(layout::GIT_INIT);
        assert_eq!(failure.reason, word, "{}", failure.message);
        assert!(failure.message.contains(says), "{}", failure.message);
    }
}

#[test]
fn a_user_id_that_nobody_knows_works_over_ssh() {
    const TEST: &str = "a_user_id_that_nobody_knows_works_over_ssh";
    let wrapper =
        ["/usr/lib64", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    if !may_change_user(TEST) {
        return;
    }
    if !wrapper.iter().any(|it| Path::new(it).join("libnss_wrapper.so").exists()) {
        return skip(TEST, "nss_wrapper", "libnss-wrapper is not installed");
    }
    let mut pod = Pod::new();
    let Some(server) = Server::start(&pod, TEST) else { return };
    let url = server.url(&pod);
    pod.set(env::GIT_REPOSITORY, &url);
    secret(&pod, "ssh-privatekey", &server.key("client"));
    secret(&pod, "known_hosts", &server.known_hosts("host"));
    let verdict = pod.run_by(&pod.owned_by(ANY_UID), COMMIT);
    assert_eq!(verdict.reason, reason::PUSHED, "{verdict:?}");
}
