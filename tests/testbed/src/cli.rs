//! The commands: `up` and `exec` for people and scripts, `tools`, and the roles in which the program runs
//! itself.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use gastown_testbed::{
    Node, Options, Ready, demo, enclosure, guard, inner, janitor,
    outer::{self, Outer},
    tools::{Tool, Tools},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

#[derive(Parser)]
#[command(name = "testbed", about = "A real Kubernetes control plane and node on one machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start one and stay; one JSON line says when it is ready. Ends with SIGINT, SIGTERM or the end of
    /// standard input
    Up {
        #[command(flatten)]
        flags: TestbedArgs,
        /// Further flags for every operator
        #[arg(last = true)]
        more_operator_flags: Vec<String>,
    },
    /// Run a command against a fresh one; its exit code is passed on
    Exec {
        #[command(flatten)]
        flags: TestbedArgs,
        /// The command; `KUBECONFIG`, `PATH` (with kubectl) and `GASTOWN_TESTBED` (the JSON line) are set
        /// for it
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Show the whole way through: the samples applied, an agent at work, its commit pushed
    Demo {
        /// real or kwok [default: real where this machine can have one]
        #[arg(long)]
        node: Option<Node>,
    },
    /// Find or build every program, and print where each one is
    Tools,
    #[command(hide = true)]
    Enclose { folder: PathBuf },
    #[command(hide = true)]
    Init { folder: PathBuf },
    #[command(hide = true)]
    Inner { folder: PathBuf },
    #[command(hide = true)]
    Janitor { folder: PathBuf },
    #[command(hide = true)]
    Guard {
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Args)]
struct TestbedArgs {
    /// Operators to run, with webhooks behind one Service
    #[arg(long, default_value_t = 1)]
    replicas: u32,
    /// What plays the node: none, kwok or real
    #[arg(long, default_value = "none")]
    node: Node,
    /// File for the API server's audit log
    #[arg(long)]
    audit: Option<PathBuf>,
    /// Durable writes: for whatever is measured
    #[arg(long)]
    fsync: bool,
    /// Serve storagemigration.k8s.io, and carry such migrations out
    #[arg(long)]
    storage_migration: bool,
    /// The operator's program [default: gastown-operator beside this one]
    #[arg(long)]
    operator: Option<PathBuf>,
    /// A further flag for every operator; may be repeated
    #[arg(long = "operator-flag", allow_hyphen_values = true)]
    operator_flags: Vec<String>,
    /// Folder with crds/ and webhooks/ [default: the working directory, or the checkout this was built from]
    #[arg(long)]
    manifests: Option<PathBuf>,
    /// The static program gt-runner for the runner's image [default: beside this one, in static/ first]
    #[arg(long)]
    runner: Option<PathBuf>,
    /// The program demo-agent for the agent's image [default: the same]
    #[arg(long)]
    agent: Option<PathBuf>,
    /// The program kube-router, to enforce network policies on a real node [default: nobody does]
    #[arg(long, value_name = "FILE")]
    enforcer: Option<PathBuf>,
    /// No namespaces, as without root
    #[arg(long)]
    plain: bool,
}

impl TestbedArgs {
    fn options(self, more: Vec<String>) -> Options {
        let Self {
            replicas,
            node,
            audit,
            fsync,
            storage_migration,
            operator,
            mut operator_flags,
            manifests,
            runner,
            agent,
            enforcer,
            plain,
        } = self;
        operator_flags.extend(more);
        Options {
            node,
            replicas,
            audit,
            fsync,
            storage_migration,
            operator,
            operator_flags,
            manifests,
            runner,
            agent,
            enforcer,
            plain,
        }
    }
}

