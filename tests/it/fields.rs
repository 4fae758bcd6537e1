//! Every spec field of every served version is read, warned about or refused: a table says which, and is proven row by
//! row. A new field that is not in the table fails.

use std::{collections::BTreeSet, sync::Arc};

use gastown::{
    api::v1beta1,
    conversion,
    domain::{
        pod::{PodSettings, agent_pod},
        polecat::Brief,
        shard::Map,
        tenancy::{self, House, Rules, Wishes},
    },
    kinds::KINDS,
};
use serde_json::{Value, json};

use crate::{door::Door, samples};

/// What becomes of a field.
enum Fate {
    /// Another value of it makes another pod, or is judged otherwise.
    Read(Value),
    /// The same, unless a more specific place is set: these.
    ReadWithout(&'static [&'static str], Value),
    /// Another value than the one that has an effect is refused at the door, with these words.
    Refused(Value, &'static str),
    /// Accepted at the door with a warning that has this word.
    Warned(&'static str),
}
use Fate::{Read, ReadWithout, Refused, Warned};

/// A row covers the field and everything below it.
fn polecat() -> Vec<(&'static str, Fate)> {
    let amounts = || json!({"limits": {"cpu": "3"}});
    vec![
        ("spec.rig", Read(json!("other"))),
        ("spec.desiredState", Read(json!("Working"))),
        ("spec.beadID", Read(json!("gt-other"))),
        ("spec.taskDescription", Read(json!("other"))),
        ("spec.executionMode", Refused(json!("local"), "Unsupported value")),
        ("spec.agent", Refused(json!("other"), "Unsupported value")),
        ("spec.agentConfig.provider", Read(json!("ollama"))),
        ("spec.agentConfig.model", Read(json!("other"))),
        ("spec.agentConfig.modelProvider.endpoint", Read(json!("https://other.example.com"))),
        (
            "spec.agentConfig.modelProvider.apiKeySecretRef",
            Read(json!({"name": "other", "key": "k"})),
        ),
        ("spec.agentConfig.image", ReadWithout(&["/spec/kubernetes/image"], json!("other:1"))),
        ("spec.agentConfig.command", Read(json!(["other"]))),
        ("spec.agentConfig.args", Read(json!(["other"]))),
        ("spec.agentConfig.configMapRef", Read(json!({"name": "other"}))),
        ("spec.agentConfig.env", Read(json!([{"name": "OTHER", "value": "x"}]))),
        ("spec.resources", ReadWithout(&["/spec/kubernetes/resources"], amounts())),
        ("spec.ttlSecondsAfterFinished", Read(json!(7))),
        ("spec.maxIdleSeconds", Read(json!(7))),
        ("spec.kubernetes.gitRepository", Read(json!("https://git.example.com/other.git"))),
        ("spec.kubernetes.gitBranch", Read(json!("other"))),
        ("spec.kubernetes.workBranch", Read(json!("other"))),
        ("spec.kubernetes.gitSecretRef.name", Read(json!("other"))),
        ("spec.kubernetes.claudeCredsSecretRef.name", Read(json!("other"))),
        ("spec.kubernetes.apiKeySecretRef", Read(json!({"name": "other", "key": "k"}))),
        ("spec.kubernetes.image", Read(json!("other:1"))),
        ("spec.kubernetes.resources", Read(amounts())),
        ("spec.kubernetes.activeDeadlineSeconds", Read(json!(77))),
        ("spec.kubernetes.sshKnownHostsConfigMapRef", Read(json!({"name": "other"}))),
        ("spec.kubernetes.sshStrictHostKeyChecking", Refused(json!("no"), "Unsupported value")),
    ]
}

/// The same in the hub.
fn polecat_in_the_hub() -> Vec<(&'static str, Fate)> {
    vec![
        ("spec.rig", Read(json!("other"))),
        ("spec.desiredState", Read(json!("Working"))),
        ("spec.beadID", Read(json!("gt-other"))),
        ("spec.task", Read(json!("other"))),
        ("spec.completion", Read(json!("Push"))),
        ("spec.repository.url", Read(json!("https://git.example.com/other.git"))),
        ("spec.repository.baseBranch", Read(json!("other"))),
        ("spec.repository.workBranch", Read(json!("other"))),
        ("spec.repository.secretRef.name", Read(json!("other"))),
        ("spec.repository.knownHostsConfigMapRef", Read(json!({"name": "other"}))),
        ("spec.agent.kind", Refused(json!("other"), "Unsupported value")),
        ("spec.agent.provider", Read(json!("ollama"))),
        ("spec.agent.model", Read(json!("other"))),
        ("spec.agent.endpoint", Read(json!("https://other.example.com"))),
        ("spec.agent.apiKeySecretRef", Read(json!({"name": "other", "key": "k"}))),
        ("spec.agent.anthropicKeySecretRef", Read(json!({"name": "other", "key": "k"}))),
        ("spec.agent.credentialsSecretRef.name", Read(json!("other"))),
        ("spec.agent.image", Read(json!("other:1"))),
        ("spec.agent.serviceAccountName", Read(json!("other"))),
        ("spec.agent.command", Read(json!(["other"]))),
        ("spec.agent.args", Read(json!(["other"]))),
        ("spec.agent.configMapRef", Read(json!({"name": "other"}))),
        ("spec.agent.env", Read(json!([{"name": "OTHER", "value": "x"}]))),
        ("spec.agent.resources", Read(json!({"limits": {"cpu": "3"}}))),
        ("spec.limits.activeDeadlineSeconds", Read(json!(77))),
        ("spec.limits.maxIdleSeconds", Read(json!(7))),
        ("spec.limits.ttlSecondsAfterFinished", Read(json!(7))),
    ]
}

fn table(kind: &str, version: &str) -> Vec<(&'static str, Fate)> {
    match (kind, version) {
        ("Polecat", "v1alpha1") => polecat(),
        ("Polecat", "v1beta1") => polecat_in_the_hub(),
        ("Rig", _) => rig(version),
        ("ShardMap", _) => shard_map(),
        _ => stored(kind, version),
    }
}

/// Rules of a Rig are read in the hub's words alone: v1alpha1 has none.
fn rig(version: &str) -> Vec<(&'static str, Fate)> {
    let settings = [
        ("spec.settings.namepoolTheme", Warned("spec.settings")),
        ("spec.settings.maxPolecats", Warned("spec.settings")),
        ("spec.beadsPrefix", Warned("spec.beadsPrefix")),
    ];
    let others = match version {
        "v1alpha1" => vec![("spec.gitURL", Warned("its repository's address"))],
        _ => vec![
            ("spec.repository.url", Warned("its repository's address")),
            ("spec.allowedNamespaces", Read(json!(["other"]))),
            ("spec.allowedImages", Read(json!(["other:1"]))),
            ("spec.serviceAccounts", Read(json!(["other"]))),
            ("spec.tlsPolicy", Read(json!("fips"))),
        ],
    };
    settings.into_iter().chain(others).collect()
}

/// Of a kind without a controller every field is warned about by one sentence; one that is added is entered here, whoever reads it.
fn stored(kind: &str, version: &str) -> Vec<(&'static str, Fate)> {
    #[rustfmt::skip]
    let (kind, fields): (_, &[_]) = match (kind, version) {
        ("Convoy", "v1alpha1") => ("Convoy", &["spec.description", "spec.parallelism", "spec.rigRef", "spec.trackedBeads[]"]),
        ("Convoy", _) => ("Convoy", &["spec.beads[].id", "spec.description", "spec.parallelism", "spec.rigRef.name"]),
        ("Witness", "v1alpha1") => ("Witness",
            &["spec.escalationTarget", "spec.healthCheckInterval", "spec.rigRef", "spec.stuckThreshold"]),
        ("Witness", _) => ("Witness",
            &["spec.escalationTarget", "spec.healthCheckIntervalSeconds", "spec.rigRef.name", "spec.stuckThresholdSeconds"]),
        ("Refinery", "v1alpha1") => ("Refinery",
            &["spec.gitSecretRef.name", "spec.parallelism", "spec.rigRef", "spec.targetBranch", "spec.testCommand"]),
        ("Refinery", _) => ("Refinery",
            &["spec.gitSecretRef.name", "spec.parallelism", "spec.rigRef.name", "spec.targetBranch", "spec.testCommand"]),
        ("BeadStore", "v1alpha1") => ("BeadStore",
            &["spec.gitSecretRef.name", "spec.prefix", "spec.rigRef", "spec.syncInterval"]),
        ("BeadStore", _) => ("BeadStore",
            &["spec.gitSecretRef.name", "spec.prefix", "spec.rigRef.name", "spec.syncIntervalSeconds"]),
        ("ClientPod", _) => ("ClientPod",
            &["spec.clientId", "spec.model", "spec.resources.cpu", "spec.resources.memory", "spec.timeout"]),
        _ => return vec![],
    };
    fields.iter().map(|it| (*it, Warned(kind))).collect()
}

fn shard_map() -> Vec<(&'static str, Fate)> {
    let half = json!([{"buckets": ["512-1023"], "from": 0, "to": 1}]);
    vec![
        ("spec.version", Read(json!(8))),
        (
            "spec.shards",
            Read(json!([{"id": 0, "buckets": ["0-500"]}, {"id": 1, "buckets": ["501-1023"]}])),
        ),
        ("spec.pins", Read(json!([{"namespace": "town", "shard": 1}]))),
        ("spec.moves", Read(half)),
    ]
}

/// Kind, version and field of everything in the served specs that holds a value.
fn leaves() -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    for kind in KINDS {
        let crd = serde_json::to_value(kind.definition()).unwrap();
        for version in crd["spec"]["versions"].as_array().unwrap() {
            if version["served"] == true {
                let mut paths = Vec::new();
                let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
                collect(schema, "spec", &mut paths);
                let version = version["name"].as_str().unwrap();
                all.extend(
                    paths.into_iter().map(|it| (kind.kind.to_owned(), version.to_owned(), it)),
                );
            }
        }
    }
    all
}

