//! A git server for pods: sshd with one key, and https with one token in front of git's own CGI program. It
//! serves a folder of bare repositories that tests fill.

use std::{
    collections::HashMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Redirect, Response},
};
use axum_server::tls_rustls::RustlsConfig;
use rustix::mount::mount_bind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    Git, build::random_id, kubeconfig::base64, net::Port, pki::Authority, process::Program,
    tools::on_path,
};

/// The user of both ways.
const USER: &str = "git";
/// The second port of sshd, for URLs that name one.
const OTHER_SSH_PORT: u16 = 2222;
/// A push is held in memory.
const LARGEST_PUSH: usize = 512 << 20;

/// A server that is prepared and not yet started.
pub struct GitServer {
    pub git: Git,
    folder: PathBuf,
    address: Ipv4Addr,
    https: Port,
}

impl GitServer {
    /// Makes keys, certificates, the user, and the folder of repositories.
    pub fn prepare(run: &Path, address: Ipv4Addr) -> Result<Self> {
        let folder = run.join("git");
        let repositories = folder.join("repositories");
        fs::create_dir_all(&repositories)
            .with_context(|| format!("failed to create {}", repositories.display()))?;
        for key in ["host_key", "client_key"] {
            make_key(&folder.join(key))?;
        }
        let host_key = fs::read_to_string(folder.join("host_key.pub"))
            .context("failed to read the host's key")?;
        let host_key: Vec<&str> = host_key.split_ascii_whitespace().take(2).collect();
        let host_key = host_key.join(" ");
        let known_hosts = folder.join("known_hosts");
        let text = format!("{address} {host_key}\n[{address}]:{OTHER_SSH_PORT} {host_key}\n");
        fs::write(&known_hosts, text)
            .with_context(|| format!("failed to write {}", known_hosts.display()))?;
        let authority = Authority::create(&folder)?;
        authority.server("git", None, &[address.to_string()])?.write(&folder, "https")?;
        let https = Port::reserve(address.into())?;
        let git = Git {
            ssh: format!("{USER}@{address}:"),
            ssh_url: format!("ssh://{USER}@{address}:{OTHER_SSH_PORT}/~/"),
            https: format!("https://{}/", https.address),
            https_moved: format!("https://{}/moved/", https.address),
            repositories,
            ssh_key: folder.join("client_key"),
            known_hosts,
            ca: folder.join("ca.crt"),
            user: USER.to_owned(),
            token: format!("token-{}{}", random_id()?, random_id()?),
        };
        Ok(Self { git, folder, address, https })
    }

    /// sshd's command line. Its user is made for this mount namespace alone; it is root by another name,
    /// because root makes the repositories, and can do nothing but what git's own shell lets it.
    pub fn sshd(&self) -> Result<Program> {
        let shell = on_path("git-shell").context("no git-shell: install the Debian package git")?;
        let home = self.git.repositories.display();
        let line = format!("{USER}:*:0:0:git:{home}:{}\n", shell.display());
        for (path, line) in
            [("/etc/passwd", line.as_str()), ("/etc/shadow", "git:*:19000:0:99999:7:::\n")]
        {
            add_line(&self.folder, path, line)?;
        }
        let folder = self.folder.display();
        let config = format!(
            "Port 22\nPort {OTHER_SSH_PORT}\nListenAddress {address}\nHostKey {folder}/host_key\nPidFile none\n\
             AuthorizedKeysFile {folder}/client_key.pub\nStrictModes no\nUsePAM no\nUseDNS no\nAllowUsers {USER}\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             AcceptEnv GIT_PROTOCOL\nMaxStartups 200\nDisableForwarding yes\nPrintMotd no\nPermitTTY no\n",
            address = self.address,
        );
        let path = self.folder.join("sshd_config");
        fs::write(&path, config).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(Program {
            name: "sshd".to_owned(),
            path: on_path("sshd").context("no sshd: install the Debian package openssh-server")?,
            arguments: ["-D", "-e", "-f"]
                .map(str::to_owned)
                .into_iter()
                .chain([path.display().to_string()])
                .collect(),
            environment: Vec::new(),
            log: self.folder.with_file_name("log").join("sshd.log"),
            folder: self.folder.clone(),
        })
    }

    /// Whether sshd takes connections.
    pub async fn is_sshd_up(&self) -> bool {
        tokio::net::TcpStream::connect((self.address, 22)).await.is_ok()
    }

    /// Serves https until the process ends.
    pub async fn serve_https(&self) -> Result<()> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // installed already, where it fails
        let tls = RustlsConfig::from_pem_file(
            self.folder.join("https.crt"),
            self.folder.join("https.key"),
        );
        let tls = tls.await.context("failed to load the git server's certificate")?;
        let backend = Backend {
            repositories: self.git.repositories.clone(),
            authorization: format!(
                "Basic {}",
                base64(format!("{USER}:{}", self.git.token).as_bytes())
            ),
        };
        let app = Router::new().fallback(answer).layer(DefaultBodyLimit::max(LARGEST_PUSH));
        let app = app.with_state(Arc::new(backend));
        let address = self.https.address;
        tokio::spawn(async move {
            if let Err(error) =
                axum_server::bind_rustls(address, tls).serve(app.into_make_service()).await
            {
                eprintln!("the git server over https ended: {error}");
            }
        });
        Ok(())
    }
}

