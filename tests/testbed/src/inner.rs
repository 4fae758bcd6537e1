//! The process that starts a control plane and a node and stays with them: inside the namespaces, or as a
//! plain process. It obeys orders on its standard input, and ends when that does, when anything it started ends
//! that it was not told to stop, and when its parent does.

use std::{
    fs,
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::future::try_join_all;
use k8s_openapi::api::core;
use kube::{Api, Client};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{
    Git, Node,
    control_plane::ControlPlane,
    fleet::Fleet,
    git_server::GitServer,
    kubeconfig, link,
    node::{self, real::RealNode},
    pki::MASTERS,
    plan::{Event, Plan},
    process::Roll,
    tools::Tool,
};

/// Runs until the standard input ends or something fails; what failed is the last event on standard output.
pub async fn run(folder: &Path) -> ExitCode {
    let mut input = lines();
    let mut fleet = Fleet::default();
    let started = match wait_for_link(folder, &mut input).await {
        Err(error) => Err(error),
        Ok(plan) => {
            // Pids in a namespace of its own say nothing outside, and all processes in it end with its first.
            fleet.roll = plan.block.is_none().then(|| Roll::of(folder));
            tokio::select! {
                it = start(folder, &plan, &mut fleet) => it,
                it = closed(&mut input) => Err(it),
            }
        }
    };
    let failure = match started {
        Err(error) => error,
        // What the plane reserves is kept also while one of its programs is stopped.
        Ok((event, _plane)) => {
            tell(&event);
            stay(folder, &mut fleet, &mut input).await
        }
    };
    tell(&Event::Failed { message: format!("{failure:#}") });
    fleet.end().await;
    ExitCode::FAILURE
}

/// Resolves when the parent closes the pipe, which it does by ending, too.
async fn closed(input: &mut mpsc::UnboundedReceiver<String>) -> anyhow::Error {
    while input.recv().await.is_some() {}
    orphaned()
}

fn orphaned() -> anyhow::Error {
    anyhow!("the process that asked for this testbed has ended")
}

/// Tells that the namespaces are there, and sets this end of the link up when the other one is.
async fn wait_for_link(folder: &Path, input: &mut mpsc::UnboundedReceiver<String>) -> Result<Plan> {
    let plan = Plan::read(folder)?;
    if let Some(block) = plan.block {
        tell(&Event::Enclosed);
        if input.recv().await.as_deref() != Some("linked") {
            bail!("the link to the host was not made");
        }
        link::set_up_inside(block, plan.node.is_real())?;
    }
    Ok(plan)
}

/// Obeys orders until something ends that was not told to, or nobody is left to give any.
async fn stay(
    folder: &Path,
    fleet: &mut Fleet,
    input: &mut mpsc::UnboundedReceiver<String>,
) -> anyhow::Error {
    loop {
        let order = tokio::select! {
            it = fleet.first_end() => return it,
            it = input.recv() => it,
        };
        let Some(order) = order else { return orphaned() };
        let obeyed = tokio::select! {
            it = obey(folder, fleet, &order) => it,
            it = closed(input) => return it,
        };
        tell(&match obeyed {
            Ok(()) => Event::Obeyed { order },
            Err(error) => Event::Refused { order, message: format!("{error:#}") },
        });
    }
}

/// `stop`, `start`, `freeze` and `thaw PROGRAM`; an API server is started once it answers.
async fn obey(folder: &Path, fleet: &mut Fleet, order: &str) -> Result<()> {
    match order.split_once(' ') {
        Some(("stop", name)) => fleet.stop_one(name).await,
        Some(("freeze", name)) => fleet.freeze(name, true),
        Some(("thaw", name)) => fleet.freeze(name, false),
        Some(("start", name)) => {
            fleet.start_again(name)?;
            if name != Tool::ApiServer.name() {
                return Ok(());
            }
            let client = kubeconfig::client(&folder.join("kubeconfig/admin.kubeconfig")).await?;
            fleet.until("kube-apiserver to be ready", || is_ready(&client)).await
        }
        _ => bail!("it is none of `stop`, `start`, `freeze` and `thaw PROGRAM`"),
    }
}

async fn start(folder: &Path, plan: &Plan, fleet: &mut Fleet) -> Result<(Event, ControlPlane)> {
    let plane = ControlPlane::prepare(folder, plan)?;
    fleet.start(plane.etcd(plan)?)?;
    fleet.start(plane.api_server(plan)?)?;
    let real = match plan.node {
        Node::Real => Some(Real::begin(folder, plan, fleet)?),
        Node::None | Node::Kwok => None,
    };
    let client = kubeconfig::client(&folder.join("kubeconfig/admin.kubeconfig")).await?;
    fleet.until("kube-apiserver to be ready", || is_ready(&client)).await?;
    fleet.start(plane.controller_manager(plan)?)?;
    fleet.start(plane.scheduler(plan)?)?;
    if plan.node == Node::Kwok {
        start_kwok(folder, plan, &plane, &client, fleet).await?;
    }
    let (git, enforcer) = match real {
        Some(real) => {
            let enforcer = real.node.enforcer(&plane)?;
            (Some(real.finish(&plane, fleet).await?), enforcer)
        }
        None => (None, None),
    };
    if plan.node != Node::None {
        fleet.until("the node to be ready", || is_node_ready(&client)).await?;
    }
    // It looks for its node at its start, and gives up where there is none.
    enforcer.into_iter().try_for_each(|it| fleet.start(it))?;
    if let (Node::Real, Some(block)) = (plan.node, plan.block) {
        let service = block.kubernetes_service();
        fleet.until("kube-proxy to serve Services", || is_reachable(service)).await?;
    }
    // Without it the API server refuses every pod.
    fleet.until("ServiceAccount default to be made", || has_service_account(&client)).await?;
    if plan.node == Node::Kwok {
        let copied = || node::kwok::scripts_are_copied(&client);
        fleet.until("pods to get their Namespace's script", copied).await?;
    }
    Ok((Event::Ready { git: git.map(Box::new) }, plane))
}

async fn start_kwok(
    folder: &Path,
    plan: &Plan,
    plane: &ControlPlane,
    client: &Client,
    fleet: &mut Fleet,
) -> Result<()> {
    let kubeconfig = plane.kubeconfig("kwok", Some(MASTERS))?;
    fleet.start(node::kwok::program(folder, plan, &kubeconfig)?)?;
    node::kwok::create_node(client).await?;
    let policies = node::kwok::policies(plan.minor);
    let version = policies.with_context(|| node::kwok::lacking(plan.minor).unwrap_or_default())?;
    node::kwok::copy_scripts(client, version).await
}

/// A real node in the making: what needs no API server is under way while that starts.
struct Real<'a> {
    node: RealNode<'a>,
    git: GitServer,
    images: JoinHandle<Result<Vec<PathBuf>>>,
}