fn collect(schema: &Value, path: &str, leaves: &mut Vec<String>) {
    let inner = schema["properties"].as_object();
    for (name, schema) in inner.into_iter().flatten() {
        collect(schema, &format!("{path}.{name}"), leaves);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{path}[]"), leaves);
    } else if inner.is_none() {
        leaves.push(path.to_owned());
    }
}

fn covers(row: &str, leaf: &str) -> bool {
    leaf.strip_prefix(row).is_some_and(|it| it.is_empty() || it.starts_with(['.', '[']))
}

#[test]
fn every_field_has_a_row_and_every_row_a_field() {
    let leaves = leaves();
    for (kind, version, leaf) in &leaves {
        let rows = table(kind, version);
        let found = rows.iter().any(|(row, _)| covers(row, leaf));
        assert!(found, "{kind} {version} {leaf}: read, warned about or refused? Add its row");
    }
    for (kind, version) in
        KINDS.iter().flat_map(|it| it.versions().into_iter().map(move |v| (it, v)))
    {
        for (row, _) in table(kind.kind, &version) {
            let is = |(of, in_version, leaf): &(String, String, String)| {
                of == kind.kind && *in_version == version && covers(row, leaf)
            };
            let found = leaves.iter().any(is);
            assert!(found, "{} {version} {row}: there is no such field any more", kind.kind);
        }
    }
}

