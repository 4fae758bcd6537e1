//! The laws of conversion, for every kind, on objects that its schemas throw. How many is `GASTOWN_LAWS` for each kind and
//! direction (`make fuzz-conversion N=1000000` sets it): so many go there and back, and a tenth of it is held against
//! each other law. The same number throws the same objects everywhere.

pub mod case;
pub mod dice;
mod edits;
mod forged;
pub mod shape;
mod tables;
mod there_and_back;

use case::Case;
use dice::Dice;

use super::table::Version;
use crate::api::{v1alpha1, v1beta1};

/// Objects for each kind and direction.
#[expect(clippy::disallowed_methods, reason = "a test is told by its command how long to go on")]
fn number() -> u64 {
    std::env::var("GASTOWN_LAWS").map_or(500, |it| it.parse().expect("a number in GASTOWN_LAWS"))
}

/// Calls a law with fresh dice for each version; a failure names what threw it. How often it could be held.
fn count(kind: &str, number: u64, law: impl Fn(&Case, Version, &mut Dice) -> bool) -> u64 {
    let (case, mut count) = (Case::of(kind), 0);
    for version in [Version::V1alpha1, Version::V1beta1] {
        for number in 0..number {
            let mut dice = Dice::new(&format!("{kind} {version:?}"), number);
            let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                law(&case, version, &mut dice)
            }));
            assert!(held.is_ok(), "{kind}: object {number} thrown as {version:?} breaks this law");
            count += u64::from(held.unwrap_or_default());
        }
    }
    count
}

fn each(kind: &str, number: u64, law: fn(&Case, Version, &mut Dice)) {
    let always = |case: &Case, version, dice: &mut Dice| {
        law(case, version, dice);
        true
    };
    count(kind, number, always);
}

fn often(kind: &str, law: fn(&Case, Version, &mut Dice)) {
    each(kind, number() / 10, law);
}

macro_rules! laws {
    ($($name:ident: $kind:literal, $alpha:ident, $beta:ident;)*) => {
        /// The kinds that the laws are held against.
        const KINDS: &[&str] = &[$($kind),*];
        $(mod $name {
            use super::*;

            #[test]
            fn a_table_names_every_field_and_default() {
                tables::hold($kind);
            }

            #[test]
            fn there_and_back_nothing_is_lost_and_nothing_else_touched() {
                each($kind, number(), there_and_back::hold);
            }

            #[test]
            fn what_no_schema_accepts_is_converted_and_nothing_else_touched() {
                often($kind, there_and_back::hold_for_broken);
            }

            #[test]
            fn what_the_api_server_fills_in_and_prunes_between_changes_nothing() {
                often($kind, there_and_back::hold_on_a_server);
            }

            #[test]
            fn what_a_program_reads_and_writes_with_our_types_comes_back() {
                often($kind, there_and_back::hold_for_types::<v1alpha1::$alpha, v1beta1::$beta>);
            }

            #[test]
            fn a_batch_of_mixed_versions_is_its_objects_in_order() {
                often($kind, there_and_back::hold_for_batches);
            }

            #[test]
            fn an_edit_in_the_other_version_wins_and_leaves_the_rest() {
                let (number, held) = (number() / 10, count($kind, number() / 10, edits::hold));
                println!("{held} of {} edits could be held to this law", 2 * number);
                assert!(held > number / 2, "{held} of {} edits are few", 2 * number);
            }

            #[test]
            fn a_forged_annotation_adds_only_what_its_version_alone_can_say() {
                often($kind, forged::hold);
            }
        })*
    };
}

laws! {
    polecat: "Polecat", Polecat, PolecatObject;
    rig: "Rig", Rig, Rig;
    convoy: "Convoy", Convoy, Convoy;
    witness: "Witness", Witness, Witness;
    refinery: "Refinery", Refinery, Refinery;
    bead_store: "BeadStore", BeadStore, BeadStore;
}

#[test]
fn the_laws_are_held_against_every_kind() {
    let all: Vec<_> = super::PAIRS.iter().map(|it| it.table.kind).collect();
    assert_eq!(all, KINDS);
}
