//! An object as the other version of its kind says it, made as `/convert` makes it: what the door judges, and whether what is
//! stored could be read.

use std::fmt::Write as _;

use serde_json::Value;

use super::KINDS;
use crate::{admission::Refusal, conversion};

/// The hub's version.
pub(super) const HUB: &str = "v1beta1";

/// What Go writes as an escape within a text, since HTML would read it.
const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];

/// An object as the other version of its kind says it, and that version; none, if the kind has but one.
pub(super) fn other_version(
    object: &Value,
) -> Option<(&'static str, Result<String, conversion::Refusal>)> {
    let kind = object.get("kind")?.as_str()?;
    let (group, version) = object.get("apiVersion")?.as_str()?.split_once('/')?;
    KINDS.iter().find(|it| it.kind == kind && it.group == group && it.beta.is_some())?;
    let other = if version == HUB { "v1alpha1" } else { HUB };
    let mut out = String::new();
    let (text, desired) = (as_the_api_server_writes(object), format!("{group}/{other}"));
    let done = conversion::convert(conversion::kinds(), &text, &desired, &mut out);
    Some((other, done.map(|()| out)))
}

/// An object of the other version as the hub says it.
pub(super) fn in_hub(object: &Value) -> Option<Value> {
    match other_version(object)? {
        (HUB, Ok(text)) => parsed(&text),
        _ => None,
    }
}

pub(super) fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// Why an object can't be stored of which the other version can't be made: nobody could read it in that one, and as long as it is
/// there no list of its kind, in any namespace.
pub(super) fn refusal(version: &str, why: &conversion::Refusal) -> Refusal {
    let message = format!("it can't be served as {version}: {why}");
    Refusal { field: "metadata.annotations".into(), message }
}

/// What an API server sends to `/convert` is longer than what we would write; what fits here must fit there.
fn as_the_api_server_writes(object: &Value) -> String {
    let text = object.to_string();
    if !text.contains(ESCAPED) {
        return text;
    }
    let mut escaped = String::with_capacity(2 * text.len());
    for it in text.chars() {
        if ESCAPED.contains(&it) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(it));
        } else {
            escaped.push(it);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_read_as_they_will_be_sent() {
        let object = json!({"metadata": {"annotations": {"a<b": "x && \u{2028}é\\"}}});
        let text = as_the_api_server_writes(&object);
        assert_eq!(text, r#"{"metadata":{"annotations":{"a\u003cb":"x \u0026\u0026 \u2028é\\"}}}"#);
        assert_eq!(parsed(&text), Some(object));
    }
}
