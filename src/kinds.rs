//! THE table: a row per kind. Its schema, its admission, its permissions and its short doc come from here, and every
//! generated file from this.

mod held;
mod served;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, ServiceReference, ValidationRule,
    WebhookClientConfig, WebhookConversion,
};
use serde_json::Value;

use crate::{
    admission::{self, Asked, Request, Verdict},
    api::{
        GROUP,
        fleet::{self, ClientPod},
        schema::{bounded, derived},
        v1alpha1::{BeadStore, Convoy, Polecat, Refinery, Rig, Witness},
        v1beta1,
    },
    conversion::table::Version,
    domain::{
        fields, polecat,
        references::{self, Reference, Sort},
        secrets::{self, Needed},
        stored::Stored,
    },
    manifests,
};
use served::{HUB, in_hub, other_version, parsed, refusal};

/// A kind that we serve.
pub struct Kind {
    pub group: &'static str,
    /// The version that it began with: that of the original, if the original has it.
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    /// One sentence for people.
    pub doc: &'static str,
    /// Its definition in that version.
    pub crd: fn() -> CustomResourceDefinition,
    /// The same in v1beta1, the hub; none, if it began there or is served in one version.
    pub beta: Option<fn() -> CustomResourceDefinition>,
    /// What admission makes of a create or an update.
    pub admit: fn(&Asked<'_>, Hub<'_>) -> Verdict,
    /// What who deletes an object, as it is stored, is told that goes with it; none, where nobody is to be told anything.
    pub goes_with: Option<fn(&Value) -> Vec<String>>,
    /// What the operator does with objects of this kind; of one that the Go original put a finalizer on, it takes that off.
    pub verbs: &'static [&'static str],
    /// The controller of this kind is in this release.
    pub reconciled: bool,
    /// Objects of it are the operator's own, in its own namespace: nobody's roles but platform admins' hold it.
    pub inner: bool,
}

impl Kind {
    /// The definition as it is installed: every served version, the hub first, which is stored, and the webhook that
    /// converts.
    pub fn definition(&self) -> CustomResourceDefinition {
        self.stored_in(Version::V1beta1)
    }

    /// The same with another storage version, where there are two.
    pub fn stored_in(&self, storage: Version) -> CustomResourceDefinition {
        let mut whole = (self.crd)();
        if let Some(beta) = self.beta {
            whole.spec.versions.splice(0..0, beta().spec.versions);
            for version in &mut whole.spec.versions {
                version.storage = version.name == storage.name();
            }
            whole.spec.conversion = Some(converted());
        }
        whole
    }

    /// Names of the served versions.
    pub fn versions(&self) -> Vec<String> {
        self.definition().spec.versions.into_iter().map(|it| it.name).collect()
    }
}

/// Without a certificate authority: who installs the certificates fills it in.
fn converted() -> CustomResourceConversion {
    let service = ServiceReference {
        name: manifests::WEBHOOK_SERVICE.into(),
        namespace: manifests::NAMESPACE.into(),
        path: Some("/convert".into()),
        port: Some(443),
    };
    let client_config =
        WebhookClientConfig { service: Some(service), ..WebhookClientConfig::default() };
    CustomResourceConversion {
        strategy: "Webhook".into(),
        webhook: Some(WebhookConversion {
            client_config: Some(client_config),
            conversion_review_versions: vec!["v1".into()],
        }),
    }
}

