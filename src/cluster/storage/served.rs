//! The API server's own migration: a `StorageVersionMigration` that its controller manager carries out. Served by
//! `storagemigration.k8s.io` in v1, or in v1beta1 where that is switched on. Its older v1alpha1 is passed over: it was off
//! unless asked for, and ours does the same.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroup;
use kube::{
    Api,
    api::{DeleteParams, GetParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, Request},
    runtime::wait::await_condition,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{Migration, Step};
use crate::{
    cluster::{Class, Error, request::Built},
    domain::storage::Definition,
};

pub const GROUP: &str = "storagemigration.k8s.io";
pub const PLURAL: &str = "storageversionmigrations";
const KIND: &str = "StorageVersionMigration";
/// In the order in which they are preferred.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// For which definition it was made: uid and generation.
const MADE_FOR: &str = "gastown.io/made-for";
/// How long until somebody takes it up: the controller first looks at what there is, twice a minute.
const TAKEN_UP: Duration = Duration::from_secs(180);
/// How long until it ends.
const ENDED: Duration = Duration::from_secs(3600);

/// The name of ours for a resource.
pub fn name(plural: &str) -> String {
    format!("gastown-operator.{plural}")
}

impl Migration<'_> {
    /// The version in which it is served, if it is.
    pub(super) async fn served(&self) -> Result<Option<&'static str>, Error> {
        let build = || -> Built {
            http::Request::get(format!("/apis/{GROUP}"))
                .body(Vec::new())
                .map_err(kube::core::request::Error::BuildRequest)
        };
        let attempt = format!("ask whether {GROUP} is served");
        match self.read::<APIGroup>("discovery", &attempt, build).await {
            Ok(group) => {
                let has = |want: &&str| group.versions.iter().any(|it| it.version == **want);
                Ok(VERSIONS.into_iter().find(has))
            }
            Err(error) if matches!(error.class(), Class::NotFound | Class::Refused) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Has the API server write every object; or why that came to nothing.
    pub(super) async fn by_api_server(
        &self,
        begun: &Definition,
        version: &'static str,
    ) -> Result<Result<(), String>, Error> {
        let name = name(&begun.plural);
        match self.ask_for(begun, version, &name).await {
            Ok(()) => {}
            // Not ours to ask for.
            Err(error) if error.class() == Class::Refused => return Ok(Err(super::chain(&error))),
            Err(error) => return Err(error),
        }
        (self.tell)(&Step::AskedFor { name: name.clone() });
        let gvk = GroupVersionKind::gvk(GROUP, version, KIND);
        let resource = ApiResource::from_gvk_with_plural(&gvk, PLURAL);
        let api: Api<DynamicObject> = Api::all_with(self.cluster.client.clone(), &resource);
        let begun = |it: Option<&DynamicObject>| it.is_none_or(|it| is_begun(&it.data));
        let taken_up = tokio::time::timeout(TAKEN_UP, await_condition(api.clone(), &name, begun));
        let seconds = TAKEN_UP.as_secs();
        match taken_up.await {
            Err(_) => return Ok(Err(format!("nobody took it up in {seconds} s"))),
            Ok(Err(error)) => return Ok(Err(format!("it can't be watched: {error}"))),
            Ok(Ok(_)) => {}
        }
        let ended = |it: Option<&DynamicObject>| it.is_none_or(|it| outcome(&it.data).is_some());
        match tokio::time::timeout(ENDED, await_condition(api, &name, ended)).await {
            Err(_) => Ok(Err(format!("it did not end in {} s", ENDED.as_secs()))),
            Ok(Err(error)) => Ok(Err(format!("it can't be watched: {error}"))),
            Ok(Ok(None)) => Ok(Err("it was deleted".into())),
            Ok(Ok(Some(it))) => Ok(outcome(&it.data).unwrap_or(Ok(()))),
        }
    }

    /// Makes the object; one of an earlier migration makes room for it.
    async fn ask_for(&self, begun: &Definition, version: &str, name: &str) -> Result<(), Error> {
        let all = || Request::new(format!("/apis/{GROUP}/{version}/{PLURAL}"));
        let made_for = format!("{}/{}", begun.uid, begun.generation);
        let wanted = json!({
            "apiVersion": format!("{GROUP}/{version}"),
            "kind": KIND,
            "metadata": {"name": name, "annotations": {MADE_FOR: made_for}},
            "spec": {"resource": {"group": begun.group, "resource": begun.plural}},
        });
        let body = serde_json::to_vec(&wanted).unwrap_or_default();
        loop {
            let attempt = format!("get {KIND} {name}");
            let build = || all().get(name, &GetParams::default());
            match self.read::<Value>(PLURAL, &attempt, build).await {
                Err(error) if error.class() == Class::NotFound => {}
                Err(error) => return Err(error),
                Ok(found) => {
                    let annotations = found.pointer("/metadata/annotations");
                    let said = annotations.and_then(|it| it.get(MADE_FOR));
                    let same = said.is_some_and(|it| *it == made_for);
                    if same && outcome(&found).is_none_or(|it| it.is_ok()) {
                        return Ok(());
                    }
                    let attempt = format!("delete {KIND} {name}");
                    let build = || all().delete(name, &DeleteParams::default());
                    match self.write::<IgnoredAny>(PLURAL, &attempt, build).await {
                        Err(error) if error.class() == Class::NotFound => {}
                        Err(error) => return Err(error),
                        Ok(_) => {}
                    }
                }
            }
            let attempt = format!("create {KIND} {name}");
            let build = || all().create(&PostParams::default(), body.clone());
            match self.write::<IgnoredAny>(PLURAL, &attempt, build).await {
                Err(error) if error.class() == Class::AlreadyExists => {}
                other => return other.map(drop),
            }
        }
    }
}

/// Whether the controller has taken it up.
fn is_begun(it: &Value) -> bool {
    let version = it.pointer("/status/resourceVersion").and_then(Value::as_str);
    version.is_some_and(|it| !it.is_empty()) || outcome(it).is_some()
}

/// How it ended, if it did.
fn outcome(it: &Value) -> Option<Result<(), String>> {
    let conditions = it.pointer("/status/conditions").and_then(Value::as_array)?;
    let holds = |type_: &str| {
        conditions.iter().find(|it| {
            it.get("type").is_some_and(|it| it == type_)
                && it.get("status").is_some_and(|it| it == "True")
        })
    };
    if holds("Succeeded").is_some() {
        return Some(Ok(()));
    }
    let failed = holds("Failed")?;
    let why =
        failed.get("message").and_then(Value::as_str).unwrap_or("it failed and says no reason");
    Some(Err(why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_by_its_conditions_alone() {
        let with = |type_: &str, status: &str| {
            json!({"status": {"resourceVersion": "7", "conditions": [
                {"type": type_, "status": status, "message": "no such resource"},
            ]}})
        };
        assert_eq!(outcome(&json!({})), None, "nobody has looked at it");
        assert!(!is_begun(&json!({"status": {}})));
        assert_eq!(outcome(&with("Running", "True")), None);
        assert!(is_begun(&with("Running", "True")));
        assert_eq!(outcome(&with("Succeeded", "False")), None);
        assert_eq!(outcome(&with("Succeeded", "True")), Some(Ok(())));
        assert_eq!(outcome(&with("Failed", "True")), Some(Err("no such resource".into())));
    }
}
