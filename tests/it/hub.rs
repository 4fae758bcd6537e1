//! The hub's schemas on a real API server, in a group of their own: they are accepted as they are, rules and bounds and all,
//! whoever breaks one is told what to write instead, and our own admission judges each rule as the API server does.

use std::collections::BTreeSet;

use gastown::{
    admission::rules::{Broken, Change, Rules, settled},
    kinds::KINDS,
};
use gastown_testbed::{Node, Testbed, watch::await_condition};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
    runtime::conditions::is_crd_established,
};
use serde_json::{Value, json};

use crate::{asking::answered, world::PATIENCE};

const GROUP: &str = "hub.gastown.io";

/// A spec of each kind, what is changed in it, and what the user is told; nothing where it is accepted.
fn table() -> Vec<(&'static str, Value, Value, &'static str)> {
    let convoy = json!({"description": "d", "beads": [{"id": "gt-1"}]});
    let witness = json!({"rigRef": {"name": "greeter"}});
    let refinery = witness.clone();
    let store = json!({"rigRef": {"name": "greeter"}, "prefix": "gt-"});
    let repository = json!({"url": "git@git.example.com:town/greeter.git"});
    let rig = json!({"repository": repository, "beadsPrefix": "gt"});
    let mut from = repository.clone();
    from["secretRef"] = json!({"name": "key"});
    let polecat = json!({"rig": "greeter", "repository": from});
    let with = |name: &str, value: Value| {
        let mut changed = from.clone();
        changed[name] = value;
        json!({"repository": changed})
    };
    vec![
        ("Polecat", polecat.clone(), json!({"completion": "Push", "desiredState": "Working"}), ""),
        ("Polecat", polecat.clone(), json!({"rig": "A B"}), "such as greeter"),
        ("Polecat", polecat.clone(), with("url", json!("file:///x")), "use git@host:path"),
        ("Polecat", polecat, with("workBranch", json!("-x")), "such as feature/gt-1"),
        ("Rig", rig.clone(), json!({"settings": {"namepoolTheme": "minerals"}}), ""),
        ("Rig", rig.clone(), json!({"beadsPrefix": "hq"}), "use another prefix"),
        ("Rig", rig, json!({"settings": {"namepoolTheme": "jazz"}}), "use mad-max, minerals"),
        ("Convoy", convoy.clone(), json!({}), ""),
        (
            "Convoy",
            convoy.clone(),
            json!({"rigRef": {"name": "greeter"}, "parallelism": 1, "beads": [{"id": "a"}, {"id": "b"}]}),
            "",
        ),
        ("Convoy", convoy.clone(), json!({"beads": [{"id": "a b"}]}), "such as gt-42"),
        (
            "Convoy",
            convoy.clone(),
            json!({"beads": [{"id": "a"}, {"id": "a"}]}),
            "spec.beads[1]: Duplicate value",
        ),
        ("Convoy", convoy.clone(), json!({"parallelism": 0}), "spec.parallelism"),
        ("Convoy", convoy, json!({"rigRef": {"name": "A_B"}}), "such as greeter"),
        ("Witness", witness.clone(), json!({"stuckThresholdSeconds": 30}), ""),
        (
            "Witness",
            witness.clone(),
            json!({"stuckThresholdSeconds": 29}),
            "stuckThresholdSeconds must be at least healthCheckIntervalSeconds",
        ),
        (
            "Witness",
            witness,
            json!({"healthCheckIntervalSeconds": 0}),
            "greater than or equal to 1",
        ),
        ("Refinery", refinery.clone(), json!({"targetBranch": "release/1.0"}), ""),
        ("Refinery", refinery.clone(), json!({"targetBranch": "a b"}), "such as main"),
        ("Refinery", refinery, json!({"testCommand": "x".repeat(4097)}), "4096"),
        ("BeadStore", store.clone(), json!({"syncIntervalSeconds": 604_800}), ""),
        ("BeadStore", store.clone(), json!({"prefix": "GT"}), "a dash at the end, such as gt-"),
        ("BeadStore", store.clone(), json!({"rigRef": {"name": ""}}), "spec.rigRef.name"),
        ("BeadStore", store, json!({"gitSecretRef": {"name": "n".repeat(254)}}), "253"),
    ]
}