#[test]
fn every_field_that_is_read_makes_a_difference() {
    let hub = in_hub(&samples::every_field());
    let in_hub = polecat_in_the_hub().into_iter().map(|it| (&hub, it));
    let old = samples::every_field();
    for (whole, (field, fate)) in polecat().into_iter().map(|it| (&old, it)).chain(in_hub) {
        let (without, value): (&[&str], Value) = match fate {
            Read(value) => (&[], value),
            ReadWithout(without, value) => (without, value),
            Refused(..) | Warned(_) => continue,
        };
        let mut base = whole.clone();
        for pointer in without {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            base.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        }
        let mut other = base.clone();
        let pointer = format!("/{}", field.replace('.', "/"));
        *other.pointer_mut(&pointer).unwrap_or_else(|| panic!("every_field has no {field}")) =
            value;
        assert_ne!(judged(&base), judged(&other), "{field} has no effect");
    }
}

#[test]
fn every_rule_of_a_rig_makes_a_difference_to_its_polecats() {
    let whole = json!({
        "allowedNamespaces": ["town"], "allowedImages": ["agent:1"], "serviceAccounts": ["agent"], "tlsPolicy": "default",
    });
    let wishes = Wishes {
        image: Some("agent:1".into()),
        service_account: Some("agent".into()),
        tls_settings: None,
    };
    let judged = |spec: &Value| {
        let rules: Rules = serde_json::from_value(spec.clone()).unwrap();
        let (rules, house) = (Some(&rules), House::default());
        let forbidden = tenancy::forbidden("greeter", rules, "town", &wishes, house);
        (forbidden.len(), house.tls_policy(rules))
    };
    assert_eq!(judged(&whole).0, 0, "it may do all that it does");
    for (field, fate) in rig("v1beta1") {
        let Read(value) = fate else { continue };
        let mut other = whole.clone();
        other[field.trim_start_matches("spec.")] = value;
        assert_ne!(judged(&whole), judged(&other), "{field} is not read");
    }
}

