//! Runs over https with a token: to one host, with its own authority, never after a redirect, seen by nobody.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _, copy},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use axum_server::tls_rustls::RustlsConfig;
use gastown::domain::{
    layout::{self, env},
    verdict::reason,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::io::AsyncWriteExt;

use crate::{
    pod::{ANY_UID, Pod, Process, git, has, may_change_user, skip},
    sign,
    whole::COMMIT,
};

/// A host that only the proxy knows: no resolver has an address for such names.
const BEHIND: &str = "git.town.invalid";
const TOKEN: &str = "canary-0123456789-token";
/// `canary:canary-0123456789-token`.
const BASIC: &str = "Basic Y2FuYXJ5OmNhbmFyeS0wMTIzNDU2Nzg5LXRva2Vu";

/// A git server behind TLS that wants a token, and a stranger to which it may redirect.
#[derive(Clone)]
struct Git {
    root: PathBuf,
    stranger: String,
    /// What strangers were told.
    overheard: Arc<Mutex<Vec<HeaderMap>>>,
}

/// Serves in a thread that lives as long as the test's process. Answers with the authority's certificate
/// and both hosts.
fn serve(pod: &Pod) -> (String, String, Git) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned(), BEHIND.to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    let config = RustlsConfig::from_config(Arc::new(config));
    let listen = || {
        let it = TcpListener::bind("127.0.0.1:0").unwrap();
        it.set_nonblocking(true).unwrap();
        it
    };
    let (ours, stranger) = (listen(), listen());
    let host = |it: &TcpListener| it.local_addr().map(|it: SocketAddr| it.to_string()).unwrap();
    let (our_host, their_host) = (host(&ours), host(&stranger));
    let git = Git { root: pod.path("."), stranger: their_host, overheard: Arc::default() };
    let (router, theirs) = (
        Router::new().fallback(answer).with_state(git.clone()),
        Router::new().fallback(overhear).with_state(git.clone()),
    );
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ours = axum_server::from_tcp_rustls(ours, config.clone())
                .unwrap()
                .serve(router.into_make_service());
            let theirs = axum_server::from_tcp_rustls(stranger, config)
                .unwrap()
                .serve(theirs.into_make_service());
            let _ended = tokio::join!(ours, theirs);
        });
    });
    (authority.pem(), our_host, git)
}

/// A proxy that leads every CONNECT to one place; answers with its address and what it was asked for.
fn proxy(to: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, to) = (Arc::<Mutex<Vec<String>>>::default(), to.to_owned());
    let book = asked.clone();
    thread::spawn(move || {
        for caller in listener.incoming() {
            let (book, to) = (book.clone(), to.clone());
            thread::spawn(move || tunnel(&caller.unwrap(), &to, &book));
        }
    });
    (address, asked)
}

/// One CONNECT: its head, then bytes both ways. A caller says no more before it was answered.
fn tunnel(caller: &TcpStream, to: &str, asked: &Mutex<Vec<String>>) {
    let head = BufReader::new(caller).lines().map_while(Result::ok);
    let head: Vec<String> = head.take_while(|it| !it.is_empty()).collect();
    asked.lock().unwrap().push(head.first().cloned().unwrap_or_default());
    let Ok(server) = TcpStream::connect(to) else { return };
    let _gone = (&*caller).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    thread::scope(|it| {
        it.spawn(|| (copy(&mut &*caller, &mut &server), server.shutdown(Shutdown::Write)));
        let _ended = (copy(&mut &server, &mut &*caller), caller.shutdown(Shutdown::Write));
    });
}

async fn overhear(State(git): State<Git>, request: Request) -> StatusCode {
    git.overheard.lock().unwrap().push(request.headers().clone());
    StatusCode::UNAUTHORIZED
}

