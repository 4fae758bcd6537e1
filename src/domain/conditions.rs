//! Condition types and reasons, and the one way to set a condition. The older pair (`Ready`, `Working`) and the newer
//! trio (`Available`, `Progressing`, `Degraded`) of the Go original are both written.

use std::borrow::Cow;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use crate::api::shared::Condition;

pub const READY: &str = "Ready";
pub const WORKING: &str = "Working";
pub const AVAILABLE: &str = "Available";
pub const PROGRESSING: &str = "Progressing";
pub const DEGRADED: &str = "Degraded";
/// Whether the remote has the commits of the current attempt.
pub const PUSHED: &str = "Pushed";

/// Whether it came back without its status and waits to be told to run.
pub const RESTORED: &str = "Restored";
/// Whether the spec was changed since the attempt under way began.
pub const SPEC_CHANGED: &str = "SpecChanged";
/// Whether a pause keeps it from beginning; there only while one does.
pub const PAUSED: &str = "Paused";

/// Whether every shard of the map has an owner.
pub const ALL_OWNED: &str = "AllOwned";

/// Longest message that we write, in bytes; the API allows 32,768.
const MAX_MESSAGE: usize = 4096;

/// What a condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    True,
    False,
    Unknown,
}

impl Is {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Writes conditions of one object at one moment. Those of other writers, and their order, are kept.
pub struct Conditions<'a> {
    pub list: &'a mut Vec<Condition>,
    pub generation: Option<i64>,
    pub now: Timestamp,
}

impl Conditions<'_> {
    /// Sets one condition; its transition time moves only when its status does.
    pub fn set(&mut self, type_: &str, is: Is, reason: &str, message: &str) {
        let now = Time(self.now);
        let mut fresh = Condition {
            type_: type_.into(),
            status: is.as_str().into(),
            observed_generation: self.generation,
            last_transition_time: now,
            reason: reason.into(),
            message: (&*shortened(message, MAX_MESSAGE)).into(),
        };
        match self.list.iter_mut().find(|it| it.type_ == type_) {
            Some(old) => {
                if old.status == fresh.status {
                    fresh.last_transition_time = old.last_transition_time.clone();
                }
                *old = fresh;
            }
            None => self.list.push(fresh),
        }
    }

    /// Takes a condition away, where its question is no longer asked.
    pub fn remove(&mut self, type_: &str) {
        self.list.retain(|it| it.type_ != type_);
    }
}

/// The longest prefix of at most `max` bytes that ends between two characters.
pub fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|&it| text.is_char_boundary(it)).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

/// The same, with a mark where something was left out.
pub fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    const MARK: &str = "…";
    if text.len() <= max {
        return text.into();
    }
    format!("{}{MARK}", cut(text, max.saturating_sub(MARK.len()))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transition_time_moves_only_with_the_status_and_foreign_conditions_stay() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut list = Vec::new();
        let mut first = Conditions { list: &mut list, generation: Some(1), now: at(1) };
        first.set("Merged", Is::True, "MergeComplete", "by somebody else");
        first.set(READY, Is::True, "PodCreated", "");
        let mut second = Conditions { list: &mut list, generation: Some(2), now: at(2) };
        second.set(READY, Is::True, "PodRunning", "");
        assert_eq!(list[1].last_transition_time, Time(at(1)), "still True");
        let mut third = Conditions { list: &mut list, generation: Some(2), now: at(3) };
        third.set(READY, Is::False, "PodFailed", &"ü".repeat(5000));
        assert_eq!(list[1].last_transition_time, Time(at(3)), "no longer True");
        assert!(list[1].message.len() <= MAX_MESSAGE && list[1].message.ends_with('…'));
        assert_eq!(list[0].type_, "Merged");
    }
}
