//! What a person is told of a pod that is refused: a line for each violation, then one patch that mends what one value can.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Violation, judge::Fix};

/// A strategic merge patch for the object that holds the pod, with everything that one value mends; `None` where nothing is.
pub fn patch(prefix: &str, violations: &[Violation]) -> Option<Value> {
    let fixes: Vec<&Fix> = violations.iter().filter_map(|it| it.fix.as_ref()).collect();
    if fixes.is_empty() {
        return None;
    }
    let mut spec = json!({});
    let mut places = HashMap::new();
    for fix in fixes {
        let target = match &fix.container {
            None => Some(&mut spec),
            Some((list, name)) => container(&mut spec, list, name, &mut places),
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

/// A container's part of the patch: lists of containers are merged by name. `places` knows where in its list each is.
fn container<'p, 'f>(
    spec: &'p mut Value,
    list: &'static str,
    name: &'f str,
    places: &mut HashMap<(&'static str, &'f str), usize>,
) -> Option<&'p mut Value> {
    let all = spec.as_object_mut()?.entry(list).or_insert_with(|| json!([])).as_array_mut()?;
    let at = *places.entry((list, name)).or_insert_with(|| {
        all.push(json!({"name": name}));
        all.len() - 1
    });
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
