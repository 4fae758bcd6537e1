//! Both servers as processes of their own, with one certificate.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use gastown::tls;
use gastown_testbed::Testbed;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;

use crate::pods::NAMESPACE;

/// Longest time until a server listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// One of them.
pub struct Server {
    pub name: &'static str,
    pub path: &'static str,
    pub address: String,
    pub client: Arc<ClientConfig>,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Seconds that all of its threads have had of the processors.
    pub fn processor_time(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, after) = stat.rsplit_once(") ").context("a line of /proc/PID/stat")?;
        let ticks = after.split(' ').skip(11).take(2).map(str::parse::<u32>);
        let ticks = ticks.sum::<Result<u32, _>>().context("user and system time")?;
        // USER_HZ is 100 on every platform that the kernel has.
        Ok(f64::from(ticks) / 100.0)
    }

    pub fn resident_mebibytes(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib: u32 = line.split_whitespace().next().context("a number")?.parse()?;
        Ok(f64::from(kib) / 1024.0)
    }
}

/// Ours and theirs, and the folder of their files.
pub struct Servers {
    all: [Server; 2],
    _folder: TempDir,
}

impl Servers {
    pub async fn start(testbed: &Testbed, podsecurity: &Path) -> Result<Self> {
        label(testbed).await?;
        let folder = tempfile::tempdir()?;
        let client = certificate(folder.path())?;
        let kubeconfig = testbed.kubeconfig.display().to_string();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let listen = |name, path, mut command: Command, port: u16| -> Result<Server> {
            let log = fs::File::create(folder.path().join(format!("{name}.log")))?;
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let process = command.spawn().with_context(|| format!("failed to start {name}"))?;
            let address = format!("127.0.0.1:{port}");
            let mut server = Server { name, path, address, client: Arc::clone(&client), process };
            listens(&mut server, &folder.path().join(format!("{name}.log")))?;
            Ok(server)
        };
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/gastown-operator");
        let (port, mut command) = (free_port()?, Command::new(ours));
        command.args([
            "--health-probe-bind-address=0",
            "--platform=kubernetes",
            "--log-level=warn",
        ]);
        command.arg(format!("--kubeconfig={kubeconfig}"));
        command.arg(format!("--webhook-bind-address=127.0.0.1:{port}"));
        command.arg(format!("--webhook-cert-path={}", folder.path().display()));
        let ours = listen("ours", "/validate-pods", command, port)?;
        let (port, mut command) = (free_port()?, Command::new(podsecurity));
        command.args([
            "--bind-address=127.0.0.1",
            "--client-qps-limit=1000",
            "--client-qps-burst=1000",
        ]);
        command.arg(format!("--kubeconfig={kubeconfig}")).arg(format!("--secure-port={port}"));
        command.arg(format!("--tls-cert-file={}", at("tls.crt")));
        command.arg(format!("--tls-private-key-file={}", at("tls.key")));
        let theirs = listen("kubernetes", "/", command, port)?;
        Ok(Self { all: [ours, theirs], _folder: folder })
    }

    pub fn both(&self) -> [&Server; 2] {
        self.all.each_ref()
    }
}

/// A namespace that both hold to the restricted level.
async fn label(testbed: &Testbed) -> Result<()> {
    testbed.make_namespace(NAMESPACE, &[]).await?;
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    let api: Api<Namespace> = Api::all(testbed.client("admin").await?);
    api.patch(NAMESPACE, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Writes a P-256 certificate and its key, and makes a caller that trusts it.
fn certificate(folder: &Path) -> Result<Arc<ClientConfig>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
    fs::write(folder.join("tls.crt"), leaf.pem())?;
    fs::write(folder.join("tls.key"), key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(tls::check::certificates(authority.pem().as_bytes())?);
    let mut client = tls::crypto::client(roots)?;
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(client))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn listens(server: &mut Server, log: &Path) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(&server.address).is_err() {
        let said = || fs::read_to_string(log).unwrap_or_default();
        if let Some(status) = server.process.try_wait()? {
            bail!("{} ended with {status}: {}", server.name, said());
        }
        ensure!(Instant::now() < until, "{} does not listen: {}", server.name, said());
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Kubernetes' webhook: the one asked for, or built now.
pub fn podsecurity(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = project.join("target/podsecurity-webhook");
    let mut build = Command::new("go");
    build.current_dir(project.join("tests/bench/podsecurity"));
    build.env("CGO_ENABLED", "0").env("GOWORK", "off");
    build.args(["build", "-trimpath", "-mod=readonly", "-ldflags", "-s -w", "-o"]);
    let status = build.arg(&output).arg(".").status();
    let status = status.context("failed to run go, which builds what is compared with")?;
    ensure!(
        status.success(),
        "go build of tests/bench/podsecurity failed; --webhook names one that is built"
    );
    Ok(output)
}
