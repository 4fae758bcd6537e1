//! Behind a proxy, with an authority of one's own: pods are told of both, and the API server is reached without.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gastown::domain::polecat::RUN;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::{
    tracing::collector::Collector,
    world::{World, until},
};

const FOREVER: [(&str, &str); 1] = [("testbed.gastown.io/run-for", "never")];

fn variable(container: &Container, name: &str) -> Option<String> {
    let found = container.env.iter().flatten().find(|it| it.name == name);
    found.and_then(|it| it.value.clone())
}

/// A proxy that leads to one address whatever it is asked for; counts what it was asked.
async fn proxy(to: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (to, counted) = (to.clone(), counted.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                if !head.starts_with(b"CONNECT collector.town.example:4317 ") {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let mut other = TcpStream::connect(to).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut other).await;
            });
        }
    });
    (format!("http://{address}"), asked)
}

#[tokio::test]
async fn a_collector_is_reached_through_the_proxy_also_over_grpc() {
    let collector = Collector::start().await;
    let (proxy, asked) = proxy(collector.endpoint.replace("http://", "")).await;
    let variables = [("HTTP_PROXY", &*proxy), ("NO_PROXY", ".svc")];
    // By nobody but the proxy this name can be found.
    let flags = [
        "--otlp-endpoint=http://collector.town.example:4317",
        "--otlp-protocol=grpc",
        "--otlp-delay=50",
    ];
    let quick = [("testbed.gastown.io/run-for", "300ms")];
    let world = World::with_variables("otlp-proxied", &quick, &flags, &variables).await;
    world.create("max", |_| {}).await;
    world.phase("max", "Done").await;
    collector.until("root", |all| all.iter().any(|it| it.name == RUN)).await;
    assert!(asked.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn pods_get_the_operators_proxy_and_the_api_server_is_reached_without() {
    // Nobody listens there: what went through it would fail.
    let proxy = "http://127.0.0.1:9";
    let variables = [("HTTPS_PROXY", proxy), ("HTTP_PROXY", proxy), ("NO_PROXY", ".svc")];
    let flags = ["--trusted-ca-config-map=town-ca"];
    let world = World::with_variables("proxied", &FOREVER, &flags, &variables).await;
    let own = json!({"env": [{"name": "https_proxy", "value": "http://own:3128"}]});
    world.create("max", |it| it["spec"]["agentConfig"] = own).await;
    let pod = until(&world.pods(), "polecat-max", "pod", |_: &Pod| true).await;
    let spec = pod.spec.unwrap();
    for it in spec.init_containers.iter().flatten().chain(&spec.containers) {
        let agent = it.name == "claude";
        for name in ["HTTP_PROXY", "http_proxy"] {
            assert_eq!(variable(it, name).as_deref(), Some(proxy), "{}: {name}", it.name);
        }
        assert_eq!(variable(it, "NO_PROXY").as_deref(), Some(".svc"), "{}", it.name);
        let https = if agent { None } else { Some(proxy) };
        assert_eq!(variable(it, "HTTPS_PROXY").as_deref(), https, "{}", it.name);
        let lower = if agent { "http://own:3128" } else { proxy };
        assert_eq!(
            variable(it, "https_proxy").as_deref(),
            Some(lower),
            "a Polecat's own word wins"
        );
        let mounted = it.volume_mounts.iter().flatten().any(|it| it.name == "trusted-ca");
        assert!(mounted, "{} has the authorities", it.name);
    }
    let volume = spec.volumes.unwrap().into_iter().find(|it| it.name == "trusted-ca").unwrap();
    assert_eq!(volume.config_map.unwrap().name, "town-ca");
}
