//! The process in the foreground: owns the folder, the janitor, the link, the inner process and the
//! operators. Whatever way it ends, the kernel ends what it started and the janitor removes what is left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{
    Options, Ready, absolute, build,
    enclosure::{self, ourselves},
    janitor::Janitor,
    link,
    lock::lock,
    net::{Block, free_block},
    plan::{Event, Plan, Programs},
    preconditions,
    process::{Roll, log_tail},
    replicas::Replicas,
    run_folder::{RunFolder, sweep},
    sibling,
    tools::{Tool, Tools, bail_unless_executable, cache},
};

pub use crate::process::die_with_parent;

/// A running testbed.
pub struct Outer {
    folder: RunFolder,
    janitor: Janitor,
    inner: Option<Inner>,
    replicas: Replicas,
}

struct Inner {
    child: Child,
    input: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

/// Finds the programs that these options need. Blocks, perhaps for minutes: before anything is started.
pub fn find_tools(options: &Options) -> Result<Tools> {
    if options.node.is_real() && options.plain {
        bail!("--node real and --plain exclude each other: a real node needs namespaces");
    }
    if let Err(missing) = preconditions::of_machine(options.node) {
        bail!(
            "a testbed with --node {} can't be had here; missing: {}",
            options.node.name(),
            missing.join("; ")
        );
    }
    Tools::find(&preconditions::wanted(options.node))
}

impl Outer {
    /// Makes the folder and its janitor; nothing runs yet.
    pub fn new(options: &Options) -> Result<Self> {
        sweep();
        let folder = RunFolder::create(options.fsync || options.node.is_real())?;
        let janitor = Janitor::start(&folder)?;
        Ok(Self { folder, janitor, inner: None, replicas: Replicas::default() })
    }

    /// Starts everything and waits until it is ready.
    pub async fn start(&mut self, options: &Options, tools: Tools) -> Result<Ready> {
        for name in ["log", "pki", "kubeconfig"] {
            self.folder.folder(name)?;
        }
        let enclosed = !options.plain && enclosure::is_possible();
        // Held until the link's route claims the block for everyone to see.
        let claim = lock(&cache()?.join("network.lock"), "")?;
        let block = if enclosed { Some(free_block()?) } else { None };
        let plan = self.plan(options, tools, block)?;
        plan.write(self.folder.path())?;
        let mut inner = self.spawn_inner(enclosed)?;
        if let Some(block) = block {
            inner.link(&self.folder, block).await?;
        }
        drop(claim);
        let git = match inner.next_event().await? {
            Event::Ready { git } => git,
            Event::Failed { message } => bail!("{message}"),
            _ => bail!("the inner process reported out of turn"),
        };
        let inner = self.inner.insert(inner);
        let mut ready = Ready {
            kubeconfig: self.folder.join("kubeconfig/admin.kubeconfig"),
            audit: plan.audit,
            dir: self.folder.path().to_owned(),
            host_address: link::host_address(block).into(),
            enclosed,
            kubectl: plan.tools.path(Tool::Kubectl)?.to_owned(),
            node: options.node,
            replicas: Vec::new(),
            git: git.map(|it| *it),
        };
        ready.replicas = tokio::select! {
            it = self.replicas.start(options, &ready) => it?,
            it = inner.failure() => return Err(it),
        };
        Ok(ready)
    }

