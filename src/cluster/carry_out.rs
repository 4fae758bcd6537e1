//! The applier: the one place that writes our objects and their children, for every kind, in one safe order. It has no
//! choice about Gas Town to make.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Resource as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::Request,
};
use serde_json::{Map, Value, json};

use crate::{
    cluster::{
        Class, Cluster, Error, Managed,
        cache::Key,
        wire::{Compact, Watched},
    },
    domain::{
        failure::Cause,
        plan::{Child, Finalizer, Next, Plan, Retire},
        pod_brief::PodBrief,
        refusal,
    },
};

/// How carrying out went.
pub enum Outcome {
    Done(Next),
    /// The API server will not have a child; the object has to say so.
    Refused(Cause),
}

/// What became of a pod that was to be created.
enum Created {
    There,
    Refused(Cause),
    Taken,
}

impl Cluster {
    /// Turns a plan into writes; a plan that is what is there already makes none.
    pub(super) async fn carry_out<K: Managed>(
        &self,
        of: &K,
        plan: Plan<K::Status>,
    ) -> Result<Outcome, Error> {
        // No `..`: a new field in `Plan` must be dealt with here before it compiles.
        let Plan { children, status, notices, finalizer, retire, next } = plan;
        // The intent before anything exists, the end before evidence is destroyed.
        let written = self.write_status(of, &status).await?;
        for child in &children {
            let Child::Pod(pod) = child else { continue };
            match self.create_pod(of.uid(), pod).await? {
                Created::There => {}
                Created::Refused(cause) => return Ok(Outcome::Refused(cause)),
                // Somebody else's pod has the name: the next look sees it beside the intent, and says so.
                Created::Taken => return Ok(Outcome::Done(Next::After(Duration::ZERO))),
            }
        }
        self.prune(of, &children).await?;
        for notice in notices {
            self.announce::<K>(of.place(), of.uid(), &notice).await;
        }
        // Last, so that a failed cleanup is tried again.
        if let Finalizer::Release(name) = finalizer {
            self.release(of, name).await?;
        }
        if retire == Retire::Delete {
            // No other than was judged: whoever changes it meanwhile keeps it, and it is looked at again.
            let version = written.as_deref().unwrap_or_else(|| of.resource_version());
            self.delete::<K>(of, Some(version)).await?;
        }
        Ok(Outcome::Done(next))
    }

    /// Writes what changed of a status, on exactly the version it was computed from. Returns the version that this made, where
    /// something was written.
    async fn write_status<K: Managed>(
        &self,
        of: &K,
        status: &K::Status,
    ) -> Result<Option<String>, Error> {
        if status == of.status() {
            return Ok(None);
        }
        let (namespace, name) = of.place();
        let patch = json!({
            "metadata": {"resourceVersion": of.resource_version(), "uid": of.uid()},
            "status": difference(&json!(of.status()), &json!(status)),
        });
        let built = requests::<K>(namespace).patch_subresource(
            "status",
            name,
            &PatchParams::default(),
            &Patch::Merge(patch),
        );
        let attempt = || format!("write the status of {} {namespace}/{name}", K::CONTROLLER);
        let answer: Watched<K> = self.write(K::CONTROLLER, attempt, built).await?;
        K::count(self, of, status);
        of.written_over(status, self);
        let mut version = None;
        if let Ok(object) = answer.content {
            version = Some(object.resource_version().to_owned());
            K::cache(&self.caches).put(object);
        }
        Ok(version)
    }

    /// Creates a pod unless the cache has it. One of that name that the cache has not is looked at next time.
    async fn create_pod(&self, owner: &str, pod: &Pod) -> Result<Created, Error> {
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        if let Some(there) = self.caches.pods.get(&Key::new(namespace, name)) {
            let ours = there.owner.as_ref().is_some_and(|it| it.is_polecat() && *it.uid == *owner);
            return Ok(if ours { Created::There } else { Created::Taken });
        }
        let attempt = || format!("create pod {namespace}/{name}");
        let body = match serde_json::to_vec(pod) {
            Ok(body) => body,
            Err(source) => return Err(Error::Build { attempt: attempt(), source: source.into() }),
        };
        let built = requests::<PodBrief>(namespace).create(&PostParams::default(), body);
        match self.write::<Watched<PodBrief>>("pods", attempt, built).await {
            Ok(answer) => {
                if let Ok(pod) = answer.content {
                    self.caches.pods.put(pod);
                    self.note_pod(&Key::new(namespace, name));
                }
                Ok(Created::There)
            }
            Err(error) => match (error.class(), error.answer()) {
                (Class::Refused | Class::NotFound, Some((code, words))) => {
                    Ok(Created::Refused(refusal::refused(code, words)))
                }
                (_, Some((code, words))) if refusal::is_of_a_webhook(words) => {
                    Ok(Created::Refused(refusal::refused(code, words)))
                }
                _ => Err(error),
            },
        }
    }

