//! Objects from a schema: what it accepts, with its boundaries; and, where asked for, what it does not.

use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    string::string_regex,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};

use super::dice::Dice;

/// Words that stand where a schema asks for any text: durations among them, and what JSON has to escape.
const WORDS: [&str; 20] = [
    "",
    "a",
    "gt-1",
    "greeter",
    "main",
    "mayor",
    "5m",
    "30s",
    "90s",
    "60s",
    "15m",
    "1h30m",
    "36h",
    "1500ms",
    "-5s",
    "0",
    "9999999999999999999h",
    "a/b~c\"\\\u{1}é\u{2028}",
    "null",
    "{\"a\":[1]}",
];

/// How far an object may be from what the schema accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Accepted as it is.
    Tidy,
    /// Accepted once unknown fields and nulls are gone.
    Wild,
    /// Refused: wrong types, and without what is required.
    Broken,
}

/// One node of a schema, made ready for throwing dice.
#[derive(Debug)]
pub struct Shape {
    sort: Sort,
    pub default: Option<Value>,
}

#[derive(Debug)]
enum Sort {
    Parts(Vec<(String, Shape, bool)>),
    Map(Box<Shape>, usize),
    List { item: Box<Shape>, least: usize, most: usize, once: bool },
    Choice(Vec<Value>),
    Like(Vec<String>),
    Text { least: usize, most: usize },
    Number { least: i64, most: i64 },
    Truth,
    Moment,
    Amount,
}

impl Shape {
    pub fn read(schema: &Value) -> Self {
        let count = |key: &str, or: usize| {
            schema[key].as_u64().map_or(or, |it| usize::try_from(it).unwrap())
        };
        let bound = |key: &str, or: i64| {
            schema[key].as_f64().map_or(or, |it| format!("{it}").parse().unwrap())
        };
        let sort = if let Some(choices) = schema["enum"].as_array() {
            Sort::Choice(choices.clone())
        } else if schema["x-kubernetes-int-or-string"] == true {
            Sort::Amount
        } else if schema["format"] == "date-time" {
            Sort::Moment
        } else if let Some(pattern) = schema["pattern"].as_str() {
            let most = count("maxLength", usize::MAX);
            Sort::Like(like(pattern).into_iter().filter(|it| it.chars().count() <= most).collect())
        } else if schema["properties"].is_object() {
            Sort::Parts(parts(schema))
        } else if schema["additionalProperties"].is_object() {
            let inner = Self::read(&schema["additionalProperties"]);
            Sort::Map(Box::new(inner), count("maxProperties", 1000))
        } else {
            match schema["type"].as_str() {
                Some("array") => Sort::List {
                    item: Box::new(Self::read(&schema["items"])),
                    least: count("minItems", 0),
                    most: count("maxItems", 1000),
                    once: matches!(schema["x-kubernetes-list-type"].as_str(), Some("map" | "set")),
                },
                Some("string") => {
                    Sort::Text { least: count("minLength", 0), most: count("maxLength", 100_000) }
                }
                Some("integer") => {
                    let of_32 = schema["format"] == "int32";
                    let (low, high) = if of_32 {
                        (i32::MIN.into(), i32::MAX.into())
                    } else {
                        (i64::MIN, i64::MAX)
                    };
                    Sort::Number { least: bound("minimum", low), most: bound("maximum", high) }
                }
                Some("boolean") => Sort::Truth,
                other => panic!("a schema of type {other:?}: {schema}"),
            }
        };
        Self { sort, default: schema.get("default").cloned() }
    }

