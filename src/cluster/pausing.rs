//! The one write that the plugin makes for a pause: an annotation, and nothing beside it.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::Patch,
    core::{ApiResource, DynamicObject},
};
use serde_json::json;

use crate::{api::v1beta1::Rig, cluster::reading::Reader, domain::names};

/// What can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pausable {
    Namespace,
    Rig,
}

impl Reader {
    /// Pauses a Namespace or a Rig, or lifts that. Asks for no right but `patch`.
    pub async fn pause(&self, what: Pausable, name: &str, paused: bool) -> anyhow::Result<()> {
        let (kind, resource) = match what {
            Pausable::Namespace => ("namespace", ApiResource::erase::<Namespace>(&())),
            Pausable::Rig => ("rig", ApiResource::erase::<Rig>(&())),
        };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let value = paused.then_some("true");
        let patch = Patch::Merge(json!({"metadata": {"annotations": {names::PAUSED: value}}}));
        match self.writer.annotate(&api, name, &patch).await {
            Ok(()) => Ok(()),
            // The API server's words alone: they say it all, and the chain would say them twice.
            Err(kube::Error::Api(it)) => {
                bail!("failed to annotate {kind} {name} with {}: {}", names::PAUSED, it.message)
            }
            Err(error) => Err(error).with_context(|| format!("failed to annotate {kind} {name}")),
        }
    }
}
