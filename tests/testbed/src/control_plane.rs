//! The command lines of etcd, API server, controller manager and scheduler, and how each is known to be up.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    Node, kubeconfig,
    net::{Block, Port},
    node::kwok,
    pki::{Authority, MASTERS, service_account_key},
    plan::Plan,
    process::Program,
    tools::Tool,
};

/// Where an API server listens, if nobody says anything else.
const SECURE_PORT: u16 = 6443;
const STORAGE_MIGRATION: &str = "StorageVersionMigrator=true";

/// Files and addresses of one control plane.
pub struct ControlPlane {
    folder: PathBuf,
    pki: PathBuf,
    pub authority: Authority,
    /// The API server, as `https://ADDRESS:PORT`.
    pub server: String,
    api: Port,
    etcd: [Port; 2],
}

impl ControlPlane {
    /// Makes keys, certificates and kubeconfigs; starts nothing yet.
    pub fn prepare(folder: &Path, plan: &Plan) -> Result<Self> {
        let pki = folder.join("pki");
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let address = plan.block.map_or(loopback, |it| it.inner().into());
        // In a network of its own it has the port that installations have, by which NetworkPolicies know it.
        let api = match plan.block {
            Some(_) => Port::reserve_this(SocketAddr::new(address, SECURE_PORT))?,
            None => Port::reserve(address)?,
        };
        let authority = Authority::create(&pki)?;
        service_account_key(&pki)?;
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), address.to_string()];
        names.extend(
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned),
        );
        names.extend(plan.block.map(|it| it.kubernetes_service().to_string()));
        authority.server("kube-apiserver", None, &names)?.write(&pki, "apiserver")?;
        authority.client("kube-apiserver", Some(MASTERS))?.write(&pki, "apiserver-client")?;
        let plane = Self {
            folder: folder.to_owned(),
            pki,
            authority,
            server: format!("https://{}", api.address),
            api,
            etcd: [Port::reserve(loopback)?, Port::reserve(loopback)?],
        };
        plane.kubeconfig("admin", Some(MASTERS))?;
        plane.kubeconfig("system:kube-controller-manager", None)?;
        plane.kubeconfig("system:kube-scheduler", None)?;
        Ok(plane)
    }

    /// Writes a client's kubeconfig.
    pub fn kubeconfig(&self, name: &str, group: Option<&str>) -> Result<PathBuf> {
        kubeconfig::write(
            &self.folder.join("kubeconfig"),
            &self.server,
            &self.authority,
            name,
            group,
        )
    }

    /// A file of the PKI, as an argument.
    pub fn pki(&self, name: &str) -> String {
        self.pki.join(name).to_string_lossy().into_owned()
    }

    fn program(&self, plan: &Plan, tool: Tool, arguments: Vec<String>) -> Result<Program> {
        let name = tool.name();
        Ok(Program {
            name: name.to_owned(),
            path: plan.tools.path(tool)?.to_owned(),
            arguments,
            environment: Vec::new(),
            log: self.folder.join("log").join(format!("{name}.log")),
            folder: self.folder.clone(),
        })
    }

    pub fn etcd(&self, plan: &Plan) -> Result<Program> {
        let [client, peer] = self.etcd.each_ref().map(|it| format!("http://{}", it.address));
        let data = self.folder.join("etcd");
        let mut arguments = vec![
            "--name=testbed".to_owned(),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=testbed={peer}"),
            "--log-level=warn".to_owned(),
        ];
        if !plan.fsync {
            arguments.push("--unsafe-no-fsync".to_owned());
        }
        self.program(plan, Tool::Etcd, arguments)
    }

    pub fn api_server(&self, plan: &Plan) -> Result<Program> {
        let policy = self.folder.join("audit-policy.yaml");
        let text = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "omitManagedFields": true,
            "rules": [
                // What a judge of ownership asks: whose a Lease is to be.
                {
                    "level": "Request",
                    "verbs": ["create", "update", "patch"],
                    "resources": [{ "group": "coordination.k8s.io", "resources": ["leases"] }],
                },
                { "level": "Metadata" },
            ],
        });
        fs::write(&policy, text.to_string())
            .with_context(|| format!("failed to write {}", policy.display()))?;
        let address: SocketAddr = self.api.address;
        let [client, _] = &self.etcd;
        let services = plan.block.map_or_else(|| "10.96.0.0/16".to_owned(), Block::services);
        let mut arguments = vec![
            format!("--etcd-servers=http://{}", client.address),
            format!("--secure-port={}", address.port()),
            format!("--bind-address={}", address.ip()),
            format!("--advertise-address={}", address.ip()),
            format!("--tls-cert-file={}", self.pki("apiserver.crt")),
            format!("--tls-private-key-file={}", self.pki("apiserver.key")),
            format!("--client-ca-file={}", self.pki("ca.crt")),
            format!("--service-account-key-file={}", self.pki("sa.pub")),
            format!("--service-account-signing-key-file={}", self.pki("sa.key")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-cluster-ip-range={services}"),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            // Webhook Services are resolved to their EndpointSlices by the API server itself, so no node is
            // needed.
            "--enable-aggregator-routing=true".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", plan.audit.display()),
            // Written at once, one by one, and never rotated away, so that it can be counted.
            "--audit-log-mode=blocking".to_owned(),
            "--audit-log-maxsize=1048576".to_owned(),
            format!("--kubelet-client-certificate={}", self.pki("apiserver-client.crt")),
            format!("--kubelet-client-key={}", self.pki("apiserver-client.key")),
            format!("--kubelet-certificate-authority={}", self.pki("ca.crt")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ];
        let scripts = (plan.node == Node::Kwok).then(|| kwok::policies(plan.minor)).flatten();
        arguments.extend(switches(plan.minor, plan.storage_migration, scripts));
        if plan.block.is_none() {
            // An endpoint may not be a loopback address, so the Service `kubernetes` stays without any.
            arguments.push("--endpoint-reconciler-type=none".to_owned());
        }
        self.program(plan, Tool::ApiServer, arguments)
    }

    pub fn controller_manager(&self, plan: &Plan) -> Result<Program> {
        let config = self.folder.join("kubeconfig/system_kube-controller-manager.kubeconfig");
        let config = config.display();
        let mut arguments = vec![
            format!("--kubeconfig={config}"),
            format!("--authentication-kubeconfig={config}"),
            format!("--authorization-kubeconfig={config}"),
            format!("--service-account-private-key-file={}", self.pki("sa.key")),
            format!("--root-ca-file={}", self.pki("ca.crt")),
            format!("--cluster-signing-cert-file={}", self.pki("ca.crt")),
            format!("--cluster-signing-key-file={}", self.pki("ca.key")),
            "--use-service-account-credentials=true".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            // The default is a folder of the system, which it would make.
            format!("--flex-volume-plugin-dir={}", self.folder.join("volume-plugins").display()),
            // The defaults are for clusters that share their API server with many; here they would be what
            // is measured.
            "--kube-api-qps=1000".to_owned(),
            "--kube-api-burst=2000".to_owned(),
            // Nor does it collect finished pods: benches count more of them than it leaves by default.
            "--terminated-pod-gc-threshold=0".to_owned(),
        ];
        if plan.storage_migration && plan.minor < MIGRATES {
            arguments.push(format!("--feature-gates={STORAGE_MIGRATION}"));
        }
        self.program(plan, Tool::ControllerManager, arguments)
    }

    pub fn scheduler(&self, plan: &Plan) -> Result<Program> {
        let path = self.folder.join("scheduler.yaml");
        let kubeconfig = self.folder.join("kubeconfig/system_kube-scheduler.kubeconfig");
        let text = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": { "kubeconfig": kubeconfig, "qps": 1000, "burst": 2000 },
            "leaderElection": { "leaderElect": false },
        });
        fs::write(&path, text.to_string())
            .with_context(|| format!("failed to write {}", path.display()))?;
        let arguments = vec![format!("--config={}", path.display()), "--secure-port=0".to_owned()];
        self.program(plan, Tool::Scheduler, arguments)
    }
}