    fn plan(&self, options: &Options, tools: Tools, block: Option<Block>) -> Result<Plan> {
        let audit = match &options.audit {
            Some(path) => absolute(path)?,
            None => self.folder.join("log/audit.log"),
        };
        if let Some(parent) = audit.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("failed to create {}", parent.display()))?;
        }
        Ok(Plan {
            node: options.node,
            fsync: options.fsync,
            storage_migration: options.storage_migration,
            minor: build::kubernetes()?.minor(),
            audit,
            block,
            cgroup: self.folder.cgroup(),
            tools,
            programs: programs(options)?,
            enforcer: options.enforcer.as_deref().map(absolute).transpose()?,
        })
    }

    fn spawn_inner(&self, enclosed: bool) -> Result<Inner> {
        let log = self.folder.join("log/inner.log");
        let file = fs::File::create(&log)
            .with_context(|| format!("failed to create {}", log.display()))?;
        let role = if enclosed { "enclose" } else { "inner" };
        let mut command = ourselves(role, self.folder.path())?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        die_with_parent(&mut command);
        let mut child = Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .context("failed to start the inner process")?;
        if let Some(pid) = child.id() {
            Roll::of(self.folder.path()).add(pid)?;
        }
        let input = child.stdin.take().context("the inner process has no input")?;
        let output = child.stdout.take().context("the inner process has no output")?;
        Ok(Inner { child, input, events: BufReader::new(output).lines(), log })
    }

    /// Passes an order on, and returns the answer: an `Obeyed` or a `Refused`.
    pub async fn order(&mut self, order: &str) -> Result<Event> {
        let inner = self.inner.as_mut().context("nothing was started")?;
        let line = format!("{order}\n");
        inner.input.write_all(line.as_bytes()).await.context("failed to pass an order on")?;
        match inner.next_event().await? {
            Event::Failed { message } => bail!("{message}"),
            answer => Ok(answer),
        }
    }

    /// Resolves when it can't go on, with the reason.
    pub async fn failure(&mut self) -> anyhow::Error {
        match &mut self.inner {
            Some(inner) => inner.failure().await,
            None => anyhow!("nothing was started"),
        }
    }

    /// Ends everything and waits until nothing is left of it.
    pub async fn stop(mut self) -> Result<()> {
        self.replicas.stop().await;
        if let Some(Inner { mut child, input, .. }) = self.inner.take() {
            drop(input); // asks it to end what it started
            if timeout(Duration::from_secs(5), child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        let Self { folder, janitor, .. } = self;
        janitor.finish(&folder)
    }
}

impl Inner {
    async fn link(&mut self, folder: &RunFolder, block: Block) -> Result<()> {
        match self.next_event().await? {
            Event::Enclosed => {}
            Event::Failed { message } => bail!("{message}"),
            _ => bail!("the inner process reported out of turn"),
        }
        let pid = self.child.id().context("the inner process has ended")?;
        link::create(&folder.link(), block, pid)?;
        self.input.write_all(b"linked\n").await.context("failed to speak to the inner process")
    }

    async fn failure(&mut self) -> anyhow::Error {
        match self.next_event().await {
            Ok(Event::Failed { message }) => anyhow!(message),
            Ok(_) => anyhow!("the inner process reported out of turn"),
            Err(error) => error,
        }
    }

    /// The next thing it says. It bounds its own waits, so none is needed here but for its last words.
    async fn next_event(&mut self) -> Result<Event> {
        let line =
            self.events.next_line().await.context("failed to listen to the inner process")?;
        if let Some(line) = line {
            return serde_json::from_str(&line)
                .with_context(|| format!("the inner process said {line:?}"));
        }
        let status = timeout(Duration::from_secs(5), self.child.wait()).await;
        let status =
            status.ok().and_then(Result::ok).map_or("it lives".to_owned(), |it| it.to_string());
        bail!("the inner process ended without a word ({status}); {}", log_tail(&self.log))
    }
}

/// What goes into the images: what was named, or what Cargo built beside this program.
fn programs(options: &Options) -> Result<Option<Programs>> {
    if !options.node.is_real() {
        return Ok(None);
    }
    let own = std::env::current_exe().context("failed to find this program's own file")?;
    let find = |asked: &Option<PathBuf>, name: &str, flag: &str| {
        let path = match asked {
            Some(path) => absolute(path)?,
            None => sibling(&own, &format!("static/{name}"))
                .or_else(|| sibling(&own, name))
                .with_context(|| {
                    format!(
                        "there is no program {name} beside this one: build it, or name one ({flag})"
                    )
                })?,
        };
        bail_unless_executable(&path, flag)?;
        Ok::<_, anyhow::Error>(path)
    };
    let runner = find(&options.runner, "gt-runner", "--runner")?;
    let agent = find(&options.agent, "demo-agent", "--agent")?;
    Ok(Some(Programs { runner, agent }))
}

/// `PATH` with a program's folder in front.
pub fn path_with(program: &Path) -> Result<std::ffi::OsString> {
    let folder = program.parent().unwrap_or(Path::new("/")).to_owned();
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&rest)))
        .context("PATH can't be extended")
}
