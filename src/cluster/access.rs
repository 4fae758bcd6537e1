//! Asks the API server what somebody may do: nothing is decided here, and nothing is read.

use std::collections::BTreeMap;

use kube::core::request::Error as BuildError;
use serde::Deserialize;
use serde_json::json;

use crate::{
    cluster::{Cluster, Error},
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
struct Answered {
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    allowed: bool,
}

impl Cluster {
    /// Whether somebody may have what a Polecat in this namespace names.
    pub async fn may(
        &self,
        who: &Who,
        namespace: &str,
        reference: &Reference,
    ) -> Result<bool, Error> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": who.name, "uid": who.uid, "groups": who.groups, "extra": who.extra,
                "resourceAttributes": {
                    "namespace": namespace, "verb": reference.sort.verb(), "group": "",
                    "resource": reference.sort.resource(), "name": reference.name,
                },
            },
        });
        let built = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(review.to_string().into_bytes())
            .map_err(BuildError::BuildRequest);
        let attempt = || format!("ask about {} {}", reference.sort.resource(), reference.name);
        let answer: Answered = self.read("subjectaccessreviews", attempt, built).await?;
        Ok(answer.status.is_some_and(|it| it.allowed))
    }
}
