//! A pod without Kubernetes: volumes, three roots with the mounts of each container, and processes whose
//! lines can be waited for.

use std::{
    cell::{Cell, OnceCell},
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write as _},
    net::TcpStream,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        LazyLock,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use gastown::domain::{
    layout::{self, Mount, env},
    verdict::{Failure, Verdict},
};
use tempfile::TempDir;

/// A user id as a platform gives it: nobody has heard of it.
pub const ANY_UID: &str = "1000650000";
/// The longest that anything here may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
const RUNNER: &str = env!("CARGO_BIN_EXE_gt-runner");

pub const INIT: (&str, &[Mount]) = (
    layout::GIT_INIT,
    &[
        layout::WORKSPACE,
        layout::INIT_HOME,
        layout::TOOLS,
        layout::LOCK,
        layout::DELIVERY,
        layout::GIT_CREDS,
        layout::KNOWN_HOSTS,
        layout::TRUSTED_CA,
    ],
);
pub const AGENT: (&str, &[Mount]) = (
    layout::CLAUDE,
    &[
        layout::WORKSPACE,
        layout::TMP,
        layout::HOME,
        layout::TOOLS,
        layout::LOCK,
        layout::HANDOVER,
        layout::CLAUDE_CREDS,
        layout::TRUSTED_CA,
    ],
);
pub const TELEMETRY: (&str, &[Mount]) = (
    layout::TELEMETRY,
    &[
        layout::TELEMETRY_HOME,
        layout::LOCK,
        layout::HANDOVER,
        layout::DELIVERY,
        layout::GIT_CREDS,
        layout::KNOWN_HOSTS,
        layout::TRUSTED_CA,
    ],
);

/// A repository and a bare clone of it, made once: every pod has copies.
static TEMPLATE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("seed");
    fs::create_dir(&seed).unwrap();
    git(&seed, &["init", "--quiet", "--initial-branch=main"]);
    fs::write(seed.join("README.md"), "hello\n").unwrap();
    git(&seed, &["add", "."]);
    git(&seed, &["commit", "--quiet", "-m", "one"]);
    git(&seed, &["commit", "--quiet", "--allow-empty", "-m", "two"]);
    git(folder.path(), &["clone", "--quiet", "--bare", "seed", "remote.git"]);
    git(&folder.path().join("remote.git"), &["config", "core.fsync", "none"]);
    folder
});

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

/// One pod and the remote that it works on.
pub struct Pod {
    folder: TempDir,
    pub variables: Vec<(String, String)>,
    has_telemetry: Cell<bool>,
    /// The lock of a `telemetry` that a test does without.
    stand_in: OnceCell<File>,
}

