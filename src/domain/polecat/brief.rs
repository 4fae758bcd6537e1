//! What is kept of a Polecat in the cache.

use k8s_openapi::jiff::Timestamp;

use super::{
    Origin,
    spec_changed::{self, Drift},
};
use crate::{
    api::{
        text::{Text, Texts},
        v1beta1::{self, Completion, DesiredState, PolecatStatus},
    },
    domain::{lent::Credential, names, shard::bucket, tenancy::Wishes, trace},
};

/// What is kept of a Polecat: enough to decide, without its task, its pod settings and its managed fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Brief {
    pub namespace: Text,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub generation: Option<i64>,
    /// The bucket that its label names.
    pub bucket: Option<u16>,
    pub created_at: Option<Timestamp>,
    pub deleting: bool,
    /// The Go original's finalizer is still on it.
    pub original_finalizer: bool,
    pub rig: Text,
    /// What it asks for that its Rig has a say in.
    pub wishes: Wishes,
    pub credential: Option<Credential>,
    pub desired: DesiredState,
    /// There is a repository, so there is something to run.
    pub runnable: bool,
    pub ttl_after_finished: Option<i32>,
    pub max_idle: Option<i32>,
    pub completion: Completion,
    pub drift: Drift,
    pub origin: Origin,
    /// The trace that admission stamped for its run.
    pub context: Option<trace::Context>,
    pub status: PolecatStatus,
}

impl From<&v1beta1::Polecat> for Brief {
    fn from(polecat: &v1beta1::Polecat) -> Self {
        let meta = &polecat.metadata;
        let boxed = |it: &Option<String>| it.as_deref().unwrap_or_default().into();
        let drift = spec_changed::drift(polecat);
        Self {
            namespace: meta.namespace.as_deref().unwrap_or_default().into(),
            name: boxed(&meta.name),
            uid: boxed(&meta.uid),
            resource_version: boxed(&meta.resource_version),
            generation: meta.generation,
            bucket: bucket::of_labels(meta.labels.as_ref()),
            created_at: meta.creation_timestamp.as_ref().map(|it| it.0),
            deleting: meta.deletion_timestamp.is_some(),
            original_finalizer: meta
                .finalizers
                .iter()
                .flatten()
                .any(|it| it == names::ORIGINAL_FINALIZER),
            rig: polecat.spec.rig.as_str().into(),
            wishes: Wishes::of(&polecat.spec),
            credential: Credential::of(polecat, drift),
            desired: polecat.spec.desired_state,
            runnable: polecat.spec.repository.is_some(),
            ttl_after_finished: polecat.spec.limits.ttl_seconds_after_finished,
            max_idle: polecat.spec.limits.max_idle_seconds,
            completion: polecat.spec.completion,
            drift,
            origin: Origin::of(meta),
            context: trace::Context::of_annotations(meta.annotations.as_ref()),
            status: polecat.status.clone(),
        }
    }
}

impl Brief {
    /// What was judged by an earlier look holds for this one too: neither what is wanted, nor what has come of it, is another. By
    /// the generation this holds of everything that an agent gets.
    pub fn is_judged_as(&self, earlier: &Self) -> bool {
        let wanted = |it: &Self| (it.generation, it.desired, it.deleting);
        wanted(self) == wanted(earlier)
            && (&self.rig, &self.wishes) == (&earlier.rig, &earlier.wishes)
            && (&self.origin, &self.status) == (&earlier.origin, &earlier.status)
    }

    /// Has what many have in common but once.
    pub fn share(&mut self, texts: &mut Texts) {
        let Self { namespace, rig, wishes, credential, status, .. } = self;
        texts.share_all([namespace, rig]);
        texts.share_all(credential.iter_mut().map(|it| &mut it.secret));
        let PolecatStatus { agent_image, agent_model, image_digests, conditions, .. } = status;
        let digests = image_digests.iter_mut();
        let digests = digests.flat_map(|it| [&mut it.git_init, &mut it.claude, &mut it.telemetry]);
        let Wishes { image, service_account, tls_settings: _ } = wishes;
        let named = [agent_image, agent_model, image, service_account].into_iter();
        texts.share_all(named.chain(digests).flatten());
        for it in conditions {
            // Conditions of one moment have one message.
            texts.share_all([&mut it.type_, &mut it.status, &mut it.reason, &mut it.message]);
        }
    }
}
