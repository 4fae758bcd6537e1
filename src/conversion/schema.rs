//! What a served version can say, as far as conversion has to know it: which paths there are, and whether a value is
//! within the bounds there. Made from the same schema as the CRD.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::Value;

/// One node of a schema.
#[derive(Debug, Default)]
pub struct Schema {
    types: Vec<String>,
    properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    others: Option<Box<Schema>>,
    items: Option<Box<Schema>>,
    choices: Option<Vec<Value>>,
    pattern: Pattern,
    bounds: Bounds,
    unique: Unique,
    int_or_string: bool,
    open: bool,
}

/// What a string must look like.
#[derive(Debug, Default)]
enum Pattern {
    #[default]
    Any,
    Like(Regex),
    /// One that this crate cannot read admits nothing: better inert than unchecked.
    Unreadable,
}

impl Pattern {
    fn read(text: &str) -> Self {
        Regex::new(text).map_or(Self::Unreadable, Self::Like)
    }

    fn admits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Like(it) => it.is_match(text),
            Self::Unreadable => false,
        }
    }
}

/// What tells the items of a list apart: none may be there twice.
#[derive(Debug, Default)]
enum Unique {
    #[default]
    No,
    Whole,
    Keys(Vec<String>),
}

impl Unique {
    fn holds(&self, items: &[Value]) -> bool {
        let told = |item: &Value| match self {
            Self::No => None,
            Self::Whole => Some(item.to_string()),
            Self::Keys(keys) => {
                let keys: Vec<_> = keys.iter().map(|it| item.get(it)).collect();
                serde_json::to_string(&keys).ok()
            }
        };
        let mut seen = BTreeSet::new();
        items.iter().filter_map(told).all(|it| seen.insert(it))
    }
}

#[derive(Debug, Default)]
struct Bounds {
    length: Range<u64>,
    items: Range<u64>,
    members: Range<u64>,
    number: Range<f64>,
}

#[derive(Debug, Default)]
struct Range<T>(Option<T>, Option<T>);

impl<T: PartialOrd + Copy> Range<T> {
    fn holds(&self, it: T) -> bool {
        self.0.is_none_or(|least| it >= least) && self.1.is_none_or(|most| it <= most)
    }
}

