//! Every request to the API server is counted where clients are made, whoever sends it: by its method, the resource in its path,
//! and the code that came. Nothing is counted by a code that nobody answered.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response, StatusCode};
use prometheus_client::metrics::{counter::Counter, family::Family};
use tower::{Layer, Service};

use super::meters::{self, Meters};

/// The code of a request that no answer came to, as client-go's metric has it.
pub const NO_ANSWER: &str = "<error>";
/// What is asked for where a path leads to no resource.
const NO_RESOURCE: &str = "other";
/// What follows the name of a namespace and is no resource within it.
const OF_NAMESPACES: [&str; 2] = ["status", "finalize"];

/// Has a client's requests counted.
#[derive(Clone, Debug)]
pub struct Counting(Family<meters::Request, Counter>);

impl Counting {
    /// By these meters.
    pub fn by(meters: &Meters) -> Self {
        Self(meters.requests.clone())
    }
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, by: self.0.clone() }
    }
}

/// A client that is counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    by: Family<meters::Request, Counter>,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: 'static,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let mut asked = Asked {
            by: self.by.clone(),
            method: request.method().as_str().to_owned(),
            resource: resource(request.uri().path()).into_owned(),
            heard: request.extensions().get().cloned(),
            code: None,
        };
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            asked.code = answer.as_ref().ok().map(Response::status);
            drop(asked);
            answer
        }
        .boxed()
    }
}

/// The code that came to a request, for who sent it with this among its extensions.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<AtomicU16>);

impl Heard {
    /// None: no answer has come.
    pub fn code(&self) -> Option<u16> {
        Some(self.0.load(Ordering::Relaxed)).filter(|it| *it > 0)
    }
}

/// A request under way. Whoever waits for it may lose patience, which ends it without an answer.
struct Asked {
    by: Family<meters::Request, Counter>,
    method: String,
    resource: String,
    heard: Option<Heard>,
    code: Option<StatusCode>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let code = self.code.map_or(NO_ANSWER.into(), |it| Cow::Owned(it.as_str().to_owned()));
        if let (Some(heard), Some(code)) = (&self.heard, self.code) {
            heard.0.store(code.as_u16(), Ordering::Relaxed);
        }
        let (method, resource) =
            (std::mem::take(&mut self.method), std::mem::take(&mut self.resource));
        self.by.get_or_create(&meters::Request { code, method, resource }).inc();
    }
}

