use std::{future::ready, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::post,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::Notify,
    time,
};

use super::*;
use crate::{
    cluster::certificates::seconds,
    domain::{certificates::Book, pod::Outside},
    tls::{self, check::Presented, mint::ForNames},
};

/// What a collector answers that takes all of it.
async fn taken() -> Response {
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(0))]);
    let answer = Full::new(Bytes::from_static(&[0; 5])).with_trailers(ready(Some(Ok(trailers))));
    ([(CONTENT_TYPE, "application/grpc")], Body::new(answer)).into_response()
}

fn collector() -> Router {
    Router::new().route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", post(taken))
}

fn wire(endpoint: String, authority: Option<PathBuf>, ping: Duration) -> Wire {
    let _ = tls::install_provider();
    let route = Route {
        signal: Signal::Traces,
        endpoint,
        protocol: Protocol::Grpc,
        headers: HeaderMap::new(),
        token: None,
        gzip: false,
        limit: Duration::from_secs(10),
        authority,
        own: None,
        outside: Outside::default(),
    };
    Wire::pinging(&route, (ping, Duration::from_secs(2))).unwrap()
}

/// What a machine in between does: passes on, until it goes silent and keeps the connection.
async fn through(from: TcpStream, to: SocketAddr, silent: Arc<Notify>, closed: Arc<Notify>) {
    let to = TcpStream::connect(to).await.unwrap();
    let ((mut from, mut back), (mut answers, mut to)) = (from.into_split(), to.into_split());
    let mut piece = [0; 4096];
    let mut other = [0; 4096];
    loop {
        tokio::select! {
            biased;
            () = silent.notified() => break,
            read = from.read(&mut piece) => match read.unwrap() {
                0 => return closed.notify_one(),
                some => to.write_all(&piece[..some]).await.unwrap(),
            },
            read = answers.read(&mut other) => {
                back.write_all(&other[..read.unwrap()]).await.unwrap();
            }
        }
    }
    drained(from).await;
    closed.notify_one();
}

/// Reads to the end, and says nothing.
async fn drained(mut from: OwnedReadHalf) {
    let mut piece = [0; 4096];
    let mut more = async || -> io::Result<usize> { from.read(&mut piece).await };
    while more().await.is_ok_and(|it| it > 0) {}
}

#[tokio::test]
async fn a_connection_whose_other_end_went_silent_is_given_up_and_another_one_made() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, collector()).await.unwrap() });
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire =
        wire(format!("http://{}", between.local_addr().unwrap()), None, Duration::from_millis(100));
    let (silent, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (hush, gone) = (silent.clone(), closed.clone());
    tokio::spawn(async move {
        while let Ok((from, _)) = between.accept().await {
            tokio::spawn(through(from, behind, hush.clone(), gone.clone()));
        }
    });
    let message = ExportTraceServiceRequest::default();
    while wire.send(&message).await != Outcome::Taken(0) {}
    silent.notify_one();
    let given_up = time::timeout(Duration::from_secs(60), closed.notified()).await;
    assert!(given_up.is_ok(), "the kernel alone would give it up, in a quarter of an hour");
    while wire.send(&message).await != Outcome::Taken(0) {} // over another one
}

#[tokio::test]
async fn grpc_is_spoken_over_tls_with_a_collector_of_a_private_authority_and_with_no_other() {
    let _ = tls::install_provider();
    let mint = ForNames { names: vec!["127.0.0.1".into()], leaf_life: None };
    let book = Book::new(&mint, 1, seconds()).unwrap();
    let pair = Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes()).unwrap();
    let mut config = tls::server(pair).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let handle = Handle::<SocketAddr>::new();
    let listening = axum_server::bind_rustls(
        "127.0.0.1:0".parse().unwrap(),
        RustlsConfig::from_config(Arc::new(config)),
    );
    tokio::spawn(listening.handle(handle.clone()).serve(collector().into_make_service()));
    let endpoint = format!("https://{}", handle.listening().await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.crt");
    std::fs::write(&authority, book.bundle()).unwrap();
    let message = ExportTraceServiceRequest::default();
    let known = wire(endpoint.clone(), Some(authority), PING);
    assert_eq!(known.send(&message).await, Outcome::Taken(0));
    let stranger = wire(endpoint, None, PING).send(&message).await;
    assert!(
        matches!(stranger, Outcome::Busy { .. }),
        "an authority that nobody knows: {stranger:?}"
    );
}