pub fn run() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Up { flags, more_operator_flags } => {
            with_testbed(&flags.options(more_operator_flags), None)
        }
        Command::Exec { flags, command } => {
            with_testbed(&flags.options(Vec::new()), Some(&command))
        }
        Command::Demo { node } => runtime()?.block_on(demo::run(node)),
        Command::Tools => tools(),
        Command::Enclose { folder } => enclosure::enclose(&folder),
        Command::Init { folder } => enclosure::init(&folder),
        Command::Inner { folder } => Ok(runtime()?.block_on(inner::run(&folder))),
        Command::Janitor { folder } => janitor::run(&folder),
        Command::Guard { command } => guard::run(&command),
    }
}

fn tools() -> Result<ExitCode> {
    for (tool, path) in Tools::find(&Tool::ALL)?.iter() {
        println!("{} {}", tool.name(), path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// One thread: what dies with its parent dies with the thread that started it.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")
}

fn with_testbed(options: &Options, command: Option<&[String]>) -> Result<ExitCode> {
    let tools = outer::find_tools(options)?;
    runtime()?.block_on(async {
        let (give, mut orders) = mpsc::unbounded_channel();
        let mut stop = Stop::new(command.is_none(), give)?;
        let mut outer = Outer::new(options)?;
        let outcome = tokio::select! {
            it = start_and_run(&mut outer, options, tools, command, &mut orders) => it,
            () = stop.wanted() => Ok(ExitCode::SUCCESS),
        };
        let stopped = outer.stop().await;
        let code = outcome?;
        stopped.map(|()| code)
    })
}

/// Starts it, tells so, and stays until it fails or the command has ended.
async fn start_and_run(
    outer: &mut Outer,
    options: &Options,
    tools: Tools,
    command: Option<&[String]>,
    orders: &mut mpsc::UnboundedReceiver<String>,
) -> Result<ExitCode> {
    let ready = outer.start(options, tools).await?;
    let line = serde_json::to_string(&ready).context("failed to write the ready line")?;
    let Some(command) = command else {
        say(&line).context("failed to say that it is ready")?;
        return stay(outer, orders).await;
    };
    let mut child = start_command(command, &ready, &line)?;
    tokio::select! {
        it = child.wait() => Ok(guard::exit_code(it.context("failed to wait for the command")?)),
        it = outer.failure() => Err(it),
    }
}

/// Obeys orders until it can't go on.
async fn stay(outer: &mut Outer, orders: &mut mpsc::UnboundedReceiver<String>) -> Result<ExitCode> {
    loop {
        tokio::select! {
            it = outer.failure() => return Err(it),
            Some(order) = orders.recv() => {
                let answer = outer.order(&order).await?;
                let line = serde_json::to_string(&answer).context("failed to write an answer")?;
                let _ = say(&line); // nobody may care
            }
        }
    }
}

fn say(line: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "{line}").and_then(|()| output.flush())
}

fn start_command(command: &[String], ready: &Ready, line: &str) -> Result<tokio::process::Child> {
    let Some((program, arguments)) = command.split_first() else { bail!("exec: no command") };
    let mut command = std::process::Command::new(program);
    command.args(arguments).env("KUBECONFIG", &ready.kubeconfig).env("GASTOWN_TESTBED", line);
    command.env("PATH", outer::path_with(&ready.kubectl)?);
    outer::die_with_parent(&mut command);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).spawn().with_context(|| format!("failed to start {program}"))
}

/// What ends a testbed from outside.
struct Stop {
    signals: [Signal; 3],
    input: Option<mpsc::UnboundedReceiver<String>>,
    /// Where what is read goes.
    orders: mpsc::UnboundedSender<String>,
}

impl Stop {
    fn new(with_input: bool, orders: mpsc::UnboundedSender<String>) -> Result<Self> {
        let on = |kind| signal(kind).context("failed to listen for signals");
        let signals =
            [on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?];
        Ok(Self { signals, input: with_input.then(inner::lines), orders })
    }

    async fn wanted(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        let input = async {
            match &mut self.input {
                Some(lines) => {
                    while let Some(line) = lines.recv().await {
                        let _ = self.orders.send(line);
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            () = input => {}
        }
    }
}
