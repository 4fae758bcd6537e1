//! Applies the admission policies of an installation that brings none, and webhooks for labelled namespaces: once, as this
//! release has them, and again whenever one is gone. What somebody changes in them stays until the next start, so that two
//! releases side by side do not write over each other.

use std::{pin::pin, time::Duration};

use futures::{Stream, StreamExt as _, future::join, future::join_all};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
};
use serde_json::Value;

use crate::cluster::{
    certificates::watched, connect::Connection, definitions::Heard, watch_clients::Seat,
    writing::Writer,
};

/// Who applied, in managed fields.
const FIELD_MANAGER: &str = "gastown-operator";
/// How soon what failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// The path of conversion, which webhooks have another one for.
const CONVERT: &str = "/convert";

/// Keeps these policies and bindings there, and these webhooks, which lead where the conversion of the definition of this name
/// leads, whoever sees to that; until it is dropped.
pub fn keep(
    connection: &Connection,
    objects: Vec<Value>,
    (hooks, definition): (Vec<Value>, String),
) -> impl Future<Output = ()> + use<> {
    let (watches, definitions) = (connection.watches.clone(), connection.definitions.clone());
    let to = (connection.leases.clone(), connection.writer("policies"));
    async move {
        let each = objects.into_iter().map(|it| keep_one(to.clone(), watches.seat(), it));
        let hooks = hooks
            .into_iter()
            .map(|it| keep_hooks(to.clone(), watches.seat(), it, definitions.of(&definition)));
        join(join_all(each), join_all(hooks)).await;
    }
}

/// A kind of what is applied here.
fn resource(kind: &str) -> ApiResource {
    match kind {
        "ValidatingAdmissionPolicy" => ApiResource::erase::<ValidatingAdmissionPolicy>(&()),
        "ValidatingWebhookConfiguration" => {
            ApiResource::erase::<ValidatingWebhookConfiguration>(&())
        }
        "MutatingWebhookConfiguration" => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
        _ => ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&()),
    }
}

/// The resource of a kind of what is applied here.
fn watched_as(kind: &str) -> &'static str {
    match kind {
        "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
        "ValidatingWebhookConfiguration" => "validatingwebhookconfigurations",
        "MutatingWebhookConfiguration" => "mutatingwebhookconfigurations",
        _ => "validatingadmissionpolicybindings",
    }
}

async fn keep_hooks(
    (client, writer): (kube::Client, Writer),
    seat: Seat,
    object: Value,
    mut leads: impl Stream<Item = Heard> + Unpin,
) {
    let (kind, name) = named(&object);
    let api: Api<DynamicObject> = Api::all_with(client, &resource(&kind));
    let watching: Api<DynamicObject> = Api::all_with(seat.client.clone(), &resource(&kind));
    let mut news = pin!(watched(seat, (watched_as(&kind), watching), &name));
    let (mut there, mut lead, mut applied) = (None, None, None);
    loop {
        tokio::select! {
            Some(it) = news.next() => there = Some(it.is_some()),
            Some(it) = leads.next() => {
                let at = "/webhook/clientConfig";
                lead = it.and_then(|it| it.conversion.pointer(at).cloned()).or(lead);
            }
            else => return,
        }
        let (Some(found), Some(to)) = (there, &lead) else { continue };
        if found && applied.as_ref() == Some(to) {
            continue;
        }
        let whole = led(object.clone(), to);
        while !apply((&api, &writer), (&kind, &name), &whole).await {
            tokio::time::sleep(AGAIN).await;
        }
        applied = Some(to.clone());
    }
}

/// Webhooks that lead where a conversion does, each to its own path.
fn led(mut configuration: Value, to: &Value) -> Value {
    let webhooks = configuration.get_mut("webhooks").and_then(Value::as_array_mut);
    for it in webhooks.into_iter().flatten() {
        let Some(config) = it.get_mut("clientConfig") else { continue };
        let path = config.pointer("/service/path").and_then(Value::as_str).unwrap_or_default();
        let mut led = to.clone();
        if let Some(service) = led.get_mut("service").and_then(Value::as_object_mut) {
            service.insert("path".into(), path.into());
        }
        if let Some(Value::String(url)) = led.get_mut("url") {
            *url = format!("{}{path}", url.strip_suffix(CONVERT).unwrap_or(url));
        }
        *config = led;
    }
    configuration
}

fn named(object: &Value) -> (String, String) {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/kind"), text("/metadata/name"))
}

/// Whether it is there now as it should be.
async fn apply(
    (api, writer): (&Api<DynamicObject>, &Writer),
    (kind, name): (&str, &str),
    object: &Value,
) -> bool {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match writer.patch(api, name, (&params, &Patch::Apply(object))).await {
        Ok(_) => tracing::info!(kind, name, "Applied"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, kind, name, "Not applied; it is tried again");
            return false;
        }
    }
    true
}

async fn keep_one((client, writer): (kube::Client, Writer), seat: Seat, object: Value) {
    let (kind, name) = named(&object);
    let api: Api<DynamicObject> = Api::all_with(client, &resource(&kind));
    let watching: Api<DynamicObject> = Api::all_with(seat.client.clone(), &resource(&kind));
    let mut news = pin!(watched(seat, (watched_as(&kind), watching), &name));
    let mut applied = false;
    while let Some(there) = news.next().await {
        if applied && there.is_some() {
            continue;
        }
        while !apply((&api, &writer), (&kind, &name), &object).await {
            tokio::time::sleep(AGAIN).await;
        }
        applied = true;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn webhooks_lead_where_the_conversion_does_each_to_its_path() {
        let hook = |config: Value| json!({"webhooks": [{"name": "a", "clientConfig": config}]});
        let ours =
            || hook(json!({"service": {"name": "s", "namespace": "n", "path": "/validate-pods"}}));
        let service = json!({"name": "olms", "namespace": "town", "path": "/convert", "port": 443});
        let table = [
            (
                json!({"service": service, "caBundle": "YQ=="}),
                json!({"service": {"name": "olms", "namespace": "town", "path": "/validate-pods", "port": 443},
                    "caBundle": "YQ=="}),
                "a Service of another name, as OLM makes it",
            ),
            (
                json!({"url": "https://192.0.2.7:9443/convert", "caBundle": "YQ=="}),
                json!({"url": "https://192.0.2.7:9443/validate-pods", "caBundle": "YQ=="}),
                "an address",
            ),
        ];
        for (to, want, because) in table {
            assert_eq!(led(ours(), &to), hook(want), "{because}");
        }
    }
}
