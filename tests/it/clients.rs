//! The clients for work, Leases and watches: what an API server in trouble refuses they do not ask again by themselves, and
//! none waits for another's connection. A server on loopback counts.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::ConnectInfo};
use gastown::{
    cluster::{
        connect::{Connection, connect},
        meters::Meters,
    },
    tls,
};
use http::{Method, Request, StatusCode, Uri, header};

/// From which port of the caller what was asked.
type Heard = Arc<Mutex<Vec<(u16, String)>>>;

/// A server in trouble: what it is asked for the first time it refuses, and wants to be asked again at once.
async fn troubled(status: StatusCode) -> (String, Heard) {
    let (heard, handle) = (Heard::default(), axum_server::Handle::<SocketAddr>::new());
    let noted = heard.clone();
    let answer = move |ConnectInfo(caller): ConnectInfo<SocketAddr>, method: Method, uri: Uri| {
        let asked = format!("{method} {}", uri.path());
        let mut heard = noted.lock().unwrap();
        let again = heard.iter().any(|(_, it)| *it == asked);
        heard.push((caller.port(), asked));
        let status = if again { StatusCode::OK } else { status };
        async move { (status, [(header::RETRY_AFTER, "0")]) }
    };
    let routes = Router::new().fallback(answer);
    let server = axum_server::bind("127.0.0.1:0".parse().unwrap())
        .handle(handle.clone())
        .serve(routes.into_make_service_with_connect_info::<SocketAddr>());
    tokio::spawn(server);
    (format!("http://{}", handle.listening().await.unwrap()), heard)
}

/// As the kubeconfig of a person leads there.
async fn connected(server: &str) -> Connection {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: town\nusers: [{{name: max, user: {{}}}}]\n\
         clusters: [{{name: town, cluster: {{server: \"{server}\"}}}}]\n\
         contexts: [{{name: town, context: {{cluster: town, user: max}}}}]\n"
    );
    std::fs::write(&file, text).unwrap();
    connect(Some(&file), None, ("max", 12), &Meters::default()).await.unwrap()
}

async fn ask(client: &kube::Client, method: Method, path: &str) -> bool {
    let request = Request::builder().method(method).uri(path).body(b"{}".to_vec()).unwrap();
    client.request_text(request).await.is_ok()
}

#[tokio::test]
async fn what_is_refused_is_asked_once_and_leases_have_a_connection_of_their_own() {
    let _ = tls::install_provider();
    for code in [429, 500, 503, 504] {
        let (server, heard) = troubled(StatusCode::from_u16(code).unwrap()).await;
        let all = connected(&server).await;
        let watches = all.watches.seat().client;
        let clients = [("work", &all.work), ("leases", &all.leases), ("watches", &watches)];
        for (name, client) in clients {
            for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH] {
                let path = format!("/{name}");
                assert!(!ask(client, method.clone(), &path).await, "{code}: {method} {path}");
            }
        }
        let heard = std::mem::take(&mut *heard.lock().unwrap());
        assert_eq!(heard.len(), 12, "{code}: each was asked once: {heard:?}");
        let port = |name: &str| heard.iter().find(|it| it.1.ends_with(name)).unwrap().0;
        let [work, leases, watches] = ["work", "leases", "watches"].map(port);
        assert!(work != leases && work != watches && leases != watches, "{heard:?}");
        let work = heard.iter().filter(|it| it.1.ends_with("work"));
        assert!(work.clone().count() == 4 && work.clone().all(|it| it.0 != leases));
    }
}

/// What the test above would not be told without: by itself the library asks again.
#[tokio::test]
async fn a_client_by_the_librarys_defaults_asks_again() {
    let _ = tls::install_provider();
    let (server, heard) = troubled(StatusCode::SERVICE_UNAVAILABLE).await;
    let client = kube::Client::try_from(kube::Config::new(server.parse().unwrap())).unwrap();
    assert!(ask(&client, Method::PUT, "/work").await, "the second answer is a good one");
    assert_eq!(heard.lock().unwrap().len(), 2);
}
