//! Every road ends in the same objects: kustomize, `install.yaml`, the chart and what OLM makes of a bundle are compared. What
//! may differ is a table with reasons; anything else is drift.

mod back;
pub mod cert_manager;
mod changes;
mod chart;
mod examined;
pub mod olm;
mod page;
mod service_ca;
mod upgrade;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use gastown::manifests::{NAMESPACE, dashboards::DASHBOARDS};
use gastown_testbed::tools::{Tool, Tools, on_path};
use serde_json::Value;

use crate::{generated::top, preconditions::skip};

/// What may differ between two roads, each with its reason.
struct Table {
    /// By kind and JSON pointer below an object: a `*` stands for any one part, or for how it ends.
    allowed: &'static [(&'static str, &'static str, &'static str)],
    /// Kinds, or the beginning of keys, that the other road lacks.
    absent: &'static [(&'static str, &'static str)],
    /// The same, or whole keys, of what the other road alone has.
    more: &'static [(&'static str, &'static str)],
}

impl Table {
    /// Rows that no difference needs, by the rows that were of use.
    fn idle(&self, used: &[Row]) -> Vec<String> {
        let allowed = self
            .allowed
            .iter()
            .enumerate()
            .map(|(at, it)| (Row::Allowed(at), format!("{} {}", it.0, it.1)));
        let absent =
            self.absent.iter().enumerate().map(|(at, it)| (Row::Absent(at), it.0.to_owned()));
        let more = self.more.iter().enumerate().map(|(at, it)| (Row::More(at), it.0.to_owned()));
        let all = allowed.chain(absent).chain(more);
        all.filter(|it| !used.contains(&it.0)).map(|it| it.1).collect()
    }
}

/// A row of a table.
#[derive(PartialEq)]
enum Row {
    Allowed(usize),
    Absent(usize),
    More(usize),
}

/// What the chart may have beside the other roads, or lack.
const CHART: Table = Table { allowed: ALLOWED, absent: ABSENT, more: MORE };
const ALLOWED: &[(&str, &str, &str)] = &[
    ("*", "/metadata/labels/helm.sh~1chart", "Helm's convention: which chart made it"),
    ("*", "/metadata/labels/app.kubernetes.io~1managed-by", "Helm's convention: who may change it"),
    (
        "*",
        "/metadata/labels/app.kubernetes.io~1instance",
        "Helm's convention: of which release it is",
    ),
    (
        "*",
        "/metadata/annotations/helm.sh~1resource-policy",
        "objects and what keeps them whole outlast a release",
    ),
    (
        "Deployment",
        "/spec/template/metadata/labels/app.kubernetes.io~1instance",
        "the original's chart selects by it, and a selector can't be changed",
    ),
    ("Deployment", "/spec/selector/matchLabels/app.kubernetes.io~1instance", "the same"),
    (
        "Deployment",
        "/spec/template/spec/topologySpreadConstraints/*/labelSelector/matchLabels/app.kubernetes.io~1instance",
        "the same",
    ),
    ("PodDisruptionBudget", "/spec/selector/matchLabels/app.kubernetes.io~1instance", "the same"),
    ("Service", "/spec/selector/app.kubernetes.io~1instance", "the same"),
    ("NetworkPolicy", "/spec/podSelector/matchLabels/app.kubernetes.io~1instance", "the same"),
];
/// Whole objects that the chart lacks.
const ABSENT: &[(&str, &str)] = &[(
    "Namespace",
    "a release goes into a namespace that is there, or that `--create-namespace` makes",
)];

/// Whole objects that it has alone.
const MORE: &[(&str, &str)] = &[
    (
        "Job/gastown-operator-uninstall",
        "what `make undeploy` does by kubectl: definitions are left without their conversion",
    ),
    ("ServiceAccount/gastown-operator-uninstall", "who the Job is"),
    ("ClusterRole/gastown-operator-uninstall", "what it may do"),
    ("ClusterRoleBinding/gastown-operator-uninstall", "the same"),
    ("NetworkPolicy/gastown-operator-uninstall", "whom it reaches"),
];

type Objects = BTreeMap<String, Value>;

/// A program of the testbed, built where it is missing; none, with a skip, where it can't be built.
pub fn tool(test: &str, wanted: Tool) -> Option<PathBuf> {
    let missing = Tools::missing(vec![wanted]).unwrap();
    if !missing.is_empty() && on_path("go").is_none() {
        skip(test, wanted.name(), &format!("the program {}, or Go to build it", wanted.name()));
        return None;
    }
    Some(Tools::find(&[wanted]).unwrap().path(wanted).unwrap().to_owned())
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(top()).env_clear().env("HOME", std::env::temp_dir());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Objects by kind and name, without what is empty.
fn objects(text: &str) -> Objects {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let mut objects = Objects::new();
    for mut object in all.into_iter().filter(Value::is_object) {
        hollow(&mut object);
        let key = key(&object);
        assert!(objects.insert(key.clone(), object).is_none(), "{key} is there twice");
    }
    objects
}

/// Kind and name.
fn key(object: &Value) -> String {
    let of = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    format!("{}/{}", of("/kind"), of("/metadata/name"))
}

/// Takes nulls and empty maps out, and writes 1.0 as 1: YAML has several ways to say nothing, and the same number.
fn hollow(value: &mut Value) {
    if let Some(whole) = value.as_f64().filter(|it| value.is_f64() && it.fract() == 0.0) {
        *value = format!("{whole:.0}").parse::<i64>().map_or(Value::Null, Value::from);
    }
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(hollow);
            map.retain(|_, it| !it.is_null() && it.as_object().is_none_or(|it| !it.is_empty()));
        }
        Value::Array(items) => items.iter_mut().for_each(hollow),
        _ => {}
    }
}

