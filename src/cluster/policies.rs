//! Applies the admission policies of an installation that brings none, and webhooks for labelled namespaces: once, as this
//! release has them, and again whenever one is gone. What somebody changes in them stays until the next start, so that two
//! releases side by side do not write over each other; but for the bundles, which all releases write alike, and without which
//! nobody is asked.

use std::{
    collections::VecDeque,
    pin::pin,
    time::{Duration, Instant},
};

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

/// So many times within this span a bundle is written anew; somebody who goes on changing it is left alone for as long.
const ROUNDS: usize = 3;
const FIGHT: Duration = Duration::from_secs(60);

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
    let mut rounds = Rounds::default();
    loop {
        tokio::select! {
            Some(it) = news.next() => there = Some(it.map(|it| it.data)),
            Some(it) = leads.next() => lead = leading(it.as_deref().map(|it| &it.conversion), lead),
            () = tokio::time::sleep(FIGHT), if rounds.are_over() => {}
            else => return,
        }
        let (Some(found), Some(to)) = (&there, &lead) else { continue };
        let whole = led(object.clone(), to);
        let anew = found.is_none() || applied.as_ref() != Some(to);
        let spoilt = found.as_ref().is_some_and(|it| bundles(it) != bundles(&whole));
        if !(anew || spoilt && rounds.another(Instant::now())) {
            continue;
        }
        while !apply((&api, &writer), (&kind, &name), &whole).await {
            tokio::time::sleep(AGAIN).await;
        }
        applied = Some(to.clone());
    }
}

/// Where conversion leads now, or led before: not where it has lost whom to trust, which its own keeper gives back.
fn leading(conversion: Option<&Value>, before: Option<Value>) -> Option<Value> {
    let now = conversion.and_then(|it| it.pointer("/webhook/clientConfig").cloned());
    let trusts = |it: &Value| !it["caBundle"].as_str().unwrap_or_default().is_empty();
    now.filter(|it| trusts(it) || before.is_none()).or(before)
}

/// Whom each webhook of a configuration trusts.
fn bundles(configuration: &Value) -> Vec<&str> {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array);
    let all = webhooks.into_iter().flatten().map(|it| it.pointer("/clientConfig/caBundle"));
    all.map(|it| it.and_then(Value::as_str).unwrap_or_default()).collect()
}

/// Times at which bundles were written anew.
#[derive(Default)]
struct Rounds(VecDeque<Instant>);

impl Rounds {
    /// Notes another one, if it is to be.
    fn another(&mut self, now: Instant) -> bool {
        self.0.retain(|it| now.duration_since(*it) < FIGHT);
        let goes = !self.are_over();
        if goes {
            self.0.push_back(now);
        } else {
            tracing::warn!(
                "Somebody else changes the bundles of webhooks again and again; they are left for a minute"
            );
        }
        goes
    }

    fn are_over(&self) -> bool {
        self.0.len() >= ROUNDS
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
    fn nobody_is_led_without_a_bundle_who_had_one() {
        let to = |bundle: &str| json!({"service": {"name": "s"}, "caBundle": bundle});
        let says = |config: &Value| Some(json!({"webhook": {"clientConfig": config}}));
        let bare = json!({"service": {"name": "s"}});
        for (says, before, want, because) in [
            (says(&to("YQ==")), None, Some(to("YQ==")), "the first"),
            (says(&to("Yg==")), Some(to("YQ==")), Some(to("Yg==")), "another"),
            (says(&bare), Some(to("YQ==")), Some(to("YQ==")), "it was wiped"),
            (says(&to("")), Some(to("YQ==")), Some(to("YQ==")), "or emptied"),
            (None, Some(to("YQ==")), Some(to("YQ==")), "the definition is gone"),
            (says(&bare), None, Some(bare.clone()), "who is trusted by all needs none"),
        ] {
            assert_eq!(leading(says.as_ref(), before), want, "{because}");
        }
    }

    #[test]
    fn who_goes_on_changing_bundles_is_left_alone_for_a_minute() {
        let (mut rounds, begin) = (Rounds::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let wrote: Vec<_> = [0, 1, 2, 3, 59, 60].map(|it| rounds.another(at(it))).into();
        assert_eq!(wrote, [true, true, true, false, false, true]);
    }

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