    /// Deletes the pods that an object owns and its plan omits.
    async fn prune<K: Managed>(&self, of: &K, children: &[Child]) -> Result<(), Error> {
        let kept = |pod: &PodBrief| {
            children.iter().any(|child| match child {
                Child::Pod(it) => it.metadata.name.as_deref() == Some(&*pod.name),
                Child::Existing { pod: name } => **name == *pod.name,
            })
        };
        for pod in of.pods(&self.caches) {
            if !pod.deleting && !kept(&pod) {
                self.delete::<PodBrief>(&pod, None).await?;
            }
        }
        Ok(())
    }

    /// Deletes exactly the object that was judged: one of the same name that came after it stays.
    async fn delete<K: Compact>(&self, object: &K, version: Option<&str>) -> Result<(), Error> {
        let (namespace, name) = object.place();
        let preconditions = Preconditions {
            uid: Some(object.uid().into()),
            resource_version: version.map(Into::into),
        };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let built = requests::<K>(namespace).delete(name, &params);
        let kind = K::Kind::kind(&());
        let answer: Result<Value, _> =
            self.write(plural::<K>(), || format!("delete {kind} {namespace}/{name}"), built).await;
        match answer {
            Err(error) if error.class() == Class::NotFound => Ok(()),
            // Another object of that name: gone is gone. One that only changed is looked at again.
            Err(error) if error.class() == Class::Conflict && version.is_none() => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Takes one finalizer away, on exactly the version that was seen.
    async fn release<K: Managed>(&self, of: &K, finalizer: &str) -> Result<(), Error> {
        let (namespace, name) = of.place();
        let attempt =
            || format!("release finalizer {finalizer} of {} {namespace}/{name}", K::CONTROLLER);
        let read: Value = self
            .read(
                K::CONTROLLER,
                attempt,
                requests::<K>(namespace).get(name, &kube::api::GetParams::default()),
            )
            .await?;
        let finalizers = read
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let left: Vec<Value> = finalizers.into_iter().filter(|it| it != finalizer).collect();
        let version = read.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
        let patch =
            json!({"metadata": {"resourceVersion": version, "uid": of.uid(), "finalizers": left}});
        let built =
            requests::<K>(namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch));
        match self.write::<Value>(K::CONTROLLER, attempt, built).await {
            Err(error) if error.class() == Class::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }
}

/// Requests for one kind in one namespace.
pub(super) fn requests<K: Compact>(namespace: &str) -> Request {
    Request::new(K::Kind::url_path(&(), (!namespace.is_empty()).then_some(namespace)))
}

/// The resource's name in metrics: a fixed set, so that no object's name becomes a label.
pub fn plural<K: Compact>() -> &'static str {
    match &*K::Kind::plural(&()) {
        "pods" => "pods",
        "polecats" => "polecats",
        "rigs" => "rigs",
        "namespaces" => "namespaces",
        "resourcequotas" => "resourcequotas",
        "convoys" => "convoys",
        "witnesses" => "witnesses",
        "refineries" => "refineries",
        "beadstores" => "beadstores",
        "clientpods" => "clientpods",
        "customresourcedefinitions" => "customresourcedefinitions",
        _ => "others",
    }
}

/// The top-level fields of a status that changed; null takes one away.
fn difference(old: &Value, new: &Value) -> Value {
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let changed = new
        .iter()
        .filter(|(key, value)| old.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()));
    let gone =
        old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    Value::Object(changed.chain(gone).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Response, StatusCode};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use kube::client::Body;

    use super::*;
    use crate::{
        api::v1beta1::PolecatStatus,
        cluster::{clock::Moment, connect::Connection, meters::Meters, ownership::Ownership},
        domain::{pod_brief::Owner, polecat::Brief, shard::Map},
    };

    /// Polecat `max` as it was seen: version 5. In storage it has another since, and its pod is another one.
    fn seen() -> Brief {
        let status = PolecatStatus { attempt: Some(1), ..PolecatStatus::default() };
        let (namespace, name) = ("town".into(), "max".into());
        Brief {
            namespace,
            name,
            uid: "u".into(),
            resource_version: "5".into(),
            status,
            ..Brief::default()
        }
    }

    /// Its pod as it was seen.
    fn pod() -> PodBrief {
        let owner = Owner { kind: "Polecat".into(), name: "max".into(), uid: "u".into() };
        let (namespace, name) = ("town".into(), "polecat-max".into());
        PodBrief { namespace, name, uid: "old".into(), owner: Some(owner), ..PodBrief::default() }
    }