/// The first minor version that migrates stored objects unasked.
const MIGRATES: u32 = 37;

/// An API server's flags for what it does not do by itself, and is not to do: each once, with all that it is for. Scripts of
/// Namespaces need policies in this version, which no API server has switched on before it is `v1`.
fn switches(minor: u32, storage_migration: bool, policies: Option<&str>) -> Vec<String> {
    let (mut apis, mut gates) = (Vec::new(), Vec::new());
    if storage_migration && minor < MIGRATES {
        apis.push("storagemigration.k8s.io/v1beta1=true".to_owned());
        gates.push(STORAGE_MIGRATION);
    } else if !storage_migration && minor >= MIGRATES {
        apis.push("storagemigration.k8s.io/v1=false".to_owned());
    }
    if let Some(version) = policies.filter(|it| *it != "v1") {
        apis.push(format!("admissionregistration.k8s.io/{version}=true"));
        gates.push("MutatingAdmissionPolicy=true");
    }
    let all = [("runtime-config", apis.join(",")), ("feature-gates", gates.join(","))];
    let named = all.into_iter().filter(|(_, it)| !it.is_empty());
    named.map(|(flag, it)| format!("--{flag}={it}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_does_not_do_by_itself_is_switched_on_once() {
        let apis = "--runtime-config=";
        let gates = "--feature-gates=";
        #[rustfmt::skip]
        let table = [
            (36, false, true, vec![], "policies are served by themselves"),
            (35, false, true, vec![format!("{apis}admissionregistration.k8s.io/v1beta1=true"),
                format!("{gates}MutatingAdmissionPolicy=true")], "a beta is off by default"),
            (36, true, true, vec![format!("{apis}storagemigration.k8s.io/v1beta1=true"),
                format!("{gates}StorageVersionMigrator=true")], "the migration is asked for"),
            (32, true, true, vec![
                format!("{apis}storagemigration.k8s.io/v1beta1=true,admissionregistration.k8s.io/v1alpha1=true"),
                format!("{gates}StorageVersionMigrator=true,MutatingAdmissionPolicy=true")], "both, in one flag each"),
            (35, false, false, vec![], "no pod is played"),
            (37, true, true, vec![], "the migration is there unasked"),
            (37, false, true, vec![format!("{apis}storagemigration.k8s.io/v1=false")], "and taken away"),
        ];
        for (minor, migration, played, want, because) in table {
            let policies = played.then(|| kwok::policies(minor)).flatten();
            assert_eq!(switches(minor, migration, policies), want, "{because}");
        }
    }
}
