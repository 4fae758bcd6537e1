//! Connections as callers really hold them: calls under way while the certificate changes and while the server ends, and what
//! HTTP/1.1 allows beside what API servers do.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{
    tests::{hall, say},
    *,
};
use crate::tls;

type Stream = StreamOwned<ClientConnection, TcpStream>;

const BEGUN: &str = "POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                     content-length: 2\r\nexpect: 100-continue\r\n\r\n";
const WHOLE: &str = "GET /validate HTTP/1.1\r\nhost: x\r\n\r\n";

/// Does something on a connection, aside from the server's own threads.
async fn on<T: Send + 'static>(
    mut stream: Stream,
    act: impl FnOnce(&mut Stream) -> T + Send + 'static,
) -> (Stream, T) {
    tokio::task::spawn_blocking(move || {
        let done = act(&mut stream);
        (stream, done)
    })
    .await
    .unwrap()
}

/// A connection on which this was said, and what was answered.
async fn begin(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    text: &'static str,
) -> (Stream, String) {
    let client = ClientConnection::new(config.clone(), "127.0.0.1".try_into().unwrap()).unwrap();
    let plain = TcpStream::connect(address).unwrap();
    plain.set_read_timeout(Some(PATIENCE * 6)).unwrap();
    on(StreamOwned::new(client, plain), move |it| said(it, text)).await
}

/// A caller that was answered, and keeps its connection.
pub(super) async fn resting(address: SocketAddr, config: &Arc<ClientConfig>) -> Stream {
    let (stream, told) = begin(address, config, WHOLE).await;
    assert!(told.starts_with("HTTP/1.1 405"), "{told}");
    stream
}

/// The connection of a caller that has rested is there still.
pub(super) async fn calls_again(stream: Stream) {
    let (_, told) = on(stream, |it| said(it, WHOLE)).await;
    assert!(told.starts_with("HTTP/1.1 405"), "{told}");
}

/// Whether the server ends the connection of a caller that was answered, and has begun its next call with this alone.
pub(super) async fn is_shed(stream: Stream, begins: &'static str) -> bool {
    let begin = move |it: &mut Stream| {
        it.write_all(begins.as_bytes()).unwrap();
        is_over(it)
    };
    on(stream, begin).await.1
}

/// Says this; the next answer, which ends as its head says.
fn said(stream: &mut Stream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.lines().find_map(|it| it.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |it| it.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    head
}

/// Whether the server has ended the connection, with the word that TLS has for it or without.
fn is_over(stream: &mut Stream) -> bool {
    match stream.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => {
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_and_its_connection_outlive_another_certificate() {
    let (hall, next) = (hall(tls::Manner::default()).await, hall(tls::Manner::default()).await);
    let (stream, told) = begin(hall.address, &hall.config, BEGUN).await;
    assert!(told.starts_with("HTTP/1.1 100"), "it is under way: {told}");
    // The server has taken it up once somebody who trusts that one alone gets through.
    hall.live.send_replace(next.live.borrow().clone());
    let (address, config) = (hall.address, next.config.clone());
    let deadline = std::time::Instant::now() + PATIENCE * 6;
    loop {
        let config = config.clone();
        let came = tokio::task::spawn_blocking(move || comes_through(address, config));
        if came.await.unwrap() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the certificate is not taken up");
    }
    let (stream, told) = on(stream, |it| said(it, "{}")).await;
    assert!(told.starts_with("HTTP/1.1 400"), "the call is answered: {told}");
    let (_, told) = on(stream, |it| said(it, WHOLE)).await;
    assert!(told.starts_with("HTTP/1.1 405"), "and another one after it: {told}");
}

fn comes_through(address: SocketAddr, config: Arc<ClientConfig>) -> bool {
    let mut client = ClientConnection::new(config, "127.0.0.1".try_into().unwrap()).unwrap();
    let mut plain = TcpStream::connect(address).unwrap();
    while client.is_handshaking() {
        if client.complete_io(&mut plain).is_err() {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_answers_what_is_under_way_and_ends_who_rests() {
    let hall = hall(tls::Manner::default()).await;
    let resting = resting(hall.address, &hall.config).await;
    let (calling, told) = begin(hall.address, &hall.config, BEGUN).await;
    assert!(told.starts_with("HTTP/1.1 100"), "it is under way: {told}");
    hall.handle.graceful_shutdown(Some(PATIENCE * 6));
    assert!(on(resting, is_over).await.1, "nothing more will be answered there");
    let (calling, told) = on(calling, |it| said(it, "{}")).await;
    assert!(told.starts_with("HTTP/1.1 400"), "what was begun is answered: {told}");
    assert!(on(calling, is_over).await.1, "and that was all");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_but_http_is_answered_and_what_could_be_read_in_two_ways_ends_the_connection() {
    let hall = hall(tls::Manner::default()).await;
    let post = "POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let smuggled = format!(
        "{post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{WHOLE}"
    );
    let twice = format!("{post}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}}{WHOLE}");
    let table = [
        ("GET /validate HTTP/1.0\r\n\r\n", " 405 ", "HTTP/1.0"),
        (
            "GET https://x/validate HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            " 405 ",
            "a target in absolute form",
        ),
        (&smuggled, " 400 ", "two lengths, of which one is none"),
        (&twice, " 400 ", "two lengths"),
        ("GET /validate SPDY/3\r\n\r\n", " 400 ", "another protocol"),
    ];
    for (text, want, because) in table {
        let (address, config, text) = (hall.address, hall.config.clone(), text.to_owned());
        let told = tokio::task::spawn_blocking(move || say(address, Some(config), &text));
        let told = told.await.unwrap();
        let first = told.lines().next().unwrap_or_default();
        assert!(first.starts_with("HTTP/1.") && first.contains(want), "{because}: {told}");
        assert_eq!(told.matches("HTTP/1.").count(), 1, "{because}: one answer: {told}");
    }
}
