//! What nobody set on a pod, and is set: only what OpenShift's constraints would set as well; never users, groups or levels.
//! The same as a patch for a pod at the door, and in a copy where it is asked what will become of one.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Subject, approved, door::Asked, subject::Container};
use crate::domain::names;

/// The JSON patch of a pod that is created, or of ephemeral containers that are added. With `fips`, or where the pod says so, also
/// what puts its TLS into approved settings. A second run finds nothing to set.
pub fn patch(asked: &Asked<'_>, fips: bool) -> Vec<Value> {
    let Ok(Some(subject)) = Subject::of(asked.kind, asked.object) else { return Vec::new() };
    if asked.kind != "Pod" {
        return Vec::new();
    }
    let there =
        asked.old.and_then(|it| it.pointer("/spec/ephemeralContainers")).and_then(Value::as_array);
    let there: HashSet<_> =
        there.into_iter().flatten().filter_map(|it| it.get("name")?.as_str()).collect();
    let creates = asked.old.is_none();
    let new = |it: &Container<'_>| {
        creates || (it.list == "ephemeralContainers" && !there.contains(it.name))
    };
    settings(&subject, creates, new, fips)
}

/// An object as its pods will be once all of it is set; `None` where there is nothing to set.
pub fn mended(kind: &str, object: &Value, fips: bool) -> Option<Value> {
    let subject = Subject::of(kind, object).ok()??;
    let patch = settings(&subject, true, |_| true, fips);
    let patch: json_patch::Patch = serde_json::from_value(patch.into()).ok()?;
    if patch.0.is_empty() {
        return None;
    }
    let mut mended = object.clone();
    json_patch::patch(&mut mended, &patch).ok()?;
    Some(mended)
}

fn settings(
    subject: &Subject<'_>,
    creates: bool,
    is_new: impl Fn(&Container<'_>) -> bool,
    fips: bool,
) -> Vec<Value> {
    if subject.is_windows() {
        return Vec::new();
    }
    let root = format!("/{}spec", subject.prefix.replace('.', "/"));
    let mut patch = if creates { of_pod(subject, &root) } else { Vec::new() };
    let fips = approved::holds(subject, fips);
    for it in subject.containers.iter().filter(|it| is_new(it)) {
        let place = format!("{root}/{}/{}", it.list, it.index);
        let mut set = of_container(&place, it.json.get("securityContext"));
        if fips {
            set.extend(approved::settings(&place, it));
        }
        if !set.is_empty() {
            // Fails where another one has changed the list in between, instead of setting it in the wrong container.
            patch.push(json!({"op": "test", "path": format!("{place}/name"), "value": it.name}));
            patch.extend(set);
        }
    }
    patch
}

fn of_pod(subject: &Subject<'_>, root: &str) -> Vec<Value> {
    let place = format!("{root}/securityContext");
    let mut context = Setter::new(&place, subject.spec.get("securityContext"));
    context.set("runAsNonRoot", || json!(true));
    context.set("seccompProfile", || json!({"type": "RuntimeDefault"}));
    let mut patch = context.patch;
    let ours = subject.metadata.pointer("/labels").and_then(|it| it.get(names::POLECAT_LABEL));
    if ours.is_some() {
        let mut spec = Setter::new(root, Some(subject.spec));
        spec.set("automountServiceAccountToken", || json!(false));
        spec.set("enableServiceLinks", || json!(false));
        patch.extend(spec.patch);
    }
    patch
}

fn of_container(place: &str, context: Option<&Value>) -> Vec<Value> {
    let mut set = Setter::new(&format!("{place}/securityContext"), context);
    let has = |key: &str, value: &Value| context.and_then(|it| it.get(key)) == Some(value);
    let added = context.and_then(|it| it.pointer("/capabilities/add")).and_then(Value::as_array);
    let powerful = added.into_iter().flatten().any(|it| it == "CAP_SYS_ADMIN");
    // An API server refuses the two together, with words that say less than ours.
    if !has("privileged", &json!(true)) && !powerful {
        set.set("allowPrivilegeEscalation", || json!(false));
    }
    let capabilities = context.and_then(|it| it.get("capabilities")).filter(|it| !it.is_null());
    match capabilities {
        None => set.set("capabilities", || json!({"drop": ["ALL"]})),
        Some(it) => {
            let mut drop = it.get("drop").and_then(Value::as_array).cloned().unwrap_or_default();
            if !drop.iter().any(|it| it == "ALL") {
                drop.push(json!("ALL"));
                // As OpenShift leaves it.
                drop.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
                set.put("capabilities/drop", &json!(drop));
            }
        }
    }
    set.patch
}

/// Adds what is unset in one object, and first the object itself.
struct Setter<'v> {
    path: String,
    object: Option<&'v Value>,
    patch: Vec<Value>,
}

impl<'v> Setter<'v> {
    fn new(path: &str, object: Option<&'v Value>) -> Self {
        Self { path: path.to_owned(), object: object.filter(|it| !it.is_null()), patch: Vec::new() }
    }

    fn set(&mut self, key: &str, value: impl FnOnce() -> Value) {
        if self.object.and_then(|it| it.get(key)).is_none_or(Value::is_null) {
            self.put(key, &value());
        }
    }

    fn put(&mut self, key: &str, value: &Value) {
        if self.object.is_none() && self.patch.is_empty() {
            self.patch.push(json!({"op": "add", "path": self.path, "value": {}}));
        }
        self.patch
            .push(json!({"op": "add", "path": format!("{}/{key}", self.path), "value": value}));
    }
}