    /// The node at a path of names.
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, name| match &node.sort {
            Sort::Parts(parts) => parts.iter().find(|it| it.0 == name).map(|it| &it.1),
            Sort::Map(inner, _) => Some(&**inner),
            _ => None,
        })
    }

    /// The defaults below, by path; those of list items are left out.
    pub fn defaults(&self) -> Vec<(String, Value)> {
        let Sort::Parts(parts) = &self.sort else { return Vec::new() };
        let mut all = Vec::new();
        for (name, part, _) in parts {
            all.extend(part.default.clone().map(|it| (name.clone(), it)));
            let inner = part.defaults().into_iter();
            all.extend(inner.map(|(path, it)| (format!("{name}.{path}"), it)));
        }
        all
    }

    /// Every path of names below.
    pub fn paths(&self) -> Vec<String> {
        let Sort::Parts(parts) = &self.sort else { return Vec::new() };
        let mut all = Vec::new();
        for (name, part, _) in parts {
            all.push(name.clone());
            all.extend(part.paths().into_iter().map(|it| format!("{name}.{it}")));
        }
        all
    }

    /// A value.
    pub fn throw(&self, dice: &mut Dice, manner: Manner) -> Value {
        if manner == Manner::Broken && dice.once_in(8) {
            return anything(dice, 2);
        }
        match &self.sort {
            Sort::Parts(parts) => {
                let mut members = Map::new();
                for (name, part, required) in parts {
                    let needed = *required && manner != Manner::Broken;
                    if !needed && dice.once_in(3) {
                        continue;
                    }
                    let null = manner == Manner::Wild && !needed && dice.once_in(6);
                    let value = if null { Value::Null } else { part.throw(dice, manner) };
                    members.insert(name.clone(), value);
                }
                if manner != Manner::Tidy && dice.once_in(4) {
                    members.entry(unknown(dice)).or_insert_with(|| anything(dice, 2));
                }
                members.into()
            }
            Sort::Map(inner, most) => {
                let count = dice.below(4).min(*most);
                let member = |_| (word(dice, 0, 60), inner.throw(dice, manner));
                (0..count).map(member).collect::<Map<_, _>>().into()
            }
            Sort::List { item, least, most, once } => {
                let count = (least + dice.below(4)).min(*most);
                let mut items: Vec<Value> = Vec::new();
                for _ in 0..count {
                    let item = item.throw(dice, manner);
                    let key = |it: &Value| {
                        ["id", "name", "type"]
                            .iter()
                            .find_map(|key| it.get(key))
                            .unwrap_or(it)
                            .clone()
                    };
                    if !(*once && items.iter().any(|it| key(it) == key(&item))) {
                        items.push(item);
                    }
                }
                items.into()
            }
            Sort::Choice(choices) => dice.pick(choices).clone(),
            Sort::Like(samples) => dice.pick(samples).clone().into(),
            Sort::Text { least, most } => word(dice, *least, *most).into(),
            Sort::Number { least, most } => number(dice, *least, *most),
            Sort::Truth => dice.once_in(2).into(),
            Sort::Moment => format!("2026-11-{:02}T10:00:00Z", 1 + dice.below(28)).into(),
            Sort::Amount => dice.pick(&[json!("1"), json!("500m"), json!("2Gi"), json!(3)]).clone(),
        }
    }

    /// What the API server makes of it: unknown fields and nulls are gone, and defaults are there.
    pub fn settle(&self, value: &mut Value) {
        match (&self.sort, value) {
            (Sort::Parts(parts), Value::Object(members)) => {
                members
                    .retain(|name, it| !it.is_null() && parts.iter().any(|part| part.0 == *name));
                for (name, part, _) in parts {
                    if let (Some(default), None) = (&part.default, members.get(name)) {
                        members.insert(name.clone(), default.clone());
                    }
                    members.get_mut(name).into_iter().for_each(|it| part.settle(it));
                }
            }
            (Sort::Map(inner, _), Value::Object(members)) => {
                members.values_mut().for_each(|it| inner.settle(it));
            }
            (Sort::List { item, .. }, Value::Array(items)) => {
                for it in items {
                    item.settle(it);
                }
            }
            _ => {}
        }
    }
}

fn parts(schema: &Value) -> Vec<(String, Shape, bool)> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let part = |(name, it): (&String, &Value)| {
        (name.clone(), Shape::read(it), required.iter().any(|it| it == name))
    };
    schema["properties"].as_object().unwrap().iter().map(part).collect()
}

/// Texts that a pattern accepts.
fn like(pattern: &str) -> Vec<String> {
    let seed = [7; 32];
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = string_regex(&pattern.replace(['^', '$'], "")).unwrap();
    let texts = (0..24).map(|_| strategy.new_tree(&mut runner).unwrap().current());
    let read = regex::Regex::new(pattern).unwrap();
    let texts: Vec<_> = texts.filter(|it| read.is_match(it)).collect();
    assert!(!texts.is_empty(), "nothing is like {pattern}");
    texts
}

fn word(dice: &mut Dice, least: usize, most: usize) -> String {
    match dice.below(512) {
        0 => return "x".repeat(most.min(5000)),
        1..=8 => return "z".repeat(most.min(least.max(300))),
        9..=24 => return "y".repeat(least),
        _ => {}
    }
    let text = if dice.once_in(8) {
        format!("{:x}", dice.roll())
    } else {
        (*dice.pick(&WORDS)).to_owned()
    };
    if (least..=most).contains(&text.chars().count()) {
        return text;
    }
    let text: String = text.chars().take(most).collect();
    let short = least.saturating_sub(text.chars().count());
    text + &"z".repeat(short)
}

fn number(dice: &mut Dice, least: i64, most: i64) -> Value {
    let usual = i64::try_from(dice.below(10_000)).unwrap();
    let any = match dice.below(8) {
        0 => least,
        1 => most,
        2 => 0,
        3 => 60 * (usual % 60),
        _ => usual,
    };
    any.clamp(least, most).into()
}

/// A name that no schema has.
pub fn unknown(dice: &mut Dice) -> String {
    let names = ["unknown", "a/b~c", "\u{1}\"é", "replicas", ""];
    (*dice.pick(&names)).to_owned()
}

/// Any JSON.
pub fn anything(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 5 } else { 8 }) {
        0 | 1 => Value::Null,
        2 => dice.once_in(2).into(),
        3 => dice.pick(&[json!(0), json!(-1), json!(1.5), json!(u64::MAX), json!(1e300)]).clone(),
        4 => word(dice, 0, 60).into(),
        5 => json!({}),
        6 => (0..dice.below(3)).map(|_| anything(dice, depth - 1)).collect(),
        _ => (0..dice.below(3))
            .map(|_| (unknown(dice), anything(dice, depth - 1)))
            .collect::<Map<_, _>>()
            .into(),
    }
}
