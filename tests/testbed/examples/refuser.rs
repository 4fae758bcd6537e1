//! A stand-in for an operator, or for somebody else's webhooks: serves health, metrics, a webhook that refuses everything
//! in its own name, and one that loosens a pod's first container.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use axum::{
    Router,
    http::header::CONTENT_TYPE,
    response::IntoResponse,
    routing::{get, post},
};
use axum_server::tls_rustls::RustlsConfig;
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let flag = |name: &str| {
        let prefix = format!("--{name}=");
        std::env::args().find_map(|it| it.strip_prefix(&prefix).map(str::to_owned))
    };
    let address = |name: &str| -> Result<SocketAddr> {
        flag(name)
            .context(format!("--{name} is missing"))?
            .parse()
            .context(format!("--{name} is no address"))
    };
    if let Some(code) = flag("exit") {
        eprintln!("asked to end with {code}");
        std::process::exit(code.parse()?);
    }
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let folder = flag("webhook-cert-path").context("--webhook-cert-path is missing")?;
    let tls = RustlsConfig::from_pem_file(format!("{folder}/tls.crt"), format!("{folder}/tls.key"))
        .await?;
    let webhooks = Router::new().route("/refuse", post(refuse)).route("/loosen", post(loosen));
    let webhooks = axum_server::bind_rustls(address("webhook-bind-address")?, tls)
        .serve(webhooks.into_make_service());
    let health = Router::new()
        .route("/readyz", get(|| async { "ok" }))
        .route("/livez", get(|| async { "ok" }));
    let health =
        axum_server::bind(address("health-probe-bind-address")?).serve(health.into_make_service());
    let metrics = Router::new().route("/metrics", get(|| async { "up 1\n" }));
    let metrics =
        axum_server::bind(address("metrics-bind-address")?).serve(metrics.into_make_service());
    tokio::try_join!(webhooks, health, metrics).map(drop).context("a server ended")
}

async fn refuse(body: String) -> impl IntoResponse {
    let name = std::env::var_os("POD_NAME").unwrap_or_default();
    let name = name.to_string_lossy();
    let status = json!({ "code": 403, "message": format!("refused by {name}") });
    answer(&body, json!({ "allowed": false, "status": status }))
}

/// What no pod that keeps to the Pod Security level `restricted` may have.
async fn loosen(body: String) -> impl IntoResponse {
    let field = "/spec/containers/0/securityContext/allowPrivilegeEscalation";
    let steps = json!([{ "op": "add", "path": field, "value": true }]).to_string();
    let encoded = k8s_openapi::ByteString(steps.into_bytes());
    answer(&body, json!({ "allowed": true, "patchType": "JSONPatch", "patch": encoded }))
}

fn answer(body: &str, mut response: Value) -> impl IntoResponse + use<> {
    let review: Value = serde_json::from_str(body).unwrap_or_default();
    let of = |pointer: &str| review.pointer(pointer).cloned().unwrap_or_default();
    if let Some(parts) = response.as_object_mut() {
        parts.insert("uid".to_owned(), of("/request/uid"));
    }
    let answer = json!({
        "apiVersion": of("/apiVersion"),
        "kind": of("/kind"),
        "response": response,
    });
    ([(CONTENT_TYPE, "application/json")], answer.to_string())
}
