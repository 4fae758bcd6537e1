//! What a person is told of a pod that is refused: a line for each violation, then one patch that mends what one value can.

use serde_json::{Map, Value, json};

use super::{Violation, judge::Fix};

/// A strategic merge patch for the object that holds the pod, with everything that one value mends; `None` where nothing is.
pub fn patch(prefix: &str, violations: &[Violation]) -> Option<Value> {
    let fixes: Vec<&Fix> = violations.iter().filter_map(|it| it.fix.as_ref()).collect();
    if fixes.is_empty() {
        return None;
    }
    let mut spec = json!({});
    for fix in fixes {
        let target = match &fix.container {
            None => Some(&mut spec),
            Some((list, name)) => container(&mut spec, list, name),
        };
        if let Some(target) = target {
            set(target, &fix.path, &fix.value);
        }
    }
    let mut whole = json!({"spec": spec});
    for part in prefix.split('.').rev().filter(|it| !it.is_empty()) {
        whole = json!({part: whole});
    }
    Some(whole)
}

/// A container's part of the patch: lists of containers are merged by name.
fn container<'p>(spec: &'p mut Value, list: &str, name: &str) -> Option<&'p mut Value> {
    let all = spec.as_object_mut()?.entry(list).or_insert_with(|| json!([])).as_array_mut()?;
    let at = all.iter().position(|it| it.get("name").is_some_and(|it| it == name)).unwrap_or_else(
        || {
            all.push(json!({"name": name}));
            all.len() - 1
        },
    );
    all.get_mut(at)
}

fn set(target: &mut Value, path: &str, value: &Value) {
    let mut here = target;
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    for part in parents.split('.').filter(|it| !it.is_empty()) {
        let Some(map) = here.as_object_mut() else { return };
        here = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Some(map) = here.as_object_mut() {
        map.insert(last.to_owned(), value.clone());
    }
}
