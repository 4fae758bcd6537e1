//! What a replica asks its own webhooks before it says that it is ready, by the very routes that serve: a Polecat and a pod, each
//! stamped and then judged, as an API server has it done; a pod that no policy lets in; and one object of every kind there and
//! back between its versions. They name nothing that an API server would be asked about, count as nobody's calls, and leave no
//! lines in the log but one that says what went wrong.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tracing::{Dispatch, instrument::WithSubscriber as _};

use super::counting::Own;
use crate::{
    api::GROUP,
    conversion::{PAIRS, Pair, table::Version},
};

/// Of every object, of who asks, and of each call.
const NAME: &str = "rehearsal";
/// How soon it is tried again: others may have held the memory for it.
const AGAIN: Duration = Duration::from_secs(2);
/// Longest answer, in bytes.
const MOST: usize = 1 << 20;

/// Asks until all is answered as it must be. What was not is said once.
pub async fn rehearsed(routes: &Router) {
    let mut said = String::new();
    while let Err(why) = unheard(rehearse(routes)).await {
        if said != why {
            tracing::error!(
                why,
                "Not ready: the webhooks do not answer this replica as they must, so nobody else is told to ask them. It goes on \
                 trying; go back to the release before this one, and report it"
            );
            said = why;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Does something of which neither the log nor a trace tells.
async fn unheard<T>(what: impl Future<Output = T>) -> T {
    let done = what.with_subscriber(Dispatch::none()).await;
    // Each line and span is asked once whether anybody wants it, and those that came by here first heard that nobody does.
    tracing::callsite::rebuild_interest_cache();
    done
}

/// Asks everything once; what was answered otherwise than it must be.
async fn rehearse(routes: &Router) -> Result<(), String> {
    let polecat = json!({"apiVersion": version(Version::V1beta1), "kind": "Polecat", "metadata": {"name": NAME, "namespace": NAME},
        "spec": {"rig": NAME, "limits": {"activeDeadlineSeconds": 1}}}); // no operator allows less
    let resource = json!({"group": GROUP, "version": "v1beta1", "resource": "polecats"});
    let kind = json!({"group": GROUP, "version": "v1beta1", "kind": "Polecat"});
    admitted(routes, ["/mutate", "/validate"], review(&kind, &resource, &polecat)).await?;

    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "namespace": NAME},
        "spec": {"containers": [{"name": NAME, "image": NAME}]}});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let pods = ["/mutate-pods", "/validate-pods"];
    let mut bad = admitted(routes, pods, review(&kind, &resource, &pod)).await?;
    if let Some(spec) = bad.pointer_mut("/request/object/spec") {
        json_patch::merge(spec, &json!({"hostNetwork": true}));
    }
    let [_, judges] = pods;
    let answer = asked(routes, judges, &bad).await?;
    if answer.get("allowed") != Some(&Value::Bool(false)) {
        return Err(format!("{judges} does not refuse a pod in its node's network"));
    }
    converted(routes).await
}

/// Has an object stamped and judged; the review with what became of it.
async fn admitted(
    routes: &Router,
    [stamps, judges]: [&str; 2],
    mut review: Value,
) -> Result<Value, String> {
    let answer = asked(routes, stamps, &review).await?;
    let patch = answer.get("patch").and_then(bytes);
    let patch = patch.and_then(|it| serde_json::from_slice::<json_patch::Patch>(&it).ok());
    let (Some(patch), Some(object)) = (patch, review.pointer_mut("/request/object")) else {
        return Err(format!("{stamps} sets nothing on an object that has nothing"));
    };
    json_patch::patch(object, &patch).map_err(|it| format!("{stamps}: its patch fails: {it}"))?;
    let answer = asked(routes, judges, &review).await?;
    if answer.get("allowed") != Some(&Value::Bool(true)) {
        let status = answer.get("status").unwrap_or(&Value::Null);
        return Err(format!("{judges} refuses what {stamps} made of an object: {status}"));
    }
    Ok(review)
}

/// Bytes as base64, or as a list of numbers; an API server reads both.
fn bytes(it: &Value) -> Option<Vec<u8>> {
    it.as_str().map_or_else(|| Vec::deserialize(it).ok(), |it| STANDARD.decode(it).ok())
}

/// Has an object of every kind with two versions made one of the other, and of that the first again.
async fn converted(routes: &Router) -> Result<(), String> {
    let object = |it: &Pair| {
        let spec = match it.table.kind {
            "Polecat" => json!({"rig": NAME, "repository": {"url": NAME}}),
            _ => json!({}),
        };
        json!({"apiVersion": version(Version::V1beta1), "kind": it.table.kind, "metadata": {"name": NAME}, "spec": spec})
    };
    let hub: Value = PAIRS.iter().map(object).collect();
    let older = in_version(routes, Version::V1alpha1, &hub).await?;
    let moved = "/0/spec/kubernetes/gitRepository"; // of a Polecat, the first kind
    if older.pointer(moved).and_then(Value::as_str) != Some(NAME) {
        return Err("/convert does not take a Polecat's repository to its place".to_owned());
    }
    if in_version(routes, Version::V1beta1, &older).await? != hub {
        return Err("/convert does not bring back what it took to the other version".to_owned());
    }
    Ok(())
}

