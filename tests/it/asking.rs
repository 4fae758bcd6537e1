//! Asking again: for what no watch tells of, such as a metric, or when a policy or a changed definition takes effect.

use gastown_testbed::{Operator, ask, audit::Event, http_get};

use crate::world::PATIENCE;

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
