//! `kubectl gt trace`: a run as a tree, by name and by commit, from the API alone and from what speaks as Jaeger does.

use std::{fs, net::SocketAddr, path::Path, process::Output, sync::Arc};

use axum::{
    Router,
    extract::{Path as Part, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use gastown::{
    api::v1beta1::Convoy,
    domain::certificates::Book,
    tls::{self, check::Presented, mint::ForNames},
};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, api::PostParams};
use serde_json::json;

use super::{ALL_BUT_HAND_OVER, QUICK, trace_id};
use crate::world::World;

const COMMIT: &str = "1f3870be274f6c49b3e31a0c6728957f1f3870be";
const PUSHED: &str = r#"{"v":1,"base":"aaaa","commit":"1f3870be274f6c49b3e31a0c6728957f1f3870be","commits":1,"branch":"feature/gt-abc12","pushed":true,"reason":"Pushed","message":"1 commit pushed"}"#;

async fn gt(world: &World, args: &[&str]) -> Output {
    let name = format!("tracer-{}", world.namespace);
    let kubeconfig = world.bed.kubeconfig_for(&name, Some("system:masters")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-gt"));
    command.args(["-n", &world.namespace, "trace"]).args(args);
    command.env_clear().env("KUBECONFIG", kubeconfig);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn said(world: &World, args: &[&str]) -> String {
    let output = gt(world, args).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What Jaeger answers to who shows the token and names the tenant.
async fn answer(
    State(trace): State<String>,
    Part(asked): Part<String>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let says = |name: &str, value: &str| headers.get(name).is_some_and(|it| it == value);
    let known = says("x-tenant", "town") && says("x-scope-orgid", "town");
    if !known || !says("authorization", "Bearer open-sesame") {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    if asked != trace {
        return (StatusCode::NOT_FOUND, String::new());
    }
    let span = |id: &str, parent: &str, name: &str| {
        json!({"spanId": id, "parentSpanId": parent, "name": name,
            "startTimeUnixNano": "5000000000", "endTimeUnixNano": "7000000000"})
    };
    let spans = [span("a", "", "polecat run"), span("b", "a", "a span of nobody else's")];
    let service = json!({"key": "service.name", "value": {"stringValue": "gastown-operator"}});
    let answer = json!({"result": {"resourceSpans": [
        {"resource": {"attributes": [service]}, "scopeSpans": [{"spans": spans}]},
    ]}});
    (StatusCode::OK, answer.to_string())
}

/// It is below a prefix, under an authority of its own, which is written to a file; answers its address.
async fn jaeger(trace: String, authority: &Path) -> String {
    let mint = ForNames { names: vec!["localhost".into()], leaf_life: None };
    let book = Book::new(&mint, 1, Timestamp::now().as_second()).unwrap();
    fs::write(authority, book.bundle()).unwrap();
    let pair = Presented::read(book.chain().as_bytes(), book.leaf.key.0.as_bytes()).unwrap();
    let config = RustlsConfig::from_config(Arc::new(tls::server(pair).unwrap()));
    let routes = Router::new().route("/ui/api/v3/traces/{id}", get(answer)).with_state(trace);
    let handle = Handle::<SocketAddr>::new();
    let server = axum_server::bind_rustls("127.0.0.1:0".parse().unwrap(), config);
    tokio::spawn(server.handle(handle.clone()).serve(routes.into_make_service()));
    format!("https://localhost:{}/ui/", handle.listening().await.unwrap().port())
}

/// A Convoy leads to the traces of its Polecats.
async fn leads_from_a_convoy(world: &World, id: &str) {
    let convoy = json!({"metadata": {"name": "release"}, "spec": {"description": "both",
        "beads": [{"id": "gt-abc12"}, {"id": "gt-none"}]}});
    let api: Api<Convoy> = Api::namespaced(world.client.clone(), &world.namespace);
    let convoy = serde_json::from_value(convoy).unwrap();
    api.create(&PostParams::default(), &convoy).await.unwrap();
    let text = said(world, &["convoy/release"]).await;
    assert!(text.contains("1 of 2 beads"), "{text}");
    let line = |bead: &str| text.lines().find(|it| it.starts_with(bead)).unwrap_or_default();
    assert!(line("gt-abc12").contains("max") && line("gt-abc12").contains(id), "{text}");
    assert!(line("gt-none").contains(" - "), "{text}");
    let output = gt(world, &["convoy/release", "--html", "none.html"]).await;
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && why.contains("add --jaeger URL"), "{why}");
}

#[tokio::test]
async fn a_run_is_shown_by_its_name_or_commit_from_the_api_or_from_what_speaks_as_jaeger_does() {
    let script = [QUICK[0], ("testbed.gastown.io/message.telemetry", PUSHED)];
    let world = World::with_flags("shown", &script, &[]).await;
    world.create("max", |_| {}).await;
    let id = trace_id(&world.phase("max", "Done").await);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();

    let page = file("run.html");
    let text = said(&world, &["polecat/max", "--html", &page]).await;
    assert!(text.contains(&id), "{text}");
    let html = fs::read_to_string(&page).unwrap();
    for stage in ALL_BUT_HAND_OVER {
        assert!(text.contains(stage) && html.contains(stage), "{stage}: {text}");
    }
    assert!(!html.contains("src=") && !html.contains("href="), "the page needs no other");
    let by_commit = said(&world, &["--commit", &COMMIT[..8]]).await;
    assert_eq!(by_commit, said(&world, &["max"]).await);
    let stranger = gt(&world, &["--commit", "0000000"]).await;
    let why = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(!stranger.status.success() && why.contains("made commit 0000000"), "{why}");

    leads_from_a_convoy(&world, &id).await;

    let (authority, token) = (file("ca.crt"), file("token"));
    fs::write(&token, "open-sesame\n").unwrap();
    let url = jaeger(id, Path::new(&authority)).await;
    let asked = ["max", "--jaeger", &url, "--jaeger-ca", &authority, "--jaeger-token-file", &token];
    let text = said(&world, &[&asked[..], &["--jaeger-tenant", "town"]].concat()).await;
    assert!(text.contains("a span of nobody else's"), "it is what Jaeger has: {text}");
    let refused = gt(&world, &asked).await;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("401"), "another tenant sees nothing: {why}");
}
