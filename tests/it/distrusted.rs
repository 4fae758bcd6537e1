//! A real API server that does not take what the webhooks serve: no step of a rotation is taken then, and a switch is taken back.
//! Between it and the operator stands a front that serves a stranger's certificate in the operator's place, as long as it is
//! told to; and clocks that are ahead of the API server's.

use std::{
    io,
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use gastown::{
    cluster::certificates::WISH,
    domain::certificates::{Book, Phase},
    manifests,
    tls::{self, check::Presented, mint::ForNames},
};
use gastown_testbed::{
    Node, Operator, OperatorOptions, Options, Testbed,
    manifests::{self as bed_manifests, Webhooks},
};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use serde_json::json;

use crate::{
    asking::{answered, comes_true, scraped},
    world::is_judged,
};

const TOWN: &str = "gastown-operator-system";

/// Stands where the API server believes the webhooks to be.
struct Front {
    address: SocketAddr,
    /// Where the webhooks are.
    to: Mutex<Option<String>>,
    /// Nothing leads to them.
    closed: AtomicBool,
    /// What is served may have this authority alone, without another one's signature between.
    only: Mutex<Option<RootCertStore>>,
    stranger: Arc<ServerConfig>,
    open: Mutex<Vec<TcpStream>>,
}

impl Front {
    fn open(host: IpAddr, stranger: &Book) -> Arc<Self> {
        let listener = TcpListener::bind((host, 0)).unwrap();
        let (chain, key) = (stranger.chain(), &stranger.leaf.key.0);
        let served = tls::server(Presented::read(chain.as_bytes(), key.as_bytes()).unwrap());
        let front = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            to: Mutex::default(),
            closed: AtomicBool::new(false),
            only: Mutex::default(),
            stranger: Arc::new(served.unwrap()),
            open: Mutex::default(),
        });
        let stands = front.clone();
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                let front = stands.clone();
                thread::spawn(move || front.lead(caller));
            }
        });
        front
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Whether calls come through, from now on also on connections that were open before.
    fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
        for it in self.open.lock().unwrap().drain(..) {
            let _ = it.shutdown(Shutdown::Both);
        }
    }

    fn lead(&self, mut caller: TcpStream) -> Option<()> {
        if self.closed.load(Ordering::SeqCst) || !self.is_taken().unwrap_or(true) {
            let mut server = ServerConnection::new(self.stranger.clone()).unwrap();
            let _ = server.complete_io(&mut caller); // until the alert
            return None;
        }
        let to = self.upstream()?;
        let mut open = self.open.lock().unwrap();
        open.extend([caller.try_clone().unwrap(), to.try_clone().unwrap()]);
        drop(open);
        let (mut from, mut into) = (caller.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut into);
            let _ = into.shutdown(Shutdown::Both);
        });
        let (mut from, mut into) = (to, caller);
        let _ = io::copy(&mut from, &mut into);
        let _ = into.shutdown(Shutdown::Both);
        None
    }

    fn upstream(&self) -> Option<TcpStream> {
        let to = self.to.lock().unwrap().clone()?;
        TcpStream::connect(to).ok()
    }

    /// Whether what is served is of the one authority; nothing while any may be.
    fn is_taken(&self) -> Option<bool> {
        let only = self.only.lock().unwrap().clone()?;
        let config = ClientConfig::builder().with_root_certificates(only).with_no_client_auth();
        let name = self.address.ip().into();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut to = self.upstream()?;
        while client.is_handshaking() {
            if client.complete_io(&mut to).is_err() {
                return Some(false);
            }
        }
        Some(client.peer_certificates().is_some_and(|it| it.len() == 1))
    }
}

/// An API server, and one operator behind a front.
struct Town {
    bed: Testbed,
    client: Client,
    front: Arc<Front>,
    operator: Operator,
}