/// What a path of the API leads to: a resource, and the part of it that is asked for, as roles write them. No name in it.
fn resource(path: &str) -> Cow<'static, str> {
    let mut parts = path.split('/').filter(|it| !it.is_empty());
    match parts.next() {
        Some("api") => parts.next(),
        Some("apis") => parts.nth(1),
        _ => return NO_RESOURCE.into(),
    };
    let all: Vec<_> = parts.take(5).collect();
    let within = match all.as_slice() {
        ["namespaces", _, it, rest @ ..] if !OF_NAMESPACES.contains(it) => Some((*it, rest.get(1))),
        [it, rest @ ..] => Some((*it, rest.get(1))),
        [] => None,
    };
    match within {
        Some((it, Some(part))) => format!("{it}/{part}").into(),
        Some((it, None)) => it.to_owned().into(),
        None => NO_RESOURCE.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http::HeaderValue;
    use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
    use kube::{
        Api,
        api::{DeleteParams, ListParams, PostParams, WatchParams},
        client::Body,
    };
    use serde_json::json;

    use super::*;
    use crate::cluster::{
        request::Built,
        writing::{Allowed, Leave},
    };

    #[test]
    fn a_path_leads_to_a_resource_and_names_nothing() {
        let table = [
            ("/api/v1/pods", "pods", "all of a cluster"),
            ("/api/v1/namespaces/town/pods", "pods", "those of a namespace"),
            ("/api/v1/namespaces/town/pods/max", "pods", "one of them"),
            ("/api/v1/namespaces/town/pods/max/log", "pods/log", "a part of one"),
            (
                "/apis/gastown.gastown.io/v1beta1/namespaces/a/polecats/b/status",
                "polecats/status",
                "a group's",
            ),
            (
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/status",
                "leases",
                "a name that looks like a part",
            ),
            (
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x/status",
                "customresourcedefinitions/status",
                "of no namespace",
            ),
            ("/api/v1/namespaces", "namespaces", "a namespace is one as well"),
            ("/api/v1/namespaces/town", "namespaces", "so is one of a name"),
            ("/api/v1/namespaces/town/status", "namespaces/status", "and has parts"),
            (
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                "selfsubjectaccessreviews",
                "reviews",
            ),
            ("/version", NO_RESOURCE, "no resource"),
            ("/apis/gastown.gastown.io/v1beta1", NO_RESOURCE, "what a group has"),
            ("/apis", NO_RESOURCE, "which groups there are"),
            ("", NO_RESOURCE, "nothing"),
        ];
        for (path, want, because) in table {
            assert_eq!(resource(path), want, "{path}: {because}");
        }
    }

    /// An API server that has no room for watches and Leases, creates what it is asked to, and says nothing to a DELETE.
    fn server(meters: &Meters) -> kube::Client {
        let answer = |request: Request<Body>| async move {
            let busy = request.uri().query().is_some_and(|it| it.contains("watch="))
                || request.uri().path().contains("/leases");
            let (code, body) = match request.method().as_str() {
                "DELETE" => std::future::pending().await,
                _ if busy => (429, json!({"kind": "Status", "status": "Failure", "code": 429})),
                "POST" => (201, json!({"metadata": {"name": "max"}})),
                _ => (200, json!({"items": [], "metadata": {}})),
            };
            let answer =
                Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            Ok::<_, Infallible>(answer.unwrap())
        };
        kube::Client::new(Counting::by(meters).layer(tower::service_fn(answer)), "town")
    }

    fn written(built: Built, heard: &Heard) -> Allowed {
        let agent = HeaderValue::from_static("town");
        let mut allowed = Allowed::writing(built.unwrap(), &Leave::Own(&agent)).unwrap();
        allowed.heard_by(heard);
        allowed
    }

    #[tokio::test]
    async fn every_request_is_counted_by_the_code_that_came_and_one_without_an_answer_by_none() {
        let meters = Meters::default();
        let client = server(&meters);
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let leases: Api<Lease> = Api::default_namespaced(client.clone());
        pods.list(&ListParams::default()).await.unwrap();
        assert!(
            pods.watch(&WatchParams::default(), "0").await.is_ok(),
            "what it says is in the stream"
        );
        assert!(leases.get("session").await.is_err());
        let there = kube::core::Request::new("/api/v1/namespaces/town/pods");
        let heard = Heard::default();
        let created = written(there.create(&PostParams::default(), b"{}".to_vec()), &heard);
        created.send::<Pod>(&client).await.unwrap();
        assert_eq!(heard.code(), Some(201), "who asked hears it as well");
        let silence = Heard::default();
        let gone = written(there.delete("max", &DeleteParams::default()), &silence);
        let late = tokio::time::timeout(Duration::from_millis(10), gone.send::<Pod>(&client)).await;
        assert!(late.is_err() && silence.code().is_none(), "it never answers");

        for (method, resource, code, times) in [
            ("GET", "pods", "200", 1),
            ("GET", "pods", "429", 1),
            ("GET", "leases", "429", 1),
            ("POST", "pods", "201", 1),
            ("POST", "pods", "200", 0),
            ("DELETE", "pods", NO_ANSWER, 1),
            ("DELETE", "pods", "504", 0),
        ] {
            let of = meters::Request {
                code: code.into(),
                method: method.into(),
                resource: resource.into(),
            };
            assert_eq!(meters.requests.get_or_create(&of).get(), times, "{of:?}");
        }
    }
}