/// Objects as `/convert` says them in a version.
async fn in_version(routes: &Router, to: Version, objects: &Value) -> Result<Value, String> {
    let review = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": NAME, "desiredAPIVersion": version(to), "objects": objects}});
    let mut answer = asked(routes, "/convert", &review).await?;
    let made = answer.get_mut("convertedObjects").map(Value::take).unwrap_or_default();
    let is_said = |it: &Value| it.get("apiVersion").is_some_and(|it| *it == version(to));
    if made.as_array().is_some_and(|it| it.len() == PAIRS.len() && it.iter().all(is_said)) {
        return Ok(made);
    }
    Err(format!("/convert fails: {}", answer.get("result").unwrap_or(&Value::Null)))
}

fn version(it: Version) -> String {
    format!("{GROUP}/{}", it.name())
}

/// A create that is tried only, so that it belongs to no run.
fn review(kind: &Value, resource: &Value, object: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": NAME, "operation": "CREATE", "dryRun": true, "name": NAME, "namespace": NAME, "userInfo": {"username": NAME},
        "kind": kind, "resource": resource, "object": object,
    }})
}

/// The response to a review.
async fn asked(routes: &Router, path: &str, review: &Value) -> Result<Value, String> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    let request = request.extension(Own).body(Body::from(review.to_string()));
    let request = request.map_err(|it| format!("{path}: {it}"))?;
    let Ok(answer) = routes.clone().oneshot(request).await;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), MOST).await.map_err(|it| format!("{path}: {it}"))?;
    if !status.is_success() {
        return Err(format!("{path} answers {status}: {}", String::from_utf8_lossy(&body).trim()));
    }
    let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let response = answer.get_mut("response").map(Value::take).unwrap_or_default();
    if response.get("uid").and_then(Value::as_str) != Some(NAME) {
        return Err(format!("{path} does not answer the review that it was sent"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use axum::{http::StatusCode, routing::post};

    use super::{super::*, *};
    use crate::{
        admission::pods::{Platform, ours::SWITCHABLE},
        cluster::meters::Call,
        config::ReferenceAccess,
        domain::{
            tenancy::{House, Tenancy},
            tls_policy::TlsPolicy,
        },
    };

    /// As strict as an operator can be told to be, in what decides over a Polecat or a pod.
    fn strict() -> Rules {
        let house = House { tenancy: Tenancy::Strict, tls_policy: TlsPolicy::Fips };
        let policy = Policy {
            max_active_deadline: Some(1),
            house,
            no_agent_image: true,
            ..Policy::default()
        };
        let asking = Asking::new(ReferenceAccess::Enforce);
        let platform = Arc::new(OnceLock::from(Platform::OpenShift));
        let pods =
            pods::Pods { fips: true, platform, server: asking.clone(), ..pods::Pods::default() };
        Rules { policy, asking, pods, ..Rules::default() }
    }

    /// And as lax.
    fn lax() -> Rules {
        let standard = "baseline@1.0".parse().unwrap();
        let pods = pods::Pods { standard, exceptions: SWITCHABLE.to_vec(), ..Default::default() };
        Rules { asking: Asking::new(ReferenceAccess::Off), pods, ..Rules::default() }
    }

    #[tokio::test]
    async fn whatever_the_settings_are_it_passes_and_counts_as_nobodys_calls() {
        for (rules, because) in [(Rules::default(), "usual"), (strict(), "strict"), (lax(), "lax")]
        {
            let meters = rules.meters.clone();
            assert_eq!(rehearse(&routes(rules)).await, Ok(()), "{because}");
            for webhook in crate::cluster::meters::PATHS {
                let call = Call { webhook, code: 200 };
                assert_eq!(meters.calls.get_or_create(&call).get(), 0, "{because}: {webhook}");
            }
        }
    }

    #[tokio::test]
    async fn what_one_webhook_does_wrong_is_found_and_said() {
        let panics = || Rules { faults: "panic-on=rehearsal".parse().unwrap(), ..Rules::default() };
        let told = rehearse(&routes(panics())).await.unwrap_err();
        assert!(told.contains("/mutate answers 500"), "{told}");
        let allowed = json!({"response": {"uid": NAME, "allowed": true}}).to_string();
        let refused = json!({"response": {"uid": NAME, "allowed": false}}).to_string();
        let other = refused.replace(NAME, "other");
        let all = [
            ("/mutate", &allowed, "/mutate sets nothing"),
            ("/validate", &refused, "/validate refuses what /mutate made"),
            ("/mutate-pods", &allowed, "/mutate-pods sets nothing"),
            ("/validate-pods", &allowed, "does not refuse a pod in its node's network"),
            ("/validate-pods", &refused, "/validate-pods refuses what"),
            ("/validate-pods", &other, "does not answer the review"),
            ("/convert", &refused, "/convert fails"),
        ];
        for (path, body, want) in all {
            let answers = {
                let body = body.clone();
                move || async move { body }
            };
            let rest = routes(Rules::default());
            let router = Router::new().route(path, post(answers)).fallback_service(rest);
            let told = rehearse(&router).await.unwrap_err();
            assert!(told.contains(want), "{path} says {body}: {told}");
        }
        let gone = Router::new().fallback(|| async { StatusCode::NOT_FOUND });
        assert!(rehearse(&gone).await.unwrap_err().contains("404"));
    }
}
