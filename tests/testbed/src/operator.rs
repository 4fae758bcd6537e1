//! One operator process in the hands of a test: started, looked at, killed, as often and as many at once as
//! needed. It ends with its handle, and with the test's process.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tokio::sync::watch;

use crate::{
    Testbed, kubeconfig,
    launch::{GROUP, Launch, NAMESPACE, Ports, is_ready, operator_program},
    manifests::{self, Scope, Webhooks},
    process::{Identity, log_tail, without_proxies},
};

/// What an operator is started with.
#[derive(Clone, Debug)]
pub struct OperatorOptions {
    /// Unset: `gastown-operator` beside this program.
    pub program: Option<PathBuf>,
    /// Its pod's name, and its user's in the audit log.
    pub name: String,
    /// Where its Lease and Secrets are; made if it is not there.
    pub namespace: String,
    /// Its user's group.
    pub group: String,
    /// Added to the flags that say where it listens, unless `only_these_flags`.
    pub flags: Vec<String>,
    /// Where it believes the API server to be, `https://ADDRESS:PORT`, such as a proxy; unset: where that is.
    pub server: Option<String>,
    /// No flags but `flags`; the handle's addresses then mean nothing.
    pub only_these_flags: bool,
    /// Added to what says which pod it is and where its kubeconfig is.
    pub environment: Vec<(String, String)>,
    /// Where what it writes goes; unset: into the testbed's folder.
    pub log: Option<PathBuf>,
}

impl Default for OperatorOptions {
    fn default() -> Self {
        Self {
            program: None,
            name: "operator-0".to_owned(),
            namespace: NAMESPACE.to_owned(),
            group: GROUP.to_owned(),
            flags: Vec::new(),
            server: None,
            only_these_flags: false,
            environment: Vec::new(),
            log: None,
        }
    }
}

/// A running operator.
#[derive(Debug)]
pub struct Operator {
    pub name: String,
    pub pid: u32,
    /// URL of its metrics.
    pub metrics: String,
    /// URL below which `/livez`, `/readyz` and `/healthz` are.
    pub health: String,
    /// URL of its webhooks, as the API server reaches them.
    pub webhook: String,
    pub log: PathBuf,
    pub kubeconfig: PathBuf,
    /// The certificate of the webhooks' authority, PEM.
    pub authority: String,
    identity: Option<Identity>,
    /// When this pipe closes, its guard kills it.
    guard: Mutex<Option<ChildStdin>>,
    /// The exit code, once it has ended.
    end: watch::Receiver<Option<i32>>,
    _ports: Ports,
}

impl Operator {
    /// Starts one. It may not be ready yet: see [`Operator::wait_ready`].
    pub async fn start(testbed: &Testbed, options: OperatorOptions) -> Result<Self> {
        let admin = testbed.client("admin").await?;
        manifests::install(&admin, &manifests::project(None)?, &options.namespace).await?;
        let folder = testbed.own_folder(&options.name)?;
        let authority = testbed.authority()?;
        let ports = Ports::reserve(testbed.host_address)?;
        let launch = Launch {
            kubeconfig: kubeconfig::write(
                &folder,
                &options.server.map_or_else(|| testbed.server(), Ok)?,
                &authority,
                &options.name,
                Some(&options.group),
            )?,
            name: options.name,
            namespace: options.namespace,
            certificates: testbed.dir.join("webhook"),
            flags: options.flags,
        };
        let log = options.log.unwrap_or_else(|| folder.join("operator.log"));
        let arguments =
            if options.only_these_flags { launch.flags.clone() } else { launch.arguments(&ports) };
        let mut command = Command::new(crate::program()?);
        command
            .args(["guard", "--"])
            .arg(operator_program(options.program.as_ref())?)
            .args(arguments);
        without_proxies(&mut command); // but for those that it is given
        command.envs(launch.environment()).envs(options.environment);
        let (pid, guard, end) = tokio::task::spawn_blocking({
            let log = log.clone();
            move || start_guarded(command, &log)
        })
        .await
        .context("starting an operator was cut short")?
        .with_context(|| format!("failed to start {}", launch.name))?;
        Ok(Self {
            name: launch.name,
            pid,
            metrics: ports.metrics_url(),
            health: ports.health_url(),
            webhook: ports.webhook_url(),
            log,
            kubeconfig: launch.kubeconfig,
            authority: authority.certificate().to_owned(),
            identity: i32::try_from(pid).ok().and_then(Identity::of),
            guard: Mutex::new(Some(guard)),
            end,
            _ports: ports,
        })
    }