impl Schema {
    /// Reads an `openAPIV3Schema`.
    pub fn read(from: &Value) -> Self {
        let number = |key: &str| from.get(key).and_then(Value::as_u64);
        let float = |key: &str| from.get(key).and_then(Value::as_f64);
        let inner = |key: &str| {
            from.get(key).filter(|it| it.is_object()).map(|it| Box::new(Self::read(it)))
        };
        let flag = |key: &str| from.get(key) == Some(&Value::Bool(true));
        let words = |key: &str| match from.get(key) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(some)) => {
                some.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        let properties = from.get("properties").and_then(Value::as_object);
        Self {
            types: words("type"),
            properties: properties
                .into_iter()
                .flatten()
                .map(|(name, it)| (name.clone(), Self::read(it)))
                .collect(),
            required: words("required"),
            others: inner("additionalProperties"),
            items: inner("items"),
            choices: from.get("enum").and_then(Value::as_array).cloned(),
            pattern: from
                .get("pattern")
                .and_then(Value::as_str)
                .map(Pattern::read)
                .unwrap_or_default(),
            bounds: Bounds {
                length: Range(number("minLength"), number("maxLength")),
                items: Range(number("minItems"), number("maxItems")),
                members: Range(number("minProperties"), number("maxProperties")),
                number: Range(float("minimum"), float("maximum")),
            },
            unique: match from.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => Unique::Whole,
                Some("map") => Unique::Keys(words("x-kubernetes-list-map-keys")),
                _ => Unique::No,
            },
            int_or_string: flag("x-kubernetes-int-or-string"),
            open: flag("x-kubernetes-preserve-unknown-fields"),
        }
    }

    /// The node of a member.
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.others.as_deref())
    }

    /// The node at a path.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.member(name))
    }

    /// Whether it has named members, so that a value there is put together from parts.
    pub fn has_parts(&self) -> bool {
        !self.properties.is_empty()
    }

    pub fn requires(&self, name: &str) -> bool {
        self.required.iter().any(|it| it == name)
    }

    /// Every path that ends here or below at something that is not put together from named parts.
    pub fn leaves(&self) -> Vec<String> {
        if !self.has_parts() {
            return vec![String::new()];
        }
        let below = |(name, it): (&String, &Self)| {
            it.leaves()
                .into_iter()
                .map(move |rest| match rest.as_str() {
                    "" => name.clone(),
                    rest => format!("{name}.{rest}"),
                })
                .collect::<Vec<_>>()
        };
        self.properties.iter().flat_map(below).collect()
    }

    /// Whether a value may stand here. Null stands for absence, as the API server reads it.
    pub fn admits(&self, value: &Value) -> bool {
        if value.is_null() {
            return true;
        }
        let chosen = self.choices.as_ref().is_none_or(|some| some.contains(value));
        chosen && self.admits_type(value) && self.admits_content(value)
    }

    fn admits_type(&self, value: &Value) -> bool {
        if self.int_or_string {
            return value.is_string() || value.is_i64() || value.is_u64();
        }
        let mut types = self.types.iter().map(String::as_str).filter(|it| *it != "null").peekable();
        if types.peek().is_none() {
            return self.open;
        }
        types.any(|it| match it {
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => false,
        })
    }

    fn admits_content(&self, value: &Value) -> bool {
        let Bounds { length, items, members, number } = &self.bounds;
        let count = |it: usize| u64::try_from(it).unwrap_or(u64::MAX);
        match value {
            Value::String(text) => {
                let fits = self.pattern.admits(text);
                fits && length.holds(count(text.chars().count()))
            }
            Value::Number(it) => it.as_f64().is_some_and(|it| number.holds(it)),
            Value::Array(list) => {
                items.holds(count(list.len()))
                    && self.unique.holds(list)
                    && self
                        .items
                        .as_ref()
                        .is_some_and(|inner| list.iter().all(|it| inner.admits(it)))
            }
            Value::Object(map) => {
                let known = map.iter().all(|(name, it)| match self.member(name) {
                    Some(inner) => inner.admits(it),
                    None => self.open,
                });
                known
                    && members.holds(count(map.len()))
                    && self.required.iter().all(|it| map.get(it).is_some_and(|it| !it.is_null()))
            }
            Value::Bool(_) | Value::Null => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_within_the_bounds_or_not() {
        let schema = Schema::read(&json!({
            "type": "object", "required": ["name"], "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^[a-z]+$"},
                "count": {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
                "mode": {"type": "string", "enum": ["A", "B"]},
                "list": {"type": "array", "maxItems": 1, "items": {"type": "boolean"}},
                "amount": {"x-kubernetes-int-or-string": true},
                "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                "keyed": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                    "items": {"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}},
                },
                "map": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 1},
            },
        }));
        let table = [
            (json!({"name": "abc"}), true, "the least"),
            (json!({}), false, "what is required is missing"),
            (json!({"name": ""}), false, "too short"),
            (json!({"name": "abcd"}), false, "too long"),
            (json!({"name": "A"}), false, "not the pattern"),
            (json!({"name": 1}), false, "not the type"),
            (json!({"name": "a", "count": 9}), true, "the upper bound"),
            (json!({"name": "a", "count": 10}), false, "above it"),
            (json!({"name": "a", "count": 1.5}), false, "no integer"),
            (json!({"name": "a", "count": null}), true, "null is absence"),
            (json!({"name": null}), false, "and absent is what is required"),
            (json!({"name": "a", "mode": "C"}), false, "not a choice"),
            (json!({"name": "a", "list": [true]}), true, "a list"),
            (json!({"name": "a", "list": [true, true]}), false, "too many"),
            (json!({"name": "a", "list": ["x"]}), false, "wrong inside"),
            (json!({"name": "a", "set": ["x", "y"]}), true, "a set"),
            (json!({"name": "a", "set": ["x", "x"]}), false, "one of it twice"),
            (
                json!({"name": "a", "keyed": [{"id": "x", "n": 1}, {"id": "y", "n": 1}]}),
                true,
                "two keys",
            ),
            (
                json!({"name": "a", "keyed": [{"id": "x", "n": 1}, {"id": "x", "n": 2}]}),
                false,
                "a key twice",
            ),
            (json!({"name": "a", "amount": "1Gi"}), true, "text for an amount"),
            (json!({"name": "a", "amount": true}), false, "no amount"),
            (json!({"name": "a", "map": {"x": "y"}}), true, "a map"),
            (json!({"name": "a", "map": {"x": 1}}), false, "wrong in a map"),
            (json!({"name": "a", "what": 1}), false, "unknown"),
        ];
        for (value, want, because) in table {
            assert_eq!(schema.admits(&value), want, "{because}: {value}");
        }
    }
}
