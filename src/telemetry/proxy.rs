//! Through which proxy a collector is reached: by `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, always by CONNECT, so that gRPC goes
//! the same way, and the proxy reads nothing of what is encrypted.

use std::{
    error::Error,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{FutureExt as _, TryFutureExt as _, future::BoxFuture};
use http::Uri;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower::Service;

use crate::domain::pod::Outside;

/// How long a proxy may take to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// What its answer may have, in bytes.
const LONGEST: usize = 8 * 1024;

type Broken = Box<dyn Error + Send + Sync>;

/// Proxies by the scheme of what is asked for. They may hold a password: nothing of this is logged.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Arc<str>>,
    https: Option<Arc<str>>,
    except: Arc<[Except]>,
}

/// Who is reached without.
#[derive(Clone, Debug, PartialEq)]
enum Except {
    All,
    /// And everything below it.
    Domain(String),
    /// Those whose first bits are the same.
    Net(IpAddr, u32),
}

impl Proxies {
    pub fn of(outside: &Outside) -> Self {
        let named = |it: &Option<String>| it.as_deref().map(Arc::from);
        let none = outside.no_proxy.as_deref().unwrap_or_default();
        let except = none.split(',').filter_map(|it| Except::read(it.trim())).collect();
        Self { http: named(&outside.http_proxy), https: named(&outside.https_proxy), except }
    }

    fn before(&self, to: &Uri) -> Option<&str> {
        let host = to.host()?.trim_matches(['[', ']']);
        if self.except.iter().any(|it| it.has(host)) {
            return None;
        }
        if to.scheme_str() == Some("https") { self.https.as_deref() } else { self.http.as_deref() }
    }
}

impl Except {
    fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let (host, bits) = text.split_once('/').map_or((text, None), |(it, bits)| (it, Some(bits)));
        if let Ok(address) = host.parse::<IpAddr>() {
            let all = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(all), |it| it.parse().ok()).filter(|it| *it <= all)?;
            return Some(Self::Net(address, bits));
        }
        let domain = text.trim_start_matches('.').to_ascii_lowercase();
        (!domain.is_empty()).then_some(Self::Domain(domain))
    }

    fn has(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Domain(it) => {
                let host = host.to_ascii_lowercase();
                host.strip_suffix(it.as_str()).is_some_and(|it| it.is_empty() || it.ends_with('.'))
            }
            Self::Net(net, bits) => {
                host.parse().is_ok_and(|it| first_bits(*net, *bits) == first_bits(it, *bits))
            }
        }
    }
}

/// The first bits of an address, and of which kind it is.
fn first_bits(address: IpAddr, bits: u32) -> (bool, u128) {
    let (all, width) = match address {
        IpAddr::V4(it) => (u128::from(it.to_bits()), 32),
        IpAddr::V6(it) => (it.to_bits(), 128),
    };
    (address.is_ipv4(), all.checked_shr(width - bits).unwrap_or(0))
}

/// Connections, with or without a proxy.
#[derive(Clone)]
pub struct Way {
    tcp: HttpConnector,
    proxies: Proxies,
}

impl Way {
    pub fn new(tcp: HttpConnector, proxies: Proxies) -> Self {
        Self { tcp, proxies }
    }
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = Broken;
    type Future = BoxFuture<'static, Result<Self::Response, Broken>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.before(&to) else {
            return self.tcp.call(to).map_err(Into::into).boxed();
        };
        let proxy = match Proxy::read(proxy) {
            Ok(it) => it,
            Err(why) => return std::future::ready(Err(why.into())).boxed(),
        };
        let connecting = self.tcp.call(proxy.address.clone());
        let through = async move {
            let mut stream =
                connecting.await.map_err(|it| format!("its proxy: {it}"))?.into_inner();
            let asked = proxy.ask(&mut stream, &to);
            tokio::time::timeout(LIMIT, asked).await.map_err(|_| "its proxy does not answer")??;
            Ok(TokioIo::new(stream))
        };
        through.boxed()
    }
}

struct Proxy {
    address: Uri,
    /// What the proxy is shown.
    credentials: Option<String>,
}

impl Proxy {
    /// As the variables have it: `http://user:password@host:3128`, or less of that. The error repeats nothing of it.
    fn read(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "its proxy can't be used: write HTTPS_PROXY and HTTP_PROXY as http://HOST:PORT, since proxies are spoken to without TLS";
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(WRONG),
            None => text,
        };
        let rest = rest.trim_end_matches('/');
        let (user, host) =
            rest.rsplit_once('@').map_or((None, rest), |(it, host)| (Some(it), host));
        let address = format!("http://{host}").parse().map_err(|_| WRONG)?;
        let credentials = user.map(|it| BASE64_STANDARD.encode(decoded(it)));
        Ok(Self { address, credentials })
    }

    async fn ask(&self, stream: &mut TcpStream, to: &Uri) -> Result<(), Broken> {
        let host = to.host().ok_or("there is no host in its address")?;
        let usual = if to.scheme_str() == Some("https") { 443 } else { 80 };
        let place = format!("{host}:{}", to.port_u16().unwrap_or(usual));
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
        if let Some(it) = &self.credentials {
            request = format!("{request}Proxy-Authorization: Basic {it}\r\n");
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).await?;
        // One byte at a time: what comes after the answer is not the proxy's, and not ours to read.
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= LONGEST {
                return Err("its proxy answers without an end".into());
            }
            answer.push(stream.read_u8().await.map_err(|it| format!("its proxy: {it}"))?);
        }
        let answer = String::from_utf8_lossy(&answer);
        let code: u16 = answer.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
        if !(200..300).contains(&code) {
            return Err(format!("its proxy answers {code}").into());
        }
        Ok(())
    }
}

