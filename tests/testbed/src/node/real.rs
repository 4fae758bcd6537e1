//! A real node: containerd, kubelet and kube-proxy in the namespaces, with images made here. Nothing is
//! pulled.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{NAME, cgroups, images::PAUSE};
use crate::{
    control_plane::ControlPlane,
    link::BRIDGE,
    net::Block,
    pki::MASTERS,
    plan::Plan,
    process::Program,
    tools::{Tool, on_path},
};

/// Where Debian and everyone else have the network plugins.
const PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
/// `statfs` of a folder on an overlay, which can't carry another one.
const OVERLAY: i64 = 0x794c_7630;

/// Folder of the network plugins, if all that are needed are in it.
pub fn plugins() -> Option<&'static Path> {
    let complete = |folder: &&Path| {
        ["bridge", "host-local", "portmap", "loopback"].iter().all(|it| folder.join(it).exists())
    };
    PLUGINS.iter().map(|it| Path::new(*it)).find(complete)
}

/// The node's files and addresses.
pub struct RealNode<'a> {
    folder: PathBuf,
    run: &'a Path,
    plan: &'a Plan,
    block: Block,
}

impl<'a> RealNode<'a> {
    /// Prepares cgroup, folders and forwarding; starts nothing yet.
    pub fn prepare(run: &'a Path, plan: &'a Plan) -> Result<Self> {
        let block = plan.block.context("a real node needs namespaces of its own")?;
        let folder = run.join("node");
        for path in ["cni", "kubelet", "pod-logs", "containerd"] {
            let path = folder.join(path);
            fs::create_dir_all(&path)
                .with_context(|| format!("failed to create {}", path.display()))?;
        }
        cgroups::create(&plan.cgroup)?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")
            .context("failed to switch forwarding on")?;
        Ok(Self { folder, run, plan, block })
    }

    fn program(&self, name: &str, path: &Path, arguments: Vec<String>) -> Program {
        Program {
            name: name.to_owned(),
            path: path.to_owned(),
            arguments,
            environment: Vec::new(),
            log: self.run.join("log").join(format!("{name}.log")),
            folder: self.folder.clone(),
        }
    }

    fn write(&self, name: &str, content: &Value) -> Result<PathBuf> {
        self.write_text(name, &content.to_string())
    }

