//! How an operator is run outside a cluster: its flags, its environment, its addresses. The one place that
//! knows the operator's command line.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{net::Port, sibling, tools};

/// Where operators run unless said otherwise, and where their Service is.
pub const NAMESPACE: &str = "gastown-operator-system";
/// The Service in front of the operators' webhooks.
pub const SERVICE: &str = "gastown-operator-webhook-service";
/// The group that operators are in; bound to the roles of `deploy/rbac`, as the operator's account is where it runs in pods.
pub const GROUP: &str = "gastown:operators";

/// Ports that are one operator's own.
#[derive(Debug)]
pub struct Ports {
    pub metrics: Port,
    pub health: Port,
    pub webhook: Port,
}

impl Ports {
    /// Metrics and health on loopback; webhooks where the API server reaches them.
    pub fn reserve(host: IpAddr) -> Result<Self> {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        Ok(Self {
            metrics: Port::reserve(loopback)?,
            health: Port::reserve(loopback)?,
            webhook: Port::reserve(host)?,
        })
    }

    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.metrics.address)
    }

    pub fn health_url(&self) -> String {
        format!("http://{}", self.health.address)
    }

    pub fn webhook_url(&self) -> String {
        format!("https://{}", self.webhook.address)
    }
}

/// One operator's command line and environment.
pub struct Launch {
    /// Its pod's name, and its user's.
    pub name: String,
    pub namespace: String,
    pub kubeconfig: PathBuf,
    /// Folder with the webhooks' `tls.crt` and `tls.key`.
    pub certificates: PathBuf,
    pub flags: Vec<String>,
}

impl Launch {
    pub fn arguments(&self, ports: &Ports) -> Vec<String> {
        let mut arguments = vec![
            format!("--metrics-bind-address={}", ports.metrics.address),
            format!("--health-probe-bind-address={}", ports.health.address),
            format!("--webhook-bind-address={}", ports.webhook.address),
            format!("--webhook-cert-path={}", self.certificates.display()),
            "--leader-elect".to_owned(),
        ];
        arguments.extend(self.flags.iter().cloned());
        arguments
    }

    /// In a cluster all replicas are one user; here the audit log tells them apart.
    fn users(&self) -> String {
        let replicas = (0..10).map(|number| format!("operator-{number}"));
        replicas.chain([self.name.clone()]).collect::<Vec<_>>().join(",")
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            pair("KUBECONFIG", &self.kubeconfig.to_string_lossy()),
            pair("POD_NAME", &self.name),
            pair("POD_NAMESPACE", &self.namespace),
            pair("GASTOWN_NAMESPACE", &self.namespace),
            pair("GASTOWN_OWN_USER", &self.users()),
            // What nobody has to ask for, so that the audit log shows the work alone.
            pair("GASTOWN_PLATFORM", "kubernetes"),
        ]
    }
}

/// The operator's program: the one asked for, or the one that Cargo built beside this one.
pub fn operator_program(asked: Option<&PathBuf>) -> Result<PathBuf> {
    if let Some(path) = asked {
        let path = crate::absolute(path)?;
        tools::bail_unless_executable(&path, "the operator's program")?;
        return Ok(path);
    }
    let own = std::env::current_exe().context("failed to find this program's own file")?;
    sibling(&own, "gastown-operator").context(
        "there is no program `gastown-operator` beside this one: build it with `cargo build --bin gastown-operator`, \
         or name another one (--operator)",
    )
}

/// One plain GET of a server on this machine: status and body. Bounded to a second.
pub async fn http_get(url: &str) -> Result<(u16, String)> {
    let rest =
        url.strip_prefix("http://").with_context(|| format!("{url}: only http is spoken here"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let exchange = async {
        let mut stream = TcpStream::connect(host).await?;
        stream
            .write_all(format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(Duration::from_secs(1), exchange)
        .await
        .with_context(|| format!("no answer from {url}"))?;
    let answer = answer.with_context(|| format!("failed to ask {url}"))?;
    parse_answer(&String::from_utf8_lossy(&answer))
        .with_context(|| format!("{url} did not answer in HTTP"))
}

fn parse_answer(answer: &str) -> Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    if !words.next().is_some_and(|it| it.starts_with("HTTP/1.")) {
        bail!("no status line");
    }
    let status = words.next().and_then(|it| it.parse().ok()).context("no status")?;
    Ok((status, body.to_owned()))
}

/// Whether a server's `/readyz` says so.
pub async fn is_ready(health: &str) -> bool {
    http_get(&format!("{health}/readyz")).await.is_ok_and(|(status, _)| status == 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(
            parse_answer("HTTP/1.1 200 OK\r\nA: b\r\n\r\nfine").unwrap(),
            (200, "fine".to_owned())
        );
        assert_eq!(parse_answer("HTTP/1.0 503 No\r\n\r\n").unwrap().0, 503);
        for broken in ["", "HTTP/1.1 200 OK", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
            assert!(parse_answer(broken).is_err(), "{broken:?}");
        }
    }
}