    /// A pass before an API server that takes whatever does not contradict what it has, and what it has taken.
    fn pass() -> (Cluster, Ownership, Arc<Mutex<Vec<String>>>) {
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = taken.clone();
        let answer = move |request: http::Request<Body>| {
            let kept = kept.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let says = if head.method == Method::DELETE {
                    &body["preconditions"]
                } else {
                    &body["metadata"]
                };
                let stands = |field: &str, is: &str| says[field].is_null() || says[field] == is;
                let uid = if head.uri.path().ends_with("/pods/polecat-max") { "new" } else { "u" };
                let conflict = !stands("uid", uid) || !stands("resourceVersion", "6");
                if !conflict {
                    kept.lock().unwrap().push(format!("{} {} {body}", head.method, head.uri));
                }
                let code = if conflict { 409 } else { 200 };
                let said = json!({"kind": "Status", "status": "Failure", "code": code, "message": "", "reason": "Conflict"});
                let said = if conflict { said } else { json!({"metadata": {"name": "max"}}) };
                let mut answer = Response::new(axum::body::Body::from(said.to_string()));
                *answer.status_mut() = StatusCode::from_u16(code).unwrap();
                answer
            }
        };
        let (meters, ownership) = (Meters::default(), Ownership::new("me"));
        let map = Arc::new(Map::first(1));
        ownership.use_map(map.clone());
        map.active().for_each(|it| ownership.open(it, 1));
        ownership.valid_until(Some(Moment::now() + Duration::from_secs(3600)));
        let connection = Connection::played(answer, &meters);
        (Cluster::new(&connection, ownership.clone(), Arc::default(), meters), ownership, taken)
    }

    #[tokio::test]
    async fn what_has_changed_since_it_was_seen_is_neither_written_nor_deleted() {
        let (cluster, ownership, taken) = pass();
        let entered = ownership.enter(&Key::new("town", "max")).unwrap();
        let cluster = cluster.under(entered.guard());
        let is_conflict =
            |it: Result<Outcome, Error>| it.is_err_and(|it| it.class() == Class::Conflict);

        let status = PolecatStatus { attempt: Some(2), ..PolecatStatus::default() };
        assert!(is_conflict(cluster.carry_out(&seen(), Plan::only(status)).await), "a status");

        let gone = Plan { retire: Retire::Delete, ..Plan::only(seen().status) };
        assert!(is_conflict(cluster.carry_out(&seen(), gone).await), "a Polecat whose time is up");

        cluster.caches.pods.put(pod());
        let done = cluster.carry_out(&seen(), Plan::only(seen().status)).await;
        assert!(
            matches!(done, Ok(Outcome::Done(_))),
            "the pod that was meant is gone, which is well"
        );
        assert_eq!(*taken.lock().unwrap(), [""; 0], "written past what was seen");
    }

    #[tokio::test]
    async fn a_write_that_is_not_made_since_the_leave_had_gone_is_counted() {
        let (cluster, ownership, taken) = pass();
        let entered = ownership.enter(&Key::new("town", "max")).unwrap();
        let cluster = cluster.under(entered.guard());
        ownership.valid_until(Some(Moment::now()));
        let status = PolecatStatus { attempt: Some(2), ..PolecatStatus::default() };
        let done = cluster.carry_out(&seen(), Plan::only(status)).await;
        assert!(done.is_err_and(|it| it.class() == Class::Fenced));
        assert_eq!((cluster.meters.fenced.get(), taken.lock().unwrap().len()), (1, 0));
    }

    /// Under another kind anybody may name our uid: such a pod is not the one that was to be made.
    #[tokio::test]
    async fn a_pod_is_there_only_if_a_polecat_of_that_uid_owns_it() {
        let metadata = ObjectMeta {
            namespace: Some("town".into()),
            name: Some("polecat-max".into()),
            ..ObjectMeta::default()
        };
        let wanted = || Box::new(Pod { metadata: metadata.clone(), ..Pod::default() });
        for (kind, uid, next, because) in [
            ("Polecat", "u", Next::OnChange, "it is there"),
            ("Foo", "u", Next::After(Duration::ZERO), "somebody else's, which the next look tells"),
            ("Polecat", "v", Next::After(Duration::ZERO), "another Polecat's"),
        ] {
            let (cluster, ownership, taken) = pass();
            let entered = ownership.enter(&Key::new("town", "max")).unwrap();
            let cluster = cluster.under(entered.guard());
            let owner = Owner { kind: kind.into(), name: "max".into(), uid: uid.into() };
            cluster.caches.pods.put(PodBrief { owner: Some(owner), ..pod() });
            let plan = Plan { children: vec![Child::Pod(wanted())], ..Plan::only(seen().status) };
            let Ok(Outcome::Done(done)) = cluster.carry_out(&seen(), plan).await else {
                panic!("{because}: it was not carried out");
            };
            assert_eq!(done, next, "{because}");
            assert_eq!(*taken.lock().unwrap(), [""; 0], "{because}: and none is made");
        }
    }

    #[test]
    fn only_what_changed_is_written() {
        let (old, new) =
            (json!({"phase": "Idle", "podName": "a", "x": 1}), json!({"phase": "Working", "x": 1}));
        assert_eq!(difference(&old, &new), json!({"phase": "Working", "podName": null}));
    }
}
