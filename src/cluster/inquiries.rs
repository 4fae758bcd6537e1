//! How often the Events of a pod were read while they said nothing, and what they said until a status carries it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use crate::domain::failure::Cause;

/// More are forgotten, oldest first: the Events of such a pod may be read again.
const REMEMBERED: usize = 4096;
/// They have spoken: what stays of them later may be long mended, so they are not read again.
const SPOKEN: u32 = u32::MAX;

/// By the pod's uid.
#[derive(Debug, Default)]
pub struct Inquiries(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pods: HashMap<Box<str>, Inquiry>,
    order: VecDeque<Box<str>>,
}

#[derive(Debug, Default)]
struct Inquiry {
    count: u32,
    /// What they said, which no status is known to carry: its write may fail.
    told: Option<Cause>,
}

impl Inquiries {
    /// Counts one, and keeps what it said, if anything.
    pub fn note(&self, uid: &str, told: Option<Cause>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inner.pods.contains_key(uid);
        let inquiry = inner.pods.entry(uid.into()).or_default();
        inquiry.count = if told.is_some() { SPOKEN } else { inquiry.count.saturating_add(1) };
        inquiry.told = told;
        if known {
            return;
        }
        inner.order.push_back(uid.into());
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.pods.remove(&oldest);
        }
    }

    /// How many there were; more than are ever made once one said something.
    pub fn of(&self, uid: &str) -> u32 {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.pods.get(uid).map_or(0, |it| it.count)
    }

    /// What they said, until that is settled.
    pub fn told(&self, uid: &str) -> Option<Cause> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.pods.get(uid)?.told.clone()
    }

    /// What they said need not be told any more. It stays counted.
    pub fn settle(&self, uid: &str) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(it) = inner.pods.get_mut(uid) {
            it.told = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_and_the_oldest_are_forgotten() {
        let inquiries = Inquiries::default();
        let cause = Cause::new("SecretMissing", "Secret llm is not there");
        inquiries.note("0", Some(cause.clone()));
        for number in 1..=REMEMBERED {
            inquiries.note(&number.to_string(), None);
            inquiries.note(&number.to_string(), (number == REMEMBERED).then(|| cause.clone()));
        }
        let last = REMEMBERED.to_string();
        assert_eq!([inquiries.of("0"), inquiries.of("1"), inquiries.of(&last)], [0, 2, SPOKEN]);
        assert_eq!(inquiries.told("0"), None, "forgotten with its count");
        assert_eq!(inquiries.told(&last), Some(cause));
    }

    #[test]
    fn what_was_said_is_kept_until_it_is_settled() {
        let inquiries = Inquiries::default();
        let cause = Cause::new("SecretMissing", "Secret llm is not there");
        inquiries.note("pod-1", Some(cause.clone()));
        assert_eq!(inquiries.told("pod-1"), Some(cause.clone()));
        assert_eq!(inquiries.told("pod-1"), Some(cause), "a write that failed is tried again");
        inquiries.settle("pod-1");
        assert_eq!(inquiries.told("pod-1"), None);
        assert_eq!(inquiries.of("pod-1"), SPOKEN, "and is not asked for again");
    }
}
