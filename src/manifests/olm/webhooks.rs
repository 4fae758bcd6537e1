//! `webhookdefinitions`: the webhooks of the other roads in OLM's words, which know neither selectors of namespaces nor
//! conditions, and one that converts.

use serde_json::{Map, Value, json};

use crate::{
    kinds::convertible,
    manifests::{
        mutating,
        operator::{DEPLOYMENT, WEBHOOK_PORT},
        pods, validating,
    },
};

/// The port of the Service that OLM makes.
const PORT: u16 = 443;

/// All three sorts.
pub fn definitions() -> Value {
    let sorts = [
        ("MutatingAdmissionWebhook", mutating()),
        ("MutatingAdmissionWebhook", pods::mutating()),
        ("ValidatingAdmissionWebhook", validating()),
        ("ValidatingAdmissionWebhook", pods::validating()),
    ];
    let mut all: Vec<Value> =
        sorts.iter().flat_map(|(sort, configuration)| admission(sort, configuration)).collect();
    all.push(json!({
        "type": "ConversionWebhook",
        "generateName": "cgastown.kb.io",
        "deploymentName": DEPLOYMENT,
        "containerPort": PORT,
        "targetPort": WEBHOOK_PORT,
        "webhookPath": "/convert",
        "conversionCRDs": convertible().collect::<Vec<_>>(),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
    }));
    all.into()
}

/// What is known of the configurations that OLM makes of them under names of its own: their webhooks' names, and what becomes of a
/// call that fails.
pub fn configurations() -> Vec<Value> {
    let all = definitions();
    let one = |sort: &str| {
        let kind = json!(format!("{sort}AdmissionWebhook"));
        let of_sort =
            all.as_array().into_iter().flatten().filter(|it| it.get("type") == Some(&kind));
        let webhooks: Vec<_> = of_sort
            .map(|it| json!({"name": it.get("generateName"), "failurePolicy": it.get("failurePolicy")}))
            .collect();
        json!({"kind": format!("{sort}WebhookConfiguration"), "webhooks": webhooks})
    };
    ["Mutating", "Validating"].map(one).into()
}

/// The webhooks of one configuration. One that only a label of a namespace keeps from everybody's pods has no place here.
fn admission(sort: &str, configuration: &Value) -> Vec<Value> {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    let everywhere = webhooks.filter(|it| it.get("namespaceSelector").is_none());
    everywhere.map(|it| definition(sort, it)).collect()
}

fn definition(sort: &str, webhook: &Value) -> Value {
    let mut definition = Map::new();
    for key in [
        "admissionReviewVersions",
        "failurePolicy",
        "matchPolicy",
        "objectSelector",
        "reinvocationPolicy",
        "rules",
        "sideEffects",
        "timeoutSeconds",
    ] {
        definition.extend(webhook.get(key).map(|it| (key.to_owned(), it.clone())));
    }
    if spares_ourselves(webhook) {
        // Else the operator would wait for a replica of its own before there is one.
        definition.insert("failurePolicy".into(), json!("Ignore"));
    }
    definition.insert("type".into(), json!(sort));
    definition.insert("generateName".into(), webhook.get("name").cloned().unwrap_or_default());
    definition.insert("deploymentName".into(), json!(DEPLOYMENT));
    definition.insert("containerPort".into(), json!(PORT));
    definition.insert("targetPort".into(), json!(WEBHOOK_PORT));
    let path = webhook.pointer("/clientConfig/service/path").cloned();
    definition.insert("webhookPath".into(), path.unwrap_or_default());
    definition.into()
}

/// By a condition, which OLM knows not.
fn spares_ourselves(webhook: &Value) -> bool {
    let conditions = webhook.get("matchConditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|it| it.get("name").is_some_and(|it| it == "by-others"))
}
