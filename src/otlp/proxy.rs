//! Through which proxy a collector is reached: by `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, always by CONNECT, so that gRPC goes
//! the same way, and the proxy reads nothing of what is encrypted. What the library reads differently from the agents' programs
//! is put right here.

use std::{
    error::Error,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt as _, TryFutureExt as _, future::BoxFuture};
use http::{Uri, uri::Scheme};
use hyper_util::{
    client::{
        legacy::connect::{HttpConnector, proxy::Tunnel},
        proxy::matcher::{Intercept, Matcher},
    },
    rt::TokioIo,
};
use tower::{Service, ServiceExt as _};

use super::stream::Stream;

use crate::domain::pod::Outside;

/// How long a proxy may take to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Stands for a proxy that the library can't read, and would pass by: it is refused as one of another kind.
const UNREADABLE: &str = "socks5://unreadable";
/// It repeats nothing of what is wrong, since that may hold a password.
const WRONG: &str = "its proxy can't be used: write HTTPS_PROXY and HTTP_PROXY as http://HOST:PORT, since proxies are spoken to without TLS";

type Broken = Box<dyn Error + Send + Sync>;

/// Proxies by the scheme of what is asked for. They may hold a password: nothing of this is logged.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Matcher>>);

impl Proxies {
    pub fn of(outside: &Outside) -> Self {
        let none = outside.no_proxy.as_deref().unwrap_or_default();
        // To the library `*` means every name, but no address.
        if none.split(',').any(|it| it.trim() == "*") {
            return Self::default();
        }
        let proxies = Matcher::builder()
            .http(named(outside.http_proxy.as_deref()))
            .https(named(outside.https_proxy.as_deref()))
            .no(none);
        Self(Some(Arc::new(proxies.build())))
    }

    fn before(&self, to: &Uri) -> Result<Option<Intercept>, &'static str> {
        let proxy = self.0.as_ref().and_then(|it| it.intercept(to));
        match proxy {
            Some(it) if it.uri().scheme() != Some(&Scheme::HTTP) => Err(WRONG),
            proxy => Ok(proxy),
        }
    }
}

fn named(proxy: Option<&str>) -> &str {
    let readable = |it| {
        let alone = Matcher::builder().all(it).build();
        alone.intercept(&Uri::from_static("http://collector")).is_some()
    };
    match proxy.unwrap_or_default() {
        "" => "",
        it if readable(it) => it,
        _ => UNREADABLE,
    }
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
    type Response = TokioIo<Stream>;
    type Error = Broken;
    type Future = BoxFuture<'static, Result<Self::Response, Broken>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        match self.proxies.before(&to) {
            Err(why) => std::future::ready(Err(why.into())).boxed(),
            Ok(None) => {
                let direct = |it: TokioIo<_>| TokioIo::new(Stream::direct(it.into_inner()));
                self.tcp.call(to).map_ok(direct).map_err(Into::into).boxed()
            }
            Ok(Some(proxy)) => through(&proxy, self.tcp.clone(), to).boxed(),
        }
    }
}

/// A connection that the proxy makes.
fn through(
    proxy: &Intercept,
    tcp: HttpConnector,
    to: Uri,
) -> impl Future<Output = Result<TokioIo<Stream>, Broken>> + use<> {
    let answering = |it: TokioIo<_>| TokioIo::new(Stream::answering(it.into_inner()));
    let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp.map_response(answering));
    if let Some(credentials) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(credentials.clone());
    }
    async move {
        let asked = tunnel.oneshot(with_port(to)?);
        let answered = tokio::time::timeout(LIMIT, asked).await;
        let answered = answered.map_err(|_| "its proxy does not answer")?;
        answered.map_err(|it| format!("its proxy: {:#}", anyhow::Error::new(it)).into())
    }
}

/// The library asks for port 443 where none is named, whatever the scheme.
fn with_port(to: Uri) -> Result<Uri, Broken> {
    if to.port().is_some() || to.scheme() != Some(&Scheme::HTTP) {
        return Ok(to);
    }
    let host = to.host().ok_or("there is no host in its address")?;
    Ok(format!("http://{host}:80/").parse()?)
}

#[cfg(test)]
pub mod tests {
    use std::sync::Mutex;

    use axum::{Router, routing::post};
    use axum_server::tls_rustls::RustlsConfig;
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use bytes::Bytes;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        domain::certificates::Book,
        otlp::http::{Http, trusting},
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

    /// Which proxy stands before it, and what that is shown.
    fn before(proxies: &Proxies, to: &str) -> Option<(String, Option<String>)> {
        let proxy = proxies.before(&to.parse().unwrap()).unwrap()?;
        let shown = proxy.basic_auth().map(|it| it.to_str().unwrap().to_owned());
        Some((proxy.uri().to_string(), shown))
    }

