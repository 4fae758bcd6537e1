//! The Secret with our certificates and those who are told whom to trust: watched, and written over exactly the version that
//! was read. Any replica may write, whoever owns what: no shard is asked.

mod kept;

use std::fmt;

use futures::{Stream, StreamExt as _, future, stream};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::Secret,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};
use serde_json::{Value, json};

use crate::{
    api::v1beta1::PolecatObject,
    cluster::{
        Error,
        connect::Connection,
        definitions::Definitions,
        their_clock,
        watch_clients::{Seat, Watches},
        writing::Writer,
    },
    domain::{
        certificates::{Book, Canary, consumers::INJECTORS},
        storage::Definition,
    },
};

pub use kept::{Kept, Unusable};

/// An annotation of the Secret: each new value asks for another authority.
pub const WISH: &str = "gastown.io/rotate-certificates";
/// As whom an API server notes what we have written: by how our User-Agent begins.
const MANAGER: &str = "gastown";

/// Where the certificates are kept, and who is told of them.
#[derive(Clone)]
pub struct Vault {
    client: kube::Client,
    writer: Writer,
    watches: Watches,
    definitions: Definitions,
    namespace: String,
    name: String,
}

/// Somebody who is told whom to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    Mutating,
    Validating,
    Definition,
}

impl Sort {
    const fn resource(self) -> &'static str {
        match self {
            Self::Mutating => "mutatingwebhookconfigurations",
            Self::Validating => "validatingwebhookconfigurations",
            Self::Definition => "customresourcedefinitions",
        }
    }
}

/// One of them, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Consumer {
    pub sort: Sort,
    pub name: String,
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.sort, self.name)
    }
}

/// What a watch told.
#[derive(Clone, Debug)]
pub enum News {
    Kept(Box<Kept>),
    /// As it is now; `None` where it is not there.
    Consumer(Consumer, Option<Value>),
}

impl Vault {
    pub fn new(connection: &Connection, namespace: &str, name: &str) -> Self {
        let client = connection.leases.clone();
        let (watches, definitions) = (connection.watches.clone(), connection.definitions.clone());
        let writer = connection.writer("certificates");
        Self {
            client,
            writer,
            watches,
            definitions,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn secrets(&self, client: kube::Client) -> Api<Secret> {
        Api::namespaced(client, &self.namespace)
    }

    fn consumers(sort: Sort, client: kube::Client) -> Api<DynamicObject> {
        let resource = match sort {
            Sort::Mutating => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Sort::Validating => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
            Sort::Definition => ApiResource::erase::<CustomResourceDefinition>(&()),
        };
        Api::all_with(client, &resource)
    }

    /// What is and what changes, from now on.
    pub fn news(
        &self,
        consumers: Vec<Consumer>,
    ) -> impl Stream<Item = News> + Send + Unpin + use<> {
        let seat = self.watches.seat();
        let secrets = self.secrets(seat.client.clone());
        let kept = watched(seat, ("secrets", secrets), &self.name)
            .map(|it| News::Kept(Box::new(it.as_ref().map_or_else(Kept::default, Kept::read))));
        stream::select(kept.boxed(), self.told(consumers))
    }

    /// The same of consumers alone.
    pub fn told(
        &self,
        consumers: Vec<Consumer>,
    ) -> impl Stream<Item = News> + Send + Unpin + use<> {
        let consumers = consumers.into_iter().map(|it| {
            if it.sort == Sort::Definition {
                let heard = self.definitions.of(&it.name);
                let told = heard.map(move |object| object.as_deref().map(said));
                return told.map(move |object| News::Consumer(it.clone(), object)).boxed();
            }
            let seat = self.watches.seat();
            let api = Self::consumers(it.sort, seat.client.clone());
            let stream = watched(seat, (it.sort.resource(), api), &it.name);
            stream
                .map(move |object| News::Consumer(it.clone(), object.as_ref().map(pointed)))
                .boxed()
        });
        stream::select_all(consumers)
    }

    /// The command by which a person deletes the Secret, since no replica may.
    pub fn deletion(&self) -> String {
        format!("kubectl -n {} delete secret {}", self.namespace, self.name)
    }

    /// Writes the book over the version that was read, or makes it where there was none; what is stored then.
    pub async fn keep(&self, over: &Kept, book: &Book) -> Result<Kept, Error> {
        let secret = over.with(book, (&self.namespace, &self.name));
        let (api, params) = (self.secrets(self.client.clone()), PostParams::default());
        let attempt = format!("write Secret {}", self.name);
        let stored = if over.is_there() {
            self.writer.replace(&api, &self.name, &secret).await
        } else {
            self.writer.create(&api, &params, &secret).await
        };
        Ok(Kept::read(&stored.map_err(|it| Error::Api { attempt, source: Box::new(it) })?))
    }

    /// Hears what time it is by the API server's clock, as far as it answers.
    pub async fn hear_the_time(&self) {
        let _ = self.client.apiserver_version().await;
    }

    /// A consumer as it is; `None` where it is not there.
    pub async fn read(&self, consumer: &Consumer) -> Result<Option<Value>, Error> {
        let api = Self::consumers(consumer.sort, self.client.clone());
        let found = api.get_opt(&consumer.name).await;
        let attempt = format!("read {consumer}");
        let found = found.map_err(|it| Error::Api { attempt, source: Box::new(it) })?;
        Ok(found.as_ref().map(pointed))
    }

    /// Puts a consumer right, and returns it; the operations hold for one version of it alone.
    pub async fn tell(&self, consumer: &Consumer, patch: Vec<Value>) -> Result<Value, Error> {
        let api = Self::consumers(consumer.sort, self.client.clone());
        let patch = serde_json::from_value(patch.into()).unwrap_or_default();
        let patch: Patch<Value> = Patch::Json(patch);
        let params = PatchParams::default();
        let attempt = format!("write the bundle into {consumer}");
        let object = self.writer.patch(&api, &consumer.name, (&params, &patch)).await;
        Ok(pointed(&object.map_err(|it| Error::Api { attempt, source: Box::new(it) })?))
    }

    /// Gives up what we own by having written it, so that whoever applies a consumer again meets no conflict with us.
    pub async fn disown(&self, consumer: &Consumer) -> Result<(), Error> {
        let api = Self::consumers(consumer.sort, self.client.clone());
        let attempt = || format!("give up what we own of {consumer}");
        let failed = |it| Error::Api { attempt: attempt(), source: Box::new(it) };
        let Some(object) = api.get_opt(&consumer.name).await.map_err(failed)? else {
            return Ok(());
        };
        let (all, version) = (object.metadata.managed_fields, object.metadata.resource_version);
        let all = all.unwrap_or_default();
        let others: Vec<_> =
            all.iter().filter(|it| it.manager.as_deref() != Some(MANAGER)).collect();
        if others.is_empty() || others.len() == all.len() {
            return Ok(());
        }
        let patch = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/metadata/managedFields", "value": others},
        ]);
        let patch = serde_json::from_value(patch).unwrap_or_default();
        let (params, patch) = (PatchParams::default(), Patch::<Value>::Json(patch));
        self.writer.patch(&api, &consumer.name, (&params, &patch)).await.map_err(failed)?;
        Ok(())
    }

