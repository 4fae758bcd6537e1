//! Asking again: for what no watch tells of, such as a metric, or when a policy or a changed definition takes effect.

use gastown_testbed::{Operator, ask, audit::Event, http_get};

use crate::world::{PATIENCE, World};

/// Asks until there is an answer.
pub async fn answered<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let answer = ask::answered(PATIENCE, ask).await;
    answer.unwrap_or_else(|| panic!("waited {PATIENCE:?} for {what}"))
}

/// Asks until something is so.
pub async fn comes_true(what: &str, ask: impl AsyncFn() -> bool) {
    answered(what, async || ask().await.then_some(())).await;
}

/// Waits until an operator's metrics have a line.
pub async fn scraped(operator: &Operator, is: impl Fn(&str) -> bool) {
    comes_true("a line of the metrics", async || {
        http_get(&operator.metrics).await.is_ok_and(|(_, text)| text.lines().any(&is))
    })
    .await;
}

/// Holds every request of these users to its name in the audit log: who made it, and what for. A write that says no more than
/// which client it came by was made past the one function that asks for leave to write.
pub fn all_are_named(events: &[Event], users: &[&str]) {
    let made = events.iter().filter(|it| users.contains(&it.user.as_str()));
    let (mut reads, mut writes) = (0, 0);
    for it in made {
        let named = it.user_agent.strip_prefix("gastown/").and_then(|it| it.split_once("; "));
        let (_, scope) = named.unwrap_or_else(|| panic!("nobody is named in {it:?}"));
        if it.is_write() {
            writes += 1;
            let by_client = matches!(scope, "work)" | "leases)" | "watches)");
            assert!(!by_client, "written past `cluster::writing`: {it:?}");
        } else {
            reads += 1;
        }
    }
    assert!(reads > 0 && writes > 0, "{users:?} made {reads} reads and {writes} writes");
}

/// Every request of a Polecat's life from Working to Done: intent, pod, Running, end.
pub const FOUR_WRITES: [&str; 4] = [
    "patch polecats/status NAME",
    "create pods/ polecat-NAME",
    "patch polecats/status NAME",
    "patch polecats/status NAME",
];

/// The same of the Polecat of this name.
pub fn writes_of(name: &str) -> Vec<String> {
    FOUR_WRITES.map(|it| it.replace("NAME", name)).into()
}

/// Requests as `verb resource/subresource name`.
pub fn said(events: &[Event]) -> Vec<String> {
    let words = |it: &Event| format!("{} {}/{} {}", it.verb, it.resource, it.subresource, it.name);
    events.iter().map(words).collect()
}

/// All that a world's operator has asked about the world's namespace, reads too, as soon as that is as much as awaited: the
/// audit log has a request a moment after a watch tells what came of it. Left out are watches, and the one list with which
/// each cache opens: a second one of the same is no opening.
pub async fn asked_about(world: &World, awaited: usize) -> Vec<Event> {
    answered("the operator's requests in the audit log", async || {
        let all = world.requests_of(&world.operator.name).await;
        let mut opened = std::collections::BTreeSet::new();
        let asked: Vec<_> = all
            .into_iter()
            .filter(|it| it.namespace == world.namespace && it.verb != "watch")
            .filter(|it| {
                let of_cache = it.verb == "list" && it.user_agent.ends_with("; watches)");
                !(of_cache && opened.insert(it.uri.clone()))
            })
            .collect();
        (asked.len() >= awaited).then_some(asked)
    })
    .await
}
