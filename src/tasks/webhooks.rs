//! The admission server: axum around `admission`. A panic is that request's failure; a review that can't be read gets a
//! plain answer and costs nobody else.

mod answer;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionReview},
};
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use super::{budget::Budget, convert};
use crate::{
    admission::{self, Policy},
    cluster::Cluster,
    config::Faults,
    domain::tenancy,
    tls::Files,
};

/// Largest review: an object of 1.5 MiB, old and new, with room for escapes.
const MAX_BODY: usize = 7 * 1024 * 1024;
/// Longest time for one review, below the API server's ten seconds.
const LIMIT: Duration = Duration::from_secs(8);
/// Longest time for the one question that admission has for the API server.
const RIG_LIMIT: Duration = Duration::from_secs(1);

/// What every review is judged with. Faults are only ever asked for by a test.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub policy: Policy,
    pub faults: Faults,
    pub rigs: Rigs,
}

/// Whom to ask what a Rig says, on every replica: admission has no caches. Nobody, until there is a connection.
#[derive(Clone, Default)]
pub struct Rigs(Arc<OnceLock<Cluster>>);

impl std::fmt::Debug for Rigs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rigs").field(&self.0.get().is_some()).finish()
    }
}

impl Rigs {
    /// Asks through this connection from now on.
    pub fn ask(&self, cluster: Cluster) {
        drop(self.0.set(cluster));
    }

    /// What the Rig of a request says; where nobody can say it in time, the operator asks again before the pod.
    async fn of(&self, request: &AdmissionRequest<DynamicObject>) -> Found {
        let rig = request.object.as_ref().and_then(|it| it.data.pointer("/spec/rig")?.as_str());
        let (Some(cluster), Some(rig)) = (self.0.get(), rig) else { return Found::Unasked };
        if request.resource.resource != "polecats" || !is_dns_name(rig) {
            return Found::Unasked;
        }
        match tokio::time::timeout(RIG_LIMIT, cluster.rig_rules(rig)).await {
            Ok(Ok(Some(rules))) => Found::There(rules),
            Ok(Ok(None)) => Found::Absent,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Not asking a Rig");
                Found::Unasked
            }
            Err(_) => Found::Unasked,
        }
    }
}

/// What a Rig says, owned.
enum Found {
    Unasked,
    Absent,
    There(tenancy::Rules),
}

impl Found {
    const fn said(&self) -> admission::Rig<'_> {
        match self {
            Self::Unasked => admission::Rig::Unasked,
            Self::Absent => admission::Rig::Absent,
            Self::There(rules) => admission::Rig::There(rules),
        }
    }
}

/// Whether a Rig can have this name; any other text would be another path of the API.
fn is_dns_name(text: &str) -> bool {
    let of_name =
        |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, '-' | '.');
    text.starts_with(|it: char| it.is_ascii_alphanumeric()) && text.chars().all(of_name)
}

/// The routes.
pub fn routes(rules: Rules) -> Router {
    let conversion_faults = rules.faults.clone();
    Router::new()
        .route("/mutate", post(mutate))
        .route("/validate", post(validate))
        .with_state(rules)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, LIMIT))
        .merge(convert::routes(Budget::of_this_process(), conversion_faults))
        .layer(CatchPanicLayer::new())
}

/// Binds and serves until the handle shuts it down.
pub async fn serve(
    address: SocketAddr,
    files: Files,
    handle: Handle<SocketAddr>,
    rules: Rules,
) -> anyhow::Result<()> {
    let live = RustlsConfig::from_config(std::sync::Arc::new(files.load()?));
    let reload = files.serve(live.clone());
    let server = axum_server::bind_rustls(address, live)
        .handle(handle)
        .serve(routes(rules).into_make_service());
    tokio::select! {
        ended = server => Ok(ended?),
        () = reload => Ok(()),
    }
}

async fn mutate(State(rules): State<Rules>, headers: HeaderMap, body: Bytes) -> Response {
    let request = match read(&headers, &body) {
        Ok(request) => request,
        Err(why) => return why.into_response(),
    };
    rules.faults.strike(&request.name);
    axum::Json(answer::stamped(&request, rules.policy).into_review()).into_response()
}

async fn validate(State(rules): State<Rules>, headers: HeaderMap, body: Bytes) -> Response {
    let request = match read(&headers, &body) {
        Ok(request) => request,
        Err(why) => return why.into_response(),
    };
    rules.faults.strike(&request.name);
    let rig = rules.rigs.of(&request).await;
    axum::Json(answer::judged(&request, rules.policy, rig.said()).into_review()).into_response()
}

