//! Asks the API server who somebody is and what he may do: nothing is decided here, and nothing is read.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Resource as _,
    api::GetParams,
    core::{Request, request::Error as BuildError},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use crate::{
    cluster::{Class, Cluster, Error, request::Built},
    domain::references::Reference,
};

/// Who asks, as the API server tells of him.
#[derive(Clone, Debug, Default)]
pub struct Who {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Answered<S> {
    status: Option<S>,
}

#[derive(Deserialize)]
struct Allowed {
    allowed: bool,
}

#[derive(Deserialize)]
struct Known {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Cluster {
    /// Whether somebody may have what a Polecat in this namespace names.
    pub async fn may(
        &self,
        who: &Who,
        namespace: &str,
        reference: &Reference,
    ) -> Result<bool, Error> {
        let asked = json!({"resourceAttributes": {
            "namespace": namespace, "verb": reference.sort.verb(), "group": "",
            "resource": reference.sort.resource(), "name": reference.name,
        }});
        let attempt = || format!("ask about {} {}", reference.sort.resource(), reference.name);
        self.allowed(who, asked, attempt).await
    }

    /// Whether somebody may read what a server has under this path.
    pub async fn may_get(&self, who: &Who, path: &str) -> Result<bool, Error> {
        let asked = json!({"nonResourceAttributes": {"path": path, "verb": "get"}});
        self.allowed(who, asked, || format!("ask about {path}")).await
    }

    async fn allowed(
        &self,
        who: &Who,
        mut asked: Value,
        attempt: impl FnOnce() -> String,
    ) -> Result<bool, Error> {
        let user =
            json!({"user": who.name, "uid": who.uid, "groups": who.groups, "extra": who.extra});
        json_patch::merge(&mut asked, &user);
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": asked,
        });
        let built = posted("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review);
        let answer: Answered<Allowed> = self.read("subjectaccessreviews", attempt, built).await?;
        Ok(answer.status.is_some_and(|it| it.allowed))
    }

    /// Whether the operator itself may look at a Secret: it may where somebody gave it a Role for that, and nowhere else.
    pub async fn may_see_secret(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "namespace": namespace, "verb": "get", "group": "", "resource": "secrets", "name": name,
            }},
        });
        let built = posted("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review);
        let attempt = || format!("ask about secrets {name}");
        let answer: Answered<Allowed> =
            self.read("selfsubjectaccessreviews", attempt, built).await?;
        Ok(answer.status.is_some_and(|it| it.allowed))
    }

    /// Whether a Secret is there. What it holds is not sent, and what is sent is not kept.
    pub async fn has_secret(&self, namespace: &str, name: &str) -> Result<bool, Error> {
        let attempt = || format!("look for Secret {namespace}/{name}");
        match self.read::<IgnoredAny>("secrets", attempt, metadata_of(namespace, name)).await {
            Ok(IgnoredAny) => Ok(true),
            Err(error) if error.class() == Class::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whose token it is; nobody's, if the API server does not know it.
    pub async fn owner(&self, token: &str) -> Result<Option<Who>, Error> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        let built = posted("/apis/authentication.k8s.io/v1/tokenreviews", &review);
        let attempt = || "ask whose token it is".to_owned();
        let answer: Answered<Known> = self.read("tokenreviews", attempt, built).await?;
        Ok(answer.status.filter(|it| it.authenticated).map(|Known { user, .. }| Who {
            name: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
        }))
    }
}

fn metadata_of(namespace: &str, secret: &str) -> Built {
    let path = Secret::url_path(&(), Some(namespace));
    Request::new(path).get_metadata(secret, &GetParams::default())
}

fn posted(path: &str, review: &Value) -> Built {
    http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(review.to_string().into_bytes())
        .map_err(BuildError::BuildRequest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_only_its_metadata_is_asked_for() {
        let request = metadata_of("town", "git-key").unwrap();
        assert_eq!(request.uri().path(), "/api/v1/namespaces/town/secrets/git-key");
        let wanted = request.headers()[http::header::ACCEPT].to_str().unwrap();
        for kind in wanted.split(',') {
            assert!(kind.contains("as=PartialObjectMetadata;"), "never the whole: {wanted}");
        }
    }
}
