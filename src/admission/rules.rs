//! The rules of the hub's definitions (`x-kubernetes-validations`), run as the API server runs them, on what it does not run
//! them on: it holds a write to the version that it came in, and converts what passed.
//!
//! **What the other version says by itself is its own affair.** It has no bound that the Go original lacked. So an object is
//! looked at twice, with the annotation that carries what only the hub can say, and without: only what comes with the
//! annotation is held to the hub's rules, transitions too. What an update leaves as it was is not judged again.

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::Value;

const RULES: &str = "x-kubernetes-validations";

/// The rules at one place of a schema, and below it.
#[derive(Debug, Default)]
pub struct Rules {
    here: Option<CompiledSchema>,
    members: Vec<(String, Rules)>,
    others: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    /// What tells one item of a list from another.
    keys: Vec<String>,
}

/// A rule that an object breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Path of the field.
    pub field: String,
    pub rule: String,
    /// What the definition says to do about it.
    pub message: String,
}

/// A value, and the one that it replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change<'a> {
    pub new: Option<&'a Value>,
    pub old: Option<&'a Value>,
}

impl<'a> Change<'a> {
    fn member(self, name: &str) -> Self {
        let of = |it: Option<&'a Value>| it.and_then(|it| it.get(name));
        Self { new: of(self.new), old: of(self.old) }
    }
}

impl Rules {
    /// Reads an `openAPIV3Schema`.
    pub fn read(schema: &Value) -> Self {
        let inner = |key: &str| {
            let inner = schema.get(key).filter(|it| it.is_object()).map(Self::read);
            inner.filter(|it| !it.is_empty()).map(Box::new)
        };
        let members = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        Self {
            here: schema.get(RULES).is_some().then(|| compile_schema(&plainly(alone(schema)))),
            members: members
                .map(|(name, it)| (name.clone(), Self::read(it)))
                .filter(|(_, it)| !it.is_empty())
                .collect(),
            others: inner("additionalProperties"),
            items: inner("items"),
            keys: keys.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        let Self { here, members, others, items, keys: _ } = self;
        here.is_none() && members.is_empty() && others.is_none() && items.is_none()
    }

    /// The rules that an object breaks and does not break without its annotation.
    pub fn broken(&self, whole: Change<'_>, plain: Change<'_>) -> Vec<Broken> {
        let mut found = Vec::new();
        self.look("", whole, plain, &mut found);
        found
    }

    fn look(&self, path: &str, whole: Change<'_>, plain: Change<'_>, found: &mut Vec<Broken>) {
        let Some(new) = whole.new.filter(|it| !it.is_null()) else { return };
        if whole == plain || whole.old == whole.new {
            return;
        }
        let excused = self.judge(path, plain);
        let fresh = self.judge(path, whole).into_iter();
        found.extend(fresh.filter(|it| !excused.iter().any(|other| other.rule == it.rule)));
        for (name, rules) in &self.members {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            rules.look(&path, whole.member(name), plain.member(name), found);
        }
        if let (Some(rules), Value::Object(members)) = (&self.others, new) {
            for name in members.keys() {
                let path = format!("{path}[{name}]");
                rules.look(&path, whole.member(name), plain.member(name), found);
            }
        }
        if let (Some(rules), Value::Array(items)) = (&self.items, new) {
            for (at, item) in items.iter().enumerate() {
                let path = format!("{path}[{at}]");
                let by_place = |it: Option<&Value>| it.and_then(|it| it.get(at)).cloned();
                let (new, old) = (by_place(plain.new), self.same(plain.old, item));
                let plain = Change { new: new.as_ref(), old };
                let whole = Change { new: Some(item), old: self.same(whole.old, item) };
                rules.look(&path, whole, plain, found);
            }
        }
    }

    /// The item of an earlier list that this one replaces, where anything tells.
    fn same<'v>(&self, old: Option<&'v Value>, item: &Value) -> Option<&'v Value> {
        let is = |it: &&Value| self.keys.iter().all(|key| it.get(key) == item.get(key));
        old?.as_array()?.iter().find(|it| !self.keys.is_empty() && is(it))
    }

    /// What a value breaks of the rules at this very place.
    fn judge(&self, path: &str, it: Change<'_>) -> Vec<Broken> {
        let (Some(rules), Some(new)) = (&self.here, it.new.filter(|it| !it.is_null())) else {
            return Vec::new();
        };
        let judged = Validator::new().validate_compiled(rules, new, it.old);
        let broken = |it: kube_cel::ValidationError| Broken {
            field: path.to_owned(),
            rule: it.rule,
            message: it.message,
        };
        judged.err().into_iter().flatten().map(broken).collect()
    }
}

/// With rules that ask for an optional `oldSelf` said in the words of who runs them here: for `kube_cel` it is the value itself, or
/// null.
fn plainly(mut schema: Value) -> Value {
    for rule in schema.get_mut(RULES).and_then(Value::as_array_mut).into_iter().flatten() {
        let optional = rule.get("optionalOldSelf").is_some_and(|it| it == true);
        let text = rule.get_mut("rule").filter(|_| optional);
        if let Some(Value::String(text)) = text {
            *text = text.replace("oldSelf.hasValue()", "oldSelf != null");
            *text = text.replace("oldSelf.value()", "oldSelf");
        }
    }
    schema
}