/// Without the signs that an address can't have as they are.
fn decoded(text: &str) -> Vec<u8> {
    let (mut all, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let hex = hex.and_then(|it| std::str::from_utf8(it).ok());
        if let Some(byte) = hex.and_then(|it| u8::from_str_radix(it, 16).ok()) {
            all.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            all.push(*first);
            rest = after;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::{Router, routing::post};
    use axum_server::tls_rustls::RustlsConfig;
    use bytes::Bytes;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        domain::certificates::Book,
        telemetry::http::Http,
        tls::{self, check::Presented, mint::ForNames},
    };

    fn outside(http: &str, https: &str, none: &str) -> Outside {
        let set = |it: &str| Some(it.to_owned()).filter(|it| !it.is_empty());
        Outside {
            http_proxy: set(http),
            https_proxy: set(https),
            no_proxy: set(none),
            ..Outside::default()
        }
    }

    #[test]
    fn the_scheme_says_which_proxy_and_hosts_can_be_left_out() {
        let none = ".svc, cluster.local,10.0.0.0/16,192.168.1.9,fd00::/8,";
        let proxies = Proxies::of(&outside("plain:3128", "tls:3128", none));
        for (to, want) in [
            ("https://collector.example.com", Some("tls:3128")),
            ("http://collector.example.com:4318", Some("plain:3128")),
            ("http://collector.town.svc:4318", None),
            ("https://a.cluster.local", None),
            ("https://cluster.local", None),
            ("https://mycluster.local", Some("tls:3128")),
            ("http://10.0.200.1:4318", None),
            ("http://10.1.0.1:4318", Some("plain:3128")),
            ("http://192.168.1.9", None),
            ("http://[fd12::1]:4318", None),
            ("http://[fe80::1]:4318", Some("plain:3128")),
        ] {
            assert_eq!(proxies.before(&to.parse().unwrap()), want, "{to}");
        }
        let all = Proxies::of(&outside("p", "p", "*"));
        assert_eq!(all.before(&"http://x".parse().unwrap()), None);
        assert_eq!(
            Proxies::default().before(&"http://x".parse().unwrap()),
            None,
            "without proxies"
        );
    }

    #[test]
    fn a_proxy_is_read_as_people_write_it_and_never_repeated() {
        for (text, address, credentials) in [
            ("http://proxy:3128/", "http://proxy:3128/", None),
            ("proxy:3128", "http://proxy:3128/", None),
            ("http://max:p%40ss@proxy:3128", "http://proxy:3128/", Some("max:p@ss")),
        ] {
            let Ok(it) = Proxy::read(text) else { panic!("{text}") };
            assert_eq!(it.address.to_string(), address);
            assert_eq!(it.credentials, credentials.map(|it| BASE64_STANDARD.encode(it)));
        }
        for wrong in ["https://max:secret@proxy", "socks5://proxy", "http://max:secret@no host"] {
            let Err(why) = Proxy::read(wrong) else { panic!("{wrong} is taken") };
            assert!(why.contains("HTTPS_PROXY") && !why.contains("secret"), "{why}");
        }
    }

    /// A proxy that leads to one address whatever it is asked for, and what it was asked.
    async fn proxy(to: std::net::SocketAddr) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let told = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                told.lock().unwrap().push(String::from_utf8(head).unwrap());
                let mut other = TcpStream::connect(to).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut other).await;
            }
        });
        (format!("http://max:hunter2@{address}"), asked)
    }

    #[tokio::test]
    async fn a_collector_behind_a_proxy_is_trusted_by_an_authority_of_ones_own() {
        let _ = tls::install_provider();
        let names = vec!["collector.town.example".into()];
        let now = crate::cluster::certificates::seconds();
        let book = Book::new(&ForNames { names, leaf_life: None }, 1, now).unwrap();
        let read = Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes()).unwrap();
        let config = RustlsConfig::from_config(Arc::new(tls::server(read).unwrap()));
        let handle = axum_server::Handle::new();
        let routes = Router::new().route("/v1/traces", post(async || "taken"));
        let server = axum_server::bind_rustls("127.0.0.1:0".parse().unwrap(), config)
            .handle(handle.clone())
            .serve(routes.into_make_service());
        tokio::spawn(server);
        let (proxy, asked) = proxy(handle.listening().await.unwrap()).await;
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("ca.crt");
        std::fs::write(&authority, book.bundle()).unwrap();
        let post = async |authority: Option<&std::path::Path>| {
            let proxies = Proxies::of(&outside("", &proxy, ".svc"));
            let http = Http::new(authority, None, 1 << 10, proxies).unwrap();
            let request = http::Request::post("https://collector.town.example:4318/v1/traces");
            http.send(request.body(Bytes::from("spans")).unwrap()).await
        };
        let answer = post(Some(&authority)).await.unwrap();
        assert_eq!(answer.body(), "taken", "by nobody but the proxy it could be found");
        let asked = asked.lock().unwrap().clone();
        assert!(
            asked[0].starts_with("CONNECT collector.town.example:4318 HTTP/1.1\r\n"),
            "{asked:?}"
        );
        let shown = format!("Proxy-Authorization: Basic {}", BASE64_STANDARD.encode("max:hunter2"));
        assert!(asked[0].contains(&shown), "{asked:?}");
        let stranger = post(None).await.unwrap_err();
        assert!(format!("{stranger:?}").contains("UnknownIssuer"), "{stranger:?}");
    }
}
