//! A switch to another certificate under the webhook server that callers really come to, and an API server that is one closure:
//! a caller that breaks its handshake off over the new certificate has it taken back, whatever the canary says. And switches
//! that are asked for until there is no room for another.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    sync::Mutex,
};

use axum::body::Body as Answer;
use axum_server::Handle;
use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::client::Body;
use rustls::{ClientConnection, RootCertStore};

use super::*;
use crate::tasks::webhooks::{Rules, Stand, Takes, listen, routes};

const NAME: &str = "127.0.0.1";
const PATIENCE: Duration = Duration::from_secs(60);

/// The webhook server, as it serves what is live.
#[derive(Clone)]
struct Hall {
    handle: Handle<SocketAddr>,
    alerts: Alerts,
}

impl Hall {
    fn open(live: &Live) -> Self {
        let (handle, alerts) = (Handle::new(), Alerts::default());
        let certificate = live.subscribe();
        let provider = watch::Sender::new(None).subscribe();
        let manner = watch::Sender::new(tls::Manner::default()).subscribe();
        let stand = Stand::default();
        let takes = Takes { certificate, provider, manner, alerts: alerts.clone(), stand };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        tokio::spawn(listen(address, takes, handle.clone(), routes(Rules::default())));
        Self { handle, alerts }
    }

    /// A caller that trusts nobody comes, and goes with an alert.
    async fn is_distrusted(&self) {
        let mut news = self.alerts.news();
        let count = self.alerts.count();
        let address = self.handle.listening().await.unwrap();
        let stranger = tls::crypto::client(RootCertStore::empty()).unwrap();
        tokio::task::spawn_blocking(move || {
            let name = NAME.try_into().unwrap();
            let mut client = ClientConnection::new(Arc::new(stranger), name).unwrap();
            let mut plain = TcpStream::connect(address).unwrap();
            let _ = client.complete_io(&mut plain);
            let _ = client.write_tls(&mut plain); // the alert
            let _ = plain.read_to_end(&mut Vec::new());
        })
        .await
        .unwrap();
        let counted = tokio::time::timeout(PATIENCE, news.wait_for(|it| *it > count)).await;
        counted.expect("the alert is counted").unwrap();
    }
}

/// An API server to which every canary comes through, and the Secrets that are written to it. Where there is a hall, somebody
/// distrusts what is served there before the canary is answered.
fn api_server(distrusted: Option<Hall>, meters: &Meters) -> (Connection, Arc<Mutex<Vec<Secret>>>) {
    let written: Arc<Mutex<Vec<Secret>>> = Arc::default();
    let kept = written.clone();
    let answer = move |request: Request<Body>| {
        let (kept, distrusted) = (kept.clone(), distrusted.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let status =
                if head.method == Method::POST { StatusCode::CREATED } else { StatusCode::OK };
            if head.uri.path().ends_with("/polecats") {
                let dry = head.uri.query().is_some_and(|it| it.contains("dryRun=All"));
                assert!(head.method == Method::POST && dry, "{}", head.uri);
                if let Some(hall) = distrusted {
                    hall.is_distrusted().await;
                }
            } else if head.method == Method::PUT {
                kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            } else {
                assert_eq!(head.uri.path(), "/version", "what time it is there");
            }
            let mut answer = Response::new(Answer::from(body));
            *answer.status_mut() = status;
            answer
        }
    };
    (Connection::played(answer, meters), written)
}

pub(super) fn keeper(
    connection: &Connection,
    meters: Meters,
    live: &Live,
    alerts: &Alerts,
) -> Keeper {
    Keeper {
        vault: Vault::new(connection, "town", manifests::CERTIFICATES),
        mint: ForNames { names: vec![NAME.into()], leaf_life: None },
        target: Target { namespace: "town".into(), service: "webhooks".into(), url: None },
        live: live.clone(),
        alerts: alerts.clone(),
        unconverted: Unconverted::default(),
        flaws: Flaws::begin(&meters),
        meters,
        degraded: Degraded::default(),
        retire_after: None,
        settle: 0,
    }
}

fn all_well(now: i64, wish: &str) -> Seen<'_> {
    let canary = Canary::Passed;
    Seen { now, published: true, canary, wish, retire_after: None, settle: 0 }
}

