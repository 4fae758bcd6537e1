//! What admission asks the API server before it judges: what a Rig says, and whether who asks may have what he names.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::future::join_all;
use kube::core::{DynamicObject, admission::AdmissionRequest};

use super::{
    answer::{self, Named},
    missing::Leave,
};
use crate::{
    admission::{self, Refusal},
    cluster::{Cluster, access::Who},
    config::ReferenceAccess,
    domain::{names, references::Reference, tenancy, untrusted::fit},
};

/// Longest time for one question.
const LIMIT: Duration = Duration::from_secs(1);
/// Most names of one Polecat that are asked about.
const MOST: usize = 32;

/// Whom to ask, on every replica: admission has no caches. Nobody, until there is a connection.
#[derive(Clone, Default)]
pub struct Asking {
    cluster: Arc<OnceLock<Cluster>>,
    access: ReferenceAccess,
    /// Which Secrets the operator may look at.
    pub(super) leave: Arc<Leave>,
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Asking").field(&self.cluster.get().is_some()).finish()
    }
}

impl Asking {
    pub fn new(access: ReferenceAccess) -> Self {
        Self { cluster: Arc::default(), access, leave: Arc::default() }
    }

    /// Asks through this connection from now on.
    pub fn ask(&self, cluster: Cluster) {
        drop(self.cluster.set(cluster));
    }

    /// The connection, once there is one.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.get()
    }

    /// What the Rig of a request says; where nobody can say it in time, the operator asks again before the pod.
    pub async fn rig(&self, request: &AdmissionRequest<DynamicObject>) -> Found {
        let rig = request.object.as_ref().and_then(|it| it.data.pointer("/spec/rig")?.as_str());
        match rig.filter(|_| request.resource.resource == "polecats") {
            Some(rig) if names::is_name(rig) => self.rules(rig).await,
            Some(_) => Found::Absent, // no object can have such a name
            None => Found::Unasked,
        }
    }

    /// What the Rig of this name says.
    pub async fn rules(&self, rig: &str) -> Found {
        let Some(cluster) = self.cluster.get() else { return Found::Unasked };
        match tokio::time::timeout(LIMIT, cluster.rig_rules(rig)).await {
            Ok(Ok(Some(rules))) => Found::There(rules),
            Ok(Ok(None)) => Found::Absent,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "Not asking a Rig");
                Found::Unasked
            }
            Err(_) => Found::Unasked,
        }
    }
}

impl Asking {
    /// Whether who asks may have what the object names.
    pub async fn names(&self, request: &AdmissionRequest<DynamicObject>) -> Named {
        let enforce = match self.access {
            ReferenceAccess::Off => return Named::default(),
            ReferenceAccess::Warn => false,
            ReferenceAccess::Enforce => true,
        };
        let references = answer::references(request);
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let who = who(request);
        let all = references.iter().take(MOST).map(|it| self.denied(&who, namespace, it));
        let mut denied: Vec<_> = join_all(all).await.into_iter().flatten().collect();
        denied.extend(references.get(MOST).map(|it| Denied {
            reference: it.clone(),
            why: format!("is one name more than the {MOST} that one Polecat may have"),
            known: true,
        }));
        let mut named = Named::default();
        for Denied { reference, why, known } in denied {
            if enforce {
                named.refusals.push(Refusal { field: reference.field, message: why });
            } else if known {
                let text = format!("{}: {why}", reference.field);
                named.warnings.push(text.chars().take(256).collect());
            }
        }
        named
    }

    async fn denied(&self, who: &Who, namespace: &str, reference: &Reference) -> Option<Denied> {
        let denied = |why: String, known| Some(Denied { reference: reference.clone(), why, known });
        let unasked =
            || denied("nobody could say whether you may have it: try again".into(), false);
        let Some(cluster) = self.cluster.get() else { return unasked() };
        match tokio::time::timeout(LIMIT, cluster.may(who, namespace, reference)).await {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => {
                let (verb, resource) = (reference.sort.verb(), reference.sort.resource());
                let name = fit(&reference.name, 64);
                denied(
                    format!(
                        "you may not {verb} {resource}/{name} here, and the Polecat would hand it to its agent: name another, \
                         or ask for that right"
                    ),
                    true,
                )
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Not asking for an access"
                );
                unasked()
            }
            Err(_) => unasked(),
        }
    }
}

/// A name that may not be had, as far as is known.
struct Denied {
    reference: Reference,
    why: String,
    known: bool,
}

fn who(request: &AdmissionRequest<DynamicObject>) -> Who {
    let user = request.user_info.clone();
    Who {
        name: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    }
}

/// What a Rig says, owned.
pub enum Found {
    Unasked,
    Absent,
    There(tenancy::Rules),
}

impl Found {
    pub const fn said(&self) -> admission::Rig<'_> {
        match self {
            Self::Unasked => admission::Rig::Unasked,
            Self::Absent => admission::Rig::Absent,
            Self::There(rules) => admission::Rig::There(rules),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn where_nobody_can_say_only_enforce_refuses() {
        let object = json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat", "metadata": {"name": "max"},
            "spec": {"rig": "greeter", "agent": {"apiKeySecretRef": {"name": "llm", "key": "k"}}}});
        let request: AdmissionRequest<DynamicObject> = serde_json::from_value(json!({
            "uid": "u", "operation": "CREATE", "name": "max", "namespace": "town", "object": object,
            "kind": {"group": "gastown.gastown.io", "version": "v1beta1", "kind": "Polecat"},
            "resource": {"group": "gastown.gastown.io", "version": "v1beta1", "resource": "polecats"},
            "userInfo": {"username": "ada"},
        }))
        .unwrap();
        for (access, refused) in
            [(ReferenceAccess::Enforce, 1), (ReferenceAccess::Warn, 0), (ReferenceAccess::Off, 0)]
        {
            // No connection yet: the API server can't be asked.
            let named = Asking::new(access).names(&request).await;
            assert_eq!(named.refusals.len(), refused, "{access:?}: {:?}", named.refusals);
            assert_eq!(named.warnings, [""; 0], "{access:?}: what nobody knows is told of nobody");
            let try_again = |it: &Refusal| it.message.contains("try again");
            assert!(named.refusals.iter().all(try_again), "{:?}", named.refusals);
        }
    }
}