impl Pod {
    /// A pod whose remote has one commit on `main`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (has_telemetry, stand_in) = (Cell::new(false), OnceCell::new());
        let mut it = Self { folder, variables: Vec::new(), has_telemetry, stand_in };
        for name in ["seed", "remote.git"] {
            copy(&TEMPLATE.path().join(name), &it.path(name));
        }
        for container in [INIT, AGENT, TELEMETRY] {
            it.mount(container);
        }
        let remote = it.remote().display().to_string();
        it.set(env::GIT_REPOSITORY, &remote);
        it.set(env::GIT_BRANCH, "main");
        it.set(env::WORK_BRANCH, "fix/x");
        it.set(env::POLECAT, "furiosa");
        it.set(env::POLECAT_UID, "0a1b2c3d-1111-2222-3333-444455556666");
        it.set(env::ISSUE, "gt-1");
        it.set(env::RIG, "rig");
        it.set(env::TASK_DESCRIPTION, "Do it");
        it
    }

    /// Another pod on the same remote, as a second attempt or a second Polecat is.
    pub fn beside(other: &Self, uid: &str) -> Self {
        let mut it = Self::new();
        let remote = other.remote().display().to_string();
        it.set(env::GIT_REPOSITORY, &remote);
        it.set(env::POLECAT_UID, uid);
        it
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(it, _)| it != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn remote(&self) -> PathBuf {
        self.path("remote.git")
    }

    pub fn volume(&self, mount: Mount) -> PathBuf {
        self.path("volumes").join(mount.volume)
    }

    /// A file of a container's file system.
    pub fn file(&self, container: &str, path: &str) -> PathBuf {
        self.path(container).join(path.trim_start_matches('/'))
    }

    fn mount(&self, (container, mounts): (&str, &[Mount])) {
        for mount in mounts {
            fs::create_dir_all(self.volume(*mount)).unwrap();
            let at = self.file(container, mount.path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            symlink(self.volume(*mount), at).unwrap();
        }
        fs::create_dir(self.path(container).join("dev")).unwrap();
        fs::write(self.file(container, layout::TERMINATION_LOG), "").unwrap();
    }

    /// The command for one part.
    pub fn command(&self, container: &str, arguments: &[&str]) -> Command {
        self.command_by(&[RUNNER], container, arguments)
    }

    /// The same by other words than the runner's path, such as those of `unshare` before it.
    pub fn command_by(&self, words: &[&str], container: &str, arguments: &[&str]) -> Command {
        if container == layout::TELEMETRY {
            self.telemetry_comes();
        } else if arguments.first() == Some(&"claude") && !self.has_telemetry.get() {
            self.stand_in_for_telemetry();
        }
        let (program, first) = words.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(first).arg("--root").arg(self.path(container)).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// From here on the agent waits for the test's own `telemetry`.
    pub fn telemetry_comes(&self) {
        self.has_telemetry.set(true);
    }

    /// What an agent waits for, for tests that have no `telemetry`, or only after the agent.
    fn stand_in_for_telemetry(&self) {
        if let Ok(file) = File::open(self.volume(layout::LOCK).join("telemetry")) {
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared).unwrap();
            self.stand_in.get_or_init(|| file);
        }
    }

    /// A copy of the runner in the pod's own folder, where every user may run it.
    pub fn own_runner(&self) -> String {
        let path = self.path("gt-runner");
        gastown_testbed::program::copy(Path::new(RUNNER), &path).unwrap();
        path.display().to_string()
    }

    /// Gives everything that the containers mount to a user, and answers with the words that run the
    /// runner as it.
    pub fn owned_by(&self, uid: &str) -> Vec<String> {
        let runner = self.own_runner();
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for part in ["volumes", layout::GIT_INIT, layout::CLAUDE, layout::TELEMETRY] {
            let mut chown = Command::new("chown");
            let status = chown.arg("-R").arg(format!("{uid}:{uid}")).arg(self.path(part)).status();
            assert!(status.unwrap().success());
        }
        let words = ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", &runner];
        words.map(str::to_owned).to_vec()
    }

    /// A whole run by those words, with nothing of one before: a pod's volumes are new.
    pub fn run_by(&self, words: &[String], script: &str) -> Verdict {
        for left in fs::read_dir(self.volume(layout::HANDOVER)).unwrap().map(Result::unwrap) {
            fs::remove_file(left.path()).unwrap();
        }
        fs::write(self.file(layout::TELEMETRY, layout::TERMINATION_LOG), "").unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let run = |container: &str, arguments: &[&str]| {
            Process::start(self.command_by(&words, container, arguments))
        };
        run(layout::GIT_INIT, &["git-init"]).end().succeeded();
        let telemetry = run(layout::TELEMETRY, &["telemetry", "--metrics-port", "0"]);
        run(layout::CLAUDE, &["claude", "--", "sh", "-c", script]).end().succeeded();
        telemetry.end().succeeded();
        self.verdict()
    }

    /// Searches every file that the agent's container mounts.
    pub fn agent_never_sees(&self, canary: &[u8]) {
        for mount in AGENT.1 {
            search(&self.volume(*mount), canary);
        }
    }

    pub fn git_init(&self) -> Ended {
        Process::start(self.command(layout::GIT_INIT, &["git-init", "--retry-seconds", "0"])).end()
    }

    /// Starts the agent: a program and its arguments.
    pub fn agent(&self, options: &[&str], program: &[&str]) -> Process {
        let mut arguments = vec!["claude"];
        arguments.extend(options);
        arguments.push("--");
        arguments.extend(program);
        Process::start(self.command(layout::CLAUDE, &arguments))
    }

    /// An agent that is a shell script, which is what a hostile one likes best.
    pub fn script(&self, options: &[&str], script: &str) -> Process {
        self.agent(options, &["sh", "-c", script])
    }

    pub fn telemetry(&self, options: &[&str]) -> Process {
        let mut arguments = vec!["telemetry", "--metrics-port", "0"];
        arguments.extend(options);
        Process::start(self.command(layout::TELEMETRY, &arguments))
    }

    /// A whole run of an agent that is a shell script, and its verdict.
    pub fn run(&self, script: &str) -> (Ended, Verdict) {
        self.git_init().succeeded();
        let telemetry = self.telemetry(&[]);
        let agent = self.script(&[], script).end();
        telemetry.end().succeeded();
        (agent, self.verdict())
    }

    pub fn last_words(&self, container: &str) -> String {
        fs::read_to_string(self.file(container, layout::TERMINATION_LOG)).unwrap()
    }

    pub fn verdict(&self) -> Verdict {
        let text = self.last_words(layout::TELEMETRY);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub fn failure(&self, container: &str) -> Failure {
        let text = self.last_words(container);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// A program for the test's own `bin` folder.
    pub fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path("bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        gastown_testbed::program::write(&path, text).unwrap();
        path
    }

    /// A `PATH` on which git runs a script instead of one of its commands.
    pub fn git_that_fails(&self, command: &str, script: &str) -> String {
        let real = Command::new("sh").args(["-c", "command -v git"]).output().unwrap().stdout;
        let real = String::from_utf8(real).unwrap();
        let text = format!(
            "#!/bin/sh\nfor word; do [ \"$word\" = {command} ] && {{ {script}; }}; done\nexec {} \"$@\"\n",
            real.trim()
        );
        let folder = self.program("git", &text);
        let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        format!("{}:{path}", folder.parent().unwrap().display())
    }

    /// A hook of the remote.
    pub fn remote_hook(&self, name: &str, script: &str) {
        let program = self.program(name, &format!("#!/bin/sh\n{script}\n"));
        fs::rename(program, self.remote().join("hooks").join(name)).unwrap();
    }

    /// The commit of a branch of the remote.
    pub fn head(&self, branch: &str) -> Option<String> {
        let name = format!("refs/heads/{branch}");
        let output = Command::new("git")
            .arg("-C")
            .arg(self.remote())
            .args(["rev-parse", "--verify", "--quiet", &name])
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    pub fn log(&self, branch: &str, format: &str) -> String {
        git(&self.remote(), &["log", &format!("--format={format}"), branch])
    }
}

/// What the metrics page on a port holds.
pub fn metrics(port: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: pod\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    text
}

fn search(folder: &Path, canary: &[u8]) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (kind, path) = (entry.file_type().unwrap(), entry.path());
        if kind.is_dir() {
            search(&path, canary);
        } else if kind.is_file() {
            let found = fs::read(&path).unwrap().windows(canary.len()).any(|it| it == canary);
            assert!(!found, "a credential is in {}", path.display());
        }
    }
}

/// Runs git for a test, with an identity, in a folder.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args([
            "-c",
            "user.name=Seed",
            "-c",
            "user.email=seed@example.com",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A process whose lines on standard error can be waited for. Killed when it is dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    stdout: Option<JoinHandle<String>>,
}

/// A process that has ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        let mut stream = child.stdout.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self { child, lines, said: Vec::new(), stdout: Some(stdout) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a line of standard error holds `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {text:?} ({error}) after: {:#?}", self.said),
            }
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("does not end after: {:#?}", self.said),
            }
        }
        let status = self.child.wait().unwrap();
        let stdout = self.stdout.take().unwrap().join().unwrap();
        Ended { status, stdout, stderr: self.said.join("\n") }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Ended {
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}:\n{}", self.status, self.stderr);
        self
    }

    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("{}:\n{}", self.status, self.stderr))
    }
}

/// Whether a program is there.
pub fn has(program: impl AsRef<OsStr>) -> bool {
    let program = Path::new(program.as_ref());
    let places = std::env::var_os("PATH").unwrap();
    program.is_absolute() && program.exists()
        || std::env::split_paths(&places).any(|it| it.join(program).is_file())
}

/// Whether the test may become another user.
pub fn may_change_user(test: &str) -> bool {
    let may = rustix::process::getuid().is_root() && has("setpriv");
    if !may {
        skip(test, "root", "only root may become another user");
    }
    may
}

/// Says that a test is skipped; fails instead where `GASTOWN_REQUIRE` names the reason.
pub fn skip(test: &str, needs: &str, reason: &str) {
    gastown_testbed::preconditions::skip(test, needs, reason).unwrap();
}
