//! The protocol of sessions and shards in small, checked exhaustively: two replicas, and every order in which what they send is
//! sent, stored, lost, answered and seen, while their clocks run apart. The random model (`domain::shard::model`) has the
//! operator's own decisions in larger worlds; these leave out no order of a small one. What is planted must be found.

mod maps;
mod sessions;

use stateright::{Checker as _, HasDiscoveries, Model};

use self::{
    maps::Maps,
    sessions::{Budget, Planted, Protocol, Times},
};
use crate::waits::are_full;

/// How often the order of a world may be disturbed: what is unbounded would make it too large.
const UNDISTURBED: Budget = Budget { losses: 0, releases: 0, sessions: 0 };

/// Clocks that are wrong by a tenth, one each way.
const APART: [u8; 2] = [9, 11];

/// Looks at every state there is; returns the way to one with two owners.
fn two_owners<M>(model: M, reached: &'static str) -> Option<String>
where
    M: Model + Sync + Send + 'static,
    M::State: std::hash::Hash + Send + Sync + Clone + PartialEq + std::fmt::Debug,
    M::Action: Send + Sync + Clone + PartialEq + std::fmt::Debug,
{
    let checker = model
        .checker()
        .threads(std::thread::available_parallelism().map_or(1, Into::into))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = checker.discovery("never two").map(|it| format!("{:?}", it.into_actions()));
    println!("{} states, {} deep", checker.unique_state_count(), checker.max_depth());
    if found.is_none() {
        assert!(checker.discovery(reached).is_some(), "it never came to: {reached}");
    }
    found
}

/// Two ticks of waiting for one of acting, and half of both.
const SLOW: Times = Times { valid: 10, wait: 20 };
const FAST: Times = Times { valid: 5, wait: 10 };

fn of_sessions(rates: [u8; 2], planted: Planted, budget: Budget) -> Option<String> {
    of_times([SLOW; 2], rates, planted, budget)
}

fn of_times(times: [Times; 2], rates: [u8; 2], planted: Planted, budget: Budget) -> Option<String> {
    two_owners(Protocol { rates, times, planted, budget }, "taken over after a fence")
}

#[test]
fn no_order_of_what_is_sent_makes_two_owners() {
    assert_eq!(of_sessions(APART, Planted::Nothing, Budget { losses: 1, ..UNDISTURBED }), None);
}

#[test]
fn nor_do_shards_given_back_and_sessions_begun_anew() {
    let quick = [Budget { sessions: 1, ..UNDISTURBED }];
    let whole = [
        Budget { releases: 1, sessions: 1, ..UNDISTURBED },
        Budget { losses: 1, sessions: 1, ..UNDISTURBED },
        Budget { losses: 1, releases: 1, ..UNDISTURBED },
    ];
    let budgets: &[Budget] = if are_full() { &whole } else { &quick };
    for budget in budgets {
        assert_eq!(of_sessions(APART, Planted::Nothing, *budget), None, "{budget:?}");
    }
}

#[test]
fn nor_do_replicas_of_other_times_as_long_as_each_waits_by_the_longer() {
    let losses = u8::from(are_full());
    for times in [[SLOW, FAST], [FAST, SLOW]] {
        let budget = Budget { losses, ..UNDISTURBED };
        assert_eq!(of_times(times, APART, Planted::Nothing, budget), None, "{times:?}");
    }
    let own = of_times([SLOW, FAST], APART, Planted::OwnWait, UNDISTURBED);
    assert!(own.is_some(), "who waits by its own times alone makes two owners");
}

#[test]
fn clocks_that_run_too_far_apart_are_found() {
    let way = of_sessions([5, 20], Planted::Nothing, UNDISTURBED);
    assert!(way.expect("the assumption about clocks is needed").contains("Fence"));
}

#[test]
fn every_planted_mistake_about_sessions_is_found() {
    for planted in
        [Planted::ValidFromReceipt, Planted::ReleaseBeforeDrain, Planted::TakeWithoutFence]
    {
        let budget = Budget { releases: 1, ..UNDISTURBED };
        assert!(of_sessions(APART, planted, budget).is_some(), "{planted:?} makes two owners");
    }
}

#[test]
fn a_namespace_that_maps_move_is_worked_on_by_one() {
    assert_eq!(two_owners(Maps(maps::Planted::Nothing), "there and back"), None);
}

#[test]
fn every_planted_mistake_about_maps_is_found() {
    for planted in [maps::Planted::PinOnSight, maps::Planted::TakenWithOldMap] {
        let found = two_owners(Maps(planted), "there and back");
        assert!(found.is_some(), "{planted:?} makes two owners");
    }
}
