//! Definitions that nobody converts at present, though they have several versions: applied anew without their conversion,
//! say, or switched off on purpose. What is written meanwhile could be stored without some of its fields, so the door
//! refuses it until the conversion is back. And the policies below the door, where nobody else brings them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::OptionFuture;
use kube::core::{DynamicObject, admission::AdmissionRequest};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    admission::Refusal,
    api,
    cluster::{connect::Connection, policies},
    config::Config,
    domain::certificates::consumers::is_unconverted,
    manifests,
};

/// How long writes still wait once somebody converts again: an API server may hear of it later than we do, goes on with what it
/// has begun as it began, and first makes ready, a busy one for seconds, what it was told before.
const AFTER: Duration = Duration::from_secs(10);

/// Their names, as of what was last heard, and since when they are converted again; none where nobody listens.
#[derive(Clone, Debug)]
pub struct Unconverted(Arc<watch::Sender<BTreeMap<String, Option<Instant>>>>);

impl Default for Unconverted {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Unconverted {
    /// Takes in a definition as it is now; `None` where it is not there.
    pub fn hear(&self, name: &str, definition: Option<&Value>, now: Instant) {
        let lost = definition.is_some_and(is_unconverted);
        self.0.send_modify(|all| {
            if lost {
                if all.insert(name.to_owned(), None) != Some(None) {
                    tracing::warn!(definition = name, "Nobody converts, so writes are refused");
                }
            } else if let Some(back @ None) = all.get_mut(name) {
                *back = Some(now);
                tracing::info!(definition = name, "Somebody converts again");
            }
        });
    }

    /// Why a write can't be stored whole at present.
    pub fn refusal(
        &self,
        request: &AdmissionRequest<DynamicObject>,
        now: Instant,
    ) -> Option<Refusal> {
        let name = format!("{}.{}", request.resource.resource, request.resource.group);
        let back = *self.0.borrow().get(&name)?;
        let safe = back.is_some_and(|it| now.duration_since(it) >= AFTER);
        (!safe).then(|| Refusal {
            field: "apiVersion".into(),
            message: format!(
                "CustomResourceDefinition {name} was without its conversion webhook, so this could be stored without some \
                 of its fields: try again in a few seconds; if that does not help, apply the definition of the \
                 operator's release"
            ),
        })
    }
}

/// Keeps the policies there that stand below the door and, where there is one, the door of labelled namespaces, until `stop`;
/// where nobody asked for it, nothing.
pub fn keep_policies(
    config: &Config,
    connection: &Connection,
    mut stop: watch::Receiver<bool>,
) -> impl Future<Output = anyhow::Result<()>> + use<> {
    // Nothing of it is made where nobody asked: it would be held for as long as this runs.
    let keep = config.webhooks.apply_policies.then(|| kept(config, connection));
    async move {
        tokio::select! {
            Some(()) = OptionFuture::from(keep) => anyhow::bail!("nobody keeps policies any more"),
            _ = stop.wait_for(|it| *it) => Ok(()),
        }
    }
}

fn kept(config: &Config, connection: &Connection) -> impl Future<Output = ()> + use<> {
    let own = config.own_namespace();
    let serves = config.serves_webhooks();
    let hooks = if serves { manifests::policies::hooks(&own) } else { Vec::new() };
    let lead = (hooks, format!("polecats.{}", api::GROUP));
    let rules = &config.pod_rules;
    let (exceptions, runtime_classes) = (rules.exceptions(), rules.runtime_classes());
    let standard = rules.pod_policy;
    let floor = manifests::pods::Held { standard, exceptions: &exceptions, runtime_classes };
    policies::keep(connection, manifests::policies::of(&own, floor), lead)
}

#[cfg(test)]
mod tests {
    use kube::core::admission::AdmissionReview;
    use serde_json::json;

    use super::*;

    fn write(resource: &str) -> AdmissionRequest<DynamicObject> {
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "operation": "CREATE", "name": "max", "userInfo": {},
                "kind": {"group": "gastown.gastown.io", "version": "v1alpha1", "kind": "It"},
                "resource": {"group": "gastown.gastown.io", "version": "v1alpha1", "resource": resource},
            },
        });
        let review: AdmissionReview<DynamicObject> = serde_json::from_value(review).unwrap();
        review.try_into().unwrap()
    }

    #[test]
    fn writes_of_that_kind_are_refused_while_nobody_converts() {
        let (name, all) = ("rigs.gastown.gastown.io", Unconverted::default());
        let versions = json!([{"name": "v1beta1"}, {"name": "v1alpha1"}]);
        let said = |strategy| json!({"spec": {"versions": versions, "conversion": {"strategy": strategy}}});
        let (lost, right) = (said("None"), said("Webhook"));
        let begin = Instant::now();
        let table = [
            (0, Some(&right), false, "it is converted"),
            (10, Some(&lost), true, "it is not"),
            (20, Some(&lost), true, "nor later"),
            (21, Some(&right), true, "it is again, but an API server may not know yet"),
            (30, Some(&right), true, "hearing so twice makes it no later"),
            (31, Some(&right), false, "by now all know"),
            (40, Some(&lost), true, "and not again"),
            (43, None, true, "the definition itself is gone"),
            (53, None, false, "and stays away"),
        ];
        for (at, heard, refused, because) in table {
            let now = begin + Duration::from_secs(at);
            all.hear(name, heard, now);
            assert_eq!(all.refusal(&write("rigs"), now).is_some(), refused, "{because}");
            assert!(all.refusal(&write("polecats"), now).is_none(), "{because}: other kinds");
        }
    }
}
