use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::{
    cluster::{clock::Moment, meters::Meters, ownership::Ownership},
    domain::shard::Map,
};

const NAME: &str = "beadstores.gastown.gastown.io";
const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/beadstores.gastown.gastown.io";

/// An API server with one definition and five objects, two a page, that refuses as it is told.
struct Server {
    definition: Value,
    /// What is answered to a write of an object, first to last; then it is taken.
    writes: BTreeMap<String, Vec<u16>>,
    /// What is answered to a list that goes on from here, first to last; then a page.
    lists: BTreeMap<String, Vec<Value>>,
    /// The spec changes once, when this object is written.
    changes_at: Option<String>,
    written: Vec<String>,
    marks: Vec<Value>,
}

impl Server {
    fn new() -> Self {
        let definition = json!({
            "metadata": {"name": NAME, "uid": "u", "resourceVersion": "1", "generation": 2},
            "spec": {
                "group": "gastown.gastown.io", "scope": "Namespaced", "names": {"plural": "beadstores"},
                "versions": [{"name": "v1beta1", "storage": true}, {"name": "v1alpha1", "storage": false}],
                "conversion": {"strategy": "Webhook"},
            },
            "status": {"storedVersions": ["v1alpha1", "v1beta1"], "conditions": []},
        });
        Self {
            definition,
            writes: BTreeMap::new(),
            lists: BTreeMap::new(),
            changes_at: None,
            written: Vec::new(),
            marks: Vec::new(),
        }
    }

    fn stored(&self) -> &Value {
        &self.definition["status"]["storedVersions"]
    }

    fn changes(&mut self) {
        let version = self.definition["metadata"]["resourceVersion"].as_str().unwrap();
        let next = version.parse::<u32>().unwrap() + 1;
        self.definition["metadata"]["resourceVersion"] = json!(next.to_string());
    }

    fn answer(&mut self, method: &Method, uri: &http::Uri, body: &[u8]) -> (u16, Value) {
        let path = uri.path();
        if path == DEFINITION {
            return (200, self.definition.clone());
        }
        if path.starts_with(DEFINITION) {
            let sent: Value = serde_json::from_slice(body).unwrap();
            let guard = &sent["metadata"]["resourceVersion"];
            if *guard != self.definition["metadata"]["resourceVersion"] {
                return refusal(409);
            }
            json_patch::merge(&mut self.definition["status"], &sent["status"]);
            self.changes();
            self.marks.push(sent["status"].clone());
            return (200, json!({}));
        }
        if *method == Method::PATCH {
            return self.write(path);
        }
        if path == "/apis/gastown.gastown.io/v1beta1/beadstores" {
            return self.list(uri.query().unwrap_or_default());
        }
        refusal(404)
    }

    fn write(&mut self, path: &str) -> (u16, Value) {
        let name = path.split('/').nth(7).unwrap().to_owned();
        assert!(path.ends_with(&format!("namespaces/town/beadstores/{name}/status")), "{path}");
        if let Some(code) = self.writes.get_mut(&name).and_then(Vec::pop) {
            return refusal(code);
        }
        if self.changes_at.take_if(|it| *it == name).is_some() {
            self.definition["metadata"]["generation"] = json!(3);
            self.changes();
        }
        self.written.push(name);
        (200, json!({}))
    }

    fn list(&mut self, query: &str) -> (u16, Value) {
        let token = query.split('&').find_map(|it| it.strip_prefix("continue=")).unwrap_or("0");
        if let Some(answer) = self.lists.get_mut(token).and_then(Vec::pop) {
            return (u16::try_from(answer["code"].as_u64().unwrap()).unwrap(), answer);
        }
        let first: usize = token.parse().unwrap();
        let items: Vec<_> = (first..5).take(2).map(|it| {
            json!({"metadata": {"name": format!("b{it}"), "namespace": "town", "uid": "o", "resourceVersion": "5"}})
        }).collect();
        let next = if first + 2 < 5 { (first + 2).to_string() } else { String::new() };
        (200, json!({"metadata": {"continue": next}, "items": items}))
    }
}

fn refusal(code: u16) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": "no"}),
    )
}

fn serve(server: &Arc<Mutex<Server>>) -> Cluster {
    let server = server.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = server.clone();
        async move {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let body = request.into_body().collect_bytes().await.unwrap();
            let (code, answer) = server.lock().unwrap().answer(&method, &uri, &body);
            let body = Body::from(serde_json::to_vec(&answer).unwrap());
            let status = StatusCode::from_u16(code).unwrap();
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        }
    });
    let ownership = Ownership::new("me");
    let map = Arc::new(Map::first(64));
    ownership.use_map(map.clone());
    map.active().for_each(|it| ownership.open(it, 1));
    ownership.valid_until(Some(Moment::now() + Duration::from_secs(3600)));
    let (client, meters) = (kube::Client::new(service, "town"), Meters::default());
    Cluster::new((client, &meters), ownership, Arc::default(), meters.clone())
}

