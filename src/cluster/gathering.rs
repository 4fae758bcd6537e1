//! What a report is made of: whole objects, and the ends of logs, as whoever asks may read them.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api,
    api::{ListParams, LogParams},
    core::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};

use crate::cluster::reading::Reader;

/// Objects of a page.
const PAGE: u32 = 500;
/// Longest time for one answer.
const LIMIT: Duration = Duration::from_secs(30);
/// Most bytes of one log.
const MOST: i64 = 4 << 20;

/// A kind, as the API server serves it.
#[derive(Clone, Copy, Debug)]
pub struct Sort<'a> {
    /// Empty for the core.
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub plural: &'a str,
}

/// Which objects; empty: all.
#[derive(Clone, Debug, Default)]
pub struct Which {
    pub namespace: Option<String>,
    pub labels: String,
    pub fields: String,
}

/// Which part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many lines of its end.
    End(i64),
    /// The same of the container before this one.
    Before(i64),
    /// So many bytes of its beginning.
    Beginning(i64),
}

impl Reader {
    /// Objects as JSON, each with its kind; page by page.
    pub async fn gather(&self, sort: Sort<'_>, which: &Which) -> anyhow::Result<Vec<Value>> {
        let Sort { group, version, kind, plural } = sort;
        let api_version =
            if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: api_version.clone(),
            kind: kind.into(),
            plural: plural.into(),
        };
        let api: Api<DynamicObject> = match &which.namespace {
            Some(it) => Api::namespaced_with(self.client.clone(), it, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let mut params = ListParams::default().limit(PAGE);
        if !which.labels.is_empty() {
            params = params.labels(&which.labels);
        }
        if !which.fields.is_empty() {
            params = params.fields(&which.fields);
        }
        let mut all = Vec::new();
        loop {
            let page = within(api.list(&params)).await?;
            for it in page.items {
                let mut object = serde_json::to_value(it)?;
                // What is in a list does not say what it is.
                if let Some(map) = object.as_object_mut() {
                    map.insert("apiVersion".into(), json!(api_version));
                    map.insert("kind".into(), json!(kind));
                }
                all.push(object);
            }
            match page.metadata.continue_.filter(|it| !it.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => return Ok(all),
            }
        }
    }

    /// A part of a container's log.
    pub async fn log(
        &self,
        (namespace, pod, container): (&str, &str, &str),
        part: Part,
    ) -> anyhow::Result<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut params = LogParams {
            container: Some(container.to_owned()),
            limit_bytes: Some(MOST),
            ..LogParams::default()
        };
        match part {
            Part::End(lines) => params.tail_lines = Some(lines),
            Part::Before(lines) => {
                params.tail_lines = Some(lines);
                params.previous = true;
            }
            Part::Beginning(bytes) => params.limit_bytes = Some(bytes),
        }
        within(pods.logs(pod, &params)).await
    }

    /// What the API server says of its version.
    pub async fn version(&self) -> anyhow::Result<Value> {
        let it = within(self.client.apiserver_version()).await?;
        Ok(serde_json::to_value(it)?)
    }

    /// By this machine's clock.
    pub fn now(&self) -> Timestamp {
        super::now()
    }
}

/// The API server's own words, where it answered.
async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
    match tokio::time::timeout(LIMIT, request).await {
        Ok(Ok(it)) => Ok(it),
        Ok(Err(kube::Error::Api(it))) => anyhow::bail!("{} ({})", it.message, it.code),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => anyhow::bail!("no answer in {} s", LIMIT.as_secs()),
    }
}
