//! An edit in the version that cannot say everything: it wins, and what it does not touch stays.

use serde_json::Value;

use super::{
    case::{Case, at, bare, put, remove, to},
    dice::Dice,
    shape::Manner,
};
use crate::conversion::table::{Row, Version};

/// The longest text of a kind that v1alpha1 has no bound for, and how long it is at times.
const LONGEST: &[(&str, &str)] = &[("Polecat", "taskDescription"), ("Convoy", "description")];
const LONG: usize = 1_000_000;

/// Three ways: an object, the same in the other version and edited there, in up to three places, and the way back. Whether that
/// could be held: not where an edit has no room, or is none that the version takes.
pub fn hold(case: &Case, version: Version, dice: &mut Dice) -> bool {
    let other = version.other();
    let mut one = case.throw(version, dice, Manner::Tidy);
    if dice.once_in(64) {
        lengthen(case, version, &mut one);
    }
    case.settle(&mut one);
    let Some(mut edited) = to(other, &one) else { return false };
    case.settle(&mut edited);
    let mut rows: Vec<&Row> = Vec::new();
    for _ in 0..=dice.below(3) {
        let mut trial = edited.clone();
        let row = edit(case, &mut trial, dice);
        case.settle(&mut trial);
        if let Some(row) = row
            && case.schema(other).admits(&trial["spec"])
        {
            edited = trial;
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return false;
    }
    let Some(back) = to(version, &edited) else { return false };
    let again = to(other, &back).expect("the way back has room");
    let places: Vec<_> = rows.iter().map(|it| it.path(other)).collect();
    assert_eq!(bare(&again), bare(&edited), "an edit of {places:?} is overruled: {one}, {back}");
    for kept in untouched(case, version, &rows) {
        let (had, has) = (at(&one["spec"], &kept), at(&back["spec"], &kept));
        let around = |it: &Value| {
            kept.rsplit_once('.').is_none_or(|(around, _)| at(&it["spec"], around).is_some())
        };
        let fine = had == has
            || !around(&back)
            || (!around(&one) && has.is_some_and(|it| usual(case, version, &kept, it)));
        assert!(fine, "the edit of {places:?} has changed {kept}: {one}, {back}");
    }
    true
}

/// Gives a v1alpha1 object as long a text as it may have: whatever is tried with it takes long.
fn lengthen(case: &Case, version: Version, object: &mut Value) {
    let of_kind = LONGEST.iter().find(|it| it.0 == case.pair.table.kind);
    let Some((_, alpha)) = of_kind else { return };
    let row = case.pair.table.rows.iter().find(|it| it.path(Version::V1alpha1) == *alpha);
    put(&mut object["spec"], row.unwrap().path(version), "x".repeat(LONG).into());
}

/// Removes or sets one field; none, where there is no room for it.
fn edit<'t>(case: &'t Case, object: &mut Value, dice: &mut Dice) -> Option<&'t Row> {
    let version = Version::of(object["apiVersion"].as_str().unwrap()).unwrap();
    let row = dice.pick(case.pair.table.rows);
    let place = row.path(version);
    if dice.once_in(4) {
        remove(&mut object["spec"], place);
        return Some(row);
    }
    let new = case.spec(version).at(place).unwrap().throw(dice, Manner::Tidy);
    put(&mut object["spec"], place, new).then_some(row)
}

/// Whether it is what the API server fills in, as in a block that comes with an edit.
fn usual(case: &Case, version: Version, path: &str, value: &Value) -> bool {
    let defaults = case.spec(version).defaults();
    defaults.iter().any(|(of, default)| of == path && default == value)
}

/// What edits of these rows' fields have no business with: the fields of all other rows, and what no row names.
fn untouched(case: &Case, version: Version, edited: &[&Row]) -> Vec<String> {
    let rows = case.pair.table.rows;
    let related = |a: &str, b: &str| below(a, b) || below(b, a);
    let also = |it: &Row| {
        edited.iter().any(|edited| {
            let same = |version| related(it.path(version), edited.path(version));
            same(version) || same(version.other())
        })
    };
    let others: Vec<&str> = rows.iter().filter(|it| !also(it)).map(|it| it.path(version)).collect();
    let mine: Vec<&str> = rows.iter().filter(|it| also(it)).map(|it| it.path(version)).collect();
    let leaves = case.schema(version).leaves().into_iter();
    let touched = |leaf: &str| mine.iter().any(|it| related(it, leaf));
    leaves.filter(|leaf| others.iter().any(|it| related(it, leaf)) || !touched(leaf)).collect()
}

fn below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|it| it.is_empty() || it.starts_with('.'))
}