/// Every kind.
pub const KINDS: &[Kind] = &[
    Kind {
        group: GROUP,
        version: "v1alpha1",
        kind: "Polecat",
        plural: "polecats",
        doc: "One disposable worker: clones a repository, lets an agent work on one task, pushes the work branch.",
        crd: || kept_spec(derived::<Polecat>(), STAYS_WITH_RIG),
        beta: Some(|| kept_spec(bounded::<v1beta1::PolecatObject>(), STAYS_WITH_RIG)),
        admit: |asked, hub| admit_on_hub(asked, hub, polecat_spec, admission::polecat::admit),
        goes_with: Some(goes_with_polecat),
        verbs: &["get", "list", "watch", "patch", "delete"],
        reconciled: true,
        inner: false,
    },
    Kind {
        doc: "A project: its repository, its bead prefix, its settings.",
        crd: || kept_spec(derived::<Rig>(), STAYS_WITH_PREFIX),
        beta: Some(|| kept_spec(bounded::<v1beta1::Rig>(), STAYS_WITH_PREFIX)),
        admit: |asked, _| admission::rig::admit(asked.sent),
        verbs: &["get", "list", "watch", "patch"],
        ..stored::<v1beta1::Rig>("Rig", "rigs")
    },
    Kind {
        doc: "A batch of beads that are followed together until all are done.",
        crd: || optional_spec(derived::<Convoy>()),
        beta: Some(|| optional_spec(bounded::<v1beta1::Convoy>())),
        ..stored::<v1beta1::Convoy>("Convoy", "convoys")
    },
    Kind {
        doc: "Looks after the health of a Rig's Polecats in its own namespace.",
        crd: derived::<Witness>,
        beta: Some(bounded::<v1beta1::Witness>),
        ..stored::<v1beta1::Witness>("Witness", "witnesses")
    },
    Kind {
        doc: "Merges the finished work of a Rig's Polecats, one branch after another.",
        crd: derived::<Refinery>,
        beta: Some(bounded::<v1beta1::Refinery>),
        ..stored::<v1beta1::Refinery>("Refinery", "refineries")
    },
    Kind {
        doc: "The beads (issues) of a Rig, kept in its repository.",
        crd: derived::<BeadStore>,
        beta: Some(bounded::<v1beta1::BeadStore>),
        verbs: &["get", "list", "watch", "patch"],
        ..stored::<v1beta1::BeadStore>("BeadStore", "beadstores")
    },
    Kind {
        group: fleet::GROUP,
        version: "v1",
        doc: "One gptme server for one client.",
        crd: || optional_spec(derived::<ClientPod>()),
        ..stored::<ClientPod>("ClientPod", "clientpods")
    },
    Kind {
        group: GROUP,
        version: HUB,
        kind: "ShardMap",
        plural: "shardmaps",
        doc: "Which shard of the operator looks after which namespaces.",
        crd: bounded::<v1beta1::ShardMap>,
        beta: None,
        admit: |asked, _| admission::shard_map::admit(asked),
        goes_with: None,
        verbs: &["list", "watch", "create", "update"],
        reconciled: true,
        inner: true,
    },
];

/// A row of a kind whose controller is not in this release.
const fn stored<K: Stored>(kind: &'static str, plural: &'static str) -> Kind {
    Kind {
        group: GROUP,
        version: "v1alpha1",
        kind,
        plural,
        doc: "",
        crd: CustomResourceDefinition::default,
        beta: None,
        admit: |_, _| admission::stored::admit::<K>(),
        goes_with: None,
        verbs: &["list", "watch"],
        reconciled: false,
        inner: false,
    }
}

/// What the operator does with objects that are not ours: group, resource, verbs, why.
pub const FOREIGN: &[(&str, &str, &[&str], &str)] = &[
    (
        "",
        "namespaces",
        &["get", "list", "watch"],
        "whether an annotation pauses one (metadata only); OpenShift's ranges, for pods at the door",
    ),
    ("", "resourcequotas", &["list", "watch"], "when there is room for a pod that was refused"),
    ("", "pods", &["get", "list", "watch", "create", "delete"], "one pod per attempt of a Polecat"),
    (
        "authorization.k8s.io",
        "subjectaccessreviews",
        &["create"],
        "whether who asks for a Polecat may have the Secrets that it names, and who reads the metrics may",
    ),
    ("authentication.k8s.io", "tokenreviews", &["create"], "who reads the metrics"),
    (
        "",
        "events",
        &["list", "create"],
        "Warnings on our objects; whether a pod that is gone ever had a node",
    ),
];

/// What the webhooks ask to answer somebody else's request: group, resource and verb, of one object each time; whether it is in
/// a namespace.
pub const DOOR_READS: &[(&str, &str, &str, bool)] = &[
    ("gastown.gastown.io", "rigs", "get", false),
    ("authorization.k8s.io", "subjectaccessreviews", "create", false),
    // Where a Role allows it: whether a Secret is there.
    ("authorization.k8s.io", "selfsubjectaccessreviews", "create", false),
    ("", "secrets", "get", true),
];

