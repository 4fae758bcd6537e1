//! The fourth road: what OLM makes of a bundle, as its installer does (`pkg/controller/install` and
//! `WebhookDescription` of its API), compared with what kustomize makes of the same edition.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
};

use gastown::manifests::{NAMESPACE, operator::DEPLOYMENT};
use gastown_testbed::{
    olm::{INTO_ANY, installed_in},
    tools::Tool,
};
use serde_json::{Map, Value, json};

use super::{Objects, Table, drift, key, objects, run, said, tool};
use crate::generated::top;

/// How OLM calls what the other roads call otherwise.
const NAMES: &[(&str, &str, &str)] = &[
    (
        "gastown-operator-controller-manager-service",
        "gastown-operator-webhook-service",
        "OLM makes the webhooks' Service, and calls it after the Deployment",
    ),
    (
        "gastown-operator.v0-cluster",
        "gastown-operator-manager-role",
        "OLM makes up the names of roles of what they hold",
    ),
    ("gastown-operator.v0-own", "gastown-operator-leader-election-role", "the same"),
    ("gastown-operator.v0-cluster-binding", "gastown-operator-manager-rolebinding", "the same"),
    ("gastown-operator.v0-own-binding", "gastown-operator-leader-election-rolebinding", "the same"),
];

const AUTHORITY: &str =
    "OLM brings certificates and tells who trusts them, so the operator may not";
const POLICIES: &str = "OLM installs no policies, so the operator applies them itself";
const WEBHOOKS: &str =
    "OLM tells its webhooks who is trusted; the operator makes those of labelled namespaces";
const NO_CONDITIONS: &str = "webhooks of a CSV know no conditions";

/// What differs from kustomize, and why.
const TABLE: Table = Table {
    allowed: &[
        (
            "Deployment",
            "/spec/template/spec/containers/0/args/--webhook-cert-source",
            "OLM mounts certificates as files",
        ),
        ("Deployment", "/spec/template/spec/containers/0/args/--apply-policies", POLICIES),
        (
            "ClusterRole",
            "/rules/mutatingwebhookconfigurations.admissionregistration.k8s.io:*",
            WEBHOOKS,
        ),
        (
            "ClusterRole",
            "/rules/validatingwebhookconfigurations.admissionregistration.k8s.io:*",
            WEBHOOKS,
        ),
        ("Role", "/rules/polecats.gastown.gastown.io:create", "the canary of a new authority"),
        ("Role", "/rules/secrets:*", AUTHORITY),
        (
            "ClusterRole",
            "/rules/validatingadmissionpolicies.admissionregistration.k8s.io:*",
            POLICIES,
        ),
        (
            "ClusterRole",
            "/rules/validatingadmissionpolicybindings.admissionregistration.k8s.io:*",
            POLICIES,
        ),
        ("MutatingWebhook", "/matchConditions", NO_CONDITIONS),
        ("ValidatingWebhook", "/matchConditions", NO_CONDITIONS),
        (
            "ValidatingWebhook",
            "/failurePolicy",
            "the ShardMap's: without its condition the operator would wait for itself",
        ),
        ("Service", "/spec/ports/0/name", "OLM calls ports after their numbers"),
        ("*", "/metadata/labels/app.kubernetes.io~1name", "OLM labels what it makes by its CSV"),
        ("*", "/metadata/labels/app.kubernetes.io~1version", "the same"),
        ("*", "/metadata/labels/control-plane", "the same"),
    ],
    absent: &[
        ("Namespace", "an Operator is installed into a namespace that is there"),
        ("Lease", "OLM installs none: the first replica begins ten seconds later"),
        ("NetworkPolicy", "catalogs' pipelines refuse bundles with one"),
        ("FlowSchema", "OLM installs none"),
        ("Alert/absent", "it would fire where nobody scrapes yet, and no bundle brings a monitor"),
        ("ServiceMonitor", "it names the namespace and the authority, which are OLM's to choose"),
        ("ServiceAccount/gastown-operator-metrics-scraper", "it is the monitor's"),
        ("Secret/gastown-operator-metrics-scraper-token", "the same"),
        ("ClusterRoleBinding/gastown-operator-metrics-scraper", "the same"),
        ("ValidatingAdmissionPolicy", POLICIES),
        ("ValidatingAdmissionPolicyBinding", POLICIES),
        (
            "MutatingWebhook/labelled",
            "webhooks of a CSV know no selector of namespaces: the operator applies these itself",
        ),
        ("ValidatingWebhook/labelled", "the same"),
    ],
    more: &[],
};