/// A Polecat with every field.
fn polecat() -> Value {
    json!({
        "rig": "greeter", "desiredState": "Working", "beadID": "gt-1", "task": "Do it",
        "repository": {
            "url": "git@git.example.com:town/greeter.git", "baseBranch": "main", "workBranch": "feature/gt-1",
            "secretRef": {"name": "key"}, "knownHostsConfigMapRef": {"name": "hosts"},
        },
        "agent": {
            "kind": "claude-code", "provider": "openai", "model": "gpt", "endpoint": "https://llm.example.com/v1",
            "apiKeySecretRef": {"name": "llm", "key": "key"}, "anthropicKeySecretRef": {"name": "llm", "key": "other"},
            "credentialsSecretRef": {"name": "creds"}, "image": "agent:1", "serviceAccountName": "agent",
            "command": ["run"], "args": ["--fast"], "configMapRef": {"name": "config"},
            "env": [{"name": "A", "value": "b"}, {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": "2"}},
        },
        "limits": {"activeDeadlineSeconds": 60, "maxIdleSeconds": 60, "ttlSecondsAfterFinished": 60},
        "completion": "Push",
    })
}

/// A Rig with every field.
fn rig() -> Value {
    json!({
        "repository": {"url": "https://git.example.com/town/greeter.git"}, "beadsPrefix": "gt",
        "settings": {"namepoolTheme": "mad-max", "maxPolecats": 8}, "allowedNamespaces": ["town"],
        "allowedImages": ["registry.example.com/agents/*", "agent:1"], "serviceAccounts": ["agent"],
        "tlsPolicy": "default",
    })
}

fn rig_ref(name: &str) -> Value {
    json!({"rigRef": {"name": name}})
}

/// The same kinds of rows, with changes inside of parts.
fn deep() -> Vec<(&'static str, Value, Value, &'static str)> {
    let with = |mut spec: Value, path: &str, value: Value| {
        *spec.pointer_mut(path).unwrap_or_else(|| panic!("no {path}")) = value;
        spec
    };
    let mut rows = vec![
        ("Polecat", polecat(), json!({}), ""),
        ("Polecat", json!({"rig": "greeter"}), json!({}), ""),
        ("Rig", rig(), json!({}), ""),
        ("Witness", rig_ref("A_B"), json!({}), "such as greeter"),
        ("Refinery", rig_ref("A_B"), json!({}), "such as greeter"),
        ("BeadStore", rig_ref("A_B"), json!({"prefix": "gt-"}), "such as greeter"),
    ];
    let variable = |name: &str| json!([{"name": name, "value": "x"}]);
    let file = json!([{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}}]);
    let polecats = [
        ("/rig", json!("Not a name"), "use the name of a Rig"),
        ("/completion", json!("Never"), "supported values"),
        ("/task", json!("x".repeat(130_817)), "130816"),
        (
            "/repository/url",
            json!("https://me:word@git.example.com/x"),
            "the credential belongs into",
        ),
        ("/repository/url", json!("ext::sh -c x"), "use git@host:path"),
        ("/repository/baseBranch", json!("-x"), "not beginning with a dash"),
        ("/repository/workBranch", json!("a b"), "use the name of a branch"),
        ("/repository/secretRef/name", json!(""), "at least 1 chars"),
        ("/repository/knownHostsConfigMapRef/name", json!(""), "at least 1 chars"),
        ("/agent/serviceAccountName", json!("A B"), "use the name of a service account"),
        ("/agent/env", variable("GT_RIG"), "rename the variable"),
        ("/agent/env", variable("LD_PRELOAD"), "rename the variable"),
        (
            "/agent/env",
            json!([{"name": "A"}, {"name": "A"}]),
            "take out the others of the same name",
        ),
        ("/agent/env", file, "take the value from a Secret"),
        ("/agent/env", json!(vec![json!({"name": "A"}); 257]), "256 items"),
        ("/agent/resources", json!({"claims": [{"name": "gpu"}]}), "leave claims out"),
        ("/limits/activeDeadlineSeconds", json!(0), "greater than or equal to 1"),
        ("/limits/maxIdleSeconds", json!(0), "greater than or equal to 1"),
        ("/limits/ttlSecondsAfterFinished", json!(-1), "greater than or equal to 0"),
    ];
    rows.extend(polecats.map(|it| ("Polecat", with(polecat(), it.0, it.1), json!({}), it.2)));
    let rigs = [
        ("/repository/url", json!("file:///tmp/x"), "use git@host:path"),
        ("/beadsPrefix", json!("GT"), "use 2 to 10 letters"),
        ("/beadsPrefix", json!("hq"), "are reserved"),
        ("/settings/namepoolTheme", json!("x"), "use mad-max, minerals or wasteland"),
        ("/settings/maxPolecats", json!(101), "less than or equal to 100"),
        ("/allowedNamespaces", json!(["A B"]), "use names of namespaces"),
        ("/allowedImages", json!(["registry.example.com*"]), "one with * after a /"),
        ("/serviceAccounts", json!(["A B"]), "use names of service accounts"),
        ("/tlsPolicy", json!("x"), "supported values"),
    ];
    rows.extend(rigs.map(|it| ("Rig", with(rig(), it.0, it.1), json!({}), it.2)));
    rows
}

/// What an object stays with: a kind, the edit of its spec (null: it is taken away), and what the user is told.
fn fixed() -> [(&'static str, Value, &'static str); 4] {
    [
        ("Polecat", json!({"rig": "other"}), "a Polecat stays with its Rig"),
        (
            "Polecat",
            Value::Null,
            "spec: Invalid value: keep the spec: a Polecat stays with the Rig",
        ),
        ("Rig", json!({"beadsPrefix": "other"}), "create another Rig for another prefix"),
        (
            "Rig",
            Value::Null,
            "spec: Invalid value: keep the spec: ids of beads begin with the beadsPrefix",
        ),
    ]
}

/// A spec after an edit.
fn edited(spec: &Value, change: &Value) -> Value {
    let mut after = spec.clone();
    match change.as_object() {
        Some(change) => after.as_object_mut().unwrap().extend(change.clone()),
        None => after = Value::Null,
    }
    after
}

#[tokio::test]
async fn the_api_server_takes_the_hubs_schemas_and_says_what_to_write() {
    let bed = Testbed::shared_with(Node::Kwok).await.unwrap();
    let client = bed.client("hub").await.unwrap();
    bed.make_namespace("hub", &[]).await.unwrap();
    for kind in KINDS {
        let Some(beta) = kind.beta else { continue };
        let crd = in_own_group(&beta());
        let name = crd.metadata.name.clone().unwrap();
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        crds.create(&PostParams::default(), &crd).await.unwrap();
        let established = await_condition(crds.clone(), &name, is_crd_established());
        tokio::time::timeout(PATIENCE, established).await.unwrap().unwrap();
        let rows: Vec<_> =
            table().into_iter().chain(deep()).filter(|it| it.0 == kind.kind).collect();
        assert!(rows.iter().any(|it| it.3.is_empty()), "{}: one that is accepted", kind.kind);
        for (number, (_, mut spec, change, want)) in rows.into_iter().enumerate() {
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let told = create(&client, &crd, &format!("it-{number}"), &spec).await;
            let fine = if want.is_empty() { told.is_empty() } else { told.contains(want) };
            assert!(fine, "{} {spec}: wants {want:?}, is told {told:?}", kind.kind);
            agree(&crd, &told, &broken(&crd, &spec, None));
        }
        for (_, change, want) in fixed().into_iter().filter(|it| it.0 == kind.kind) {
            let edit = Patch::Merge(json!({"spec": change}));
            let answer = objects(&client, &crd).patch("it-0", &PatchParams::default(), &edit).await;
            let told = answer.expect_err(want).to_string();
            assert!(told.contains(want), "{}: {told}", kind.kind);
            let before = objects(&client, &crd).get("it-0").await.unwrap().data["spec"].take();
            agree(&crd, &told, &broken(&crd, &edited(&before, &change), Some(&before)));
        }
        crds.delete(&name, &DeleteParams::default()).await.unwrap();
    }
}

/// What our admission finds broken in a spec, where nothing excuses it.
fn broken(crd: &CustomResourceDefinition, spec: &Value, old: Option<&Value>) -> Vec<Broken> {
    let new = settled(&json!({"spec": spec}));
    let old = old.map(|it| json!({"spec": it}));
    let whole = Change { new: Some(&new), old: old.as_ref() };
    Rules::read(&schema(crd)).broken(whole, Change::default())
}

fn schema(crd: &CustomResourceDefinition) -> Value {
    let version = crd.spec.versions[0].schema.as_ref().unwrap();
    serde_json::to_value(version.open_api_v3_schema.as_ref().unwrap()).unwrap()
}

/// The rules of a schema: where, what, and its message.
fn rules(schema: &Value, path: &str, found: &mut Vec<[String; 3]>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = |key: &str| rule[key].as_str().unwrap().to_owned();
        found.push([path.trim_start_matches('.').to_owned(), text("rule"), text("message")]);
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        rules(inner, &format!("{path}.{name}"), found);
    }
    for inner in ["items", "additionalProperties"].map(|it| &schema[it]) {
        if inner.is_object() {
            rules(inner, &format!("{path}[]"), found);
        }
    }
}

