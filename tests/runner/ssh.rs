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
    pod::{ANY_UID, Pod, Process, git, has, may_change_user, skip},
    whole::COMMIT,
};

const SSHD: &str = "/usr/sbin/sshd";

/// An ssh server that takes one key.
struct Server {
    folder: PathBuf,
    port: u16,
    process: Process,
}

impl Server {
    /// In the pod's folder, for whoever runs the test. Nothing where there is none; then the test is skipped.
    fn start(pod: &Pod, test: &str) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::serve(pod, test, free, &[])
    }

    /// On the port that every ssh address without one means, in a network of its own.
    fn start_apart(pod: &Pod, test: &str) -> Option<Self> {
        let apart = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
        let (program, words) = apart.split_first().unwrap();
        let tried = Command::new(program).args(words).arg("true").output();
        if !tried.is_ok_and(|it| it.status.success()) || !has("nsenter") {
            skip(test, "namespaces", "no network of its own can be made here");
            return None;
        }
        Self::serve(pod, test, 22, &apart)
    }

    fn serve(pod: &Pod, test: &str, port: u16, by: &[&str]) -> Option<Self> {
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
        let at = folder.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPidFile none\nAcceptEnv GIT_PROTOCOL\nMaxStartups 100\n"
        );
        fs::write(folder.join("config"), config).unwrap();
        let words: Vec<&str> = by.iter().copied().chain([SSHD, "-D", "-e", "-f"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(folder.join("config"));
        let mut process = Process::start(command);
        process.wait_for("Server listening on");
        Some(Self { folder, port, process })
    }

    fn key(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    fn known_hosts(&self, of: &str) -> String {
        let key = self.key(&format!("{of}.pub"));
        let words: Vec<&str> = key.split_whitespace().take(2).collect();
        let host =
            if self.port == 22 { "127.0.0.1".into() } else { format!("[127.0.0.1]:{}", self.port) };
        format!("{host} {}\n", words.join(" "))
    }

    fn url(&self, pod: &Pod) -> String {
        format!("ssh://{}@127.0.0.1:{}{}", user(), self.port, pod.remote().display())
    }
}

/// Who runs the test, and therefore the server.
fn user() -> String {
    let name = Command::new("id").arg("-un").output().unwrap().stdout;
    String::from_utf8(name).unwrap().trim().to_owned()
}

/// A folder in that one's home, with a bare repository in it; removed when it is dropped.
fn in_the_home(pod: &Pod) -> tempfile::TempDir {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|it| it.starts_with(&format!("{}:", user()))).unwrap();
    let home = line.split(':').nth(5).unwrap();
    let folder = tempfile::Builder::new().prefix("gastown-test-").tempdir_in(home).unwrap();
    let to = folder.path().display().to_string();
    git(&pod.path("."), &["clone", "--quiet", "--bare", "remote.git", &format!("{to}/remote.git")]);
    folder
}

/// A whole run on this address, and the commit that the repository in the home has afterwards.
fn run_in_the_home(pod: &mut Pod, server: &Server, home: &Path, by: &[String], address: &str) {
    pod.set(env::GIT_REPOSITORY, address);
    pod.set(env::WORK_BRANCH, &format!("fix/{}", address.len()));
    secret(pod, "id_ed25519", &server.key("client"));
    secret(pod, "known_hosts", &server.known_hosts("host"));
    let verdict = pod.run_by(by, COMMIT);
    assert_eq!(verdict.reason, reason::PUSHED, "{address}: {verdict:?}");
    let branch = format!("refs/heads/fix/{}", address.len());
    let head = git(&home.join("remote.git"), &["rev-parse", &branch]);
    assert_eq!(verdict.commit.as_deref(), Some(head.trim()), "{address}");
}

#[test]
fn a_home_is_written_as_a_tilde_beside_a_port() {
    let mut pod = Pod::new();
    let Some(server) = Server::start(&pod, "a_home_is_written_as_a_tilde_beside_a_port") else {
        return;
    };
    let home = in_the_home(&pod);
    let (user, port, runner) = (user(), server.port, vec![pod.own_runner()]);
    let folder = home.path().file_name().unwrap().to_str().unwrap();
    for way in [format!("/~/{folder}"), format!("/~{user}/{folder}")] {
        let address = format!("ssh://{user}@127.0.0.1:{port}{way}/remote.git");
        run_in_the_home(&mut pod, &server, home.path(), &runner, &address);
    }
}

#[test]
fn an_address_in_the_short_form_reaches_a_home_on_the_usual_port() {
    const TEST: &str = "an_address_in_the_short_form_reaches_a_home_on_the_usual_port";
    let mut pod = Pod::new();
    let Some(server) = Server::start_apart(&pod, TEST) else { return };
    let home = in_the_home(&pod);
    let network = format!("--net=/proc/{}/ns/net", server.process.id());
    let runner = ["nsenter".to_owned(), network, pod.own_runner()];
    let (user, folder) = (user(), home.path().file_name().unwrap().to_str().unwrap());
    for way in [format!("{folder}/remote.git"), format!("~/{folder}/remote.git")] {
        let address = format!("{user}@127.0.0.1:{way}");
        run_in_the_home(&mut pod, &server, home.path(), &runner, &address);
    }
    let address = format!("ssh://{user}@127.0.0.1/~/{folder}/remote.git");
    run_in_the_home(&mut pod, &server, home.path(), &runner, &address);
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
