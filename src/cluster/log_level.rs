//! What is asked of the logs of all replicas: an annotation of the map of shards, which each of them watches anyway, so that no
//! other right and no other watch is needed.

use anyhow::{Context as _, bail};
use kube::{Api, api::Patch};
use serde_json::json;

use crate::{
    api::v1beta1::ShardMap,
    cluster::{reading::Reader, shards::wire::MAP},
    domain::names::LOG_LEVEL,
};

/// What the map asks for.
pub fn wish(map: &ShardMap) -> Option<&str> {
    map.metadata.annotations.as_ref()?.get(LOG_LEVEL).map(String::as_str)
}

impl Reader {
    /// The directives that the map asks for.
    pub async fn log_level(&self, namespace: &str) -> anyhow::Result<Option<String>> {
        let maps: Api<ShardMap> = Api::namespaced(self.client.clone(), namespace);
        match maps.get_opt(MAP).await? {
            Some(map) => Ok(wish(&map).map(Into::into)),
            None => bail!(absent(namespace)),
        }
    }

    /// Asks for other directives, or for none. Asks for no right but `patch`.
    pub async fn set_log_level(
        &self,
        namespace: &str,
        directives: Option<&str>,
    ) -> anyhow::Result<()> {
        let maps: Api<ShardMap> = Api::namespaced(self.client.clone(), namespace);
        let patch = Patch::Merge(json!({"metadata": {"annotations": {LOG_LEVEL: directives}}}));
        match self.writer.annotate(&maps, MAP, &patch).await {
            Ok(()) => Ok(()),
            Err(kube::Error::Api(it)) if it.code == 404 => bail!(absent(namespace)),
            Err(kube::Error::Api(it)) => {
                bail!("failed to annotate ShardMap {MAP} with {LOG_LEVEL}: {}", it.message)
            }
            Err(error) => Err(error).with_context(|| format!("failed to annotate ShardMap {MAP}")),
        }
    }
}

fn absent(namespace: &str) -> String {
    format!(
        "there is no ShardMap {MAP} in namespace {namespace}: the operator makes it when it starts; if it runs elsewhere, name \
         its namespace with -n"
    )
}