/// The API server and our admission find the same rules broken.
fn agree(crd: &CustomResourceDefinition, told: &str, broken: &[Broken]) {
    let mut all = Vec::new();
    rules(&schema(crd), "", &mut all);
    let theirs: BTreeSet<_> = all.iter().map(|it| &it[2]).filter(|it| told.contains(*it)).collect();
    let ours: BTreeSet<_> = broken.iter().map(|it| &it.message).collect();
    // It does not look at rules where the schema is broken, and says so.
    if !told.contains("some validation rules were not checked") {
        assert_eq!(ours, theirs, "told {told:?}");
    }
}

#[test]
fn every_rule_of_the_hub_is_broken_by_an_example_and_kept_by_another() {
    for kind in KINDS {
        let Some(beta) = kind.beta else { continue };
        let crd = beta();
        let mut wanted = Vec::new();
        rules(&schema(&crd), "", &mut wanted);
        let mut seen = BTreeSet::new();
        let mut note = |found: Vec<Broken>| {
            for it in found {
                let parts = it.field.split('[').map(|it| it.split_once(']').map_or(it, |it| it.1));
                seen.insert((parts.collect::<Vec<_>>().join("[]"), it.message));
            }
        };
        for (_, mut spec, change, want) in
            table().into_iter().chain(deep()).filter(|it| it.0 == kind.kind)
        {
            let before = spec.clone();
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let found = broken(&crd, &spec, None);
            assert!(!want.is_empty() || found.is_empty(), "{spec} is fine: {found:?}");
            note(found);
            for (_, change, _) in fixed().into_iter().filter(|it| it.0 == kind.kind) {
                note(broken(&crd, &edited(&spec, &change), Some(&before)));
            }
        }
        let missing: Vec<_> =
            wanted.iter().filter(|it| !seen.contains(&(it[0].clone(), it[2].clone()))).collect();
        assert!(missing.is_empty(), "{}: no example breaks {missing:#?}", kind.kind);
    }
}