/// A book that everybody trusts, and the one after the switch to the next authority.
fn books(mint: &ForNames) -> [Book; 2] {
    let now = seconds();
    let seen = all_well(now, "next");
    let mut book = Book::new(mint, 1, now).unwrap();
    for step in [Step::Prepare, Step::Publish] {
        book = book.after(step, &seen, mint).unwrap();
    }
    let switched = book.after(Step::Switch, &seen, mint).unwrap();
    [book, switched]
}

fn read(book: &Book) -> Kept {
    let book = Ok(book.clone());
    Kept { resource_version: "7".into(), wish: "next".into(), book, ..Kept::default() }
}

/// What the keeper makes of a switch: the book that it writes. `when`: what somebody who comes at that moment does not trust.
async fn after_a_switch(when: Option<&str>) -> (Book, [Book; 2], Keeper, Known) {
    let _ = tls::install_provider();
    let live = Live::new(None);
    let hall = Hall::open(&live);
    let meters = Meters::default();
    let distrusted = (when == Some("after")).then(|| hall.clone());
    let (connection, written) = api_server(distrusted, &meters);
    let keeper = keeper(&connection, meters, &live, &hall.alerts);
    let [published, switched] = books(&keeper.mint);
    let mut known = Known::nothing(&[]);
    keeper.serve(&mut known, &published).unwrap();
    if when == Some("before") {
        hall.is_distrusted().await;
    }
    known.kept = Some(read(&switched));
    keeper.turn(&mut known).await;
    let written = written.lock().unwrap().pop().expect("a step is written");
    let book = &written.data.unwrap()["book.json"].0;
    (serde_json::from_slice(book).unwrap(), [published, switched], keeper, known)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_a_caller_does_not_take_is_taken_back() {
    let (book, [published, switched], keeper, mut known) = after_a_switch(Some("after")).await;
    assert_eq!(known.served, switched.chain(), "it was served");
    assert_eq!(
        (book.phase, book.chain()),
        (Phase::Published, published.chain()),
        "as it was before"
    );
    assert!(book.hold > seconds(), "and nothing is switched for a while");
    assert_eq!(book.next, published.next, "the next authority is kept for another try");
    assert_eq!(book.bundle(), published.bundle(), "and who trusts what was served trusts it still");
    known.kept = Some(read(&book));
    keeper.turn(&mut known).await;
    assert_eq!(known.served, published.chain(), "it is served again");
    let degraded = keeper.degraded.news().borrow().clone();
    let why = degraded.get(&Matter::Certificates).map(|it| it.reason);
    assert_eq!(why, Some("SwitchTakenBack"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_all_take_is_confirmed_whatever_was_distrusted_before() {
    for when in [None, Some("before")] {
        let (book, [_, switched], ..) = after_a_switch(when).await;
        assert_eq!((book.phase, book.chain()), (Phase::Steady, switched.chain()), "{when:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_waits_for_room_is_told_until_when() {
    let _ = tls::install_provider();
    let (live, meters) = (Live::new(None), Meters::default());
    let (connection, written) = api_server(None, &meters);
    let keeper = keeper(&connection, meters.clone(), &live, &Alerts::default());
    let mut book = Book::new(&keeper.mint, 1, seconds()).unwrap();
    let told = async |book: &Book, wish: &str| {
        let mut known = Known::nothing(&[]);
        known.kept = Some(Kept { wish: wish.into(), ..read(book) });
        keeper.turn(&mut known).await;
        keeper.degraded.news().borrow().get(&Matter::Certificates).cloned()
    };
    for wish in ["1", "2", "3", "4", "5"] {
        let seen = all_well(seconds(), wish);
        while let Some(step) = book.due(&seen) {
            book = book.after(step, &seen, &keeper.mint).unwrap();
        }
        assert_eq!(told(&book, wish).await, None, "wish {wish} was granted");
    }
    let why = told(&book, "6").await.expect("the sixth is not granted, and that is told");
    assert_eq!(why.reason, "TooManyRetired");
    let day = 24 * 3600;
    let week = |it: &i64| (6 * day..8 * day).contains(&(it - seconds()));
    let until = why.text.split("at ").nth(1).and_then(|it| it.split(' ').next()).unwrap();
    let until: k8s_openapi::jiff::Timestamp = until.parse().unwrap();
    assert!(week(&until.as_second()), "{}", why.text);
    let flaw = crate::cluster::meters::Flawed { reason: "TooManyRetired" };
    assert_eq!(meters.certificate_flaws.get_or_create(&flaw).get(), 1);
    assert!(written.lock().unwrap().is_empty(), "no step is taken");
    assert_eq!(told(&book, "5").await, None, "nobody wishes it any more");
}