/// What an edition's bundle is held against.
fn parts(edition: &str) -> &[&str] {
    match edition {
        "community" => &["deploy/community", "deploy/dashboards"],
        _ => &["deploy/enterprise", "deploy/dashboards", "deploy/monitoring"],
    }
}

/// A CSV of a bundle, and its other manifests.
fn bundle(edition: &str) -> (Value, Vec<Value>) {
    let folder = top().join(format!("bundle/{edition}/manifests"));
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let read = |it: &PathBuf| serde_saphyr::from_str(&fs::read_to_string(it).unwrap()).unwrap();
    let (csvs, others): (Vec<Value>, Vec<Value>) =
        files.iter().map(read).partition(|it: &Value| it["kind"] == "ClusterServiceVersion");
    (csvs.into_iter().next().unwrap(), others)
}

/// What OLM makes of a `webhookdefinition`: a webhook, or how definitions are converted.
pub fn webhook(definition: &Value) -> Value {
    let mut made = Map::new();
    for field in [
        "admissionReviewVersions",
        "failurePolicy",
        "matchPolicy",
        "objectSelector",
        "reinvocationPolicy",
        "rules",
        "sideEffects",
        "timeoutSeconds",
    ] {
        made.extend(definition.get(field).map(|it| (field.to_owned(), it.clone())));
    }
    made.insert("name".into(), definition["generateName"].clone());
    made.insert("clientConfig".into(), json!({"service": service(definition)}));
    made.into()
}

fn service(definition: &Value) -> Value {
    let name = format!("{}-service", definition["deploymentName"].as_str().unwrap());
    json!({
        "name": name, "namespace": NAMESPACE,
        "path": definition["webhookPath"], "port": definition["containerPort"],
    })
}

/// Names of a CSV's webhooks.
pub fn webhook_names(csv: &Value) -> BTreeSet<String> {
    let all = csv["spec"]["webhookdefinitions"].as_array().unwrap().iter();
    let admission = all.filter(|it| it["type"] != "ConversionWebhook");
    admission.map(|it| it["generateName"].as_str().unwrap().to_owned()).collect()
}

/// All that OLM installs of an edition's bundle.
fn road(edition: &str) -> Objects {
    let (csv, mut all) = bundle(edition);
    all.extend(installed_in(&csv, NAMESPACE).unwrap());
    let mut webhooks = BTreeMap::<&str, Vec<Value>>::new();
    for definition in csv["spec"]["webhookdefinitions"].as_array().unwrap() {
        match definition["type"].as_str().unwrap() {
            "MutatingAdmissionWebhook" => {
                webhooks.entry("Mutating").or_default().push(webhook(definition));
            }
            "ValidatingAdmissionWebhook" => {
                webhooks.entry("Validating").or_default().push(webhook(definition));
            }
            _ => {
                for name in definition["conversionCRDs"].as_array().unwrap() {
                    let converted =
                        all.iter_mut().find(|it| it["metadata"]["name"] == *name).unwrap();
                    converted["spec"]["conversion"] = json!({
                        "strategy": "Webhook",
                        "webhook": {
                            "clientConfig": {"service": service(definition)},
                            "conversionReviewVersions": definition["admissionReviewVersions"],
                        },
                    });
                }
            }
        }
    }
    for (sort, webhooks) in webhooks {
        all.push(json!({"kind": format!("{sort}WebhookConfiguration"), "webhooks": webhooks}));
    }
    for object in &mut all {
        // Into whatever namespace; it is this one that is compared.
        if INTO_ANY.iter().any(|it| object["kind"] == *it) {
            object["metadata"]["namespace"] = json!(NAMESPACE);
        }
    }
    let mut text = serde_json::to_string(&all).unwrap();
    for (theirs, ours, _) in NAMES.iter().rev() {
        text = text.replace(&format!("\"{theirs}\""), &format!("\"{ours}\""));
    }
    compared(serde_json::from_str::<Vec<Value>>(&text).unwrap())
}