fn make_key(path: &Path) -> Result<()> {
    let keygen = on_path("ssh-keygen")
        .context("no ssh-keygen: install the Debian package openssh-client")?;
    let mut command = Command::new(keygen);
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "testbed", "-f"]).arg(path);
    let answer = command.stdin(Stdio::null()).output().context("failed to run ssh-keygen")?;
    if !answer.status.success() {
        bail!("failed to make {}: {}", path.display(), String::from_utf8_lossy(&answer.stderr));
    }
    Ok(())
}

/// Covers a file of the system, in this mount namespace, by one with a line more.
fn add_line(folder: &Path, path: &str, line: &str) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
    let others = text.lines().filter(|it| !it.starts_with("git:")).map(|it| format!("{it}\n"));
    let cover = folder.join(path.trim_start_matches('/').replace('/', "_"));
    crate::pki::write_secret(&cover, &(others.collect::<String>() + line))?;
    if path == "/etc/passwd" {
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&cover, readable)
            .with_context(|| format!("failed to open {}", cover.display()))?;
    }
    mount_bind(&cover, path).with_context(|| format!("failed to cover {path}"))
}

struct Backend {
    repositories: PathBuf,
    authorization: String,
}

async fn answer(State(backend): State<Arc<Backend>>, request: Request) -> Response {
    if let Some(path) = request.uri().path().strip_prefix("/moved") {
        let query = request.uri().query().map(|it| format!("?{it}")).unwrap_or_default();
        return Redirect::permanent(&format!("{path}{query}")).into_response();
    }
    let allowed =
        request.headers().get(header::AUTHORIZATION).is_some_and(|it| *it == backend.authorization);
    if !allowed {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")])
            .into_response();
    }
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_PUSH).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match run_backend(&backend, &head.method, &head.uri, &head.headers, body).await {
        Ok(answer) => parse_cgi(answer).unwrap_or_else(|| StatusCode::BAD_GATEWAY.into_response()),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}\n")).into_response(),
    }
}

/// One run of `git http-backend`, which speaks CGI.
async fn run_backend(
    backend: &Backend,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Vec<u8>> {
    let header = |name: &str| {
        headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned()
    };
    let git = on_path("git").context("no git: install the Debian package git")?;
    let environment: HashMap<&str, String> = HashMap::from([
        ("GIT_PROJECT_ROOT", backend.repositories.to_string_lossy().into_owned()),
        ("GIT_HTTP_EXPORT_ALL", "1".to_owned()),
        ("REMOTE_USER", USER.to_owned()),
        ("REQUEST_METHOD", method.to_string()),
        ("PATH_INFO", uri.path().to_owned()),
        ("QUERY_STRING", uri.query().unwrap_or_default().to_owned()),
        ("CONTENT_TYPE", header("content-type")),
        ("CONTENT_LENGTH", body.len().to_string()),
        ("HTTP_CONTENT_ENCODING", header("content-encoding")),
        ("GIT_PROTOCOL", header("git-protocol")),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
    ]);
    let mut command = tokio::process::Command::new(git);
    command.arg("http-backend").env_clear().envs(environment).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().context("failed to start git http-backend")?;
    let mut input = child.stdin.take().context("git http-backend has no input")?;
    let mut output = child.stdout.take().context("git http-backend has no output")?;
    let mut answer = Vec::new();
    let write = async move {
        let _ = input.write_all(&body).await; // it may answer without having read all
    };
    let ((), read) = tokio::join!(write, output.read_to_end(&mut answer));
    read.context("failed to read from git http-backend")?;
    child.wait().await.context("failed to wait for git http-backend")?;
    Ok(answer)
}

/// A CGI answer: headers, of which `Status` is the status, an empty line, the body.
fn parse_cgi(answer: Vec<u8>) -> Option<Response> {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let mut response = Response::builder();
    for line in head.lines() {
        let (name, value) = line.split_once(':')?;
        response = match name {
            "Status" => response.status(value.trim().split(' ').next()?.parse::<u16>().ok()?),
            _ => response.header(name, value.trim()),
        };
    }
    response.body(Body::from(Bytes::from(answer).slice(end + 4..))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgi_answers_are_understood() {
        let fine =
            parse_cgi(b"Expires: never\r\nContent-Type: text/x\r\n\r\nbody".to_vec()).unwrap();
        assert_eq!(
            (fine.status(), &fine.headers()["content-type"]),
            (StatusCode::OK, &"text/x".parse().unwrap())
        );
        let refused = parse_cgi(b"Status: 403 Forbidden\r\n\r\n".to_vec()).unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        for broken in [&b""[..], b"no end", b"no colon\r\n\r\n", b"Status: x\r\n\r\n"] {
            assert!(parse_cgi(broken.to_vec()).is_none());
        }
    }
}