/// Why there is no request in a body. Nothing of it is repeated.
#[derive(Clone, Copy, Debug)]
enum NoReview {
    OtherType,
    Unreadable,
    NoRequest,
}

impl IntoResponse for NoReview {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::OtherType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send an AdmissionReview as application/json, without a content encoding\n",
            ),
            Self::Unreadable => {
                (StatusCode::BAD_REQUEST, "the body is no AdmissionReview of admission.k8s.io/v1\n")
            }
            Self::NoRequest => {
                (StatusCode::BAD_REQUEST, "the AdmissionReview has no request with a uid\n")
            }
        };
        (status, text).into_response()
    }
}

/// The request of a review.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<AdmissionRequest<DynamicObject>, NoReview> {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if !text(header::CONTENT_TYPE).starts_with("application/json")
        || !text(header::CONTENT_ENCODING).is_empty()
    {
        return Err(NoReview::OtherType);
    }
    let review: AdmissionReview<DynamicObject> =
        serde_json::from_slice(body).map_err(|_| NoReview::Unreadable)?;
    let types = &review.types;
    if types.api_version != "admission.k8s.io/v1" || types.kind != "AdmissionReview" {
        return Err(NoReview::Unreadable);
    }
    let request: AdmissionRequest<DynamicObject> =
        review.try_into().map_err(|_| NoReview::NoRequest)?;
    if request.uid.is_empty() { Err(NoReview::NoRequest) } else { Ok(request) }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;

    async fn post(body: impl Into<Body>, content_type: &str) -> (StatusCode, Vec<u8>) {
        let request = Request::post("/mutate")
            .header("content-type", content_type)
            .body(body.into())
            .unwrap();
        let faults = "panic-on=boom".parse().unwrap();
        let rules = Rules { faults, ..Rules::default() };
        let answer = routes(rules).oneshot(request).await.unwrap();
        let status = answer.status();
        (status, axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec())
    }

    fn review(object: &Value) -> String {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "operation": "CREATE", "name": "max", "namespace": "town", "userInfo": {},
                "kind": {"group": "gastown.gastown.io", "version": "v1alpha1", "kind": "Polecat"},
                "resource": {"group": "gastown.gastown.io", "version": "v1alpha1", "resource": "polecats"},
                "object": object,
            },
        })
        .to_string()
    }

    #[tokio::test]
    async fn a_polecat_is_stamped() {
        let object = json!({"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat",
            "metadata": {"name": "max", "namespace": "town"}, "spec": {"rig": "greeter"}});
        let (status, body) = post(review(&object), "application/json").await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["response"]["uid"]), (StatusCode::OK, &json!("u-1")));
        assert_eq!(body["response"]["allowed"], true);
        assert_eq!(body["response"]["patchType"], "JSONPatch");
    }

    #[tokio::test]
    async fn a_panic_is_that_requests_failure() {
        let object = json!({"apiVersion": "gastown.gastown.io/v1alpha1", "kind": "Polecat", "metadata": {"name": "boom"}});
        let body = review(&object).replace(r#""name":"max""#, r#""name":"boom""#);
        assert_eq!(post(body, "application/json").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn what_is_no_review_is_told_so() {
        let other = review(&json!({})).replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
        let foreign = review(&json!({})).replace("u-1", "");
        let lone = review(&json!({})).replace("u-1", r"\ud800");
        let table = [
            (other.as_str(), "application/json", StatusCode::BAD_REQUEST),
            (&foreign, "application/json", StatusCode::BAD_REQUEST),
            (&lone, "application/json", StatusCode::BAD_REQUEST),
            ("{\"a\":\u{0}1}", "application/json", StatusCode::BAD_REQUEST),
            ("", "application/json", StatusCode::BAD_REQUEST),
            ("{", "application/json", StatusCode::BAD_REQUEST),
            ("{}", "application/json", StatusCode::BAD_REQUEST),
            ("{}", "text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ];
        for (body, content_type, want) in table {
            let got = post(body.to_owned(), content_type).await.0;
            assert_eq!(got, want, "{body} as {content_type}");
        }
        let huge = "x".repeat(MAX_BODY + 1);
        assert_eq!(post(huge, "application/json").await.0, StatusCode::PAYLOAD_TOO_LARGE);
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(post(deep, "application/json").await.0, StatusCode::BAD_REQUEST, "deep nesting");
    }
}