    /// Asks the API server for what it has to ask us for: whether a call of it reaches our webhook.
    pub async fn canary(&self) -> Canary {
        let resource = ApiResource::erase::<PolecatObject>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let spec = json!({"spec": {"rig": "canary", "desiredState": "Idle"}});
        let probe = DynamicObject::new("gastown-operator-canary", &resource).data(spec);
        let params = PostParams { dry_run: true, ..PostParams::default() };
        match self.writer.create(&api, &params, &probe).await {
            Ok(_) => Canary::Passed,
            Err(kube::Error::Api(it)) => Canary::told(&it.message),
            Err(_) => Canary::Untold,
        }
    }
}

/// Seconds since 1970, by which certificates are made and judged: by the clock of API servers, where this node's is another.
pub fn seconds() -> i64 {
    super::now().as_second() + their_clock::ahead()
}

/// One object by name: as it is, and whenever it changes. The place is taken for as long as this is asked. Failures are
/// counted as those of this resource.
pub(super) fn watched<K>(
    seat: Seat,
    (resource, api): (&'static str, Api<K>),
    name: &str,
) -> impl Stream<Item = Option<K>> + Send + use<K>
where
    K: kube::Resource + Clone + fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}")).timeout(120);
    let events = watcher::watcher(api, config).default_backoff();
    let mut fares = seat.fares(resource);
    // A list tells of what is there, and at its end that nothing is.
    let told = events.scan(false, move |found, event| {
        if event.is_ok() {
            fares.works();
        }
        let told = match event {
            Ok(Event::Init) => {
                *found = false;
                None
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                *found = true;
                Some(Some(object))
            }
            Ok(Event::InitDone) => (!*found).then_some(None),
            Ok(Event::Delete(_)) => Some(None),
            Err(error) => {
                fares.failed(&error);
                None
            }
        };
        future::ready(Some(told))
    });
    told.filter_map(move |it| {
        let _ = &seat;
        future::ready(it)
    })
}

/// What says where calls go, between which versions, who else writes there, and the version that says so; a definition's
/// schemas are a hundred times as much.
fn pointed(object: &DynamicObject) -> Value {
    let part = |at: &str| object.data.pointer(at).cloned().unwrap_or_default();
    let versions = object.data.pointer("/spec/versions").and_then(Value::as_array);
    let names = versions.map(|it| it.iter().map(|it| json!({"name": it.get("name")})).collect());
    let annotations = object.metadata.annotations.iter().flatten();
    let injectors: Value = annotations
        .filter(|it| INJECTORS.contains(&it.0.as_str()))
        .map(|(key, text)| (key.clone(), text.clone()))
        .collect();
    json!({
        "metadata": {"resourceVersion": object.metadata.resource_version, "annotations": injectors},
        "spec": {"conversion": part("/spec/conversion"), "versions": names.unwrap_or(Value::Null)},
        "webhooks": part("/webhooks"),
    })
}

/// The same of a definition that was heard of.
fn said(definition: &Definition) -> Value {
    let versions = definition.versions.iter().map(|it| json!({"name": it}));
    json!({
        "metadata": {
            "resourceVersion": definition.resource_version,
            "annotations": definition.injectors,
        },
        "spec": {"conversion": definition.conversion, "versions": versions.collect::<Vec<_>>()},
    })
}
