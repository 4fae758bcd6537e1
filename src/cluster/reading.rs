//! Reads for people: whole objects, as the API server serves them, page by page.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api,
    api::ListParams,
    core::{ApiResource, DynamicObject},
};

use crate::{
    api::v1beta1::{Convoy, PolecatObject},
    cluster::{
        Cluster, clock::Moment, connect, meters::Meters, ownership::Ownership, telling,
        writing::Writer,
    },
    domain::{pod_brief::PodBrief, polecat::Pulled, shard::Map},
};

/// Objects of a page; more come page by page.
const PAGE: u32 = 500;

/// More than any command takes.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Under what name a person's program asks.
const WHO: &str = "kubectl-gt";
/// Requests that a command has under way at a time, at most.
const AT_A_TIME: usize = 12;

/// What a person may ask of a cluster.
pub struct Reader {
    pub(super) client: kube::Client,
    /// Writes what a person asks for.
    pub(super) writer: Writer,
    /// Namespace of the kubeconfig's context.
    pub namespace: String,
}

impl Reader {
    /// Connects as the kubeconfig says, or as the pod's service account.
    pub async fn connect(context: Option<String>) -> anyhow::Result<Self> {
        let connection =
            connect::connect(None, context, (WHO, AT_A_TIME), &Meters::default()).await?;
        let writer = connection.writer("in person");
        let client = connection.work;
        let namespace = client.default_namespace().to_owned();
        Ok(Self { client, writer, namespace })
    }

    /// The same, of an API server that a test plays.
    #[cfg(test)]
    pub fn played<F>(
        answer: impl Fn(http::Request<kube::client::Body>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = http::Response<axum::body::Body>> + Send + 'static,
    {
        let connection = connect::Connection::played(answer, &Meters::default());
        let writer = connection.writer("in person");
        Self { client: connection.work, writer, namespace: "town".into() }
    }

    /// The same for what the operator does as well: a person's own right is all the leave that it needs.
    pub fn in_person(&self) -> Cluster {
        let ownership = Ownership::new(WHO);
        let map = Arc::new(Map::first(1));
        ownership.use_map(map.clone());
        map.active().for_each(|it| ownership.open(it, 0));
        ownership.valid_until(Some(Moment::now() + LONGEST));
        let meters = Meters::default();
        Cluster::new((self.client.clone(), &meters), ownership, Arc::default(), meters.clone())
    }

    /// Polecats of one namespace, or of all.
    pub async fn polecats(&self, namespace: Option<&str>) -> anyhow::Result<Vec<DynamicObject>> {
        let api = self.api(namespace);
        let mut params = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = api.list(&params).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|it| !it.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(all),
            }
        }
    }

    /// One Polecat.
    pub async fn polecat(&self, namespace: &str, name: &str) -> anyhow::Result<DynamicObject> {
        Ok(self.api(Some(namespace)).get(name).await?)
    }

    /// One Convoy.
    pub async fn convoy(&self, namespace: &str, name: &str) -> anyhow::Result<Convoy> {
        Ok(Api::namespaced(self.client.clone(), namespace).get(name).await?)
    }

    /// A pod, if it is there.
    pub async fn pod(&self, namespace: &str, name: &str) -> anyhow::Result<Option<PodBrief>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(pods.get_opt(name).await?.as_ref().map(PodBrief::from))
    }

    /// The images that were pulled for a pod, as far as Events say it and may be read.
    pub async fn pulled(&self, pod: &PodBrief) -> Vec<Pulled> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &pod.namespace);
        let of = ListParams::default().fields(&telling::pulls_of(pod)).limit(telling::PULLS);
        let found = events.list(&of).await;
        found.iter().flat_map(|it| &it.items).filter_map(Pulled::read).collect()
    }

    fn api(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<PolecatObject>(&());
        match namespace {
            Some(it) => Api::namespaced_with(self.client.clone(), it, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}
