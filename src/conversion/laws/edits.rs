//! An edit in the version that cannot say everything: it wins, and what it does not touch stays.

use serde_json::Value;

use super::{
    case::{Case, at, bare, put, remove, to},
    dice::Dice,
    shape::Manner,
};
use crate::conversion::table::{Row, Version};

/// Three ways: an object, the same in the other version and edited there, and the way back.
pub fn hold(case: &Case, version: Version, dice: &mut Dice) {
    let other = version.other();
    let mut one = case.throw(version, dice, Manner::Tidy);
    case.settle(&mut one);
    let Some(mut edited) = to(other, &one) else { return };
    case.settle(&mut edited);
    let row = dice.pick(case.pair.table.rows);
    let place = row.path(other);
    if dice.once_in(4) {
        remove(&mut edited["spec"], place);
    } else {
        let new = case.spec(other).at(place).unwrap().throw(dice, Manner::Tidy);
        if !put(&mut edited["spec"], place, new) {
            return;
        }
    }
    case.settle(&mut edited);
    if !case.schema(other).admits(&edited["spec"]) {
        return;
    }
    let Some(back) = to(version, &edited) else { return };
    let again = to(other, &back).expect("the way back has room");
    assert_eq!(bare(&again), bare(&edited), "the edit of {place} is overruled: {one}, {back}");
    for kept in untouched(case, version, row) {
        let (had, has) = (at(&one["spec"], &kept), at(&back["spec"], &kept));
        let around = |it: &Value| {
            kept.rsplit_once('.').is_none_or(|(around, _)| at(&it["spec"], around).is_some())
        };
        let fine = had == has
            || !around(&back)
            || (!around(&one) && has.is_some_and(|it| usual(case, version, &kept, it)));
        assert!(fine, "the edit of {place} has changed {kept}: {one}, {back}");
    }
}

/// Whether it is what the API server fills in, as in a block that comes with an edit.
fn usual(case: &Case, version: Version, path: &str, value: &Value) -> bool {
    let defaults = case.spec(version).defaults();
    defaults.iter().any(|(of, default)| of == path && default == value)
}

/// What an edit of this row's field has no business with: the fields of all other rows, and what no row names.
fn untouched(case: &Case, version: Version, edited: &Row) -> Vec<String> {
    let rows = case.pair.table.rows;
    let related = |a: &str, b: &str| below(a, b) || below(b, a);
    let here = edited.path(version);
    let there = edited.path(version.other());
    let also =
        |it: &Row| related(it.path(version), here) || related(it.path(version.other()), there);
    let others: Vec<&str> = rows.iter().filter(|it| !also(it)).map(|it| it.path(version)).collect();
    let mine: Vec<&str> = rows.iter().filter(|it| also(it)).map(|it| it.path(version)).collect();
    let leaves = case.schema(version).leaves().into_iter();
    let touched = |leaf: &str| mine.iter().any(|it| related(it, leaf));
    leaves.filter(|leaf| others.iter().any(|it| related(it, leaf)) || !touched(leaf)).collect()
}

fn below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|it| it.is_empty() || it.starts_with('.'))
}