/// One request, as a web server would give it to `git http-backend`.
async fn answer(State(git): State<Git>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if let Some(rest) = path.strip_prefix("/away/") {
        let there =
            format!("https://{}/{rest}?{}", git.stranger, head.uri.query().unwrap_or_default());
        return Response::builder()
            .status(302)
            .header(header::LOCATION, there)
            .body(Body::empty())
            .unwrap();
    }
    if head.headers.get(header::AUTHORIZATION).is_none_or(|it| it != BASIC) {
        let asks = (header::WWW_AUTHENTICATE, "Basic realm=\"git\"");
        return Response::builder().status(401).header(asks.0, asks.1).body(Body::empty()).unwrap();
    }
    let text = |name: &str| {
        head.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned()
    };
    let mut command = tokio::process::Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", &git.root).env("GIT_HTTP_EXPORT_ALL", "1");
    command
        .env("PATH_INFO", &path)
        .env("REQUEST_METHOD", head.method.as_str())
        .env("REMOTE_USER", "canary");
    command
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", text("content-type"));
    command
        .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
        .env("GIT_PROTOCOL", text("git-protocol"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let ((), output) = tokio::join!(
        async move {
            let _early_end = stdin.write_all(&body).await;
        },
        child.wait_with_output()
    );
    respond(&output.unwrap().stdout)
}

fn respond(cgi: &[u8]) -> Response {
    let end = cgi.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&cgi[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(cgi[end + 4..].to_vec())).unwrap()
}

fn backend(test: &str) -> bool {
    let path = std::process::Command::new("git").arg("--exec-path").output().unwrap().stdout;
    let folder = PathBuf::from(String::from_utf8(path).unwrap().trim());
    let there = has(folder.join("git-http-backend")) && has(folder.join("git-remote-https"));
    if !there {
        skip(test, "git-http", "git has no http-backend or no https here");
    }
    there
}

fn secret(pod: &Pod, keys: &[(&str, &str)]) {
    let folder = pod.volume(layout::GIT_CREDS);
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    for (key, value) in keys {
        fs::write(folder.join(key), value).unwrap();
    }
}

#[test]
fn a_run_over_https_shows_the_token_to_nobody() {
    if !backend("a_run_over_https_shows_the_token_to_nobody") {
        return;
    }
    let mut pod = Pod::new();
    let (authority, host, _) = serve(&pod);
    pod.set(env::GIT_REPOSITORY, &format!("https://{host}/remote.git"));
    secret(
        &pod,
        &[("username", "canary"), ("password", TOKEN), ("host", &host), ("ca.crt", &authority)],
    );
    let clone = pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let agent = pod.script(&[], &format!("env; git config --list; {COMMIT}")).end().succeeded();
    let telemetry = telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert_eq!(
        (verdict.reason.as_str(), pod.head("fix/x")),
        (reason::PUSHED, verdict.commit.clone()),
        "{verdict:?}"
    );
    let said =
        [&clone, &agent, &telemetry].map(|it| format!("{}{}", it.stdout, it.stderr)).concat();
    assert!(!said.contains(TOKEN) && !pod.last_words(layout::TELEMETRY).contains(TOKEN));
    pod.agent_never_sees(TOKEN.as_bytes());
    let bare = pod.volume(layout::DELIVERY).join("repo.git/config");
    assert!(!fs::read_to_string(bare).unwrap().contains(TOKEN), "nor is it in a configuration");
}

/// The authority is not in the Secret, but in the bundle that the operator mounts; the host is reached through the proxy alone.
#[test]
fn a_private_authority_behind_a_proxy_is_reached_through_it_and_nothing_else_is() {
    if !backend("a_private_authority_behind_a_proxy_is_reached_through_it_and_nothing_else_is") {
        return;
    }
    let mut pod = Pod::new();
    let (authority, server, _) = serve(&pod);
    let (proxy, asked) = proxy(&server);
    let host = format!("{BEHIND}:8443");
    pod.set(env::GIT_REPOSITORY, &format!("https://{host}/remote.git"));
    secret(&pod, &[("username", "canary"), ("token", TOKEN), ("host", &host)]);
    for name in ["HTTPS_PROXY", "https_proxy"] {
        pod.set(name, &format!("http://{proxy}"));
    }
    let untrusted = pod.git_init();
    assert_eq!(untrusted.code(), 1);
    assert_eq!(pod.failure(layout::GIT_INIT).reason, reason::CERTIFICATE_UNTRUSTED, "no bundle");
    fs::write(pod.volume(layout::TRUSTED_CA).join(layout::TRUSTED_KEY), &authority).unwrap();
    // Whom NO_PROXY names is not reached through it.
    pod.set("NO_PROXY", BEHIND);
    asked.lock().unwrap().clear();
    assert_eq!(pod.git_init().code(), 1);
    assert_eq!(pod.failure(layout::GIT_INIT).reason, reason::HOST_NOT_REACHABLE);
    assert!(asked.lock().unwrap().is_empty(), "the proxy heard nothing of it");
    pod.set("NO_PROXY", "another.invalid");
    let (_, verdict) = pod.run(COMMIT);
    assert_eq!((verdict.reason.as_str(), verdict.pushed), (reason::PUSHED, true), "{verdict:?}");
    let (seen, connect) = (asked.lock().unwrap(), format!("CONNECT {host} HTTP/1.1"));
    assert!(seen.len() > 2 && seen.iter().all(|it| *it == connect), "clone and push: {seen:?}");
}

/// As most hosts are asked: what both sides have is compared in requests that know nothing of one another.
#[test]
fn over_https_what_others_have_committed_is_recognised_before_it_is_signed() {
    const TEST: &str = "over_https_what_others_have_committed_is_recognised_before_it_is_signed";
    let mut pod = Pod::new();
    if !backend(TEST) {
        return;
    }
    let (authority, host, _) = serve(&pod);
    let remote = pod.remote().display().to_string();
    pod.set(env::GIT_REPOSITORY, &format!("https://{host}/remote.git"));
    let user = ("username", "canary");
    secret(&pod, &[user, ("token", TOKEN), ("host", &host), ("ca.crt", &authority)]);
    if sign::key(&pod, TEST).is_none() {
        return;
    }
    pod.git_init().succeeded();
    let met = sign::theirs(&pod, 2);
    let script =
        format!("{COMMIT} && git fetch -q {remote} main && git merge -q --no-edit FETCH_HEAD");
    pod.script(&[], &script).end().succeeded();
    sign::theirs(&pod, 1);
    let telemetry = pod.telemetry(&[]).end().succeeded();
    assert!(!telemetry.stderr.contains("Going by the branches"), "{}", telemetry.stderr);
    assert_eq!(pod.verdict().reason, reason::PUSHED, "{:?}", pod.verdict());
    git(&pod.remote(), &["merge-base", "--is-ancestor", &met, "fix/x"]);
}

#[test]
fn a_user_id_that_nobody_knows_works_over_https() {
    const TEST: &str = "a_user_id_that_nobody_knows_works_over_https";
    if !backend(TEST) || !may_change_user(TEST) {
        return;
    }
    let mut pod = Pod::new();
    let (authority, host, _) = serve(&pod);
    pod.set(env::GIT_REPOSITORY, &format!("https://{host}/remote.git"));
    secret(
        &pod,
        &[("username", "canary"), ("password", TOKEN), ("host", &host), ("ca.crt", &authority)],
    );
    let verdict = pod.run_by(&pod.owned_by(ANY_UID), COMMIT);
    assert_eq!(verdict.reason, reason::PUSHED, "{verdict:?}");
}

#[test]
fn a_token_goes_to_its_host_alone() {
    if !backend("a_token_goes_to_its_host_alone") {
        return;
    }
    let mut pod = Pod::new();
    let (authority, host, git) = serve(&pod);
    let secret_of = |token: &'static str| [("username", "canary"), ("token", token)];
    let table = [
        ("/remote.git", TOKEN, false, reason::CERTIFICATE_UNTRUSTED, "ca.crt"),
        ("/remote.git", "wrong-token-0", true, reason::CREDENTIALS_REFUSED, "user name and token"),
        ("/away/remote.git", TOKEN, true, reason::REDIRECT_REFUSED, "write the final address"),
        ("/nowhere.git", TOKEN, true, reason::REPOSITORY_NOT_FOUND, "check the path"),
    ];
    for (path, token, with_authority, word, says) in table {
        let mut keys = secret_of(token).to_vec();
        keys.push(("host", &host));
        if with_authority {
            keys.push(("ca.crt", &authority));
        }
        secret(&pod, &keys);
        pod.set(env::GIT_REPOSITORY, &format!("https://{host}{path}"));
        let ended = pod.git_init();
        let failure = pod.failure(layout::GIT_INIT);
        assert_eq!((ended.code(), failure.reason.as_str()), (1, word), "{}", failure.message);
        assert!(
            failure.message.contains(says) && !failure.message.contains(token),
            "{}",
            failure.message
        );
    }
    assert!(git.overheard.lock().unwrap().is_empty(), "nobody followed the redirect");
}

#[test]
fn the_askpass_program_answers_nobody_else() {
    let pod = Pod::new();
    secret(&pod, &[("username", "canary"), ("token", TOKEN), ("host", "h")]);
    let program = pod.path("gt-askpass");
    std::os::unix::fs::symlink(pod.own_runner(), &program).unwrap();
    let ask = |question: &str| {
        let mut command = std::process::Command::new(&program);
        command.arg(question).env("GASTOWN_ASKPASS_AUTHORITY", "h");
        command.env("GASTOWN_ASKPASS_ROOT", pod.path(layout::TELEMETRY));
        Process::start(command).end()
    };
    assert_eq!(ask("Password for 'https://canary@h': ").stdout, format!("{TOKEN}\n"));
    let refused = ask("Password for 'https://canary@evil': ");
    assert_eq!((refused.code(), refused.stdout.as_str()), (1, ""));
}
