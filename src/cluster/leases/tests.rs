use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Method, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// What the API server does to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// Accepted, and the answer never arrives.
    Unheard,
    /// Accepted only when the next request has come in, and the answer never arrives.
    Late,
}

/// One Lease as an API server keeps it: a PUT on another version than the last is a conflict.
#[derive(Debug, Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    /// Fates of the next writes.
    fates: Vec<Fate>,
    late: Option<Value>,
    /// Epochs of all accepted writes.
    epochs: Vec<i64>,
}

impl Server {
    fn keep(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        lease["metadata"]["uid"] = json!("u");
        self.epochs.extend(lease["spec"]["leaseTransitions"].as_i64());
        self.lease = Some(lease.clone());
        lease
    }

    fn current(&self, lease: &Value) -> bool {
        let version = |it: &Value| it["metadata"]["resourceVersion"].clone();
        self.lease.as_ref().map_or(Value::Null, version) == version(lease)
    }

    /// Status and body; `None`: no answer.
    fn answer(&mut self, method: &Method, body: &[u8]) -> Option<(StatusCode, Value)> {
        let refusal = |code: StatusCode| {
            Some((code, json!({"kind": "Status", "status": "Failure", "code": code.as_u16()})))
        };
        if let Some(lease) = self.late.take() {
            self.keep(lease);
        }
        if method == Method::GET {
            let lease = self.lease.clone();
            return lease.map_or(refusal(StatusCode::NOT_FOUND), |it| Some((StatusCode::OK, it)));
        }
        let lease: Value = serde_json::from_slice(body).unwrap();
        if !self.current(&lease) {
            return refusal(StatusCode::CONFLICT);
        }
        match if self.fates.is_empty() { Fate::Answered } else { self.fates.remove(0) } {
            Fate::Answered => Some((StatusCode::OK, self.keep(lease))),
            Fate::Unheard => {
                self.keep(lease);
                None
            }
            Fate::Late => {
                self.late = Some(lease);
                None
            }
        }
    }
}

fn serve(server: &Arc<Mutex<Server>>) -> kube::Client {
    let server = server.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let server = server.clone();
        async move {
            let method = request.method().clone();
            let body = request.into_body().collect_bytes().await.unwrap();
            let answer = server.lock().unwrap().answer(&method, &body);
            let Some((status, body)) = answer else { return std::future::pending().await };
            let body = Body::from(serde_json::to_vec(&body).unwrap());
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        }
    });
    kube::Client::new(service, "town")
}

fn free() -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l", "namespace": "town"},
        "spec": {"holderIdentity": "", "leaseTransitions": 4}})
}

fn elector(server: &Arc<Mutex<Server>>) -> Elector {
    let me = Identity { pod: "me".into(), pod_uid: "1".into(), nonce: "a".into() };
    let ownership = Ownership::new("me");
    let times = Times { renew: Duration::from_millis(1), ..Times::FAST };
    Elector::new(serve(server), ("town", "l"), me, times, ownership, Meters::default())
}

async fn held(server: &Arc<Mutex<Server>>) -> Elector {
    server.lock().unwrap().keep(free());
    let mut elector = elector(server);
    elector.turn().await;
    assert_eq!(*elector.held().borrow(), Some(5), "a free Lease is claimed at once");
    tokio::time::sleep(Duration::from_millis(5)).await;
    elector
}

/// The case of a renewal that timed out here and was accepted there: it was ours all along.
#[tokio::test]
async fn a_renewal_whose_answer_was_lost_neither_ends_the_hold_nor_counts_twice() {
    for fate in [Fate::Unheard, Fate::Late] {
        let server = Arc::new(Mutex::new(Server::default()));
        let mut elector = held(&server).await;
        let mut changes = elector.held();
        changes.mark_unchanged();
        server.lock().unwrap().fates.push(fate);
        for _ in 0..3 {
            elector.turn().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(elector.ownership.is_valid(), "{fate:?}: it may still write");
        assert!(!changes.has_changed().unwrap(), "{fate:?}: its controllers were never stopped");
        let epochs = server.lock().unwrap().epochs.clone();
        assert_eq!(epochs[0], 4);
        assert!(epochs.len() > 3 && epochs[1..].iter().all(|it| *it == 5), "{fate:?}: {epochs:?}");
    }
}

#[tokio::test]
async fn a_lease_that_somebody_else_wrote_is_let_go_and_epochs_never_go_back() {
    let server = Arc::new(Mutex::new(Server::default()));
    let mut elector = held(&server).await;
    let mut edited = server.lock().unwrap().lease.clone().unwrap();
    edited["spec"]["leaseTransitions"] = json!(0);
    server.lock().unwrap().keep(edited);
    elector.turn().await;
    assert!(!elector.ownership.is_valid(), "a conflict: it stops at once");
    assert_eq!(*elector.held().borrow(), None, "the record names it, but by no write of its own");
    elector.turn().await;
    assert_eq!(*elector.held().borrow(), Some(6), "one more than before the edit");
    let mut taken = free();
    taken["spec"] = json!({"holderIdentity": "other_2_b", "leaseTransitions": 7});
    server.lock().unwrap().keep(taken);
    tokio::time::sleep(Duration::from_millis(5)).await;
    elector.turn().await;
    elector.turn().await;
    assert_eq!(*elector.held().borrow(), None, "another holds it");
    assert_eq!(server.lock().unwrap().epochs.last(), Some(&7), "and keeps it");
}

/// A newcomer has never seen the higher number, but the last writer's mark tells.
#[tokio::test]
async fn a_newcomer_goes_on_above_the_epoch_that_was_edited_away() {
    let server = Arc::new(Mutex::new(Server::default()));
    held(&server).await.release().await;
    let mut edited = server.lock().unwrap().lease.clone().unwrap();
    edited["spec"]["leaseTransitions"] = json!(0);
    server.lock().unwrap().keep(edited);
    let mut next = elector(&server);
    next.turn().await;
    assert_eq!(*next.held().borrow(), Some(6));
}
