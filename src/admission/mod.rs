//! What may be written, and what is stamped on it: pure. axum and the API server's envelope are around it, not in it.

pub mod polecat;
pub mod rig;

use serde_json::{Value, json};

/// What admission makes of an object: a JSON patch, and warnings that `kubectl` prints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The object as it is to be stored; `None`: as it was sent.
    pub changed: Option<Value>,
    /// At most 256 characters each, as the API server asks.
    pub warnings: Vec<String>,
}

/// Longest warning that the API server passes on untruncated, in characters.
const MAX_WARNING: usize = 256;

/// Cuts a warning to what the API server passes on.
fn warning(text: &str) -> String {
    if text.chars().count() <= MAX_WARNING {
        return text.to_owned();
    }
    text.chars().take(MAX_WARNING - 1).chain(['…']).collect()
}

/// Sets string entries in a map of `metadata`, making the map where it is missing.
fn stamp(object: &mut Value, map: &str, entries: impl IntoIterator<Item = (String, String)>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    let slot = metadata.entry(map).or_insert_with(|| json!({}));
    if slot.is_null() {
        *slot = json!({});
    }
    if let Some(slot) = slot.as_object_mut() {
        for (key, value) in entries {
            slot.insert(key, Value::String(value));
        }
    }
}
