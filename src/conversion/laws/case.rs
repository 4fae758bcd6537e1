//! A kind under test: its table, its schemas, and objects of both versions.

use serde_json::{Map, Value, json};

use super::{
    dice::Dice,
    shape::{Manner, Shape, anything, unknown},
};
use crate::{
    api::GROUP,
    conversion::{PAIRS, Pair, Refusal, convert, kinds, part, schema::Schema, table::Version},
};

/// A kind, and what throws its objects.
#[derive(Debug)]
pub struct Case {
    pub pair: &'static Pair,
    alpha: [Shape; 2],
    beta: [Shape; 2],
    schemas: [Schema; 2],
}

impl Case {
    pub fn of(kind: &str) -> Self {
        let pair = PAIRS.iter().find(|it| it.table.kind == kind).unwrap();
        let shapes = |crd: fn() -> _| {
            let crd = crd();
            ["spec", "status"].map(|name| Shape::read(&part(&crd, name)))
        };
        let schemas = [pair.alpha, pair.beta].map(|crd| Schema::read(&part(&crd(), "spec")));
        Self { pair, alpha: shapes(pair.alpha), beta: shapes(pair.beta), schemas }
    }

    pub const fn spec(&self, version: Version) -> &Shape {
        let [spec, _] = self.shapes(version);
        spec
    }

    /// What a version's spec may hold, as the conversion reads it.
    pub const fn schema(&self, version: Version) -> &Schema {
        match version {
            Version::V1alpha1 => &self.schemas[0],
            Version::V1beta1 => &self.schemas[1],
        }
    }

    const fn shapes(&self, version: Version) -> &[Shape; 2] {
        match version {
            Version::V1alpha1 => &self.alpha,
            Version::V1beta1 => &self.beta,
        }
    }

    /// An object of a version.
    pub fn throw(&self, version: Version, dice: &mut Dice, manner: Manner) -> Value {
        let [spec, status] = self.shapes(version);
        let mut object = json!({
            "apiVersion": api(version), "kind": self.pair.table.kind,
            "metadata": metadata(dice), "spec": spec.throw(dice, manner),
        });
        if dice.once_in(2) {
            object["status"] = status.throw(dice, manner);
        }
        if manner == Manner::Wild {
            self.spare_words(version, &mut object["spec"]);
        }
        if manner != Manner::Tidy {
            if dice.once_in(16) {
                object.as_object_mut().unwrap().remove("spec");
            }
            if dice.once_in(16) {
                let name = format!("x-{}", unknown(dice));
                object[name] = anything(dice, 2);
            }
        }
        object
    }

    /// What the other version says in one word has room for nothing unknown, and so has what it has one place for where
    /// this one has two: only the API server's pruning ends that.
    fn spare_words(&self, version: Version, spec: &mut Value) {
        let other = self.schema(version.other());
        let one_word = |path: &str| {
            let names: Vec<_> = path.split('.').collect();
            other.at(&names).is_some_and(|it| !it.has_parts())
        };
        for row in self.pair.table.rows {
            let path = row.path(version);
            let parent = path.rsplit_once('.').map(|(parent, _)| parent);
            let there = row.path(version.other());
            let rivals = self.pair.table.rows.iter().filter(|it| it.path(version.other()) == there);
            let rival = rivals.count() > 1;
            for place in parent.into_iter().filter(|it| one_word(it)).chain([path]) {
                if let (Some(value), Some(shape)) =
                    (at_mut(spec, place), self.spec(version).at(place))
                    && (place != path || rival || value.is_array())
                {
                    shape.settle(value);
                }
            }
        }
    }

    /// What the API server makes of an object.
    pub fn settle(&self, object: &mut Value) {
        let version = Version::of(object["apiVersion"].as_str().unwrap()).unwrap();
        for (name, shape) in ["spec", "status"].iter().zip(self.shapes(version)) {
            if let Some(it) = object.get_mut(name) {
                shape.settle(it);
            }
        }
    }
}

pub fn api(version: Version) -> String {
    let version = if version == Version::V1alpha1 { "v1alpha1" } else { "v1beta1" };
    format!("{GROUP}/{version}")
}

fn metadata(dice: &mut Dice) -> Value {
    let mut all = Map::new();
    all.insert("name".into(), format!("it-{}", dice.below(1000)).into());
    if dice.once_in(2) {
        all.insert("annotations".into(), json!({"mine": "x", "a/b": "\u{1}\""}));
    }
    if dice.once_in(3) {
        all.insert("labels".into(), json!({"app": "y"}));
        all.insert("generation".into(), 7.into());
        all.insert(
            "managedFields".into(),
            json!([{"manager": "m", "fieldsV1": {"f:spec": {"f:rigRef": {}}}}]),
        );
    }
    if dice.once_in(16) {
        all.insert("annotations".into(), json!({}));
    }
    all.into()
}

/// The object in a version; none, if what it would lose is too large for an annotation.
pub fn to(version: Version, object: &Value) -> Option<Value> {
    let mut out = String::new();
    match convert(kinds(), &object.to_string(), &api(version), &mut out) {
        Ok(()) => Some(serde_json::from_str(&out).unwrap()),
        Err(Refusal::TooLarge { bytes, most, .. }) => {
            assert!(bytes > most, "{bytes} bytes are not too many: {object}");
            None
        }
        Err(other) => panic!("{other}: {object}"),
    }
}

/// The object without the annotations that are ours.
pub fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(all) = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
        for version in [Version::V1alpha1, Version::V1beta1] {
            all.remove(version.annotation());
        }
    }
    plain(object)
}

/// The object without an empty map of annotations: that says the same as none.
pub fn plain(mut object: Value) -> Value {
    if object["metadata"]["annotations"].as_object().is_none_or(Map::is_empty) {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    object
}

/// The value at a path of names.
pub fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

pub fn at_mut<'v>(value: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    path.split('.').try_fold(value, |value, name| value.get_mut(name))
}

/// Sets the value at a path of names, making objects on the way; whether there was room.
pub fn put(value: &mut Value, path: &str, new: Value) -> bool {
    let mut place = value;
    for name in path.split('.') {
        let Some(members) = place.as_object_mut() else { return false };
        place = members.entry(name).or_insert_with(|| json!({}));
    }
    *place = new;
    true
}

/// Removes the value at a path of names.
pub fn remove(value: &mut Value, path: &str) {
    let (place, name) = match path.rsplit_once('.') {
        Some((parent, name)) => (at_mut(value, parent), name),
        None => (Some(value), path),
    };
    if let Some(members) = place.and_then(Value::as_object_mut) {
        members.remove(name);
    }
}