impl Town {
    async fn open(more: &[&str]) -> Self {
        let options = Options { node: Node::None, replicas: 0, ..Options::default() };
        let bed = Testbed::start(options).await.unwrap();
        let client = bed.client("admin").await.unwrap();
        let mint = ForNames { names: vec![bed.host_address.to_string()], leaf_life: None };
        let now = k8s_openapi::jiff::Timestamp::now().as_second();
        let stranger = Book::new(&mint, 1, now).unwrap();
        let front = Front::open(bed.host_address, &stranger);
        let project = bed_manifests::project(None).unwrap();
        let (webhooks, nobody) = (Webhooks::Url(front.url()), &stranger.authority.certificate);
        let crds = project.join("crds");
        bed_manifests::apply_crds(&client, &crds, Some((&webhooks, nobody))).await.unwrap();
        let folder = project.join("webhooks");
        bed_manifests::apply_webhooks(&client, &folder, &webhooks, nobody, None).await.unwrap();
        let mut flags = vec![
            "--webhook-cert-source=own".to_owned(),
            format!("--webhook-url={}", front.url()),
            "--test-settle-seconds=3".to_owned(),
        ];
        flags.extend(more.iter().map(|it| (*it).to_owned()));
        let options = OperatorOptions { flags, ..OperatorOptions::default() };
        let operator = Operator::start(&bed, options).await.unwrap();
        let to = operator.webhook.trim_start_matches("https://").to_owned();
        front.to.lock().unwrap().replace(to);
        let town = Self { bed, client, front, operator };
        comes_true("a write to be judged", async || town.judges().await).await;
        town
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), TOWN)
    }

    async fn book(&self) -> Option<Book> {
        let secret = self.secrets().get_opt(manifests::CERTIFICATES).await.unwrap()?;
        serde_json::from_slice(&secret.data?.get("book.json")?.0).ok()
    }

    async fn wish(&self, wish: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {WISH: wish}}}));
        let params = PatchParams::default();
        self.secrets().patch(manifests::CERTIFICATES, &params, &patch).await.unwrap();
    }

    /// Whether a write comes through to the webhooks.
    async fn judges(&self) -> bool {
        is_judged(&self.client, TOWN).await
    }

    async fn says(&self, reason: &str) {
        let line = format!("gastown_certificate_degraded{{reason=\"{reason}\"}} 1");
        scraped(&self.operator, |it| it == line).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_step_is_taken_that_the_api_server_would_not_take_and_a_switch_is_taken_back() {
    let town = Town::open(&[]).await;
    let first = town.book().await.unwrap();

    town.front.close(true);
    town.wish("soon").await;
    town.says("CanaryRefused").await;
    assert_eq!(town.book().await.unwrap(), first, "no step is taken");
    assert!(!town.judges().await, "as nothing comes through");

    let mut roots = RootCertStore::empty();
    let authority = first.authority.certificate.as_bytes();
    roots.add_parsable_certificates(tls::check::certificates(authority).unwrap());
    town.front.only.lock().unwrap().replace(roots);
    town.front.close(false);
    let back = answered("the switch to be taken back", async || {
        town.book().await.filter(|it| it.backs == 1)
    })
    .await;
    assert_eq!((back.phase, back.chain()), (Phase::Published, first.chain()), "as it was");
    assert_eq!(back.granted, "soon");
    town.says("SwitchTakenBack").await;
    comes_true("a write to be judged again", async || town.judges().await).await;
    town.bed.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_clock_is_ahead_makes_certificates_of_the_api_servers_time() {
    let town = Town::open(&["--test-faults=clock-ahead=691200"]).await;
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    let book = town.book().await.unwrap();
    assert!(book.authority.life.from < now && book.leaf.life.from < now, "{book:?}");
    assert!(book.leaf.life.until < now + 8 * 24 * 3600, "a week, by that time: {book:?}");
    let generation = book.authority.generation;
    town.wish("soon").await;
    answered("another authority", async || {
        town.book().await.filter(|it| it.granted == "soon" && it.phase == Phase::Steady)
    })
    .await;
    assert!(town.judges().await, "and calls come through");
    let last = town.book().await.unwrap().authority.generation;
    assert_eq!(last, generation + 1, "that one alone");
    town.bed.stop().await.unwrap();
}