/// Migrates, and says what was told.
async fn migrate(server: Server) -> (Ending, Server, Vec<Step>) {
    let server = Arc::new(Mutex::new(server));
    let (cluster, told) = (serve(&server), Mutex::new(Vec::new()));
    let tell = |step: &Step| told.lock().unwrap().push(step.clone());
    let migration = Migration { cluster: &cluster, name: NAME, rate: 1000, tell: &tell };
    let ending = migration.run().await.unwrap();
    let server = std::mem::replace(&mut *server.lock().unwrap(), Server::new());
    (ending, server, told.into_inner().unwrap())
}

#[tokio::test]
async fn every_object_is_written_once_and_the_end_comes_last() {
    let (ending, server, _) = migrate(Server::new()).await;
    assert_eq!(ending, Ending::Migrated { storage: "v1beta1".into(), written: Some(5) });
    assert_eq!(server.written, ["b0", "b1", "b2", "b3", "b4"]);
    assert_eq!(*server.stored(), json!(["v1beta1"]));
    let trims: Vec<_> = server.marks.iter().map(|it| it.get("storedVersions").is_some()).collect();
    assert_eq!(trims, [false, false, true], "the place after two pages, then the end");
}

#[tokio::test]
async fn what_somebody_else_wrote_or_deleted_needs_no_write_and_what_is_refused_keeps_the_versions()
{
    let table = [
        (409, true, "whoever wrote it wrote it in the storage version"),
        (404, true, "it is gone"),
        (422, false, "it lies there as before"),
        (403, false, "so it does"),
    ];
    for (code, done, because) in table {
        let mut server = Server::new();
        server.writes.insert("b3".into(), vec![code]);
        let (ending, server, _) = migrate(server).await;
        assert_eq!(server.written.len(), 4, "{because}: the others are written");
        assert_eq!(*server.stored() == json!(["v1beta1"]), done, "{because}");
        if !done {
            let first = vec![format!("town/b3 ({code})")];
            assert_eq!(ending, Ending::Refused { count: 1, first }, "{because}");
        }
    }
}

#[tokio::test]
async fn a_server_that_can_not_take_it_now_is_asked_again() {
    let mut server = Server::new();
    server.writes.insert("b1".into(), vec![429, 503]);
    server.lists.insert("2".into(), vec![refusal(429).1]);
    let (ending, server, told) = migrate(server).await;
    assert_eq!(ending, Ending::Migrated { storage: "v1beta1".into(), written: Some(5) });
    assert_eq!(server.written.len(), 5);
    let waits = told.iter().filter(|it| matches!(it, Step::Waits { .. })).count();
    assert_eq!(waits, 2, "once for each request: {told:?}");
}

#[tokio::test]
async fn a_list_that_expired_goes_on_by_its_new_token_or_begins_anew() {
    let mut going_on = refusal(410).1;
    going_on["metadata"] = json!({"continue": "3"});
    let table = [
        (going_on, &["b0", "b1", "b3", "b4"][..], "the API server says where"),
        (refusal(410).1, &["b0", "b1", "b0", "b1", "b2", "b3", "b4"], "it does not"),
        (refusal(400).1, &["b0", "b1", "b0", "b1", "b2", "b3", "b4"], "no token of this server"),
    ];
    for (answer, want, because) in table {
        let mut server = Server::new();
        server.lists.insert("2".into(), vec![answer]);
        let (_, server, _) = migrate(server).await;
        assert_eq!(server.written, want, "{because}");
        assert_eq!(*server.stored(), json!(["v1beta1"]), "{because}");
    }
}

#[tokio::test]
async fn a_definition_that_changes_meanwhile_makes_it_begin_anew() {
    let mut server = Server::new();
    server.changes_at = Some("b4".into());
    let (ending, server, told) = migrate(server).await;
    assert_eq!(ending, Ending::Migrated { storage: "v1beta1".into(), written: Some(5) });
    assert_eq!(server.written.len(), 10, "nothing of the first round counts");
    assert!(told.contains(&Step::Anew), "{told:?}");
    let trims = server.marks.iter().filter(|it| it.get("storedVersions").is_some()).count();
    assert_eq!(trims, 1, "not before the second round's end");
}

#[tokio::test]
async fn an_interrupted_one_goes_on_from_its_place_and_remembers_refusals() {
    for (refused, done) in [(0, true), (1, false)] {
        let mut server = Server::new();
        let place = format!("2 objects were written; goes on from: 2 2 {refused} 2");
        server.definition["status"]["conditions"] = json!([{"type": "gastown.io/StorageMigrated", "status": "False", "reason": "Migrating", "message": place}]);
        let (_, server, told) = migrate(server).await;
        assert_eq!(server.written, ["b2", "b3", "b4"]);
        assert!(told.contains(&Step::GoesOn { written: 2 }), "{told:?}");
        assert_eq!(
            *server.stored() == json!(["v1beta1"]),
            done,
            "a refusal before the interruption"
        );
    }
}

#[tokio::test]
async fn without_a_conversion_nothing_is_touched() {
    let mut server = Server::new();
    server.definition["spec"]["conversion"]["strategy"] = json!("None");
    let (ending, server, _) = migrate(server).await;
    assert_eq!(ending, Ending::Unconverted { old: vec!["v1alpha1".into()] });
    assert!(server.written.is_empty() && server.marks.is_empty(), "a write would cut objects");
}
