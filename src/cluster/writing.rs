//! What every write passes before it is sent, whoever asks for it: the leave to write, and the name under which it is
//! written. `.clippy.toml` refuses any other way to ask the API server for a change.

use std::{fmt::Debug, time::Duration};

use http::{HeaderValue, header::USER_AGENT};
use kube::{
    Api, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    client::Body,
    core::Request,
};
use serde::{Serialize, de::DeserializeOwned, de::IgnoredAny};
use tower::{Layer as _, util::MapRequestLayer};

use super::{
    counted::Heard,
    guard::{Guard, Lapsed, user_agent},
    ownership::Writing,
    request::Built,
};

/// Longest time that one request may take.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// By what leave a write is made.
pub(super) enum Leave<'a> {
    /// That of a pass: as long as its guard holds.
    Pass(&'a Guard),
    /// The same for what tells of what the pass has done and may be there twice: also when its shard is being given away.
    Told(&'a Guard),
    /// That of any replica, or of a person: for what belongs to no shard, and is written over exactly what was seen, or may be
    /// there twice.
    Own(&'a HeaderValue),
}

/// A request that may be sent: whoever asks for a change has leave to, and is named in it.
pub(super) struct Allowed {
    request: http::Request<Vec<u8>>,
    /// Longest time that it may take.
    pub(super) left: Duration,
    /// Until it was answered, its shard is not given away.
    writing: Option<Writing>,
}

impl Allowed {
    /// The one function that every write passes: asks for the leave, and says in the request who writes.
    pub(super) fn writing(
        mut request: http::Request<Vec<u8>>,
        leave: &Leave<'_>,
    ) -> Result<Self, Lapsed> {
        let (agent, left, writing) = match leave {
            Leave::Pass(guard) | Leave::Told(guard) => match (guard.check(), leave) {
                (Ok(it), _) => (it.user_agent, it.left, Some(it.writing)),
                (Err(Lapsed::GivenAway), Leave::Told(_)) => (guard.late()?, LIMIT, None),
                (Err(lapsed), _) => return Err(lapsed),
            },
            Leave::Own(agent) => ((*agent).clone(), LIMIT, None),
        };
        request.headers_mut().insert(USER_AGENT, agent);
        Ok(Self { request, left: left.min(LIMIT), writing })
    }

    /// A request that asks for no change; one that does is given back.
    pub(super) fn reading(
        request: http::Request<Vec<u8>>,
    ) -> Result<Self, Box<http::Request<Vec<u8>>>> {
        if changes(&request) {
            return Err(Box::new(request));
        }
        Ok(Self { request, left: LIMIT, writing: None })
    }

    pub(super) fn method(&self) -> &http::Method {
        self.request.method()
    }

    /// Says in which trace it is.
    pub(super) fn trace(&mut self, name: &'static str, value: HeaderValue) {
        self.request.headers_mut().insert(name, value);
    }

    /// Has the code of the answer told here.
    pub(super) fn heard_by(&mut self, heard: &Heard) {
        self.request.extensions_mut().insert(heard.clone());
    }

    /// Sends it. The caller sees to it that this takes no longer than it may.
    #[expect(clippy::disallowed_methods, reason = "only here is the API server asked by hand")]
    pub(super) async fn send<T: DeserializeOwned>(self, by: &kube::Client) -> kube::Result<T> {
        let Self { request, writing, .. } = self;
        let answer = by.request(request).await;
        drop(writing);
        answer
    }
}

/// Whether a request asks for a change. A review is created to be answered, and stored nowhere; nor is what is tried.
fn changes(request: &http::Request<Vec<u8>>) -> bool {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let stores_nothing = match *request.method() {
        http::Method::GET => true,
        http::Method::POST if is_review(path) => true,
        _ => query.split('&').any(|it| it == "dryRun=All"),
    };
    !stores_nothing
}

/// Whether what is posted to a path is a review: one of Kubernetes' own, or OpenShift's of a pod. The group of that one also has
/// what is stored.
fn is_review(path: &str) -> bool {
    let groups = ["/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/"];
    let of_pods = path.starts_with("/apis/security.openshift.io/v1/namespaces/")
        && path.ends_with("/podsecuritypolicysubjectreviews");
    of_pods || groups.iter().any(|it| path.starts_with(it))
}

/// Has a client's requests that bring no other User-Agent say this one.
pub(super) fn name(
    agent: HeaderValue,
) -> MapRequestLayer<impl Fn(http::Request<Body>) -> http::Request<Body> + Clone> {
    MapRequestLayer::new(move |mut request: http::Request<Body>| {
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| agent.clone());
        request
    })
}

/// Writes what belongs to no shard: Leases, the map of shards, certificates, policies, Events about them, and what a person
/// asks for. The caller bounds how long a write may take where [`LIMIT`] is too long for it.
#[derive(Clone)]
pub struct Writer {
    client: kube::Client,
    agent: HeaderValue,
}

impl Writer {
    /// `who` writes by this client, about this.
    pub(super) fn new(client: kube::Client, who: &str, about: &str) -> Self {
        Self { client, agent: user_agent(who, format_args!("{about}")) }
    }

    /// A client under this writer's name, for what another crate writes.
    #[expect(clippy::disallowed_methods, reason = "what is sent here was built elsewhere")]
    pub(super) fn client(&self) -> kube::Client {
        let by = self.client.clone();
        let send = tower::service_fn(move |request: http::Request<Body>| {
            let by = by.clone();
            async move { by.send(request).await }
        });
        let named = name(self.agent.clone()).layer(send);
        kube::Client::new(named, self.client.default_namespace())
    }

    /// Creates an object where `to` leads.
    pub(super) async fn create<K: Resource + Serialize + DeserializeOwned>(
        &self,
        to: &Api<K>,
        params: &PostParams,
        object: &K,
    ) -> kube::Result<K> {
        self.write(there(to).create(params, body(object)?)).await
    }

    /// Replaces an object of this name, by the version that it carries.
    pub(super) async fn replace<K: Resource + Serialize + DeserializeOwned>(
        &self,
        to: &Api<K>,
        name: &str,
        object: &K,
    ) -> kube::Result<K> {
        self.write(there(to).replace(name, &PostParams::default(), body(object)?)).await
    }

    /// The same of its status.
    pub(super) async fn replace_status<K: Resource + Serialize + DeserializeOwned>(
        &self,
        to: &Api<K>,
        name: &str,
        object: &K,
    ) -> kube::Result<K> {
        let (there, params) = (there(to), PostParams::default());
        self.write(there.replace_subresource("status", name, &params, body(object)?)).await
    }

    /// Patches an object, and returns what is stored then.
    pub(super) async fn patch<K: Resource + DeserializeOwned, P: Serialize + Debug>(
        &self,
        to: &Api<K>,
        name: &str,
        (params, patch): (&PatchParams, &Patch<P>),
    ) -> kube::Result<K> {
        self.write(there(to).patch(name, params, patch)).await
    }

    /// Patches an object of which no more than the metadata is sent back, and nothing kept.
    pub(super) async fn annotate<K: Resource, P: Serialize + Debug>(
        &self,
        to: &Api<K>,
        name: &str,
        patch: &Patch<P>,
    ) -> kube::Result<()> {
        let built = there(to).patch_metadata(name, &PatchParams::default(), patch);
        self.write::<IgnoredAny>(built).await.map(drop)
    }

    /// Deletes an object.
    pub(super) async fn delete<K: Resource>(
        &self,
        to: &Api<K>,
        name: &str,
        params: &DeleteParams,
    ) -> kube::Result<()> {
        self.write::<IgnoredAny>(there(to).delete(name, params)).await.map(drop)
    }

    /// Any other request, as it was built.
    pub(super) async fn write<T: DeserializeOwned>(&self, built: Built) -> kube::Result<T> {
        let request = built.map_err(kube::Error::BuildRequest)?;
        let allowed = Allowed::writing(request, &Leave::Own(&self.agent))
            .map_err(|it| kube::Error::Service(it.into()))?;
        match tokio::time::timeout(allowed.left, allowed.send(&self.client)).await {
            Ok(answer) => answer,
            Err(late) => Err(kube::Error::Service(late.into())),
        }
    }
}

fn there<K: Resource>(to: &Api<K>) -> Request {
    Request::new(to.resource_url())
}

fn body<K: Serialize>(object: &K) -> kube::Result<Vec<u8>> {
    serde_json::to_vec(object).map_err(kube::Error::SerdeError)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        cluster::{cache::Key, clock::Moment, ownership::Ownership},
        domain::shard::Map,
    };

    #[test]
    fn what_asks_for_a_change_is_no_reading() {
        let request = |line: &str| {
            let (method, uri) = line.split_once(' ').unwrap();
            http::Request::builder().method(method).uri(uri).body(Vec::new()).unwrap()
        };
        let table = [
            ("GET /api/v1/pods?watch=true", true, "it only looks"),
            ("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", true, "it is answered"),
            ("POST /apis/authentication.k8s.io/v1/tokenreviews", true, "the same"),
            (
                "POST /apis/security.openshift.io/v1/namespaces/town/podsecuritypolicysubjectreviews",
                true,
                "OpenShift's, of a pod",
            ),
            (
                "POST /apis/security.openshift.io/v1/securitycontextconstraints",
                false,
                "of the same group, and stored",
            ),
            ("PATCH /api/v1/namespaces/town?dryRun=All&force=true", true, "it is only tried"),
            ("POST /api/v1/namespaces/town/events", false, "an Event stays"),
            ("POST /api/v1/namespaces/town/events?dryRun=", false, "so does this one"),
            ("PUT /apis/authorization.k8s.io/v1/x", false, "no review is replaced"),
            (
                "PATCH /api/v1/namespaces/town?name=dryRun=All",
                false,
                "that is said of something else",
            ),
            ("DELETE /api/v1/namespaces/town/pods/max", false, "it is gone then"),
        ];
        for (line, reads, because) in table {
            assert_eq!(Allowed::reading(request(line)).is_ok(), reads, "{line}: {because}");
        }
    }

    #[test]
    fn a_pass_without_leave_writes_nothing_and_who_needs_none_is_named() {
        let request = || http::Request::delete("/x").body(Vec::new()).unwrap();
        let lapsed = Guard::default();
        assert!(Allowed::writing(request(), &Leave::Pass(&lapsed)).is_err());
        let agent = user_agent("op-0", format_args!("certificates"));
        let allowed = Allowed::writing(request(), &Leave::Own(&agent)).unwrap();
        let named = allowed.request.headers()[USER_AGENT].to_str().unwrap();
        assert!(named.ends_with(" (op-0; certificates)"), "{named}");
    }

    #[tokio::test]
    async fn what_a_pass_has_done_is_told_also_while_its_shard_is_given_away() {
        let (ownership, map) = (Ownership::new("op-0"), Arc::new(Map::first(1)));
        ownership.use_map(map.clone());
        map.active().for_each(|it| ownership.open(it, 1));
        ownership.valid_until(Some(Moment::now() + Duration::from_secs(3600)));
        let entered = ownership.enter(&Key::new("town", "max")).unwrap();
        let guard = entered.guard();
        let ask = |leave: Leave<'_>| {
            let request = http::Request::post("/x").body(Vec::new()).unwrap();
            Allowed::writing(request, &leave)
        };
        assert!(ask(Leave::Pass(&guard)).is_ok() && ask(Leave::Told(&guard)).is_ok());
        ownership.close(entered.shard()).await;
        assert_eq!(ask(Leave::Pass(&guard)).err(), Some(Lapsed::GivenAway));
        let told = ask(Leave::Told(&guard)).unwrap();
        let agent = told.request.headers()[USER_AGENT].to_str().unwrap();
        assert!(agent.ends_with("(op-0; told late)"), "under no epoch: {agent}");
        ownership.valid_until(None);
        assert_eq!(ask(Leave::Told(&guard)).err(), Some(Lapsed::Session), "nor without a session");
    }
}