/// Every place where two values differ.
fn differences(one: &Value, other: &Value, at: &str, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys().filter(|it| !one.contains_key(*it))) {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (one.get(key), other.get(key)) {
                    (Some(one), Some(other)) => differences(one, other, &at, found),
                    // What is there on one road alone is told by its leaves.
                    (Some(it), None) | (None, Some(it)) => leaves(it, &at, found),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                differences(one, other, &format!("{at}/{index}"), found);
            }
        }
        _ if one == other => {}
        _ => found.push(at.to_owned()),
    }
}

fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, it)| {
            leaves(it, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        _ => found.push(at.to_owned()),
    }
}

fn fits(pattern: &str, at: &str) -> bool {
    let (pattern, at): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), at.split('/').collect());
    pattern.len() == at.len()
        && pattern.iter().zip(&at).all(|(one, other)| {
            one.strip_suffix('*').map_or(one == other, |it| other.starts_with(it))
        })
}

/// What a road has otherwise than the one that it is held against, beyond what is allowed; and which rows were of use.
fn drift(road: &Objects, other: &Objects, table: &Table) -> (Vec<String>, Vec<Row>) {
    let row = |rows: &[(&str, &str)], key: &str| {
        rows.iter().position(|it| {
            key.strip_prefix(it.0).is_some_and(|after| after.is_empty() || after.starts_with('/'))
        })
    };
    let (mut strays, mut used) = (Vec::new(), Vec::new());
    for (key, object) in road {
        let Some(rendered) = other.get(key) else {
            match row(table.absent, key) {
                Some(row) => used.push(Row::Absent(row)),
                None => strays.push(format!("{key} is missing")),
            }
            continue;
        };
        let mut found = Vec::new();
        differences(object, rendered, "", &mut found);
        let kind = key.split('/').next().unwrap();
        for at in found {
            let mut rows = table.allowed.iter();
            match rows.position(|(of, path, _)| (*of == "*" || *of == kind) && fits(path, &at)) {
                Some(row) => used.push(Row::Allowed(row)),
                None => strays.push(format!(
                    "{key}: {at}: {:?} there, {:?} here",
                    object.pointer(&at),
                    rendered.pointer(&at)
                )),
            }
        }
    }
    for key in other.keys().filter(|it| !road.contains_key(*it)) {
        match row(table.more, key) {
            Some(row) => used.push(Row::More(row)),
            None => strays.push(format!("{key} is here alone")),
        }
    }
    (strays, used)
}

#[test]
fn one_file_is_what_kustomize_makes_of_the_community_edition() {
    let Some(kubectl) =
        tool("one_file_is_what_kustomize_makes_of_the_community_edition", Tool::Kubectl)
    else {
        return;
    };
    let kustomized = objects(&said(&run(&kubectl, &["kustomize", "deploy/community"])));
    let file = objects(&fs::read_to_string(top().join("deploy/install.yaml")).unwrap());
    assert_eq!(kustomized.keys().collect::<Vec<_>>(), file.keys().collect::<Vec<_>>());
    for (key, object) in &kustomized {
        let mut found = Vec::new();
        differences(object, &file[key], "", &mut found);
        assert!(found.is_empty(), "{key}: {found:?}");
    }
    assert!(
        kustomized.len() > 30,
        "definitions, roles, webhooks and policies: {}",
        kustomized.len()
    );
}

#[test]
fn editions_differ_in_their_images_and_in_the_flags_of_one_alone() {
    const TEST: &str = "editions_differ_in_their_images_and_in_the_flags_of_one_alone";
    let Some(kubectl) = tool(TEST, Tool::Kubectl) else { return };
    let [community, enterprise] = ["deploy/community", "deploy/enterprise"]
        .map(|it| objects(&said(&run(&kubectl, &["kustomize", it]))));
    let mut found = Vec::new();
    for (key, object) in &community {
        differences(object, &enterprise[key], key, &mut found);
    }
    found.sort();
    let container =
        "Deployment/gastown-operator-controller-manager/spec/template/spec/containers/0";
    // The runner's variable comes where a patch puts it.
    found.retain(|it| !it.starts_with(&format!("{container}/env/")));
    assert_eq!(found, ["args", "image"].map(|it| format!("{container}/{it}")));
    assert_eq!(flags_beside(&community, &enterprise), ENTERPRISE);
    assert_eq!(community.len(), enterprise.len());
    let runner = |all: &Objects| {
        all["Deployment/gastown-operator-controller-manager"].to_string().contains(concat!(
            "gastown-runner:",
            env!("CARGO_PKG_VERSION"),
            "-ubi9"
        ))
    };
    assert!(runner(&enterprise) && !runner(&community));
}