/// What a write names that it did not name before, and all of it where a pod may come of that write: who asks takes it then.
pub fn references(kind: &Kind, asked: &Asked<'_>) -> Vec<Reference> {
    if kind.kind != "Polecat" {
        return Vec::new();
    }
    let Some(new) = hub_spec(asked.sent) else { return Vec::new() };
    let old = asked.stored.and_then(hub_spec);
    let takes_on = admission::polecat::takes_on(&new, old.as_ref());
    let before = old.filter(|_| !takes_on).map(|it| references::of(&it)).unwrap_or_default();
    let known = |it: &Reference| {
        before.iter().any(|other| (other.sort, &other.name) == (it.sort, &it.name))
    };
    let mut all: Vec<_> = references::of(&new).into_iter().filter(|it| !known(it)).collect();
    for it in &mut all {
        it.field = fields::in_words_of(asked.is_hub(), &it.field);
    }
    all
}

/// The Secrets among them without which the pod would not start.
pub fn secrets(kind: &Kind, asked: &Asked<'_>) -> Vec<Needed> {
    let named = references(kind, asked);
    let is = |it: &Reference, name: &str| it.sort == Sort::Secret && it.name == name;
    let spec = hub_spec(asked.sent).filter(|_| !named.is_empty());
    let mut all = spec.map(|it| secrets::needed(&it)).unwrap_or_default();
    all.retain(|it| named.iter().any(|other| is(other, &it.name)));
    for it in &mut all {
        it.field = fields::in_words_of(asked.is_hub(), &it.field);
    }
    all
}

/// The spec of a Polecat of either version, as the hub says it.
fn hub_spec(object: &Value) -> Option<v1beta1::PolecatSpec> {
    let hub = in_hub(object);
    polecat_spec(hub.as_ref().unwrap_or(object))
}

/// Names of the definitions that have two versions, so that objects may lie in either.
pub fn convertible() -> impl Iterator<Item = String> {
    let two = KINDS.iter().filter(|it| it.beta.is_some());
    two.map(|it| format!("{}.{}", it.plural, it.group))
}

/// A row by group and plural name.
pub fn find(group: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|it| it.group == group && it.plural == plural)
}

/// The object that is asked about and the one that it replaces, as the hub says them.
#[derive(Clone, Copy, Debug)]
pub struct Hub<'a> {
    pub new: &'a Value,
    pub old: Option<&'a Value>,
}

