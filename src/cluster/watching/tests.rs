use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::{
    cluster::{
        clock::Moment,
        meters::Meters,
        ownership::Ownership,
        watch_faults::testing::{refusing, tried_again},
    },
    domain::{polecat, shard::Map},
};

/// An API server with two Polecats, the first of which can't be read, and which never answers a write.
fn server(writes: &Arc<AtomicU32>) -> kube::Client {
    let writes = writes.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let writes = writes.clone();
        async move {
            if request.method() != Method::GET {
                writes.fetch_add(1, Ordering::SeqCst);
                return pending().await;
            }
            if request.uri().query().is_some_and(|it| it.contains("watch=true")) {
                return pending().await;
            }
            let meta = |name: &str| json!({"name": name, "namespace": "town", "uid": name, "resourceVersion": "5"});
            let list = json!({
                "apiVersion": "gastown.gastown.io/v1alpha1", "kind": "PolecatList",
                "metadata": {"resourceVersion": "7"},
                "items": [
                    {"metadata": meta("bad"), "spec": {"rig": 7, "desiredState": "Working"}},
                    {"metadata": meta("good"), "spec": {"rig": "greeter", "desiredState": "Working"}},
                ],
            });
            let body = Body::from(serde_json::to_vec(&list).unwrap());
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    kube::Client::new(service, "town")
}

#[tokio::test]
async fn announcing_what_cannot_be_read_keeps_nobody_waiting() {
    let writes = Arc::new(AtomicU32::new(0));
    let ownership = Ownership::new("me");
    let map = Arc::new(Map::first(1));
    ownership.use_map(map.clone());
    map.active().for_each(|it| ownership.open(it, 1));
    ownership.valid_until(Some(Moment::now() + Duration::from_secs(3600)));
    let meters = Meters::default();
    let cluster =
        Cluster::new((server(&writes), &meters), ownership, Arc::default(), meters.clone());
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let news = |_: &polecat::Brief, key: Key| told.send(key.name.to_string()).unwrap();
    let caches = cluster.caches.clone();
    let seen = async {
        let name = heard.recv().await;
        caches.polecats.ready(1).await;
        // The announcement is under way by then, or soon is; it never gets an answer.
        while writes.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        name
    };
    // Less than a write may take: a watch that waited for the announcement would be too late.
    let seen = tokio::time::timeout(Duration::from_secs(5), seen);
    let name = tokio::select! {
        it = seen => it.expect("the other one was not told of while the Event was being written"),
        () = cluster.watch(&caches.polecats, Selection::default(), news) => panic!("it ended"),
    };
    assert_eq!(name.as_deref(), Some("good"));
    let polecats = meters::Controller { controller: "polecats" };
    assert_eq!(meters.undecodable.get_or_create(&polecats).get(), 1);
}

#[tokio::test]
async fn a_watch_that_fails_is_counted_in_the_meters_that_are_scraped() {
    let (client, asked) = refusing();
    let meters = Meters::default();
    let ownership = Ownership::new("me");
    let cluster = Cluster::new((client, &meters), ownership, Arc::default(), meters.clone());
    let news = |_: &polecat::Brief, _: Key| {};
    tokio::select! {
        () = tried_again(&asked) => {}
        () = cluster.watch(&cluster.caches.polecats, Selection::default(), news) => panic!("it ended"),
    }
    let polecats = meters::Controller { controller: "polecats" };
    assert!(meters.watch_faults.get_or_create(&polecats).get() >= 1);
}

#[test]
fn no_list_of_ours_has_objects_converted_while_a_cache_is_being_filled() {
    let of = |selection: &Selection| selection.config::<polecat::Brief>().field_selector;
    assert_eq!(of(&Selection::default()).as_deref(), Some(ANY_NAME));
    let town = Selection { namespace: Some("town".into()), ..Selection::default() };
    assert_eq!(of(&town).as_deref(), Some(ANY_NAME));
    let orphans = Selection { buckets: Buckets::Orphans, ..Selection::default() };
    assert_eq!(of(&orphans), None, "it selects already");
    let one = Selection { name: Some("max".into()), ..Selection::default() };
    assert_eq!(of(&one).as_deref(), Some("metadata.name=max"));
    let pods = Selection::default().config::<crate::domain::pod_brief::PodBrief>();
    assert_eq!(pods.field_selector, None, "nobody converts pods");
}