    /// Open connections to a server's port, as `https://ADDRESS:PORT`.
    pub fn connections_to(&self, server: &str) -> Result<usize> {
        let port: u16 = server.rsplit(':').next().context("no port")?.parse()?;
        let inodes = std::fs::read_dir(format!("/proc/{}/fd", self.pid))?.flatten();
        let inodes: BTreeSet<String> = inodes
            .filter_map(|it| {
                let link = std::fs::read_link(it.path()).ok()?;
                Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
            })
            .collect();
        let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.pid))?;
        let to_server = table.lines().filter(|line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let remote = words.get(2).and_then(|it| it.rsplit(':').next());
            let is_port = remote.and_then(|it| u16::from_str_radix(it, 16).ok()) == Some(port);
            is_port
                && words.get(3) == Some(&"01")
                && words.get(9).is_some_and(|it| inodes.contains(*it))
        });
        Ok(to_server.count())
    }

    /// Waits until `/readyz` says so. An operator that ends first, or takes longer than three minutes, is an
    /// error with the end of its log.
    pub async fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !is_ready(&self.health).await {
            if let Some(code) = *self.end.borrow() {
                bail!(
                    "{} ended with {code} before it was ready; {}",
                    self.name,
                    log_tail(&self.log)
                );
            }
            if Instant::now() > deadline {
                bail!("{} was not ready within 180 s; {}", self.name, log_tail(&self.log));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Applies the webhook configurations of the checkout for this operator alone, limited to namespaces
    /// with a label; returns their names, which end in `-SUFFIX`. They stay until they are deleted.
    pub async fn register_webhooks(
        &self,
        testbed: &Testbed,
        suffix: &str,
        label: (&str, &str),
    ) -> Result<Vec<String>> {
        let client = testbed.client("admin").await?;
        let folder = manifests::project(None)?.join("webhooks");
        let webhooks = Webhooks::Url(self.webhook.clone());
        let scope = Scope { suffix, label };
        manifests::apply_webhooks(&client, &folder, &webhooks, &self.authority, Some(scope)).await
    }

    /// Takes away what [`Self::register_webhooks`] applied.
    pub async fn unregister_webhooks(&self, testbed: &Testbed, names: &[String]) -> Result<()> {
        manifests::delete_webhooks(&testbed.client("admin").await?, names).await
    }

    /// Kills it without warning, and waits until it is gone.
    pub async fn kill9(&self) -> Result<()> {
        self.signal(Signal::KILL);
        self.wait_end(Duration::from_secs(60)).await.map(drop)
    }

    /// Asks it to end, and waits: the exit code, 128 and the signal's number for one that a signal ended.
    /// One that has not ended in that time is an error.
    pub async fn terminate(&self, patience: Duration) -> Result<i32> {
        self.signal(Signal::TERM);
        self.wait_end(patience).await
    }

    /// Stops it where it is, as a frozen machine would; [`Operator::resume`] lets it go on.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended, by whatever cause: the exit code.
    pub async fn wait_end(&self, patience: Duration) -> Result<i32> {
        let mut end = self.end.clone();
        let ended = tokio::time::timeout(patience, end.wait_for(Option::is_some)).await;
        let ended = ended.with_context(|| {
            format!("{} did not end in {} s", self.name, patience.as_secs_f32())
        })?;
        let code = *ended.with_context(|| format!("nobody saw the end of {}", self.name))?;
        code.with_context(|| format!("nobody saw the end of {}", self.name))
    }

    /// The exit code, if it has ended.
    pub fn ended(&self) -> Option<i32> {
        *self.end.borrow()
    }

    fn signal(&self, signal: Signal) {
        if let Some(identity) = self.identity {
            identity.signal(signal);
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        drop(self.guard.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.signal(Signal::KILL);
    }
}

type Guarded = (u32, ChildStdin, watch::Receiver<Option<i32>>);

fn start_guarded(mut command: Command, log: &Path) -> Result<Guarded> {
    let file =
        fs::File::create(log).with_context(|| format!("failed to create {}", log.display()))?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut guard = command.spawn().context("failed to start its guard")?;
    let input = guard.stdin.take().context("its guard has no input")?;
    let output = guard.stdout.take().context("its guard has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).context("failed to listen to its guard")?;
    let Ok(pid) = line.trim().parse() else {
        let _ = guard.wait();
        bail!("its guard ended; {}", log_tail(log));
    };
    let (sender, end) = watch::channel(None);
    std::thread::spawn(move || {
        let code = guard.wait().ok().and_then(|it| it.code()).unwrap_or(-1);
        sender.send_replace(Some(code));
    });
    Ok((pid, input, end))
}
