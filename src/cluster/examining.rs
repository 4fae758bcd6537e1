//! What an examination asks of an API server: objects as they are, what would become of a write (server-side dry run), and
//! who may do what. Nothing is changed by any of it.

use std::time::Duration;

use anyhow::Context as _;
use http::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::cluster::{reading::Reader, writing::Allowed};

/// Longest time that one request may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Objects of a page.
const PAGE: u32 = 500;

/// What is where one looked.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Look {
    There(Value),
    #[default]
    Missing,
    /// It can't be known, most often for want of a right; the API server's words.
    Untold(String),
}

impl Look {
    /// The object, if it could be read.
    pub const fn there(&self) -> Option<&Value> {
        match self {
            Self::There(it) => Some(it),
            Self::Missing | Self::Untold(_) => None,
        }
    }

    /// What was read as a list; empty where there is none.
    pub fn items(&self) -> &[Value] {
        self.there().and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// What the API server would make of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Tried {
    /// It would take it; the object as it would be stored.
    Taken(Value),
    Refused {
        code: u16,
        message: String,
        /// Field and words of each cause, such as a conflict with another field manager.
        causes: Vec<(String, String)>,
    },
    /// Who asks has no right to such a write; the API server's words.
    Denied(String),
}

impl Reader {
    /// One object by its path, such as `/api/v1/namespaces/default`. An error: the API server could not be asked.
    pub async fn look(&self, path: &str) -> anyhow::Result<Look> {
        let built = http::Request::get(path).body(Vec::new())?;
        look(self.ask(built).await, path)
    }

    /// All objects of a list, as an array.
    pub async fn look_all(&self, path: &str) -> anyhow::Result<Look> {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.look(&format!("{path}?limit={PAGE}{token}")).await?;
            let Look::There(mut page) = page else { return Ok(page) };
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                all.extend(items);
            }
            let next = page.pointer("/metadata/continue").and_then(Value::as_str);
            match next.filter(|it| !it.is_empty()) {
                Some(next) => token = format!("&continue={next}"),
                None => return Ok(Look::There(all.into())),
            }
        }
    }

    /// What would become of a server-side apply; with `force` it takes fields over from others.
    pub async fn try_apply(
        &self,
        path: &str,
        object: &Value,
        (manager, force): (&str, bool),
    ) -> anyhow::Result<Tried> {
        let path = format!("{path}?dryRun=All&fieldManager={manager}&force={force}");
        self.tried(Method::PATCH, &path, "application/apply-patch+yaml", object).await
    }

    /// What would become of a create.
    pub async fn try_create(&self, path: &str, object: &Value) -> anyhow::Result<Tried> {
        let path = format!("{path}?dryRun=All");
        self.tried(Method::POST, &path, "application/json", object).await
    }

    /// The status that a review is answered with: it is asked by a create that stores nothing.
    pub async fn review(&self, path: &str, review: &Value) -> anyhow::Result<Look> {
        let built = http::Request::post(path).header(CONTENT_TYPE, "application/json");
        let answer = self.ask(built.body(review.to_string().into_bytes())?).await;
        let status = |it: Value| it.get("status").cloned().unwrap_or_default();
        Ok(match look(answer, path)? {
            Look::There(it) => Look::There(status(it)),
            other => other,
        })
    }

    /// Whether somebody may do that: an account with its groups, or who asks where that is `None`. The answer is
    /// `{"allowed": …}`.
    pub async fn may(
        &self,
        who: Option<(&str, &[String])>,
        attributes: &Value,
    ) -> anyhow::Result<Look> {
        let (kind, plural) = match who {
            Some(_) => ("SubjectAccessReview", "subjectaccessreviews"),
            None => ("SelfSubjectAccessReview", "selfsubjectaccessreviews"),
        };
        let mut spec = json!({"resourceAttributes": attributes});
        if let Some((user, groups)) = who {
            json_patch::merge(&mut spec, &json!({"user": user, "groups": groups}));
        }
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
        self.review(&format!("/apis/authorization.k8s.io/v1/{plural}"), &review).await
    }

    async fn tried(
        &self,
        method: Method,
        path: &str,
        content: &str,
        object: &Value,
    ) -> anyhow::Result<Tried> {
        let built = http::Request::builder().method(method).uri(path).header(CONTENT_TYPE, content);
        match self.ask(built.body(object.to_string().into_bytes())?).await {
            Ok(it) => Ok(Tried::Taken(it)),
            Err(error) => match error.downcast::<kube::Error>() {
                Ok(kube::Error::Api(it)) if is_denied(it.code, &it.message) => {
                    Ok(Tried::Denied(it.message.clone()))
                }
                // The API server can't be asked, as opposed to: it asked somebody who did not answer.
                Ok(kube::Error::Api(it)) if it.code == 401 => {
                    anyhow::bail!("{}", it.message)
                }
                Ok(kube::Error::Api(it)) => {
                    let causes = it.details.iter().flat_map(|it| &it.causes);
                    let causes = causes.map(|it| (it.field.clone(), it.message.clone())).collect();
                    Ok(Tried::Refused { code: it.code, message: it.message.clone(), causes })
                }
                Ok(error) => Err(error).with_context(|| format!("failed to try {path}")),
                Err(error) => Err(error),
            },
        }
    }

    async fn ask(&self, request: http::Request<Vec<u8>>) -> anyhow::Result<Value> {
        let path = request.uri().path().to_owned();
        let Ok(allowed) = Allowed::reading(request) else {
            anyhow::bail!("an examination changes nothing, and this would change {path}");
        };
        let answer = tokio::time::timeout(LIMIT, allowed.send(&self.client)).await;
        Ok(answer.with_context(|| format!("no answer about {path} in {} s", LIMIT.as_secs()))??)
    }
}

fn look(answer: anyhow::Result<Value>, path: &str) -> anyhow::Result<Look> {
    let error = match answer {
        Ok(it) => return Ok(Look::There(it)),
        Err(error) => error,
    };
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(it)) if it.code == 404 => Ok(Look::Missing),
        // What one kind can't be read for, such as a conversion that fails, says nothing of the others.
        Some(kube::Error::Api(it)) if it.code != 401 => Ok(Look::Untold(it.message.clone())),
        _ => Err(error.context(format!("failed to ask about {path}"))),
    }
}

/// Whether a refusal is for want of a right: policies and quotas refuse with the same code.
fn is_denied(code: u16, message: &str) -> bool {
    code == 403 && message.contains("User \"") && message.contains("\" cannot ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_no_refusal() {
        let rights = "polecats.gastown.gastown.io is forbidden: User \"x\" cannot create resource \"polecats\" in API group";
        let quota = "pods \"p\" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=0, limited: pods=0";
        assert!(is_denied(403, rights));
        assert!(!is_denied(403, quota) && !is_denied(422, rights));
    }

    #[test]
    fn only_an_answer_counts_as_one() {
        let api = |code| {
            let status = kube::core::Status::failure("words", "").with_code(code);
            anyhow::Error::from(kube::Error::Api(status.boxed()))
        };
        assert_eq!(look(Err(api(404)), "/x").unwrap(), Look::Missing);
        for code in [403, 500] {
            assert_eq!(look(Err(api(code)), "/x").unwrap(), Look::Untold("words".into()));
        }
        let failed = look(Err(api(401)), "/x").unwrap_err();
        assert!(format!("{failed:#}").contains("/x"), "{failed:#}");
    }
}
