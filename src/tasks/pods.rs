//! `/validate-pods` and `/mutate-pods`: axum around `admission::pods`. The object is kept as the JSON that was sent.

mod telling;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{self, Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::{
    budget::Budget,
    webhooks::{
        Asking, counting,
        intake::{self, NoReview, in_time},
        telling::{Call, UnderWay},
    },
};
use crate::{
    admission::pods::{
        Platform, Question, RuntimeClasses, Standard, Subject, Tables, Violation, approved,
        door::{self, Answer, Asked},
        lists, unread, unset,
    },
    cluster::spans::Spans,
    domain::{trace::TraceId, untrusted},
};

/// Longest time for a question to the API server.
const LIMIT: Duration = Duration::from_secs(1);
/// The group that only OpenShift serves.
const OPENSHIFT: &str = "security.openshift.io";
const V1: &str = "admission.k8s.io/v1";

/// What pods are held to, and who may call one a Polecat's.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    pub standard: Standard,
    pub exceptions: Vec<&'static str>,
    pub runtime_classes: RuntimeClasses,
    pub operators: Vec<String>,
    /// The operator's own, which every Rig allows.
    pub images: Vec<String>,
    /// Every pod of a Polecat's is held to approved TLS settings.
    pub fips: bool,
    /// As the settings say; else what the API server says first.
    pub platform: Arc<OnceLock<Platform>>,
    pub server: Asking,
    /// Where the admission of pods is told of.
    pub spans: Spans,
}

impl Pods {
    async fn platform(&self) -> Platform {
        if let Some(known) = self.platform.get() {
            return *known;
        }
        let Some(cluster) = self.server.cluster() else { return Platform::default() };
        match tokio::time::timeout(LIMIT, cluster.serves(OPENSHIFT)).await {
            Ok(Ok(is)) => {
                let found = if is { Platform::OpenShift } else { Platform::Kubernetes };
                tracing::info!(platform = ?found, "Found the platform");
                *self.platform.get_or_init(|| found)
            }
            // Asked again with the next pod; until then Pod Security decides, and OpenShift's own admission beside us.
            _ => Platform::default(),
        }
    }

    /// The platform, asked for until it is known.
    pub async fn settled_platform(&self) -> Platform {
        loop {
            let found = self.platform().await;
            if self.platform.get().is_some() {
                return found;
            }
            tokio::time::sleep(LIMIT).await;
        }
    }

    async fn namespace(&self, platform: Platform, name: &str) -> Option<Value> {
        let cluster = self.server.cluster().filter(|_| platform == Platform::OpenShift)?;
        tokio::time::timeout(LIMIT, cluster.namespace(name)).await.ok()?.ok()
    }

    /// Tells of a call, if its run is recorded.
    fn tell(&self, call: UnderWay, request: &Request, reply: Reply) -> Reply {
        let trace = call.tell(&self.spans, telling::about(request, &reply));
        Reply { trace, ..reply }
    }
}

/// The routes, with a part of the memory for what comes in.
pub fn routes(pods: Pods, budget: Arc<Budget>) -> Router {
    Router::new()
        .route("/validate-pods", post(validate))
        .route("/mutate-pods", post(mutate))
        .with_state((pods, budget))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Request,
    response: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: Kind,
    #[serde(default)]
    sub_resource: String,
    operation: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    user_info: User,
    /// Without what no rule looks at.
    #[serde(default, deserialize_with = "unread::object")]
    object: Option<Value>,
    #[serde(default, deserialize_with = "unread::object")]
    old_object: Option<Value>,
}

