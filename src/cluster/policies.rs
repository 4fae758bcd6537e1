//! Applies the admission policies of an installation that brings none: once, as this release has them, and again whenever
//! one is gone. What somebody changes in them stays until the next start, so that two releases side by side do not write
//! over each other.

use std::{pin::pin, time::Duration};

use futures::{StreamExt as _, future::join_all};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::{
    Api,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject},
};
use serde_json::Value;

use crate::cluster::{certificates::watched, connect::Connection, watch_clients::Seat};

/// Who applied, in managed fields.
const FIELD_MANAGER: &str = "gastown-operator";
/// How soon what failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Keeps these policies and bindings there, until it is dropped.
pub fn keep(connection: &Connection, objects: Vec<Value>) -> impl Future<Output = ()> + use<> {
    let (client, watches) = (connection.leases.clone(), connection.watches.clone());
    async move {
        let each = objects.into_iter().map(|it| keep_one(client.clone(), watches.seat(), it));
        join_all(each).await;
    }
}

async fn keep_one(client: kube::Client, seat: Seat, object: Value) {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let resource = match kind {
        "ValidatingAdmissionPolicy" => ApiResource::erase::<ValidatingAdmissionPolicy>(&()),
        _ => ApiResource::erase::<ValidatingAdmissionPolicyBinding>(&()),
    };
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let watching: Api<DynamicObject> = Api::all_with(seat.client.clone(), &resource);
    let mut news = pin!(watched(seat, watching, name));
    let mut applied = false;
    while let Some(there) = news.next().await {
        while !applied || there.is_none() {
            match api.patch(name, &params, &Patch::Apply(&object)).await {
                Ok(_) => {
                    tracing::info!(kind, name, "Applied a policy");
                    applied = true;
                    break;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        kind,
                        name,
                        "Not applying a policy; it is tried again"
                    );
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}