    fn write_text(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    pub fn containerd(&self) -> Result<Program> {
        let pods = self.block.pods();
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "testbed",
            "plugins": [
                { "type": "bridge", "bridge": BRIDGE, "isGateway": true, "ipMasq": false, "ipam": {
                    "type": "host-local",
                    "dataDir": self.folder.join("addresses"),
                    "ranges": [[{ "subnet": pods, "rangeStart": self.block.first_pod() }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                }},
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        });
        self.write("cni/10-testbed.conflist", &network)?;
        let plugins = plugins().context(
            "no network plugins: install the Debian package containernetworking-plugins",
        )?;
        let config = self.containerd_config(plugins)?;
        let path = self.write_text("containerd.toml", &config)?;
        let containerd = on_path("containerd")
            .context("no containerd: install the Debian package containerd")?;
        Ok(self.program("containerd", &containerd, vec![format!("--config={}", path.display())]))
    }

    fn containerd_config(&self, plugins: &Path) -> Result<String> {
        let stat = rustix::fs::statfs(&self.folder)
            .context("failed to ask for the kind of file system")?;
        let snapshotter = if stat.f_type == OVERLAY { "native" } else { "overlayfs" };
        let folder = self.folder.display();
        Ok(format!(
            r#"version = 2
root = "{folder}/containerd"
state = "/run/containerd-testbed"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  # Machines without CAP_SYS_RESOURCE can't lower the score, and no sandbox would start.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
"#,
            plugins = plugins.display(),
        ))
    }

    /// Whether containerd answers.
    pub async fn is_containerd_up(&self) -> bool {
        self.ctr(&["version"]).await.is_ok()
    }

    /// Makes an image known to the kubelet.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        let path = archive.to_string_lossy();
        self.ctr(&["--namespace", "k8s.io", "images", "import", &path]).await?;
        fs::remove_file(archive).with_context(|| format!("failed to remove {path}"))
    }

    async fn ctr(&self, arguments: &[&str]) -> Result<()> {
        let ctr = on_path("ctr").context("no ctr: install the Debian package containerd")?;
        let mut command = tokio::process::Command::new(ctr);
        command
            .arg("--address")
            .arg(self.socket())
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let answer = command.output().await.context("failed to run ctr")?;
        if !answer.status.success() {
            bail!(
                "`ctr {}` failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&answer.stderr).trim()
            );
        }
        Ok(())
    }

    pub fn kubelet(&self, plane: &ControlPlane) -> Result<Program> {
        let node: Ipv4Addr = self.block.node();
        let user = format!("system:node:{NAME}");
        let names = [NAME.to_owned(), node.to_string()];
        let serving = plane.authority.server(&user, Some("system:nodes"), &names)?;
        let (certificate, key) = serving.write(&self.folder, "kubelet-serving")?;
        let kubeconfig = plane.kubeconfig(&user, Some("system:nodes"))?;
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": node,
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true },
                "x509": { "clientCAFile": plane.pki("ca.crt") },
            },
            "authorization": { "mode": "Webhook" },
            "tlsCertFile": certificate,
            "tlsPrivateKeyFile": key,
            "healthzPort": 0,
            "containerRuntimeEndpoint": format!("unix://{}", self.socket().display()),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.plan.cgroup),
            "failCgroupV1": false,
            "enforceNodeAllocatable": [],
            "failSwapOn": false,
            // Nothing listens there, so that a lookup fails at once; with no server at all every pod gets a
            // warning.
            "clusterDNS": [node],
            "resolvConf": "",
            // The disk may be nearly full, and images are only ever imported once.
            "evictionHard": {
                "memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "podLogsDir": self.folder.join("pod-logs"),
            "volumePluginDir": self.folder.join("volume-plugins"),
            "kubeAPIQPS": 500,
            "kubeAPIBurst": 1000,
            "eventRecordQPS": 0,
            "syncFrequency": "10s",
            "maxPods": 200,
            // Of a pod, with every thread: what an agent that forks without end runs into.
            "podPidsLimit": 256,
        });
        let config = self.write("kubelet.yaml", &config)?;
        let arguments = vec![
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={node}"),
            format!("--root-dir={}", self.folder.join("kubelet").display()),
            format!("--cert-dir={}", self.folder.join("kubelet-certificates").display()),
        ];
        Ok(self.program("kubelet", self.plan.tools.path(Tool::Kubelet)?, arguments))
    }

    pub fn kube_proxy(&self, plane: &ControlPlane) -> Result<Program> {
        let kubeconfig = plane.kubeconfig("system:kube-proxy", Some(MASTERS))?;
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": { "kubeconfig": kubeconfig },
            "clusterCIDR": self.block.pods(),
            "hostnameOverride": NAME,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "conntrack": {
                "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
            },
        });
        let config = self.write("kube-proxy.yaml", &config)?;
        let arguments = vec![format!("--config={}", config.display())];
        Ok(self.program("kube-proxy", self.plan.tools.path(Tool::KubeProxy)?, arguments))
    }

    /// Who enforces network policies, if anybody is to.
    pub fn enforcer(&self, plane: &ControlPlane) -> Result<Option<Program>> {
        let Some(path) = &self.plan.enforcer else { return Ok(None) };
        // What goes from one pod to another passes the bridge alone.
        fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "1")
            .context("failed to have the bridge ask the firewall: no br_netfilter?")?;
        let kubeconfig = plane.kubeconfig("kube-router", Some(MASTERS))?;
        let arguments = vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={NAME}"),
            format!("--service-cluster-ip-range={}", self.block.services()),
            "--run-firewall=true".to_owned(),
            "--run-router=false".to_owned(),
            "--run-service-proxy=false".to_owned(),
            "--run-loadbalancer=false".to_owned(),
            "--enable-cni=false".to_owned(),
            "--health-port=0".to_owned(),
        ];
        Ok(Some(self.program("kube-router", path, arguments)))
    }
}
