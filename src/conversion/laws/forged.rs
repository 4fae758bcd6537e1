//! The annotation is anybody's text: whatever it says, the object that was written counts.

use serde_json::Value;

use super::{
    case::{Case, bare, to},
    dice::Dice,
    shape::{Manner, anything, unknown},
};
use crate::conversion::{
    delta::{Delta, Entry, hash},
    schema::Schema,
    table::Version,
};

/// An object with an annotation that nobody of ours has written.
pub fn hold(case: &Case, version: Version, dice: &mut Dice) {
    let other = version.other();
    let one = case.throw(version, dice, Manner::Tidy);
    let Some(plain) = to(other, &one) else { return };
    let mut sent = one.clone();
    let text = forge(case, &plain, dice);
    sent["metadata"]["annotations"][other.annotation()] = text.clone().into();
    let Some(got) = to(other, &sent) else { return };
    let back = to(version, &got).expect("the way back has room");
    assert_eq!(bare(&back), bare(&one), "{text} changes what was written, by way of {got}");
    for (name, value) in bare(&got).as_object().unwrap() {
        let same = name == "spec" || *value == bare(&plain)[name];
        assert!(same, "{text} reaches {name}: {got}");
    }
    let annotations = got["metadata"]["annotations"].as_object();
    let size = annotations.into_iter().flatten().map(|(name, it)| name.len() + text_of(it).len());
    assert!(size.sum::<usize>() <= 256 * 1024, "{text} makes more than an object may have");
    within(case.schema(other), plain.get("spec"), got.get("spec"), &text);
}

fn text_of(annotation: &Value) -> &str {
    annotation.as_str().unwrap_or_default()
}

/// Whatever is there because of the annotation is known to the schema and within its bounds.
fn within(schema: &Schema, plain: Option<&Value>, got: Option<&Value>, text: &str) {
    match (plain, got) {
        (Some(Value::Object(plain)), Some(Value::Object(got))) => {
            for (name, value) in got.iter().filter(|(name, it)| plain.get(*name) != Some(*it)) {
                let inner = schema.member(name);
                let inner = inner.unwrap_or_else(|| panic!("{text} adds an unknown {name:?}"));
                within(inner, plain.get(name), Some(value), text);
            }
            for name in plain.keys().filter(|it| !got.contains_key(*it)) {
                assert!(!schema.requires(name), "{text} takes {name} away");
            }
        }
        (_, Some(value)) => assert!(schema.admits(value), "{text} adds {value}"),
        (_, None) => {}
    }
}

fn forge(case: &Case, plain: &Value, dice: &mut Dice) -> String {
    if dice.once_in(8) {
        let texts = ["", "{", "{}", "null", "[]", "deflate:", "deflate:AAAA", "{\"add\":[]}"];
        return (*dice.pick(&texts)).to_owned();
    }
    if dice.once_in(8) {
        return anything(dice, 2).to_string();
    }
    let mut delta = Delta::default();
    for _ in 0..=dice.below(4) {
        let (path, value, there) = place(case, plain, dice);
        let text = value.to_string();
        let was = there.map_or_else(|| hash("null"), |it| hash(&it.to_string()));
        let entry = match dice.below(3) {
            0 => Entry::Add(&text),
            1 => Entry::Change(&was, &text),
            _ => Entry::Remove(&was),
        };
        delta.insert(&path, entry);
    }
    if dice.once_in(8) {
        delta.under = Some("junk".into());
    }
    if dice.once_in(8) {
        delta.kept = Some(anything(dice, 1).to_string());
    }
    if dice.once_in(8) {
        delta.own = Some(anything(dice, 1).to_string());
    }
    if dice.once_in(32) {
        delta.own = Some("0".repeat(300_000));
    }
    if dice.once_in(4) { delta.encode_small() } else { delta.encode() }
}

/// A path that an annotation could name, a value for it, and what the honest conversion has there.
fn place(case: &Case, plain: &Value, dice: &mut Dice) -> (String, Value, Option<Value>) {
    let strange = ["/status/attempt", "/metadata/name", "/spec", "/spec/", "/", "", "/spec/~9/x"];
    if dice.once_in(8) {
        return ((*dice.pick(&strange)).to_owned(), anything(dice, 2), None);
    }
    let version = Version::of(plain["apiVersion"].as_str().unwrap()).unwrap();
    let spec = case.spec(version);
    let paths = spec.paths();
    let mut path = dice.pick(&paths).clone();
    let mut value = spec.at(&path).unwrap().throw(dice, Manner::Tidy);
    if dice.once_in(6) {
        path = format!("{path}.{}", unknown(dice));
    }
    if dice.once_in(6) {
        value = anything(dice, 2);
    }
    let there = super::case::at(&plain["spec"], &path).cloned();
    (
        format!("/spec/{}", path.replace('~', "~0").replace('/', "~1").replace('.', "/")),
        value,
        there,
    )
}
