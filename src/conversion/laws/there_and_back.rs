//! Nothing is lost between two versions, whoever stands between them.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    case::{Case, api, bare, plain, to},
    dice::Dice,
    shape::Manner,
};
use crate::conversion::{convert, kinds, review::Review, table::Version};

fn manner(dice: &mut Dice) -> Manner {
    if dice.once_in(2) { Manner::Tidy } else { Manner::Wild }
}

/// There and back is the same object, and there the other parts are untouched.
pub fn hold(case: &Case, version: Version, dice: &mut Dice) {
    let manner = manner(dice);
    let one = case.throw(version, dice, manner);
    let Some(other) = to(version.other(), &one) else { return };
    untouched(&one, &other);
    assert_eq!(other["apiVersion"], api(version.other()));
    let back = to(version, &other).expect("the way back has room");
    assert_eq!(plain(back.clone()), plain(one), "by way of {other}");
    if dice.once_in(4) {
        assert_eq!(to(version.other(), &other).as_ref(), Some(&other), "it is there already");
        assert_eq!(to(version.other(), &back), Some(other), "the same input has the same output");
    }
}

/// An object that no API server would have accepted is converted all the same.
pub fn hold_for_broken(case: &Case, version: Version, dice: &mut Dice) {
    let one = case.throw(version, dice, Manner::Broken);
    let Some(other) = to(version.other(), &one) else { return };
    untouched(&one, &other);
    if let Some(back) = to(version, &other) {
        untouched(&one, &back);
    }
}

fn untouched(one: &Value, other: &Value) {
    let (one, other) = (bare(one), bare(other));
    for (name, value) in one.as_object().unwrap() {
        let changes = matches!(name.as_str(), "spec" | "apiVersion");
        assert!(changes || other[name] == *value, "{name} is touched: {one} became {other}");
    }
}

/// The same with an API server between, as one version is stored and the other asked for: it prunes and fills in
/// defaults after each step.
pub fn hold_on_a_server(case: &Case, version: Version, dice: &mut Dice) {
    let mut asked = case.throw(version, dice, Manner::Tidy);
    case.settle(&mut asked);
    let Some(mut stored) = to(version.other(), &asked) else { return };
    case.settle(&mut stored);
    let mut back = to(version, &stored).expect("the way back has room");
    case.settle(&mut back);
    assert_eq!(plain(back), plain(asked), "stored as {stored}");
}

/// The same with programs between that know our types: of one version, and of the other.
pub fn hold_for_types<A, B>(case: &Case, version: Version, dice: &mut Dice)
where
    A: Serialize + DeserializeOwned,
    B: Serialize + DeserializeOwned,
{
    let through = |object: &Value| -> Value {
        let alpha = object["apiVersion"] == api(Version::V1alpha1);
        let again = if alpha { typed::<A>(object) } else { typed::<B>(object) };
        again.unwrap_or_else(|why| panic!("{why}: no such type: {object}"))
    };
    let one = through(&case.throw(version, dice, Manner::Tidy));
    let Some(other) = to(version.other(), &one) else { return };
    let back = to(version, &through(&other)).expect("the way back has room");
    assert_eq!(plain(through(&back)), plain(one), "by way of {other}");
}

fn typed<T: Serialize + DeserializeOwned>(object: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(object.clone())?)
}

/// One call gives what many calls give, in order.
pub fn hold_for_batches(case: &Case, version: Version, dice: &mut Dice) {
    // Few objects and most calls of one: a review is tried as often as an object.
    let count = if dice.once_in(8) { dice.below(12) } else { 1 };
    let mut objects = Vec::new();
    for _ in 0..count {
        let from = if dice.once_in(2) { version } else { version.other() };
        let manner = manner(dice);
        objects.push(case.throw(from, dice, manner));
    }
    let Some(singles) = objects.iter().map(|it| to(version, it)).collect::<Option<Vec<_>>>() else {
        return;
    };
    let body = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "u", "desiredAPIVersion": api(version), "objects": objects},
    })
    .to_string();
    let mut review = Review::read(body.as_bytes()).unwrap();
    let each = |text: &str, to: &str, out: &mut String| convert(kinds(), text, to, out);
    let mut bytes = Vec::new();
    while let Some(piece) = review.next_piece(&each, body.as_bytes()) {
        bytes.extend(piece);
    }
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(answer["response"]["result"], json!({"status": "Success"}), "{body}");
    assert_eq!(answer["response"]["convertedObjects"], json!(singles), "{body}");
}
