//! Label selectors, as the API server reads them.

use serde_json::Value;

use super::facts::{each, text, texts};
use crate::domain::names;

/// Whether labels are selected; an empty selector selects all.
pub fn matches(selector: &Value, labels: Option<&Value>) -> bool {
    let label = |key: &str| labels.and_then(|it| it.get(key)).and_then(Value::as_str);
    let pairs = selector.get("matchLabels").and_then(Value::as_object);
    pairs.into_iter().flatten().all(|(key, value)| label(key) == value.as_str())
        && each(selector, "/matchExpressions").all(|it| {
            let is = label(text(it, "/key"));
            let among = is.is_some_and(|is| texts(it, "/values").contains(&is));
            match text(it, "/operator") {
                "In" => among,
                "NotIn" => !among,
                "Exists" => is.is_some(),
                "DoesNotExist" => is.is_none(),
                _ => false,
            }
        })
}

/// Whether a Polecat's pod may be selected, whatever the values of its labels are.
pub fn may_match_polecats(selector: &Value) -> bool {
    let labels = names::labels("", "", None);
    let has = |key: &str| labels.contains_key(key);
    let pairs = selector.get("matchLabels").and_then(Value::as_object);
    pairs.into_iter().flatten().all(|(key, _)| has(key))
        && each(selector, "/matchExpressions").all(|it| match text(it, "/operator") {
            "In" | "Exists" => has(text(it, "/key")),
            "DoesNotExist" => !has(text(it, "/key")),
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }

    #[test]
    fn labels_are_selected_as_by_the_api_server() {
        let labels = json!({"team": "a"});
        for (selector, want) in [
            (Value::Null, true),
            (json!({}), true),
            (json!({"matchLabels": {"team": "a"}}), true),
            (json!({"matchLabels": {"team": "b"}}), false),
            (expression("team", "In", &["a", "b"]), true),
            (expression("team", "NotIn", &["a"]), false),
            (expression("zone", "NotIn", &["a"]), true),
            (expression("zone", "Exists", &[]), false),
            (expression("zone", "DoesNotExist", &[]), true),
        ] {
            assert_eq!(matches(&selector, Some(&labels)), want, "{selector}");
        }
        assert!(!matches(&json!({"matchLabels": {"team": "a"}}), None));
    }

    #[test]
    fn a_polecats_pod_may_be_selected_by_its_labels_alone() {
        for (selector, want) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "x"}}), false),
            (json!({"matchLabels": {names::RIG_LABEL: "x"}}), true),
            (expression(names::POLECAT_LABEL, "DoesNotExist", &[]), false),
            (expression(names::POLECAT_LABEL, "Exists", &[]), true),
            (expression("app", "NotIn", &["x"]), true),
            (expression("app", "In", &["x"]), false),
        ] {
            assert_eq!(may_match_polecats(&selector), want, "{selector}");
        }
    }
}