/// As both sides are compared: webhooks and alerts one by one, rights one by one, arguments and variables by their names.
fn compared(all: Vec<Value>) -> Objects {
    let mut made = Objects::new();
    for mut object in all {
        super::hollow(&mut object);
        let kind = object["kind"].as_str().unwrap().to_owned();
        if let Some(sort) = kind.strip_suffix("Configuration") {
            for webhook in object["webhooks"].as_array().unwrap() {
                let labelled = webhook.get("namespaceSelector").is_some();
                let place = if labelled { "labelled/" } else { "" };
                let name = webhook["name"].as_str().unwrap();
                made.insert(format!("{sort}/{place}{name}"), webhook.clone());
            }
            continue;
        }
        if let Some(rules) = object.pointer_mut("/spec/groups/0/rules") {
            for alert in rules.take().as_array().unwrap() {
                let absent = alert["expr"].as_str().unwrap().starts_with("absent(");
                let place = if absent { "absent/" } else { "" };
                let name = alert["alert"].as_str().unwrap();
                assert!(made.insert(format!("Alert/{place}{name}"), alert.clone()).is_none());
            }
        }
        match &*kind {
            "ClusterRole" | "Role" => object["rules"] = rights(&object["rules"]),
            "Deployment" => {
                let container = object.pointer_mut("/spec/template/spec/containers/0").unwrap();
                let arguments = container["args"].as_array().unwrap().iter().map(|it| {
                    let (flag, value) = it
                        .as_str()
                        .unwrap()
                        .split_once('=')
                        .unwrap_or((it.as_str().unwrap(), "true"));
                    (flag.to_owned(), json!(value))
                });
                container["args"] = arguments.collect::<Map<_, _>>().into();
                container["env"].as_array_mut().unwrap().sort_by_key(|it| it["name"].to_string());
            }
            _ => {}
        }
        assert!(made.insert(key(&object), object).is_none(), "{kind} is there twice");
    }
    made
}

/// One entry a right: `resource.group:verb`, with the name where it is for one object.
fn rights(rules: &Value) -> Value {
    let texts = |it: &Value| -> Vec<String> {
        let all = it.as_array().into_iter().flatten();
        all.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let mut all = Map::new();
    for rule in rules.as_array().into_iter().flatten() {
        let names = texts(&rule["resourceNames"]);
        let names = if names.is_empty() { vec![String::new()] } else { names };
        for path in texts(&rule["nonResourceURLs"]) {
            for verb in texts(&rule["verbs"]) {
                all.insert(format!("{path}:{verb}"), json!(true));
            }
        }
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    for name in &names {
                        let group =
                            if group.is_empty() { String::new() } else { format!(".{group}") };
                        let name = if name.is_empty() { String::new() } else { format!(":{name}") };
                        all.insert(format!("{resource}{group}:{verb}{name}"), json!(true));
                    }
                }
            }
        }
    }
    all.into()
}

#[test]
fn olm_makes_of_a_bundle_what_kustomize_makes() {
    let Some(kubectl) = tool("olm_makes_of_a_bundle_what_kustomize_makes", Tool::Kubectl) else {
        return;
    };
    let mut of_use = Vec::new();
    for edition in ["community", "enterprise"] {
        let mut kustomized = Objects::new();
        for part in parts(edition) {
            kustomized.extend(objects(&said(&run(&kubectl, &["kustomize", part]))));
        }
        let (strays, used) =
            drift(&compared(kustomized.into_values().collect()), &road(edition), &TABLE);
        of_use.extend(used);
        assert!(
            strays.is_empty(),
            "{edition}:\n{}\nidle: {:?}",
            strays.join("\n"),
            TABLE.idle(&of_use)
        );
    }
    let idle = TABLE.idle(&of_use);
    assert!(idle.is_empty(), "allowed, but no difference: {idle:?}");
}

/// Beginnings of the table's rows, and by which words the page tells of them.
const TOLD: &[(&str, &str)] = &[
    ("Deployment /spec/template/spec/containers/0/args/--webhook-cert-source", "=files`"),
    ("Deployment /spec/template/spec/containers/0/args/--apply-policies", "`--apply-policies`"),
    ("ClusterRole /rules/mutatingwebhookconfigurations", "webhooks for all pods"),
    ("ClusterRole /rules/validatingwebhookconfigurations", "webhooks for all pods"),
    ("Role /rules/polecats", "a canary among Polecats"),
    ("Role /rules/secrets", "to Secrets"),
    ("ClusterRole /rules/validatingadmissionpolic", "policies below the webhooks"),
    ("MutatingWebhook /matchConditions", "`matchConditions`"),
    ("ValidatingWebhook /matchConditions", "`matchConditions`"),
    ("ValidatingWebhook /failurePolicy", "writes of the ShardMap"),
    ("Service /spec/ports/0/name", "calls ports after their numbers"),
    ("* /metadata/labels/", "labels say whose they are"),
    ("Namespace", "| the Namespace |"),
    ("Lease", "| the free Lease |"),
    ("NetworkPolicy", "| policies of the network "),
    ("FlowSchema", "| flow schemas "),
    ("Alert/absent", "`GastownDown`"),
    ("ServiceMonitor", "no monitor and no account"),
    ("ServiceAccount/gastown-operator-metrics-scraper", "no monitor and no account"),
    ("Secret/gastown-operator-metrics-scraper", "no monitor and no account"),
    ("ClusterRoleBinding/gastown-operator-metrics-scraper", "no monitor and no account"),
    ("ValidatingAdmissionPolicy", "policies below the webhooks"),
    ("MutatingWebhook/labelled", "webhooks for all pods"),
    ("ValidatingWebhook/labelled", "webhooks for all pods"),
];

