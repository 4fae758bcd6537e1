//! How often the Events of a pod were read while they said nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

/// More are forgotten, oldest first: the Events of such a pod may be read again.
const REMEMBERED: usize = 4096;
/// They have spoken: what stays of them later may be long mended, so they are not read again.
const SPOKEN: u32 = u32::MAX;

/// Counts by the pod's uid.
#[derive(Debug, Default)]
pub struct Inquiries(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counts: HashMap<Box<str>, u32>,
    order: VecDeque<Box<str>>,
}

impl Inquiries {
    /// Counts one, which said something or not.
    pub fn note(&self, uid: &str, spoke: bool) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inner.counts.get_mut(uid) {
            *count = if spoke { SPOKEN } else { count.saturating_add(1) };
            return;
        }
        inner.counts.insert(uid.into(), if spoke { SPOKEN } else { 1 });
        inner.order.push_back(uid.into());
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.counts.remove(&oldest);
        }
    }

    /// How many there were; more than are ever made once one said something.
    pub fn of(&self, uid: &str) -> u32 {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.counts.get(uid).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_and_the_oldest_are_forgotten() {
        let inquiries = Inquiries::default();
        for number in 0..=REMEMBERED {
            inquiries.note(&number.to_string(), false);
            inquiries.note(&number.to_string(), number == REMEMBERED);
        }
        let last = REMEMBERED.to_string();
        assert_eq!([inquiries.of("0"), inquiries.of("1"), inquiries.of(&last)], [0, 2, SPOKEN]);
    }
}