/// Asks with the hub's shape of the spec, whatever version was sent; what it says of fields is said in the words of that
/// version. An object that is none is left to the schema, which refuses it after us.
fn admit_on_hub<S>(
    asked: &Asked<'_>,
    hub: Hub<'_>,
    spec: fn(&Value) -> Option<S>,
    admit: fn(&Request<'_, S>) -> Verdict,
) -> Verdict {
    let Some(new) = spec(hub.new) else { return Verdict::default() };
    let old = hub.old.and_then(spec);
    let mut verdict = admit(&Request { asked: *asked, new, old });
    let said = |text: &str| fields::in_words_of(asked.is_hub(), text);
    for it in &mut verdict.refusals {
        (it.field, it.message) = (said(&it.field), said(&it.message));
    }
    for it in &mut verdict.warnings {
        *it = admission::warning(&said(it));
    }
    verdict
}

/// The spec of a Polecat. Its status is not read: a client may send anything there.
fn polecat_spec(hub: &Value) -> Option<v1beta1::PolecatSpec> {
    match hub.get("spec") {
        None | Some(Value::Null) => Some(v1beta1::PolecatSpec::default()),
        Some(it) => serde_json::from_value(it.clone()).ok(),
    }
}

/// A Polecat of either version; one whose status can't be read says nothing.
fn goes_with_polecat(stored: &Value) -> Vec<String> {
    let hub = in_hub(stored);
    let hub = hub.as_ref().unwrap_or(stored);
    let name = hub.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let status = hub.get("status").and_then(|it| serde_json::from_value(it.clone()).ok());
    status.map(|it| polecat::goes_with(name, &it)).unwrap_or_default()
}

/// What admission makes of an object of a kind.
pub fn admit(kind: &Kind, asked: &Asked<'_>) -> Verdict {
    let (new, old) = match other_version(asked.sent) {
        Some((version, Err(why))) => {
            return Verdict { refusals: vec![refusal(version, &why)], ..Verdict::default() };
        }
        Some((HUB, Ok(text))) => match parsed(&text) {
            None => return Verdict::default(),
            new => (new, asked.stored.and_then(in_hub)),
        },
        _ => (None, None),
    };
    let hub = Hub {
        new: new.as_ref().unwrap_or(asked.sent),
        old: if asked.is_hub() { asked.stored } else { old.as_ref() },
    };
    let mut verdict = (kind.admit)(asked, hub);
    verdict.refusals.extend(held::refusals(kind, asked, hub));
    verdict.warnings.extend(dropped(asked));
    verdict
}

/// A word on a whole replace that leaves out what only the other version can say: it is taken for meant, as any field is
/// that a replace leaves out.
fn dropped(asked: &Asked<'_>) -> Option<String> {
    let name = if asked.is_hub() { Version::V1alpha1 } else { Version::V1beta1 }.annotation();
    let has = |object: &Value| admission::annotation(object, name).is_some();
    let lost = asked.stored.is_some_and(has) && !has(asked.sent);
    let text = "is left out, and with it every field that only the other version has: to keep them, apply or patch instead of \
                replacing, or write in that version";
    lost.then(|| format!("annotation {name} {text}"))
}

/// What who takes a spec away is told: what is in it must stay what it was, and without it nothing would say what that is.
const STAYS_WITH_RIG: &str = "keep the spec: a Polecat stays with the Rig that it names; create another Polecat for another Rig";
const STAYS_WITH_PREFIX: &str = "keep the spec: ids of beads begin with the beadsPrefix that it names; create another Rig for another prefix";

/// An object of this kind may be without its spec until it has one.
fn kept_spec(crd: CustomResourceDefinition, message: &str) -> CustomResourceDefinition {
    let mut crd = optional_spec(crd);
    let rule = ValidationRule {
        rule: "!has(oldSelf.spec) || has(self.spec)".into(),
        field_path: Some(".spec".into()),
        message: Some(message.into()),
        ..ValidationRule::default()
    };
    let schemas = crd.spec.versions.iter_mut().filter_map(|it| it.schema.as_mut());
    for schema in schemas.filter_map(|it| it.open_api_v3_schema.as_mut()) {
        schema.x_kubernetes_validations.get_or_insert_default().push(rule.clone());
    }
    crd
}

/// An object of this kind may be without its spec, as in the original.
fn optional_spec(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = crd.spec.versions.iter_mut().filter_map(|it| it.schema.as_mut());
    for schema in schemas.filter_map(|it| it.open_api_v3_schema.as_mut()) {
        let required = schema.required.take().into_iter().flatten();
        let others: Vec<_> = required.filter(|it| it != "spec").collect();
        schema.required = (!others.is_empty()).then_some(others);
    }
    crd
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversion;

    /// Paths of what may be of any size.
    fn endless(schema: &Value, path: &str, found: &mut Vec<String>) {
        let has = |key: &str| schema.get(key).is_some();
        let is = |type_: &str| schema.get("type").is_some_and(|it| it == type_);
        let text = (is("string") && !has("enum")) || has("x-kubernetes-int-or-string");
        let open = has("x-kubernetes-preserve-unknown-fields")
            || (is("object") && !has("properties") && !has("additionalProperties"));
        let endless = (text && !has("maxLength"))
            || (is("array") && !has("maxItems"))
            || (has("additionalProperties") && !has("maxProperties"))
            || open;
        if endless {
            found.push(path.to_owned());
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            self::endless(inner, &format!("{path}.{name}"), found);
        }
        for (key, shown) in [("items", "[]"), ("additionalProperties", ".*")] {
            if has(key) {
                self::endless(&schema[key], &format!("{path}{shown}"), found);
            }
        }
    }

    fn schema(crd: &CustomResourceDefinition) -> Value {
        let schema = crd.spec.versions[0].schema.as_ref().unwrap();
        serde_json::to_value(schema.open_api_v3_schema.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn nothing_in_v1beta1_may_be_of_any_size() {
        for kind in KINDS {
            let hub = if kind.version == HUB { Some(kind.crd) } else { kind.beta };
            let Some(hub) = hub else { continue };
            let mut found = Vec::new();
            endless(&schema(&hub()), kind.kind, &mut found);
            assert!(found.is_empty(), "no maxLength, maxItems or maxProperties: {found:#?}");
            if kind.beta.is_none() {
                continue;
            }
            let mut found = Vec::new();
            endless(&schema(&(kind.crd)()), kind.kind, &mut found);
            assert!(!found.is_empty(), "{}: v1alpha1 has no bounds, as the original", kind.kind);
        }
    }

    /// Lists that leave open who owns their items, or by which key.
    fn vague(schema: &Value, path: &str, found: &mut Vec<String>) {
        let says = |key: &str| schema.get(format!("x-kubernetes-list-{key}"));
        let keyed = says("type").is_none_or(|it| it == "map") && says("map-keys").is_none();
        if schema.get("type").is_some_and(|it| it == "array") && keyed {
            found.push(path.to_owned());
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            vague(inner, &format!("{path}.{name}"), found);
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key) {
                vague(inner, &format!("{path}[]"), found);
            }
        }
    }

    #[test]
    fn every_list_of_the_hub_says_how_it_is_merged() {
        let mut found = Vec::new();
        for kind in KINDS.iter().filter(|it| it.group == GROUP) {
            vague(&schema(&kind.definition()), kind.kind, &mut found);
        }
        assert!(found.is_empty(), "no x-kubernetes-list-type, or no keys: {found:#?}");
    }

    #[test]
    fn every_kind_has_its_short_name_and_category() {
        let short = |kind: &Kind| kind.definition().spec.names.short_names.unwrap_or_default();
        let all: Vec<_> =
            KINDS.iter().filter(|it| !it.inner).map(|it| (it.kind, short(it))).collect();
        let want = [
            ("Polecat", "pcat"),
            ("Rig", "rg"),
            ("Convoy", "cvy"),
            ("Witness", "wit"),
            ("Refinery", "rfy"),
            ("BeadStore", "bds"),
            ("ClientPod", "cpod"),
        ];
        assert_eq!(all, want.map(|(kind, name)| (kind, vec![name.to_owned()])));
        for kind in KINDS {
            let categories = kind.definition().spec.names.categories;
            assert_eq!(categories, Some(vec!["gastown".to_owned()]), "{}", kind.kind);
        }
    }

    #[test]
    fn a_client_pod_is_what_the_fleet_operator_serves() {
        let definition = find("gptme.ai", "clientpods").unwrap().definition();
        let spec = &definition.spec;
        let names = (&*spec.names.kind, spec.names.singular.as_deref(), &*spec.scope);
        assert_eq!(names, ("ClientPod", Some("clientpod"), "Namespaced"));
        let [version] = &spec.versions[..] else { panic!("it has one version") };
        assert_eq!((&*version.name, version.served, version.storage), ("v1", true, true));
        let columns = version.additional_printer_columns.iter().flatten();
        let columns: Vec<_> = columns.map(|it| (&*it.name, &*it.json_path)).collect();
        let want = [
            ("ClientID", ".spec.clientId"),
            ("Model", ".spec.model"),
            ("Phase", ".status.phase"),
            ("Pod", ".status.podName"),
            ("Age", ".metadata.creationTimestamp"),
        ];
        assert_eq!(columns, want);
        let schema = schema(&definition);
        for (path, type_, default) in [
            ("spec.clientId", "string", Value::Null),
            ("spec.model", "string", "default".into()),
            ("spec.resources.cpu", "string", "100m".into()),
            ("spec.resources.memory", "string", "256Mi".into()),
            ("spec.timeout", "integer", 3600.into()),
            ("status.podName", "string", Value::Null),
            ("status.phase", "string", Value::Null),
            ("status.lastActivity", "string", Value::Null),
        ] {
            let at = format!("/properties/{}", path.replace('.', "/properties/"));
            let field = schema.pointer(&at).unwrap_or_else(|| panic!("no {path}"));
            assert_eq!((&field["type"], &field["default"]), (&type_.into(), &default), "{path}");
        }
        let spec = &schema["properties"]["spec"];
        assert_eq!(spec["required"], serde_json::json!(["clientId"]), "additions are optional");
    }

    #[test]
    fn who_may_have_a_pod_made_is_asked_for_all_that_it_names() {
        let of = |state: &str, image: &str| {
            serde_json::json!({"apiVersion": "gastown.gastown.io/v1beta1", "kind": "Polecat",
                "metadata": {"name": "max", "annotations": {"a": image}},
                "spec": {"rig": "greeter", "desiredState": state,
                    "repository": {"url": "git@git.example.com:town/greeter.git", "secretRef": {"name": "git-key"}},
                    "agent": {"image": image, "apiKeySecretRef": {"name": "llm", "key": "k"}},
                    "limits": {"ttlSecondsAfterFinished": 60}}})
        };
        let with = |mut object: Value, path: &str, value: Value| {
            *object.pointer_mut(path).unwrap() = value;
            object
        };
        let named = |sent: &Value, stored: Option<&Value>| {
            let asked = Asked {
                name: "max",
                user: admission::User::default(),
                policy: admission::Policy::default(),
                sent,
                stored,
                rig: admission::Rig::Unasked,
            };
            let all = references(find(GROUP, "polecats").unwrap(), &asked);
            all.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        let (idle, working) = (of("Idle", "i:1"), of("Working", "i:1"));
        let other = with(idle.clone(), "/spec/agent/apiKeySecretRef/name", "other".into());
        let later = with(working.clone(), "/spec/limits/ttlSecondsAfterFinished", 7.into());
        let noted = with(working.clone(), "/metadata/annotations/a", "b".into());
        let both = &["git-key", "llm"][..];
        #[rustfmt::skip]
        let table = [
            (None,           &idle,                both,        "a new one"),
            (Some(&idle),    &of("Idle", "i:2"),   &[],         "nothing new is named, and nothing comes of it"),
            (Some(&idle),    &other,               &["other"],  "that name is new"),
            (Some(&idle),    &working,             both,        "work is asked for, maybe by somebody else"),
            (Some(&working), &of("Working", "i:2"), both,       "a pod that is still to be made would be made from it"),
            (Some(&working), &idle,                &[],         "who ends it takes nothing"),
            (Some(&working), &later,               &[],         "no pod is made from it"),
            (Some(&working), &noted,               &[],         "nor from an annotation"),
        ];
        for (stored, sent, want, because) in table {
            assert_eq!(named(sent, stored), want, "{because}");
        }
    }

    #[test]
    fn what_has_two_versions_is_converted() {
        let two: Vec<_> = KINDS.iter().filter(|it| it.beta.is_some()).map(|it| it.kind).collect();
        let mut converted: Vec<_> = conversion::kinds().iter().map(|it| it.name).collect();
        converted.sort_by_key(|kind| KINDS.iter().position(|it| it.kind == *kind));
        assert_eq!(converted, two);
    }

    #[test]
    fn both_versions_of_a_kind_have_one_name_and_one_status() {
        for kind in KINDS {
            let Some(beta) = kind.beta else { continue };
            let (alpha, beta) = ((kind.crd)(), beta());
            assert_eq!(beta.spec.names, alpha.spec.names, "{}", kind.kind);
            assert_eq!(beta.spec.scope, alpha.spec.scope, "{}", kind.kind);
            assert_eq!(beta.spec.versions[0].name, "v1beta1", "{}", kind.kind);
            let names = |crd: &CustomResourceDefinition| {
                let columns = crd.spec.versions[0].additional_printer_columns.clone();
                let names = columns.into_iter().flatten().map(|it| it.name);
                // The original has no traces.
                names.filter(|it| it != "Trace").collect::<Vec<_>>()
            };
            assert_eq!(names(&beta), names(&alpha), "{}: columns", kind.kind);
            let paths = |crd| {
                let status = schema(crd)["properties"]["status"].take();
                let mut paths = conversion::schema::Schema::read(&status).leaves();
                paths.sort();
                paths
            };
            assert_eq!(paths(&beta), paths(&alpha), "{}: status", kind.kind);
        }
    }
}
