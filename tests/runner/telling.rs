//! A collector is told of the run by the runner itself, while it goes on, and keeps nobody from its end.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use gastown::{
    domain::{layout::env, polecat::InPod, trace::Context},
    otlp,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span,
};
use prost::Message as _;

use crate::{
    pod::{PATIENCE, Pod},
    whole::COMMIT,
};

const ROOT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What a collector does with a request.
#[derive(Clone, Copy)]
enum Manner {
    Takes,
    /// Refuses the first, and takes what comes then.
    RefusesFirst,
    Silent,
}

/// A collector: its address, and the requests that it took.
fn collector(manner: Manner) -> (String, Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let (told, taken) = channel();
    thread::spawn(move || {
        let mut refuses = matches!(manner, Manner::RefusesFirst);
        for stream in listener.incoming().map(Result::unwrap) {
            serve(stream, manner, &mut refuses, &told);
        }
    });
    (address, taken)
}

/// One connection, on which requests come one after the other.
fn serve(
    stream: TcpStream,
    manner: Manner,
    refuses: &mut bool,
    told: &Sender<ExportTraceServiceRequest>,
) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).is_ok_and(|it| it > 2) {
            if let Some(it) = line.to_lowercase().strip_prefix("content-length:") {
                length = it.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        if matches!(manner, Manner::Silent) {
            // Until the runner has gone.
            let _ = reader.read_to_end(&mut Vec::new());
            return;
        }
        let status = if std::mem::take(refuses) { "503 Later" } else { "200 OK" };
        if status.starts_with("200") {
            told.send(ExportTraceServiceRequest::decode(&body[..]).unwrap()).unwrap();
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let _ = reader.get_mut().write_all(answer.as_bytes());
    }
}

pub fn told_of(endpoint: &str) -> Pod {
    let mut pod = Pod::new();
    pod.set(env::OTLP_ENDPOINT, endpoint);
    pod.set(env::TRACEPARENT, ROOT);
    pod.set(env::NAMESPACE, "town");
    pod.set(env::POD, "polecat-furiosa");
    pod.set(env::POD_UID, "pod-uid");
    pod.set(env::OTLP_RESOURCE, "deployment.environment.name=test");
    pod.set(env::MODEL, "opus");
    pod
}

fn spans(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = request.resource_spans.iter().flat_map(|it| &it.scope_spans);
    scopes.flat_map(|it| it.spans.clone()).collect()
}

#[test]
fn a_collector_is_told_while_the_run_goes_on_and_of_the_same_that_the_verdict_says() {
    let (endpoint, taken) = collector(Manner::Takes);
    let pod = told_of(&endpoint);
    pod.git_init().succeeded();
    let telemetry = pod.telemetry(&[]);
    let mark = pod.path("mark");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done; {COMMIT}", mark.display());
    let agent = pod.script(&[], &script);
    let first = taken.recv_timeout(PATIENCE).unwrap();
    assert_eq!(spans(&first).iter().map(|it| &*it.name).collect::<Vec<_>>(), ["clone"]);
    fs::write(&mark, "").unwrap();
    agent.end().succeeded();
    telemetry.end().succeeded();
    let verdict = pod.verdict();
    assert!(verdict.pushed, "{verdict:?}");
    let root = Context::parse(ROOT).unwrap();
    let place = InPod {
        trace: root.trace,
        root: root.span,
        namespace: "town",
        name: "furiosa",
        uid: "0a1b2c3d-1111-2222-3333-444455556666",
        attempt: 1,
        pod: "polecat-furiosa",
        pod_uid: "pod-uid",
        model: Some("opus"),
    };
    let who = otlp::runner("deployment.environment.name=test");
    let want = spans(&otlp::spans::request([(who.clone(), place.told(&verdict))]));
    let requests: Vec<_> = std::iter::once(first).chain(taken.try_iter()).collect();
    assert_eq!(requests.iter().flat_map(spans).collect::<Vec<_>>(), want, "each of them once");
    assert_eq!(want.len(), 4, "clone, agent, hand over, push");
    for it in requests.iter().flat_map(|it| &it.resource_spans) {
        assert_eq!(it.resource.as_ref(), Some(&who));
    }
}

#[test]
fn what_was_not_taken_is_told_again() {
    let (endpoint, taken) = collector(Manner::RefusesFirst);
    let pod = told_of(&endpoint);
    let (_, verdict) = pod.run(COMMIT);
    assert!(verdict.pushed);
    let names: Vec<_> = taken.try_iter().flat_map(|it| spans(&it)).map(|it| it.name).collect();
    assert_eq!(names, ["clone", "agent", "hand over", "push"]);
}

#[test]
fn a_collector_that_never_answers_or_is_none_keeps_no_run_from_its_end() {
    let (silent, _taken) = collector(Manner::Silent);
    for endpoint in [&*silent, "http://127.0.0.1:1/v1/traces", "no address"] {
        let pod = told_of(endpoint);
        let (_, verdict) = pod.run(COMMIT);
        assert!(verdict.pushed, "{endpoint}: {verdict:?}");
        assert!(verdict.push_seconds < 5.0, "{endpoint}: the push waits for nobody: {verdict:?}");
    }
}
