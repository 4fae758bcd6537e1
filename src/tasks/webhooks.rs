//! The admission server: axum around `admission`. A panic is that request's failure; a review that can't be read gets a
//! plain answer and costs nobody else.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use kube::core::{
    DynamicObject,
    admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation},
    response::{StatusCause, StatusDetails},
};
use serde_json::Value;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use super::{budget::Budget, convert};
use crate::{
    admission::{self, Asked, Policy, Refusal, User, Verdict},
    cluster::Cluster,
    config::Faults,
    domain::tenancy,
    kinds,
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

async fn mutate(
    State(Rules { policy, faults, rigs }): State<Rules>,
    headers: axum::http::HeaderMap,
    body: Bytes,
) -> Response {
    let json =
        headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if !json.starts_with("application/json") {
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send an AdmissionReview as application/json\n",
        )
            .into_response();
    }
    let review: AdmissionReview<DynamicObject> = match serde_json::from_slice(&body) {
        Ok(review) => review,
        Err(_) => {
            return (
                StatusCode::BAD_REQUEST,
                "the body is no AdmissionReview of admission.k8s.io/v1\n",
            )
                .into_response();
        }
    };
    let request: AdmissionRequest<DynamicObject> = match review.try_into() {
        Ok(request) => request,
        Err(_) => {
            return (StatusCode::BAD_REQUEST, "the AdmissionReview has no request\n")
                .into_response();
        }
    };
    faults.strike(&request.name);
    let rig = rigs.of(&request).await;
    axum::Json(answer(&request, policy, rig.said()).into_review()).into_response()
}

/// What admission says of one request.
fn answer(
    request: &AdmissionRequest<DynamicObject>,
    policy: Policy,
    rig: admission::Rig<'_>,
) -> AdmissionResponse {
    let response = AdmissionResponse::from(request);
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    let (Some(kind), Some(object), true) =
        (kinds::find(&request.resource.group, &request.resource.resource), &request.object, writes)
    else {
        return response;
    };
    if object.metadata.deletion_timestamp.is_some() {
        return response;
    }
    let Ok(before) = serde_json::to_value(object) else { return response };
    let name = if request.name.is_empty() {
        object.metadata.name.as_deref().unwrap_or_default()
    } else {
        &request.name
    };
    let stored = request.old_object.as_ref().and_then(|it| serde_json::to_value(it).ok());
    let user = User {
        name: request.user_info.username.as_deref().unwrap_or_default(),
        uid: request.user_info.uid.as_deref().unwrap_or_default(),
        groups: request.user_info.groups.as_deref().unwrap_or_default(),
    };
    let asked = Asked { name, user, policy, sent: &before, stored: stored.as_ref(), rig };
    let Verdict { changed, warnings, refusals } = kinds::admit(kind, &asked);
    let mut response = if refusals.is_empty() {
        changed.map_or_else(|| response.clone(), |after| patched(response.clone(), &before, &after))
    } else {
        refused(response, kind.kind, name, &refusals)
    };
    response.warnings = (!warnings.is_empty()).then_some(warnings);
    response
}

/// 422 with a cause for each field, as the API server answers for its own kinds.
fn refused(
    response: AdmissionResponse,
    kind: &str,
    name: &str,
    refusals: &[Refusal],
) -> AdmissionResponse {
    let lines: Vec<_> = refusals.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
    let mut response = response.deny(format!("{kind} {name:?} is invalid: {}", lines.join("; ")));
    response.result.code = StatusCode::UNPROCESSABLE_ENTITY.as_u16();
    response.result.reason = "Invalid".into();
    let cause = |it: &Refusal| StatusCause {
        reason: "FieldValueInvalid".into(),
        message: it.message.clone(),
        field: it.field.clone(),
    };
    response.result.details = Some(StatusDetails {
        name: name.into(),
        group: String::new(),
        kind: kind.into(),
        uid: String::new(),
        causes: refusals.iter().map(cause).collect(),
        retry_after_seconds: 0,
    });
    response
}

fn patched(response: AdmissionResponse, before: &Value, after: &Value) -> AdmissionResponse {
    let patch = json_patch::diff(before, after);
    match response.clone().with_patch(patch) {
        Ok(patched) => patched,
        Err(_) => response,
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use serde_json::json;
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
        let table = [
            ("{", "application/json", StatusCode::BAD_REQUEST),
            ("{}", "application/json", StatusCode::BAD_REQUEST),
            ("{}", "text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ];
        for (body, content_type, want) in table {
            assert_eq!(post(body, content_type).await.0, want, "{body} as {content_type}");
        }
        let huge = "x".repeat(MAX_BODY + 1);
        assert_eq!(post(huge, "application/json").await.0, StatusCode::PAYLOAD_TOO_LARGE);
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(post(deep, "application/json").await.0, StatusCode::BAD_REQUEST, "deep nesting");
    }
}