/// A schema without the rules of what is below.
fn alone(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(members) = schema.as_object_mut() {
        for (name, it) in members {
            if name != RULES {
                take_rules(it);
            }
        }
    }
    schema
}

fn take_rules(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            // A field could have that name too; its schema is no list.
            if members.get(RULES).is_some_and(Value::is_array) {
                members.remove(RULES);
            }
            members.values_mut().for_each(take_rules);
        }
        Value::Array(some) => some.iter_mut().for_each(take_rules),
        _ => {}
    }
}

/// An object as the API server reads it: null stands for absence.
pub fn settled(object: &Value) -> Value {
    match object {
        Value::Object(members) => {
            let there = members.iter().filter(|(_, it)| !it.is_null());
            there.map(|(name, it)| (name.clone(), settled(it))).collect()
        }
        Value::Array(items) => items.iter().map(settled).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Rules {
        let rule = |rule: &str| json!([{"rule": rule, "message": rule}]);
        Rules::read(&json!({
            "type": "object", "x-kubernetes-validations": rule("!has(self.most) || self.least <= self.most"),
            "properties": {
                "least": {"type": "integer", "default": 5}, "most": {"type": "integer"},
                "name": {"type": "string", "x-kubernetes-validations": rule("self == oldSelf")},
                "list": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                    "items": {"type": "object", "properties": {
                        "id": {"type": "string"},
                        "grade": {"type": "integer", "x-kubernetes-validations": rule("self > 0")},
                    }},
                },
                "map": {"type": "object", "additionalProperties": {
                    "type": "string", "x-kubernetes-validations": rule("self.matches('^[a-z]*$')"),
                }},
            },
        }))
    }

    #[test]
    fn rules_are_held_where_the_annotation_speaks_and_something_changes() {
        let item = |id: &str, grade: i32| json!({"id": id, "grade": grade});
        let none = || json!({});
        #[rustfmt::skip]
        let table = [
            // new, old, new without the annotation, old without it, broken at, because
            (json!({"most": 4}), None, none(), None, vec![""], "less than the default"),
            (json!({"most": 4}), None, json!({"most": 4}), None, vec![], "the other version says so itself"),
            (json!({"most": 4, "map": {"a": "x"}}), None, json!({"most": 4}), None, vec![], "that, and something fine beside it"),
            (json!({"most": 5}), None, none(), None, vec![], "it is fine"),
            (json!({"name": "a"}), Some(none()), none(), Some(none()), vec![], "it comes: nothing to stay with"),
            (json!({"name": "b"}), Some(json!({"name": "a"})), none(), Some(none()), vec!["name"], "it changes"),
            (none(), Some(json!({"name": "a"})), none(), Some(none()), vec![], "it goes"),
            (json!({"list": [item("a", 0), item("b", 0)]}), Some(json!({"list": [item("b", 0)]})), none(), Some(none()),
             vec!["list[0].grade"], "the other item was there, in another place"),
            (json!({"list": [item("a", 0)]}), None, json!({"list": [item("a", 0)]}), None, vec![], "said by itself"),
            (json!({"map": {"k": "A"}}), None, json!({"map": {}}), None, vec!["map[k]"], "in a map"),
        ];
        for (new, old, plain, plain_old, want, because) in table {
            let whole = Change { new: Some(&new), old: old.as_ref() };
            let plain = Change { new: Some(&plain), old: plain_old.as_ref() };
            let found = schema().broken(whole, plain);
            let fields: Vec<_> = found.iter().map(|it| it.field.as_str()).collect();
            assert_eq!(fields, want, "{because}: {found:?}");
        }
    }

    /// As the API server has them: a value, where the object is replaced; else none.
    #[test]
    fn a_rule_may_excuse_what_an_update_leaves_as_it_was() {
        let rules = Rules::read(&json!({
            "type": "object", "properties": {"least": {"type": "integer"}, "beside": {"type": "integer"}},
            "x-kubernetes-validations": [{
                "rule": "self.least > 0 || (oldSelf.hasValue() && oldSelf.value().least == self.least)",
                "message": "say more", "optionalOldSelf": true,
            }],
        }));
        let table = [
            (json!({"least": 1}), None, 0, "it keeps it"),
            (json!({"least": 0}), None, 1, "it comes so"),
            (json!({"least": 0, "beside": 1}), Some(json!({"least": 0})), 0, "it was so"),
            (json!({"least": -1}), Some(json!({"least": 0})), 1, "it becomes another"),
        ];
        for (new, old, want, because) in table {
            let whole = Change { new: Some(&new), old: old.as_ref() };
            let found = rules.broken(whole, Change::default());
            assert_eq!(found.len(), want, "{because}: {found:?}");
            assert!(found.iter().all(|it| it.message == "say more"), "{because}: {found:?}");
        }
    }

    #[test]
    fn null_stands_for_absence() {
        assert_eq!(settled(&json!({"a": null, "b": [{"c": null}]})), json!({"b": [{}]}));
    }
}
