//! A collector that is in trouble costs spans, which are counted, and nothing else.

use std::time::Duration;

use gastown_testbed::http_get;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::QUICK;
use crate::{asking::comes_true, door::Door, world::World};

#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// Nobody listens.
    Refused,
    /// It never answers.
    Silent,
    /// 429.
    Busy,
    /// What it says is no HTTP.
    Garbage,
    /// It ends within its answer.
    Dying,
}

async fn answer(mut stream: TcpStream, trouble: Trouble) {
    let mut buffer = vec![0; 64 * 1024];
    let _ = stream.read(&mut buffer).await;
    let text: &[u8] = match trouble {
        Trouble::Busy => {
            b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"
        }
        Trouble::Garbage => b"\x00\x01\x02garbage\r\n\r\n",
        Trouble::Dying => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nab",
        Trouble::Refused | Trouble::Silent => return std::future::pending().await,
    };
    let _ = stream.write_all(text).await;
}

async fn collector(trouble: Trouble) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    if !matches!(trouble, Trouble::Refused) {
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, trouble));
            }
        });
    }
    format!("--otlp-endpoint=http://{address}")
}

fn sum(text: &str, of: &str) -> f64 {
    text.lines()
        .filter(|it| it.starts_with(of))
        .filter_map(|it| it.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

async fn is_borne(name: &str, trouble: Trouble) {
    let endpoint = collector(trouble).await;
    // So long that a pass that waited for it would be seen.
    let flags = [&*endpoint, "--otlp-delay=20", "--otlp-queue=8", "--otlp-timeout=60000"];
    let door = Door::before(World::with_flags(name, &QUICK, &flags).await).await;
    let world = &door.world;
    for number in 0..3 {
        world.create(&format!("max-{number}"), |_| {}).await;
    }
    for number in 0..3 {
        world.phase(&format!("max-{number}"), "Done").await;
    }
    comes_true(&format!("{trouble:?}: spans are counted as lost"), async || {
        let text = http_get(&world.operator.metrics).await.map(|it| it.1).unwrap_or_default();
        sum(&text, "gastown_spans_lost_total") > 0.0
    })
    .await;
    let (_, text) = http_get(&world.operator.metrics).await.unwrap();
    let taken = "gastown_spans_exported_total";
    assert!(text.lines().any(|it| it.starts_with(taken)), "it is told at all: {text}");
    assert!(sum(&text, taken) < 0.5, "{trouble:?}: none was taken");
    let of = "gastown_reconcile_duration_seconds";
    let all = sum(&text, &format!("{of}_count{{controller=\"polecat\"}}"));
    let short = sum(&text, &format!("{of}_bucket{{le=\"30.0\",controller=\"polecat\"}}"));
    assert!(all > 0.0 && (all - short).abs() < 0.5, "{trouble:?}: no pass waits for it: {text}");
    let of = "controller_runtime_webhook_latency_seconds";
    for webhook in ["/mutate", "/validate", "/validate-pods"] {
        let of = |sort: &str| sum(&text, &format!("{of}_{sort}webhook=\"{webhook}\"}}"));
        let (all, short) = (of("count{"), of("bucket{le=\"30.0\","));
        let is = all > 0.0 && (all - short).abs() < 0.5;
        assert!(is, "{trouble:?}: no call of {webhook} waits for it: {text}");
    }
    let world = door.close().await;
    let end = world.operator.terminate(Duration::from_secs(40)).await.unwrap();
    assert_eq!(end, 0, "{trouble:?}: its end is no later for it");
}

#[tokio::test]
async fn a_collector_that_is_not_there_delays_nothing() {
    is_borne("trace-refused", Trouble::Refused).await;
}

#[tokio::test]
async fn a_collector_that_never_answers_delays_nothing() {
    is_borne("trace-silent", Trouble::Silent).await;
}

#[tokio::test]
async fn a_collector_that_talks_nonsense_delays_nothing() {
    is_borne("trace-garbage", Trouble::Garbage).await;
    is_borne("trace-dying", Trouble::Dying).await;
}

#[tokio::test]
async fn a_collector_that_has_too_much_to_do_delays_nothing() {
    is_borne("trace-busy", Trouble::Busy).await;
}
