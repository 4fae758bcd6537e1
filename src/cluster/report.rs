//! Events: what a person should know. Never written on the happy path.

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Resource as _,
    api::PostParams,
    core::{ObjectMeta, Request},
};
use serde_json::Value;

use crate::{
    cluster::{Class, Cluster, now, wire::Compact},
    domain::{
        conditions::cut,
        names,
        plan::{MOST_OF_A_NOTICE, Notice},
    },
};

impl Cluster {
    /// Writes one Warning about an object. Its name is made from what it says, so that saying it twice is one Event.
    /// One that can't be written is logged: an Event is never worth a failed reconcile.
    pub(crate) async fn announce<K: Compact>(
        &self,
        (namespace, name): (&str, &str),
        uid: &str,
        notice: &Notice,
    ) {
        let kind = K::Kind::kind(&()).into_owned();
        let about = ObjectReference {
            api_version: Some(K::Kind::api_version(&()).into_owned()),
            kind: Some(kind.clone()),
            namespace: (!namespace.is_empty()).then(|| namespace.into()),
            name: Some(name.into()),
            uid: Some(uid.into()),
            ..ObjectReference::default()
        };
        let event = event(about, "Warning", notice);
        let at = event.metadata.namespace.as_deref();
        let body = serde_json::to_vec(&event).unwrap_or_default();
        let built = Request::new(Event::url_path(&(), at)).create(&PostParams::default(), body);
        let answer = self
            .write::<Value>(
                "events",
                || format!("write an Event about {kind} {namespace}/{name}"),
                built,
            )
            .await;
        if let Err(error) = answer
            && error.class() != Class::AlreadyExists
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "Event not written");
        }
    }
}

/// An Event about an object; what is about none in a namespace is in `default`.
pub(super) fn event(about: ObjectReference, type_: &str, notice: &Notice) -> Event {
    let uid = about.uid.as_deref().unwrap_or_default();
    let digest = names::sha256(&format!("{uid}\n{}\n{}", notice.reason, notice.message));
    let name = about.name.as_deref().unwrap_or_default();
    let prefix = cut(name, 220).trim_end_matches(['-', '.']);
    let time = Time(now());
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}.{}", digest.get(..16).unwrap_or_default())),
            namespace: Some(about.namespace.clone().unwrap_or_else(|| "default".into())),
            ..ObjectMeta::default()
        },
        involved_object: about,
        type_: Some(type_.into()),
        reason: Some(notice.reason.clone()),
        message: Some(cut(&notice.message, MOST_OF_A_NOTICE).into()),
        source: Some(EventSource { component: Some("gastown-operator".into()), host: None }),
        first_timestamp: Some(time.clone()),
        last_timestamp: Some(time),
        count: Some(1),
        ..Event::default()
    }
}
