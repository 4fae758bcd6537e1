//! A model of the protocol around the real `decide`, `View` and `Memory`: replicas, their clocks and times, an API server, and
//! whatever can go wrong between them. `random` runs schedules by seeds.

#![expect(
    clippy::needless_for_each,
    clippy::similar_names,
    clippy::large_enum_variant,
    reason = "small and short-lived"
)]

mod answers;
mod faults;
mod random;
mod replica;
mod session;
mod storage;
mod world;

use std::time::Duration;

use random::Setting;
use replica::Bugs;

use crate::domain::lease::Times;

/// Three replicas, whose clocks are up to 10 % wrong.
const SOUND: Setting = Setting {
    bugs: Bugs {
        from_receipt: false,
        early_release: false,
        on_sight: false,
        own_wait: false,
        unsaid: false,
    },
    rates: (900, 1100),
    times: [Times::DEFAULT; 3],
    faults: Duration::from_secs(60),
    peace: Duration::from_secs(25),
};

#[expect(clippy::disallowed_methods, reason = "how many schedules is said from outside")]
/// How many schedules are run: the default, or `GASTOWN_MODEL_SCHEDULES`.
fn schedules(default: u64) -> u64 {
    std::env::var("GASTOWN_MODEL_SCHEDULES").ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

fn failures(setting: Setting, seeds: std::ops::Range<u64>) -> impl Iterator<Item = String> {
    seeds.filter_map(move |seed| random::run(seed, setting).err())
}

#[test]
fn there_are_never_two_owners_and_in_peace_there_is_always_one() {
    let all = schedules(100);
    let failed: Vec<String> = failures(SOUND, 0..all / 2).collect();
    let fast = Setting { times: [Times::FAST; 3], ..SOUND };
    let fast: Vec<String> = failures(fast, all / 2..all).collect();
    println!("{all} schedules, seeds from 0; {} failed", failed.len() + fast.len());
    if let Some(first) = failed.first().or(fast.first()) {
        panic!("{first}");
    }
}

/// As while a Deployment's times are changed: one of each three is of the other kind.
const MIXED: [[Times; 3]; 2] =
    [[Times::DEFAULT, Times::FAST, Times::FAST], [Times::FAST, Times::DEFAULT, Times::DEFAULT]];

#[test]
fn nor_are_there_among_replicas_of_other_times() {
    let all = schedules(40);
    let [slow, fast] = MIXED.map(|times| Setting { times, ..SOUND });
    let failed = failures(slow, 0..all / 2).chain(failures(fast, all / 2..all));
    let failed: Vec<String> = failed.collect();
    println!("{all} schedules, seeds from 0; {} failed", failed.len());
    assert_eq!(failed.first(), None);
}

/// The first schedule from this one on in which two replicas own one namespace.
fn finds(setting: Setting, from: u64, because: &str) {
    let found =
        failures(setting, from..from + schedules(400)).find(|it| it.contains("is owned by"));
    let Some(found) = found else { panic!("{because}: no schedule shows two owners") };
    println!("{because}: {}", found.lines().next().unwrap_or_default());
}

#[test]
fn validity_that_counts_from_receipt_is_found() {
    let bugs = Bugs { from_receipt: true, ..Bugs::default() };
    finds(Setting { bugs, ..SOUND }, 300, "validity from receipt");
}

#[test]
fn a_release_before_the_drain_is_found() {
    let bugs = Bugs { early_release: true, ..Bugs::default() };
    finds(Setting { bugs, ..SOUND }, 0, "release before drain");
}

#[test]
fn a_pin_that_is_applied_on_sight_is_found() {
    let bugs = Bugs { on_sight: true, ..Bugs::default() };
    finds(Setting { bugs, ..SOUND }, 0, "pin on sight");
}

#[test]
fn a_candidate_that_waits_by_its_own_times_alone_is_found() {
    let bugs = Bugs { own_wait: true, ..Bugs::default() };
    finds(Setting { bugs, times: MIXED[0], ..SOUND }, 0, "own times alone");
}

#[test]
fn a_session_that_does_not_say_what_it_holds_is_found() {
    let bugs = Bugs { unsaid: true, ..Bugs::default() };
    finds(Setting { bugs, ..SOUND }, 0, "held unsaid");
}

#[test]
fn a_clock_that_runs_one_and_a_half_times_as_fast_is_found() {
    finds(Setting { rates: (1000, 1500), ..SOUND }, 0, "one clock half as fast again");
}