/// As the hub says it, with what it has by default.
#[test]
fn every_field_of_the_map_makes_another_map() {
    let whole = json!({
        "version": 7,
        "shards": [{"id": 0, "buckets": ["0-511"]}, {"id": 1, "buckets": ["512-1023"]}],
        "pins": [{"namespace": "town", "shard": 0}],
        "moves": [{"namespace": "town", "from": 1, "to": 0}],
    });
    let map = |spec: &Value| {
        let spec: v1beta1::ShardMapSpec = serde_json::from_value(spec.clone()).unwrap();
        Map::try_from(&spec)
    };
    for (field, fate) in shard_map() {
        let Read(value) = fate else { continue };
        let mut other = whole.clone();
        other[field.trim_start_matches("spec.")] = value;
        assert!(map(&whole).is_ok() && map(&other) != map(&whole), "{field} is not read");
    }
}

fn in_hub(object: &Value) -> Value {
    let mut out = String::new();
    let hub = "gastown.gastown.io/v1beta1";
    conversion::convert(conversion::kinds(), &object.to_string(), hub, &mut out).unwrap();
    let mut object: Value = serde_json::from_str(&out).unwrap();
    if object["kind"] == "Polecat" && object["spec"].get("completion").is_none() {
        object["spec"]["completion"] = json!("ExitCode");
    }
    // What v1alpha1 cannot say.
    if object["kind"] == "Polecat" && object["spec"]["agent"].get("serviceAccountName").is_none() {
        object["spec"]["agent"]["serviceAccountName"] = json!("agent");
    }
    object
}

/// Everything that follows from a spec: the pod, and what is kept to decide by.
fn judged(polecat: &Value) -> (Value, String) {
    let whole: v1beta1::PolecatObject = serde_json::from_value(in_hub(polecat)).unwrap();
    let hub = v1beta1::Polecat {
        metadata: whole.metadata,
        spec: whole.spec,
        status: whole.status.unwrap_or_default(),
    };
    let image = || Some("image:1".to_owned());
    let settings = Arc::new(PodSettings {
        git_image: image(),
        agent_image: image(),
        telemetry_image: image(),
        ..PodSettings::default()
    });
    let pod = agent_pod(&hub, 1, &settings).unwrap();
    (serde_json::to_value(pod).unwrap(), format!("{:?}", Brief::from(&hub)))
}

#[tokio::test]
async fn what_is_not_read_is_refused_or_warned_about_at_the_door() {
    let door = Door::open("fields", &[]).await;
    let versions = KINDS.iter().flat_map(|it| it.versions().into_iter().map(move |v| (it, v)));
    for (kind, version) in versions {
        // The operator makes it: there is no sample, and every field is read.
        for (field, fate) in table(kind.kind, &version).into_iter().filter(|_| !kind.inner) {
            let mut object = samples::of(kind.kind);
            if version == "v1beta1" {
                object = in_hub(&object);
            }
            object["metadata"]["namespace"] = Value::Null;
            object["metadata"]["name"] = json!("fields");
            match fate {
                Read(_) | ReadWithout(..) => {}
                Refused(value, words) => {
                    *object.pointer_mut(&format!("/{}", field.replace('.', "/"))).unwrap() = value;
                    let answer = door.dry_run(&object).await;
                    assert_eq!(answer.code, 422, "{} {field}: {}", kind.kind, answer.body);
                    let message = answer.message();
                    assert!(message.contains(words) && message.contains(field), "{message}");
                }
                Warned(word) => {
                    let answer = door.dry_run(&object).await;
                    assert_eq!(answer.code, 201, "{} {field}: {}", kind.kind, answer.body);
                    let named = answer.warnings.iter().any(|it| it.contains(word));
                    assert!(named, "{} {field}: {:?}", kind.kind, answer.warnings);
                }
            }
        }
    }
    door.close().await;
}