/// The same, with all that is in the objects.
#[derive(Deserialize)]
struct Whole {
    request: WholeObjects,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WholeObjects {
    object: Option<Value>,
    old_object: Option<Value>,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

impl Request {
    /// The request of a review. `fips`: every pod of a Polecat's is held to approved TLS settings.
    fn read(body: &[u8], fips: bool) -> Result<Self, NoReview> {
        // All of it at once, also what is not taken in.
        let body = std::str::from_utf8(body).map_err(|_| NoReview::Unreadable)?;
        let review: Review = serde_json::from_str(body).map_err(|_| NoReview::Unreadable)?;
        let is = review.api_version == V1 && review.kind == "AdmissionReview";
        // Whoever answers does not ask.
        if !is || review.response.is_some() {
            return Err(NoReview::Unreadable);
        }
        let mut request = review.request;
        if request.uid.is_empty() {
            return Err(NoReview::NoRequest);
        }
        if request.is_held_to_tls(fips) {
            let whole: Whole = serde_json::from_str(body).map_err(|_| NoReview::Unreadable)?;
            (request.object, request.old_object) = (whole.request.object, whole.request.old_object);
        }
        Ok(request)
    }

    /// Whether the pod is one of those that more is asked of than the tables look at.
    fn is_held_to_tls(&self, fips: bool) -> bool {
        [&self.object, &self.old_object].into_iter().flatten().any(|it| {
            let subject = Subject::of(&self.kind.kind, it);
            subject.is_ok_and(|it| it.is_some_and(|it| approved::holds(&it, fips)))
        })
    }

    /// The create or update in it.
    fn asked(&self) -> Option<Asked<'_>> {
        let old = self.old_object.as_ref().filter(|it| !it.is_null());
        let object = self.object.as_ref().filter(|it| !it.is_null())?;
        matches!(self.operation.as_str(), "CREATE" | "UPDATE").then_some(Asked {
            kind: &self.kind.kind,
            subresource: &self.sub_resource,
            user: &self.user_info.username,
            object,
            old,
        })
    }
}

/// What is answered, as the API writes it.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    audit_annotations: BTreeMap<&'static str, String>,
    #[serde(flatten)]
    patch: Option<Patch>,
    /// In which it was told of.
    #[serde(skip)]
    trace: Option<TraceId>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    api_version: &'static str,
    kind: &'static str,
    response: Reply,
}

/// One without the other is an error, and so is an empty one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Patch {
    patch_type: &'static str,
    patch: String,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let (allowed, trace) = (self.allowed, self.trace);
        let review = Answered { api_version: V1, kind: "AdmissionReview", response: self };
        counting::told(allowed, trace, axum::Json(review).into_response())
    }
}

type Shared = State<(Pods, Arc<Budget>)>;
type Called = Result<Query<intake::Asked>, QueryRejection>;

async fn validate(
    State((pods, budget)): Shared,
    called: Called,
    request: extract::Request,
) -> Response {
    in_time(called, async {
        let call = Call::begun("admission validate pod", request.headers());
        let (body, _share) = intake::body(&budget, request, 1).await?;
        let request = Request::read(&body, pods.fips)?;
        let call = call.of(telling::run(&request, &pods.operators), &pods.spans);
        let reply = call.does(judged(&pods, &request)).await;
        Ok(pods.tell(call, &request, reply))
    })
    .await
}

async fn judged(pods: &Pods, request: &Request) -> Reply {
    let Some(asked) = request.asked() else {
        return Reply { uid: request.uid.clone(), allowed: true, ..Reply::default() };
    };
    let platform = pods.platform().await;
    let namespace = pods.namespace(platform, &request.namespace).await;
    let question = Question {
        standard: pods.standard,
        // Without OpenShift its constraints are advice, which is for `kubectl gt check` to give.
        tables: Tables { scc: platform == Platform::OpenShift, ..Tables::ALL },
        platform,
        exceptions: &pods.exceptions,
        runtime_classes: pods.runtime_classes,
        fips: pods.fips,
        namespace: namespace.as_ref(),
    };
    let beyond = beyond(pods, &asked).await;
    let answer = door::answer(&asked, &question, &pods.operators, beyond);
    let Answer { refusal, warnings, audit } = answer;
    let audit_annotations: BTreeMap<_, _> = audit.into_iter().collect();
    if refusal.is_some() {
        tracing::warn!(
            uid = untrusted::fit(&request.uid, 253),
            kind = untrusted::fit(&request.kind.kind, 253),
            namespace = untrusted::fit(&request.namespace, 253),
            name = untrusted::fit(&request.name, 253),
            user = untrusted::fit(&request.user_info.username, 253),
            violations = audit_annotations.get("violations").map(String::as_str),
            "Refused a pod"
        );
    }
    let allowed = refusal.is_none();
    let status = refusal.map(|it| json!({"code": 403, "reason": "Forbidden", "message": it}));
    let uid = request.uid.clone();
    Reply { uid, allowed, status, warnings, audit_annotations, ..Reply::default() }
}