impl<'a> Real<'a> {
    fn begin(folder: &'a Path, plan: &'a Plan, fleet: &mut Fleet) -> Result<Self> {
        let node = RealNode::prepare(folder, plan)?;
        fleet.start(node.containerd()?)?;
        let programs = plan.programs.clone().context("no programs for the images")?;
        let archives = folder.join("images");
        let images = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&archives)
                .with_context(|| format!("failed to create {}", archives.display()))?;
            node::images::write_all(&programs, &archives)
        });
        let block = plan.block.context("a real node needs namespaces of its own")?;
        Ok(Self { node, git: GitServer::prepare(folder, block.node())?, images })
    }

    async fn finish(self, plane: &ControlPlane, fleet: &mut Fleet) -> Result<Git> {
        let Self { node, git, images } = self;
        fleet.until("containerd to be up", || node.is_containerd_up()).await?;
        fleet.start(node.kubelet(plane)?)?;
        fleet.start(node.kube_proxy(plane)?)?;
        fleet.start(git.sshd()?)?;
        git.serve_https().await?;
        let archives = images.await.context("making images was cut short")??;
        let imports = archives.iter().map(|it| node.import(it));
        tokio::select! {
            it = try_join_all(imports) => drop(it?),
            it = fleet.first_end() => return Err(it.context("failed to import images")),
        }
        fleet.until("sshd to be up", || git.is_sshd_up()).await?;
        Ok(git.git)
    }
}

async fn is_ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
    client.request_text(request).await.is_ok()
}

/// Ready, and open for pods: the taint of an unready node goes a moment after.
async fn is_node_ready(client: &Client) -> bool {
    let Ok(node) = Api::<core::v1::Node>::all(client.clone()).get(node::NAME).await else {
        return false;
    };
    let conditions = node.status.and_then(|it| it.conditions).unwrap_or_default();
    let ready = conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True");
    ready && node.spec.and_then(|it| it.taints).unwrap_or_default().is_empty()
}

/// Whether the API server answers under its Service's address: kube-proxy writes its rules a moment after the node is
/// ready, and a pod that starts before would find nobody there.
async fn is_reachable(service: Ipv4Addr) -> bool {
    let connecting = tokio::net::TcpStream::connect((service, 443));
    matches!(timeout(Duration::from_millis(500), connecting).await, Ok(Ok(_)))
}

async fn has_service_account(client: &Client) -> bool {
    Api::<core::v1::ServiceAccount>::namespaced(client.clone(), "default")
        .get("default")
        .await
        .is_ok()
}

fn tell(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        let mut output = std::io::stdout();
        let _ = writeln!(output, "{line}").and_then(|()| output.flush()); // nobody may be left to hear it
    }
}

/// The lines of the standard input. A thread of its own reads them: it may be a file, a terminal or a pipe.
pub fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