/// The definition under a name that nothing else has.
fn in_own_group(crd: &CustomResourceDefinition) -> CustomResourceDefinition {
    let mut crd = crd.clone();
    crd.spec.group = GROUP.into();
    crd.metadata.name = Some(format!("{}.{GROUP}", crd.spec.names.plural));
    crd.spec.names.categories = None;
    crd.spec.names.short_names = None;
    crd
}

/// What the user is told, or nothing.
async fn create(
    client: &Client,
    crd: &CustomResourceDefinition,
    name: &str,
    spec: &Value,
) -> String {
    let api = objects(client, crd);
    let object = DynamicObject::new(name, &resource(crd)).data(json!({"spec": spec}));
    answered("the kind to be served", async || {
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => Some(String::new()),
            // Established, but not yet served by this API server.
            Err(kube::Error::Api(it)) if it.code == 404 => None,
            Err(kube::Error::Api(it)) => Some(it.message),
            Err(other) => panic!("{other}"),
        }
    })
    .await
}

fn resource(crd: &CustomResourceDefinition) -> ApiResource {
    let names = &crd.spec.names;
    let gvk = GroupVersionKind::gvk(GROUP, "v1beta1", &names.kind);
    ApiResource::from_gvk_with_plural(&gvk, &names.plural)
}

fn objects(client: &Client, crd: &CustomResourceDefinition) -> Api<DynamicObject> {
    if crd.spec.scope == "Cluster" {
        Api::all_with(client.clone(), &resource(crd))
    } else {
        Api::namespaced_with(client.clone(), "hub", &resource(crd))
    }
}