/// What a change brings into a Polecat's pod that its Rig does not allow. The Rig is asked where there is such a thing alone.
async fn beyond(pods: &Pods, asked: &Asked<'_>) -> Vec<Violation> {
    let Some(brought) = lists::brought(asked, &pods.operators, &pods.images) else {
        return Vec::new();
    };
    brought.violations(pods.server.rules(brought.rig).await.said())
}

async fn mutate(
    State((pods, budget)): Shared,
    called: Called,
    request: extract::Request,
) -> Response {
    in_time(called, async {
        let call = Call::begun("admission mutate pod", request.headers());
        let (body, _share) = intake::body(&budget, request, 1).await?;
        let request = Request::read(&body, pods.fips)?;
        let call = call.of(telling::run(&request, &pods.operators), &pods.spans);
        let reply = stamped(&request, pods.fips);
        Ok(pods.tell(call, &request, reply))
    })
    .await
}

fn stamped(request: &Request, fips: bool) -> Reply {
    let operations = request.asked().map(|it| unset::patch(&it, fips)).unwrap_or_default();
    let patch = (!operations.is_empty()).then(|| Patch {
        patch_type: "JSONPatch",
        patch: STANDARD.encode(Value::from(operations).to_string()),
    });
    Reply { uid: request.uid.clone(), allowed: true, patch, ..Reply::default() }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{self, StatusCode},
    };
    use tower::ServiceExt as _;

    use super::*;
    use crate::domain::{
        names,
        trace::{Context, Sampler, attributes},
    };

    fn review(object: &Value, operation: &str) -> Value {
        json!({"apiVersion": V1, "kind": "AdmissionReview", "request": {
            "uid": "u-1", "operation": operation, "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "name": "max", "namespace": "town", "userInfo": {"username": "ada"}, "object": object,
        }})
    }

    async fn post(path: &str, body: String, kind: &str) -> (StatusCode, Value) {
        let request =
            http::Request::post(path).header("content-type", kind).body(Body::from(body)).unwrap();
        let routes = routes(Pods::default(), Budget::of_this_process());
        let answer = routes.oneshot(request).await.unwrap();
        let status = answer.status();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    fn bare() -> Value {
        json!({"metadata": {"name": "max"}, "spec": {"containers": [{"name": "a", "image": "i"}]}})
    }

    #[tokio::test]
    async fn a_pod_is_refused_with_a_code_a_reason_and_words() {
        let (_, body) =
            post("/validate-pods", review(&bare(), "CREATE").to_string(), "application/json").await;
        let response = &body["response"];
        assert_eq!((&response["uid"], &response["allowed"]), (&json!("u-1"), &json!(false)));
        assert_eq!(
            (&response["status"]["code"], &response["status"]["reason"]),
            (&json!(403), &json!("Forbidden"))
        );
        assert_eq!(response["auditAnnotations"]["policy"], "restricted v1.37");
        let mut unknown = bare();
        unknown["spec"]["containers"][0]["securityContext"] = json!({"invented": 1});
        let (_, body) =
            post("/validate-pods", review(&unknown, "CREATE").to_string(), "application/json")
                .await;
        let text = body["response"]["status"]["message"].as_str().unwrap();
        assert!(text.contains("spec.containers[0].securityContext"), "{text}");
        assert!(
            body["response"]["auditAnnotations"]["violations"]
                .as_str()
                .unwrap()
                .contains("ours.unknownFields")
        );
    }

    /// What is told of a pod that this user asks for, under the name of this operation.
    async fn told(user: &str, operation: &str) -> Vec<crate::domain::trace::Span> {
        let of = ("operator-0", "nonce");
        let (spans, mut queue) =
            Spans::new(9, Sampler::default(), of, crate::cluster::meters::Meters::default());
        let pods = Pods { operators: vec!["operator".into()], spans, ..Pods::default() };
        let mut pod = bare();
        pod["metadata"]["annotations"] = json!({names::TRACEPARENT: PLACE});
        let mut body = review(&pod, operation);
        body["request"]["userInfo"]["username"] = json!(user);
        for path in ["/mutate-pods", "/validate-pods"] {
            let request = http::Request::post(path).header("content-type", "application/json");
            let request = request.body(Body::from(body.to_string())).unwrap();
            let routes = routes(pods.clone(), Budget::of_this_process());
            assert_eq!(routes.oneshot(request).await.unwrap().status(), StatusCode::OK);
        }
        let told = std::iter::from_fn(|| queue.try_recv().ok());
        told.flat_map(crate::cluster::spans::Telling::spans).collect()
    }

    const PLACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[tokio::test]
    async fn the_admission_of_a_polecats_pod_is_in_its_runs_trace_and_no_other_ones_is() {
        let all = told("operator", "CREATE").await;
        let [mutate, validate] = &all[..] else { panic!("{all:?}") };
        let place = Context::parse(PLACE).unwrap();
        for it in [mutate, validate] {
            assert_eq!((it.trace, it.parent), (place.trace, Some(place.span)));
        }
        assert_eq!((&*mutate.name, mutate.failed), ("admission mutate pod", None));
        assert!(validate.failed.is_some(), "it is refused: {validate:?}");
        let broken = validate.attributes.iter().find(|it| it.0 == attributes::BROKEN).unwrap();
        assert!(
            format!("{:?}", broken.1).contains("allowPrivilegeEscalation"),
            "by these rules: {broken:?}"
        );
        assert_eq!(told("ada", "CREATE").await, [], "who asks for pods beside us names no trace");
        assert_eq!(told("operator", "UPDATE").await, [], "a change is no news of the run");
    }

    #[tokio::test]
    async fn a_pod_that_lacks_something_gets_it_and_then_nothing_more() {
        let (_, body) =
            post("/mutate-pods", review(&bare(), "CREATE").to_string(), "application/json").await;
        assert_eq!(body["response"]["patchType"], "JSONPatch");
        let (_, body) =
            post("/mutate-pods", review(&bare(), "DELETE").to_string(), "application/json").await;
        assert_eq!(
            (body["response"].get("patch"), body["response"].get("patchType")),
            (None, None)
        );
    }

    #[tokio::test]
    async fn what_is_no_review_is_told_so() {
        let fine = review(&bare(), "CREATE");
        let mut foreign = fine.clone();
        foreign["apiVersion"] = json!("admission.k8s.io/v1beta1");
        let mut nameless = fine.clone();
        nameless["request"]["uid"] = json!("");
        for path in ["/validate-pods", "/mutate-pods"] {
            for (body, kind, want, because) in [
                ("{".to_owned(), "application/json", StatusCode::BAD_REQUEST, "cut short"),
                (String::new(), "application/json", StatusCode::BAD_REQUEST, "empty"),
                ("[".repeat(10_000), "application/json", StatusCode::BAD_REQUEST, "a depth bomb"),
                (
                    foreign.to_string(),
                    "application/json",
                    StatusCode::BAD_REQUEST,
                    "another version",
                ),
                (nameless.to_string(), "application/json", StatusCode::BAD_REQUEST, "no uid"),
                (
                    fine.to_string(),
                    "text/plain",
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "another type",
                ),
                (fine.to_string(), "application/json", StatusCode::OK, "a review"),
            ] {
                assert_eq!(post(path, body, kind).await.0, want, "{path}: {because}");
            }
        }
        let gone = review(&Value::Null, "DELETE").to_string();
        assert_eq!(
            post("/validate-pods", gone, "application/json").await.1["response"]["allowed"],
            true
        );
    }
}