#[test]
fn the_page_tells_of_every_difference_of_olms() {
    let page = fs::read_to_string(top().join("docs/openshift.md")).unwrap();
    let part = page.split("## What OLM brings, and what it leaves out").nth(1).unwrap();
    let part = part.split("\n## ").next().unwrap();
    let rows = TABLE.idle(&[]);
    for row in &rows {
        let told = TOLD.iter().find(|it| row.starts_with(it.0));
        let (_, words) = told.unwrap_or_else(|| panic!("{row}: where does the page tell of it?"));
        assert!(part.contains(words), "{row}: {words}");
    }
    for (begins, _) in TOLD {
        assert!(rows.iter().any(|it| it.starts_with(begins)), "no difference: {begins}");
    }
}

/// As they are there, with another namespace for the page's word; that the API server takes them is held by the other roads.
#[test]
fn the_policies_of_the_network_that_the_page_applies_fit_the_pods_that_olm_makes() {
    let page = fs::read_to_string(top().join("docs/openshift.md")).unwrap();
    let commands = page.lines().filter_map(|it| it.strip_prefix("$ sed "));
    let mut names = BTreeSet::new();
    for command in commands {
        let (command, _) = command.split_once(" | ").unwrap();
        let mut shell = Command::new("bash");
        let command = format!("sed {}", command.replace("NAMESPACE", "town"));
        let made = said(&shell.args(["-c", &command]).current_dir(top()).output().unwrap());
        let all: Vec<Value> = serde_saphyr::from_multiple(&made).unwrap();
        for policy in all {
            assert_eq!(policy["kind"], "NetworkPolicy");
            assert_eq!(policy["metadata"]["namespace"], "town");
            names.insert(policy["metadata"]["name"].to_string());
            let wanted = policy.pointer("/spec/podSelector/matchLabels").unwrap();
            for edition in ["community", "enterprise"] {
                let (csv, _) = bundle(edition);
                let labels = csv
                    .pointer("/spec/install/spec/deployments/0/spec/template/metadata/labels")
                    .unwrap();
                for (label, value) in wanted.as_object().unwrap() {
                    assert_eq!(labels[label], *value, "{edition}: {label}");
                }
            }
        }
    }
    assert_eq!(names.len(), 3, "in, out and metrics: {names:?}");
}

#[test]
fn drift_of_a_bundle_is_found() {
    let same = road("community");
    let deployment = format!("Deployment/{DEPLOYMENT}");
    for (change, at, value) in [
        ("a probe", "/spec/template/spec/containers/0/livenessProbe/periodSeconds", json!(99)),
        ("an argument", "/spec/template/spec/containers/0/args/--drain-seconds", json!("1")),
        ("the account", "/spec/template/spec/serviceAccountName", json!("default")),
    ] {
        let mut other = same.clone();
        *other.get_mut(&deployment).unwrap().pointer_mut(at).unwrap() = value;
        assert_eq!(drift(&same, &other, &TABLE).0.len(), 1, "{change}");
    }
    let mut other = same.clone();
    other.get_mut("ClusterRole/gastown-operator-manager-role").unwrap()["rules"]["nodes:delete"] =
        json!(true);
    assert_eq!(drift(&same, &other, &TABLE).0.len(), 1, "a right more");
    let same = road("enterprise");
    for gone in [
        "ValidatingWebhook/vpolecat.kb.io",
        "Service/gastown-operator-webhook-service",
        "Alert/GastownShardUnowned",
        "ConfigMap/gastown-operator-dashboard-fleet",
    ] {
        let mut other = same.clone();
        assert!(other.remove(gone).is_some(), "{gone} is compared");
        assert_eq!(drift(&same, &other, &TABLE).0.len(), 1, "{gone}");
    }
}