    #[test]
    fn the_scheme_says_which_proxy_and_hosts_can_be_left_out() {
        let none = ".svc, cluster.local,10.0.0.0/16,192.168.1.9,fd00::/8,";
        let proxies = Proxies::of(&outside("plain:3128", "tls:3128", none));
        for (to, want) in [
            ("https://collector.example.com", Some("http://tls:3128/")),
            ("http://collector.example.com:4318", Some("http://plain:3128/")),
            ("http://collector.town.svc:4318", None),
            ("http://collector.town.SVC:4318", None),
            ("https://a.cluster.local", None),
            ("https://cluster.local", None),
            ("https://mycluster.local", Some("http://tls:3128/")),
            ("http://10.0.200.1:4318", None),
            ("http://10.1.0.1:4318", Some("http://plain:3128/")),
            ("http://192.168.1.9", None),
            ("http://[fd12::1]:4318", None),
            ("http://[fe80::1]:4318", Some("http://plain:3128/")),
        ] {
            assert_eq!(before(&proxies, to).map(|it| it.0).as_deref(), want, "{to}");
        }
        for none in [Proxies::of(&outside("p", "p", "a, *")), Proxies::of(&outside("", "", ""))] {
            assert_eq!(before(&none, "http://x"), None);
            assert_eq!(before(&none, "http://10.0.0.1"), None, "nor before an address");
        }
    }

    #[test]
    fn a_proxy_is_read_as_people_write_it_and_never_repeated() {
        for (text, address, credentials) in [
            ("http://proxy:3128/", "http://proxy:3128/", None),
            ("proxy:3128", "http://proxy:3128/", None),
            ("http://max:p%40ss@proxy:3128", "http://proxy:3128/", Some("max:p@ss")),
        ] {
            let it = Proxies::of(&outside("", text, ""));
            let shown = credentials.map(|it| format!("Basic {}", BASE64_STANDARD.encode(it)));
            assert_eq!(before(&it, "https://x"), Some((address.to_owned(), shown)), "{text}");
        }
        for wrong in [
            "https://max:secret@proxy",
            "socks5://proxy",
            "ftp://proxy",
            "http://max:secret@no host",
        ] {
            let it = Proxies::of(&outside("", wrong, "by.itself"));
            let Err(why) = it.before(&"https://x".parse().unwrap()) else { panic!("{wrong}") };
            assert!(why.contains("HTTPS_PROXY") && !why.contains("secret"), "{why}");
            assert_eq!(before(&it, "https://by.itself"), None, "it is not needed there");
        }
    }

    #[test]
    fn a_proxy_is_asked_for_the_port_that_the_scheme_means() {
        for (to, want) in [
            ("http://collector", "http://collector:80/"),
            ("http://[fd12::1]", "http://[fd12::1]:80/"),
            ("http://collector:4317", "http://collector:4317/"),
            ("https://collector", "https://collector/"),
        ] {
            assert_eq!(with_port(to.parse().unwrap()).unwrap().to_string(), want);
        }
    }

    /// A proxy that leads to one address whatever it is asked for, and what it was asked.
    pub async fn proxy(to: std::net::SocketAddr) -> (String, Arc<Mutex<Vec<String>>>) {
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
            let http = Http::new(trusting(authority, None).unwrap(), None, 1 << 10, proxies);
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

    /// A proxy that answers this and nothing else.
    async fn refusing(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        format!("http://max:hunter2@{address}")
    }

    #[tokio::test]
    async fn what_comes_in_one_piece_with_the_proxys_answer_is_read_too() {
        for answer in
            [&b"HTTP/1.1 200 OK\r\nvia: x\r\n\r\nsettings"[..], b"HTTP/1.1 200 OK\n\nsettings"]
        {
            let proxies = Proxies::of(&outside(&refusing(answer).await, "", ""));
            let mut way = crate::otlp::http::way(proxies);
            let stream = way.call(Uri::from_static("http://collector.town.example")).await.unwrap();
            let (mut stream, mut read) = (stream.into_inner(), [0; 8]);
            stream.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"settings");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_told_from_a_collector_that_does() {
        let _ = tls::install_provider();
        for (answer, want) in [
            (&b"HTTP/1.1 407 No\r\n\r\n"[..], "its proxy: tunnel error: proxy authorization"),
            (b"HTTP/1.1 503 No\r\n\r\n", "its proxy: tunnel error: unsuccessful"),
        ] {
            let proxies = Proxies::of(&outside(&refusing(answer).await, "", ""));
            let http = Http::new(trusting(None, None).unwrap(), None, 1 << 10, proxies);
            let request = http::Request::post("http://collector.town.example/v1/traces");
            let why = http.send(request.body(Bytes::new()).unwrap()).await.unwrap_err();
            let why = format!("{why:#}");
            assert!(why.contains(want) && !why.contains("hunter2"), "{why}");
        }
    }
}