/// What the Enterprise edition is started with beside the other: there a Polecat is no way to a Secret that who asks for it may not
/// have.
pub const ENTERPRISE: [&str; 1] = ["--reference-access=enforce"];

/// Flags of an installation's operator that come after those of another's.
fn flags_beside(one: &Objects, other: &Objects) -> Vec<String> {
    let [one, other] = [one, other].map(|it| {
        let operator = &it["Deployment/gastown-operator-controller-manager"];
        let flags = operator.pointer("/spec/template/spec/containers/0/args").unwrap();
        serde_json::from_value::<Vec<String>>(flags.clone()).unwrap()
    });
    assert!(!one.is_empty() && other.starts_with(&one), "{one:?}, {other:?}");
    other[one.len()..].to_vec()
}

#[test]
fn the_chart_makes_what_kustomize_makes() {
    const TEST: &str = "the_chart_makes_what_kustomize_makes";
    let (Some(kubectl), Some(helm)) = (tool(TEST, Tool::Kubectl), tool(TEST, Tool::Helm)) else {
        return;
    };
    let mut of_use = Vec::new();
    for (overlay, values) in
        [("community", "edition=community"), ("enterprise", "edition=enterprise")]
    {
        let road = objects(&said(&run(&kubectl, &["kustomize", &format!("deploy/{overlay}")])));
        let arguments = [
            "template",
            "gastown-operator",
            gastown::manifests::chart::FOLDER,
            "-n",
            NAMESPACE,
            "--set",
            values,
        ];
        let chart = objects(&said(&run(&helm, &arguments)));
        let (strays, used) = drift(&by_name(road), &by_name(chart), &CHART);
        assert!(strays.is_empty(), "{overlay}:\n{}", strays.join("\n"));
        of_use.extend(used);
    }
    let idle = CHART.idle(&of_use);
    assert!(idle.is_empty(), "allowed, but no difference: {idle:?}");
}

#[test]
fn the_chart_monitors_as_kustomize_does() {
    const TEST: &str = "the_chart_monitors_as_kustomize_does";
    let (Some(kubectl), Some(helm)) = (tool(TEST, Tool::Kubectl), tool(TEST, Tool::Helm)) else {
        return;
    };
    let mut road = objects(&said(&run(&kubectl, &["kustomize", "deploy/monitoring"])));
    let dashboards = objects(&said(&run(&kubectl, &["kustomize", "deploy/dashboards"])));
    assert_eq!(dashboards.len(), DASHBOARDS.len());
    road.extend(dashboards);
    let folder = gastown::manifests::chart::FOLDER;
    let plain = ["template", "gastown-operator", folder, "-n", NAMESPACE];
    let without = objects(&said(&run(&helm, &plain)));
    let on = [
        &plain[..],
        &["--set", "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true"],
        &["--set", "metrics.dashboards.enabled=true"],
    ]
    .concat();
    let mut chart = objects(&said(&run(&helm, &on)));
    chart.retain(|key, _| !without.contains_key(key));
    let (strays, _) = drift(&road, &chart, &CHART);
    assert!(strays.is_empty(), "{}", strays.join("\n"));
    assert!(road.len() > 4, "an account, its token and right, the monitor, and alerts");
}

/// Environment variables in the order of their names: a kustomize patch changes their order.
fn by_name(mut all: Objects) -> Objects {
    for object in all.values_mut() {
        if let Some(env) =
            object.pointer_mut("/spec/template/spec/containers/0/env").and_then(Value::as_array_mut)
        {
            env.sort_by_key(|it| it["name"].to_string());
        }
    }
    all
}

#[test]
fn drift_is_found() {
    let one =
        objects("kind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}], selector: {a: b}}");
    let allowed = objects(
        "kind: Service\nmetadata: {name: a, labels: {helm.sh/chart: x}}\nspec: {ports: [{port: 1}], selector: {a: b}}",
    );
    assert_eq!(drift(&one, &allowed, &CHART).0, Vec::<String>::new());
    for (other, because) in [
        (
            "kind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 2}], selector: {a: b}}",
            "a value",
        ),
        (
            "kind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}], selector: {a: b, c: d}}",
            "one more",
        ),
        ("kind: Service\nmetadata: {name: a}\nspec: {ports: [], selector: {a: b}}", "one less"),
        (
            "kind: Service\nmetadata: {name: b}\nspec: {ports: [{port: 1}], selector: {a: b}}",
            "another name",
        ),
        ("", "nothing"),
    ] {
        assert!(!drift(&one, &objects(other), &CHART).0.is_empty(), "{because}");
    }
}
